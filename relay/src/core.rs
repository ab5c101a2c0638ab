//! The relay as a state machine: no socket, clock, chance or task in here.
//!
//! ```text
//! ingress, accept, store ──Event──▶ Router ──Action──▶ accept (close, admit), store
//!                                     └──frames──▶ outboxes (lanes and control streams of the edges)
//! ```
//!
//! [`Router`] is fed one [`Event`] at a time by `eventloop.rs`.
//!
//! | file | what |
//! |---|---|
//! | `router.rs` | links, publications, who holds what |
//! | `members.rs` | which edges are linked, were heard, are lost, and who is a later life of whom |
//! | `heartbeat.rs` | leases: given, renewed, ended |
//! | `leasing.rs` | what the store says of leases |
//! | `overview.rs`, `journal.rs` | what operators see: how all of it does, and what happened last |
//! | `search.rs` | where a user's clients are |

mod heartbeat;
mod journal;
mod leasing;
mod members;
mod overview;
mod router;
mod search;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use proto::id::{EdgeId, NodeName, UserId};
use proto::link::{CloseCode, HEARTBEAT_BYTES, Lane, ToRelay};
use store::{Beat, Leases, Score, StoreError};

pub use journal::{ENTRIES_MAX, Entry, EntryKind};
pub use leasing::{BEAT_EVERY, PATIENCE, WATCH_ANEW};
pub use members::{LOST_AFTER, UNHEARD_MAX};
pub use node::outbox::LinkOutboxes;
pub use overview::{EdgeOverview, Overview, Traffic};
pub use router::Router;
pub use search::{Place, SEARCH_MAX, Whereabouts};

/// One QUIC connection of an edge; each new one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(pub u64);

/// What the Router is told.
#[derive(Debug)]
pub enum Event {
    /// What the wall clock shows: new epochs are taken from it. Comes with every tick of the event loop.
    Clock {
        /// Time since the unix epoch.
        unix: Duration,
    },
    /// An edge has opened its control and heartbeat streams.
    LinkOpened {
        /// Which link.
        link: LinkKey,
        /// Whose certificate it showed.
        certificate: NodeName,
        /// Where to write.
        outboxes: LinkOutboxes,
    },
    /// A link has ended.
    LinkClosed {
        /// Which.
        link: LinkKey,
    },
    /// A frame of a control stream.
    Control {
        /// By which link.
        link: LinkKey,
        /// What the edge says.
        frame: ToRelay,
    },
    /// Whole frames of a lane, in order.
    Lane {
        /// By which link.
        link: LinkKey,
        /// Which lane.
        lane: Lane,
        /// Not yet decoded.
        frames: Vec<Bytes>,
    },
    /// A ping, to be echoed.
    Ping {
        /// By which link.
        link: LinkKey,
        /// Unread.
        ping: [u8; HEARTBEAT_BYTES],
    },
    /// The store has written an edge's lease, or not.
    Granted {
        /// Whose.
        edge: EdgeId,
        /// As the action had it.
        score: Score,
        /// Whether it is written.
        result: Result<(), StoreError>,
    },
    /// The store has renewed leases and read all of them, or not.
    Beaten {
        /// As the action had it.
        beat: Beat,
        /// What it read.
        result: Result<Leases, StoreError>,
    },
    /// The store has ended a lease, or not.
    LeaseEnded {
        /// Whose.
        edge: EdgeId,
        /// Whether it did: not where the score was another one.
        result: Result<bool, StoreError>,
    },
    /// The routes of an edge whose lease was ended are removed, or not all of them.
    RoutesRemoved {
        /// Whose.
        edge: EdgeId,
        /// How many there were.
        result: Result<u64, StoreError>,
    },
    /// An operator looks for a user; [`Action::Found`] answers.
    WhereIs {
        /// No search that is under way has this number.
        query: u32,
        /// Whom.
        user: UserId,
    },
    /// This process stood still: nothing that was read before can be believed, and nobody could be heard.
    Froze,
    /// The relay stops.
    Stop,
}

/// What the Router wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The edge is who it says: read its lanes.
    Admit {
        /// Which link.
        link: LinkKey,
        /// Who.
        edge: EdgeId,
    },
    /// End a link.
    Close {
        /// Which.
        link: LinkKey,
        /// Told to the edge.
        code: CloseCode,
        /// Told to the edge, and logged.
        reason: String,
    },
    /// Write an edge's lease; [`Event::Granted`] answers. This and [`Self::EndLease`] are done one after the other, in
    /// this order, and never before a [`Self::Beat`] that was asked for earlier.
    GrantLease {
        /// By which link it came.
        link: LinkKey,
        /// Whose.
        edge: EdgeId,
        /// How many clients it holds at most.
        capacity: u32,
        /// Its software.
        version: String,
        /// The lease's first score.
        score: Score,
    },
    /// Renew leases and read all of them; [`Event::Beaten`] answers.
    Beat(Beat),
    /// End an edge's lease if its score is still this one; [`Event::LeaseEnded`] answers.
    EndLease {
        /// Whose.
        edge: EdgeId,
        /// What was last read.
        score: Score,
    },
    /// Remove the routes of an edge whose lease was ended; [`Event::RoutesRemoved`] answers.
    RemoveRoutes {
        /// Whose.
        edge: EdgeId,
    },
    /// Where a user is. It comes within [`SEARCH_MAX`].
    Found {
        /// As the event had it.
        query: u32,
        /// Where.
        whereabouts: Whereabouts,
    },
    /// Search the whole store for routes of edges that are nobody any more. Nothing answers.
    Sweep,
}

/// Counters since the start, and levels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publications that came from edges.
    pub publications: u64,
    /// Copies of them that were passed on.
    pub forwarded: u64,
    /// Publications of channels that no other edge holds.
    pub unheld: u64,
    /// Copies that a full lane refused.
    pub refused: u64,
    /// Answers of holders that were passed to their source.
    pub answers: u64,
    /// Answers, the Router's own included, for which nobody was there any more or whose lane was full.
    pub answers_lost: u64,
    /// Publications that are missing between two of the same source and lane.
    pub gaps: u64,
    /// Messages of edges to themselves that were sent back.
    pub canaries: u64,
    /// Joins.
    pub joins: u64,
    /// Leaves.
    pub leaves: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Edges that were admitted.
    pub admitted: u64,
    /// Links that were closed for a reason of ours.
    pub closed: u64,
    /// Edges whose lease was ended.
    pub reaped: u64,
    /// Routes that were removed with them.
    pub routes_removed: u64,
    /// Linked edges that were given a new epoch, since the store had lost their lease.
    pub renewed: u64,
    /// Times that this process stood still.
    pub freezes: u64,
    /// Edges that have a lease, as far as is known.
    pub leases: u64,
    /// Edges whose link ended and that may come back.
    pub lost: u64,
    /// Edges linked now.
    pub edges: u64,
    /// Channels held now, by whomever.
    pub channels: u64,
    /// Whether every edge that there may be is known.
    pub is_complete: bool,
}

/// A table whose order depends on nothing but the Router's seed, so that a simulation can be repeated.
type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;
