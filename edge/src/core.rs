//! The edge as a state machine: no socket, clock, chance or task in here.
//!
//! ```text
//! doors, downlink, store ──Event──▶ Hub ──Action──▶ link, store
//!                                    └──frames──▶ outboxes (clients, lanes, control)
//! ```
//!
//! [`Hub`] is fed one [`Event`] at a time by `eventloop.rs`, which then drains its [`Action`]s and sleeps until its
//! timeout. Frames leave through outboxes, which never wait: a full one is the Hub's to deal with.
//!
//! | file | what |
//! |---|---|
//! | `hub.rs` | dispatch, and the life of a client from open to close |
//! | `commands.rs` | what a client's commands do |
//! | `channels.rs` | who receives what here, delivery, replies that wait |
//! | `session.rs` | one client's state |
//! | `link.rs` | the link as the Hub sees it: greeting, joins, tellings, heartbeat |
//! | `status.rs` | what operators see of this edge through its relay |
//! | `receipts.rs` | what became of directed messages |
//! | `routes.rs`, `routes/round.rs` | what the store should say, and what it does say; writing it again and again |
//! | `canary.rs` | a message to itself, each second, through the relay |
//! | `freeze.rs` | what is left to believe after this edge stood still |
//! | `tally.rs` | counters |

mod canary;
mod channels;
mod commands;
mod freeze;
mod hub;
mod link;
mod receipts;
mod routes;
mod session;
mod status;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use node::outbox::Outbox;
use proto::client::code::Disconnect;
use proto::client::{ClientId, Command};
use proto::id::{Channel, EdgeId, NodeName};
use proto::link::{CloseCode, Door, Lane};
use store::{IndexPage, RouteWrite, StoreError};

pub use canary::Carries;
pub use hub::Hub;
pub use node::outbox::LinkOutboxes;
pub use tally::{Outcome, RouteCounts, Tally, Verdict};

/// One client of this edge, as its door numbers it; no number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u64);

/// One QUIC connection to the relay; each new one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// How a client's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The client protocol in JSON.
    Json,
    /// The line protocol.
    Line,
}

/// What the Hub is told.
#[derive(Debug)]
pub enum Event {
    /// What the wall clock shows; tokens are judged by it. Comes with every tick of the event loop.
    Clock {
        /// Time since the unix epoch.
        unix: Duration,
    },
    /// Whether balancers are told to send clients here. Comes with every tick of the event loop.
    Ready {
        /// Whether they are.
        is_ready: bool,
    },
    /// A client has come in through a door.
    Opened(Opened),
    /// A client's frame, or a slice of one ([`proto::client::json::slices`]): JSON, some commands.
    Frame {
        /// Whose.
        client: ClientKey,
        /// As it came.
        frame: Bytes,
        /// Whether it goes on with the frame whose beginning was the last one.
        is_rest: bool,
    },
    /// A client's command that its door has read already.
    Command {
        /// Whose.
        client: ClientKey,
        /// What it asks.
        command: Command,
    },
    /// What a client's door answers by itself, behind what the Hub has answered.
    Answered {
        /// Whom.
        client: ClientKey,
        /// What.
        frame: Bytes,
    },
    /// A client has gone, or its door cannot reach it any more.
    Closed {
        /// Who.
        client: ClientKey,
        /// Why, where the door found a reason; [`Disconnect::Closed`] when the client went by itself.
        why: Disconnect,
    },
    /// A new link; older ones are dead.
    LinkOpened {
        /// Which.
        generation: Generation,
        /// Where to write. Boxed, so that all other events are small.
        link: Box<LinkOutboxes>,
    },
    /// A link has ended.
    LinkClosed {
        /// Which.
        generation: Generation,
    },
    /// A frame of the control stream.
    Control {
        /// By which link.
        generation: Generation,
        /// What the relay says.
        frame: proto::link::ToEdge,
    },
    /// Whole frames of a lane, in order.
    Lane {
        /// By which link.
        generation: Generation,
        /// Which lane.
        lane: Lane,
        /// Not yet decoded.
        frames: Vec<Bytes>,
    },
    /// The relay's echo of a ping.
    Echo {
        /// By which link.
        generation: Generation,
        /// What the ping said.
        ping: [u8; proto::link::HEARTBEAT_BYTES],
    },
    /// The store has answered [`Action::WriteRoutes`]; every such action gets exactly one answer.
    RoutesWritten {
        /// As the action had it.
        edge: EdgeId,
        /// As the action had them.
        writes: Vec<RouteWrite>,
        /// Whether the store knows a lease of `edge`.
        result: Result<bool, StoreError>,
    },
    /// The store has answered [`Action::ReadIndex`]; every such action gets exactly one answer.
    IndexRead {
        /// As the action had it.
        edge: EdgeId,
        /// A part of what it has.
        page: Result<IndexPage, StoreError>,
    },
    /// The store's answer to a look-up.
    LookedUp {
        /// As the action had it.
        ticket: Ticket,
        /// The edges with a lease that hold the channel.
        holders: Result<Vec<EdgeId>, StoreError>,
    },
    /// This edge stood still: what it heard before is too old to be believed.
    Froze {
        /// For how long, beyond what is usual.
        late: Duration,
    },
    /// The edge stops: every client is told, and the relay.
    Stop,
}

/// A client that has come in.
#[derive(Debug)]
pub struct Opened {
    /// Its number at this edge.
    pub client: ClientKey,
    /// Its id in the cluster.
    pub id: ClientId,
    /// By which way it came.
    pub door: Door,
    /// What it reads.
    pub encoding: Encoding,
    /// Whether it answers pings.
    pub pings: bool,
    /// How long it may take to log in.
    pub patience: Duration,
    /// A number by chance, from 0 up to, not including, 1: when in the first interval its first ping comes.
    pub chance: f64,
    /// Where its frames go.
    pub outbox: Outbox<Disconnect>,
}

/// A directed message that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// The lane of its channel.
    pub lane: Lane,
    /// Its number on that lane.
    pub number: u64,
}

/// What the Hub wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// This client has said who it is: it is no newcomer any more, and does not have to make room for one.
    LoggedIn {
        /// Who.
        client: ClientKey,
    },
    /// End this link; another will be made.
    CloseLink {
        /// Which.
        generation: Generation,
        /// Told to the relay.
        code: CloseCode,
        /// Told to the relay, and logged.
        reason: String,
    },
    /// Write to the store what an edge holds and does not hold; [`Event::RoutesWritten`] answers. There is one at a time.
    WriteRoutes {
        /// This edge, in its present life or in one whose routes are left.
        edge: EdgeId,
        /// How many clients this edge has now, for operators.
        clients: u64,
        /// At most 256, each channel once.
        writes: Vec<RouteWrite>,
    },
    /// Read a page of the reverse index; [`Event::IndexRead`] answers. There is one at a time.
    ReadIndex {
        /// This edge, in its present life.
        edge: EdgeId,
        /// Where the page begins.
        cursor: u64,
        /// About how many channels it has.
        count: usize,
    },
    /// Ask the store who holds a channel; [`Event::LookedUp`] answers.
    LookUp {
        /// Comes back in the answer.
        ticket: Ticket,
        /// Which.
        channel: Channel,
    },
}

/// What a Hub must know from the start.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// This edge.
    pub name: NodeName,
    /// How many clients it holds at most: told to the relay.
    pub capacity: u32,
    /// Whether there is a relay. Without one the edge is complete by itself: who is not here is offline.
    pub has_relay: bool,
    /// The key that opens this edge.
    pub verifier: crate::token::Verifier,
    /// Time between pings.
    pub ping_interval: Duration,
    /// How long a pong may take; below `ping_interval`.
    pub pong_timeout: Duration,
    /// Keeps clients from choosing names that collide in our tables; by chance in life, fixed in tests.
    pub hash_seed: u64,
}

/// A table whose order depends on nothing but the Hub's seed, so that a simulation can be repeated.
type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// Bytes that may wait for one client, in its outbox or parked before its reply; more, and it is too slow (3008).
pub const OUTBOX_BYTES_MAX: usize = 256 << 10;

/// A write that takes so long makes a client too slow.
pub const OUTBOX_AGE_MAX: Duration = Duration::from_secs(5);
