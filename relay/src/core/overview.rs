//! What a relay can tell of the cluster when somebody looks: computed then, and never otherwise.

use std::time::{Duration, Instant};

use node::outbox::Queued;
use proto::id::EdgeId;
use proto::link::Status;

use super::journal::Entry;
use super::members::{LeaseState, Linked, Lost};
use super::router::Router;
use super::{LinkKey, Tally};

/// The cluster at one moment, as this relay knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// The moment, by this relay's clock: time since the unix epoch.
    pub unix: Duration,
    /// What was counted.
    pub tally: Tally,
    /// Edges that are linked, and those that may come back; by name.
    pub edges: Vec<EdgeOverview>,
    /// What happened last, oldest first.
    pub journal: Vec<Entry>,
}

/// One edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeOverview {
    /// Who.
    pub edge: EdgeId,
    /// Its link; none when it is lost.
    pub link: Option<LinkKey>,
    /// Since when it is linked, or lost: time since the unix epoch.
    pub since: Duration,
    /// How long ago its last heartbeat came.
    pub heard: Duration,
    /// How many clients it holds at most.
    pub capacity: u32,
    /// Its software.
    pub version: String,
    /// Whether the store has its lease.
    pub is_leased: bool,
    /// Whether it has joined all that it holds.
    pub is_synced: bool,
    /// What it said last of how it does, and how long ago.
    pub status: Option<(Duration, Status)>,
    /// Channels that it holds.
    pub channels: u64,
    /// What went over its link.
    pub traffic: Traffic,
    /// Bytes that wait on its lanes and its control stream.
    pub queued_bytes: u64,
}

/// What went over one link, heads included. Counts from the link's beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Publications that came.
    pub publications_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Copies of others' publications that were queued.
    pub copies_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

impl Router {
    /// What there is to be seen at `now`.
    pub fn overview(&mut self, now: Instant) -> Overview {
        let linked = self.members.iter().map(|(_, linked)| linked.overview(now));
        let mut edges: Vec<EdgeOverview> =
            linked.chain(self.members.lost().map(|lost| lost.overview(now))).collect();
        edges.sort_unstable_by(|a, b| a.edge.cmp(&b.edge));
        let tally = self.tally(now).clone();
        Overview { unix: self.unix(now), tally, edges, journal: self.journal.entries() }
    }
}

impl Linked {
    fn overview(&self, now: Instant) -> EdgeOverview {
        let mut queued = Queued::default();
        queued.add(&self.outboxes);
        EdgeOverview {
            edge: self.life.edge.clone(),
            link: Some(self.link),
            since: self.since,
            heard: now.saturating_duration_since(self.heard),
            capacity: self.life.capacity,
            version: self.life.version.clone(),
            is_leased: self.lease == LeaseState::Written,
            is_synced: self.is_synced,
            status: self.status.map(|(at, status)| (now.saturating_duration_since(at), status)),
            channels: self.channels,
            traffic: self.traffic,
            queued_bytes: (queued.lanes + queued.control) as u64,
        }
    }
}

impl Lost {
    fn overview(&self, now: Instant) -> EdgeOverview {
        EdgeOverview {
            edge: self.life.edge.clone(),
            link: None,
            since: self.since,
            heard: now.saturating_duration_since(self.heard),
            capacity: self.life.capacity,
            version: self.life.version.clone(),
            is_leased: self.lease == LeaseState::Written,
            is_synced: false,
            status: self.status.map(|(at, status)| (now.saturating_duration_since(at), status)),
            channels: 0,
            traffic: self.traffic,
            queued_bytes: 0,
        }
    }
}
