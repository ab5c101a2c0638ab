//! Which edges there are: linked, heard, lost. What is decided here is who gets which epoch, who is reaped when, and
//! whether the relay knows every edge that there may be.

use std::time::{Duration, Instant};

use proto::id::{EdgeId, Epoch, NodeName};
use proto::limits::LANES;
use proto::link::Member;

use super::{LinkKey, LinkOutboxes, Map};

/// An edge is lost when so much time has passed since it was last heard, however its link ended. The edge itself gives
/// a silent link up after 3 s.
pub const LOST_AFTER: Duration = Duration::from_millis(3_300);

/// A linked edge that was not heard for so long may have clients that it cannot tell of.
pub const UNHEARD_MAX: Duration = Duration::from_secs(2);

/// See the file.
///
/// # Invariants
/// Every entry of `by_number` is in `by_name`; a name is either there or in `lost`, or in neither.
#[derive(Debug)]
pub(super) struct Members {
    by_number: Map<Member, Linked>,
    by_name: Map<NodeName, Member>,
    lost: Vec<Lost>,
    /// The highest epoch that each name was ever given, as far as this relay knows.
    epochs: Map<NodeName, Epoch>,
    last_number: u32,
    /// Until then the relay is complete, if nothing happens; kept, since it is asked for every receipt.
    complete_until: Option<Instant>,
}

/// An edge that said hello on a living link.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) link: LinkKey,
    pub(super) edge: EdgeId,
    /// The epoch that it said it had. Who says the same again is the same process, and did not hear the answer.
    pub(super) had: Option<Epoch>,
    pub(super) outboxes: LinkOutboxes,
    pub(super) is_synced: bool,
    pub(super) heard: Instant,
    /// The highest number of a publication on each lane; 0 before the first.
    pub(super) lane_numbers: [u64; LANES],
}

impl Linked {
    /// Whether who says hello with the epoch `had` is this edge itself, on a new link.
    pub(super) fn is_life(&self, had: Option<Epoch>) -> bool {
        had.is_some() && (had == Some(self.edge.epoch) || had == self.had)
    }
}

/// An edge whose link ended without a goodbye; it has until then to come back.
#[derive(Debug)]
struct Lost {
    edge: EdgeId,
    reap_at: Instant,
}

/// What a hello leads to.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) member: Member,
    pub(super) edge: EdgeId,
    /// The epochs of this name that end with it.
    pub(super) ended: Vec<EdgeId>,
}

impl Members {
    pub(super) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self {
            by_number: Map::with_hasher(hasher.clone()),
            by_name: Map::with_hasher(hasher.clone()),
            lost: Vec::new(),
            epochs: Map::with_hasher(hasher),
            last_number: 0,
            complete_until: None,
        }
    }

    /// Takes in the edge that said hello; a link that it had must have been removed before.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        unix: Duration,
        link: LinkKey,
        name: &NodeName,
        had: Option<Epoch>,
        outboxes: LinkOutboxes,
    ) -> Admission {
        debug_assert!(!self.by_name.contains_key(name), "the old link is removed first");
        let mut ended = Vec::new();
        let mut keeps = None;
        self.lost.retain(|lost| {
            if lost.edge.name != *name {
                return true;
            }
            if Some(lost.edge.epoch) == had {
                keeps = had;
            } else {
                ended.push(lost.edge.clone());
            }
            false
        });
        let epoch = keeps.unwrap_or_else(|| {
            let clock = Epoch(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
            let next = self
                .epochs
                .get(name)
                .map(|highest| Epoch(highest.0.saturating_add(1)))
                .max(had.map(|had| Epoch(had.0.saturating_add(1))));
            next.map_or(clock, |next| next.max(clock))
        });
        self.epochs.insert(name.clone(), epoch);
        self.last_number += 1;
        let member = Member(self.last_number);
        let edge = EdgeId { name: name.clone(), epoch };
        let linked = Linked {
            link,
            edge: edge.clone(),
            had,
            outboxes,
            is_synced: false,
            heard: now,
            lane_numbers: [0; LANES],
        };
        self.by_number.insert(member, linked);
        self.by_name.insert(name.clone(), member);
        self.reckon();
        Admission { member, edge, ended }
    }

    pub(super) fn get(&self, member: Member) -> Option<&Linked> {
        self.by_number.get(&member)
    }

    pub(super) fn get_mut(&mut self, member: Member) -> Option<&mut Linked> {
        self.by_number.get_mut(&member)
    }

    pub(super) fn named(&self, name: &NodeName) -> Option<Member> {
        self.by_name.get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Member, &Linked)> {
        self.by_number.iter().map(|(&member, linked)| (member, linked))
    }

    pub(super) fn heard(&mut self, now: Instant, member: Member) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.heard = now;
            self.reckon();
        }
    }

    pub(super) fn synced(&mut self, member: Member) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.is_synced = true;
            self.reckon();
        }
    }

    /// The link of `member` ended; it is lost unless it comes back in time.
    pub(super) fn lose(&mut self, member: Member) -> Option<Linked> {
        let linked = self.remove(member)?;
        self.lost.push(Lost { edge: linked.edge.clone(), reap_at: linked.heard + LOST_AFTER });
        self.reckon();
        Some(linked)
    }

    /// `member` is not expected back.
    pub(super) fn remove(&mut self, member: Member) -> Option<Linked> {
        let linked = self.by_number.remove(&member)?;
        self.by_name.remove(&linked.edge.name);
        self.reckon();
        Some(linked)
    }

    /// Linked edges that were not heard for too long.
    pub(super) fn silent(&self, now: Instant) -> Vec<Member> {
        let mut silent: Vec<Member> = self
            .iter()
            .filter(|(_, linked)| linked.heard + LOST_AFTER <= now)
            .map(|(member, _)| member)
            .collect();
        silent.sort_unstable();
        silent
    }

    /// Edges that did not come back in time.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<EdgeId> {
        let overdue: Vec<EdgeId> =
            self.lost.extract_if(.., |lost| lost.reap_at <= now).map(|lost| lost.edge).collect();
        self.reckon();
        overdue
    }

    /// Whether every edge that there may be is linked, has told all that it holds, and was heard lately.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.complete_until.is_some_and(|until| now <= until)
    }

    /// When somebody may have to be reaped.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let silent = self.by_number.values().map(|linked| linked.heard + LOST_AFTER).min();
        let lost = self.lost.iter().map(|lost| lost.reap_at).min();
        silent.into_iter().chain(lost).min()
    }

    fn reckon(&mut self) {
        let is_known = self.lost.is_empty() && self.by_number.values().all(|linked| linked.is_synced);
        let oldest = self.by_number.values().map(|linked| linked.heard).min();
        self.complete_until = oldest.filter(|_| is_known).map(|heard| heard + UNHEARD_MAX);
    }
}
