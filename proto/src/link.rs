//! The link protocol: what an edge and a relay say to each other over their one QUIC connection.
//!
//! ```text
//! heartbeat  bidirectional, opened by the edge with the byte 1   8 bytes each way: a ping, echoed as it is
//! control    bidirectional, opened by the edge with the byte 2   ToRelay → , ← ToEdge, in order
//! lanes      LANES unidirectional each way, opened with their number as one byte   LaneFrame
//! ```
//!
//! Hello, join, leave and their answers travel on the control stream only; publications and what becomes of them on
//! the lane that belongs to the channel ([`lane_of`]), so that a channel keeps its order. [`codec`] has the bytes.

pub mod codec;

use crate::id::{Channel, EdgeId, Epoch, NodeName};
use crate::limits::LANES;

/// What TLS negotiates: the version of this protocol. Nodes of different versions refuse each other in the handshake.
pub const ALPN: &[u8] = b"causeway-link/2";

/// First byte of the heartbeat stream.
pub const STREAM_HEARTBEAT: u8 = 1;

/// First byte of the control stream.
pub const STREAM_CONTROL: u8 = 2;

/// Bytes of a ping and of its echo: whatever the edge wrote, unread by the relay.
pub const HEARTBEAT_BYTES: usize = 8;

/// One linked edge, as its relay numbers it; no number is used twice in a relay's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member(pub u32);

/// One of a link's lanes, below [`LANES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u8);

impl Lane {
    /// The lane as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All lanes of a link.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANES as u8).map(Self)
    }
}

/// The lane of a channel, the same on every node (FNV-1a, 32 bits).
pub fn lane_of(channel: &str) -> Lane {
    let hash = channel
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Lane(((hash ^ (hash >> 16)) % LANES as u32) as u8)
}

/// A way into an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// Browsers and SDKs, over TCP.
    WebSocket = 0,
    /// Browsers, over QUIC.
    WebTransport = 1,
    /// Terminals.
    Line = 2,
}

impl Door {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::WebTransport, Self::Line];

    /// As a label value, and in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
            Self::Line => "line",
        }
    }
}

/// How an edge does, as it says once a second: what only edges know. Totals count from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Clients logged in now.
    pub clients: u32,
    /// Whether its balancers are told to send clients.
    pub is_ready: bool,
    /// Whether its canaries come back.
    pub carries: bool,
    /// Round trip of the last heartbeat, in microseconds; 0 before the first.
    pub rtt_micros: u32,
    /// Publications and directed messages that its clients sent.
    pub received: u64,
    /// Publications that it put into its clients' outboxes.
    pub pushes: u64,
    /// Of those received, what nobody can tell the fate of, and what was refused for now.
    pub unknown: u64,
}

/// A client of the user that a relay looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// By which way it came in.
    pub door: Door,
    /// When it logged in, by its edge's clock: milliseconds since the unix epoch.
    pub since: u64,
}

/// What an edge says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToRelay {
    /// First of all, once a link.
    Hello {
        /// Must be the name of its certificate.
        name: NodeName,
        /// The lease that it had until now, if any.
        epoch: Option<Epoch>,
        /// How many clients it holds at most.
        capacity: u32,
        /// Its software's version, for people.
        version: String,
    },
    /// It holds `channel` from now on.
    Join {
        /// Which.
        channel: Channel,
        /// Grows by one per join of this link; comes back in the answer.
        number: u32,
    },
    /// It holds `channel` no longer.
    Leave {
        /// Which.
        channel: Channel,
    },
    /// Everything that it holds has been joined.
    Synced,
    /// The store refused to write its routes, since it knows of no such lease: [`ToEdge::Ended`] answers.
    Unleased {
        /// Under which lease it wrote.
        epoch: Epoch,
    },
    /// It knows what [`ToEdge::Elsewhere`] of this number told it.
    Told {
        /// Which telling.
        telling: u64,
    },
    /// It stops, and has no clients any more.
    Goodbye,
    /// How it does. [`ToEdge::Others`] answers where its canaries do not come back.
    Status(Status),
    /// The answer to [`ToEdge::WhereIs`].
    Here {
        /// Whose.
        query: u32,
        /// Clients of that user here.
        total: u32,
        /// Some of them, [`crate::limits::FOUND_MAX`] at most.
        clients: Vec<Found>,
    },
}

/// What a relay says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEdge {
    /// The answer to hello.
    Welcome {
        /// The lease that the edge will have.
        epoch: Epoch,
        /// Its number on the lanes.
        member: Member,
    },
    /// The lease is written: from now on this edge may write routes.
    Leased {
        /// Which lease.
        epoch: Epoch,
    },
    /// The answer to a join: whoever else holds the channel knows it.
    Joined {
        /// Which.
        channel: Channel,
        /// The join's.
        number: u32,
        /// Whether somebody else holds it too.
        elsewhere: bool,
    },
    /// Somebody else begins to hold a channel, or nobody else does any more.
    Elsewhere {
        /// Which.
        channel: Channel,
        /// Whether somebody else holds it too.
        elsewhere: bool,
        /// What [`ToRelay::Told`] answers; 0 wants no answer.
        telling: u64,
    },
    /// This edge's link ended: no answer of it will come.
    Gone {
        /// Whose.
        member: Member,
    },
    /// The lease of the edge that hears this is gone: another relay reaped it, or the store was emptied. The link and
    /// its joins stay as they are; all routes have to be written again once the next lease is.
    Ended {
        /// The lease that the edge will have; [`Self::Leased`] follows.
        next: Epoch,
    },
    /// How others do, for an edge whose canaries do not come back.
    Others {
        /// Whether another edge's come back.
        carry: bool,
    },
    /// An operator asks which clients a user has: [`ToRelay::Here`] answers.
    WhereIs {
        /// Comes back in the answer.
        query: u32,
        /// The user's personal channel.
        channel: Channel,
    },
}

/// What travels on a lane. `source` and `number` name a publication on its lane; they are written by its source, and
/// a relay passes frames on as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneFrame<'a> {
    /// Source edge → relay → holders.
    Publication(PublicationFrame<'a>),
    /// Relay → source edge: who got it.
    Routed {
        /// Whose publication.
        source: Member,
        /// Which.
        number: u64,
        /// To which edges the relay passed it.
        holders: Vec<Member>,
        /// Whether the relay knows every edge that there may be.
        complete: bool,
    },
    /// Holder → relay → source edge, or from the relay in a holder's place.
    Answer {
        /// Whose publication.
        source: Member,
        /// Which.
        number: u64,
        /// Who answers.
        holder: Member,
        /// What.
        answer: Answer,
    },
    /// Edge → relay → the same edge: whether a lane carries what it should.
    Canary {
        /// Whose.
        source: Member,
        /// Which; not one of the numbers of publications.
        number: u64,
    },
}

/// A publication on its way to other edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationFrame<'a> {
    /// The edge whose client published.
    pub source: Member,
    /// Grows by one per source and lane.
    pub number: u64,
    /// Whether holders answer.
    pub wants_receipt: bool,
    /// Where it was published; valid UTF-8, no more than that is checked.
    pub channel: &'a str,
    /// See [`crate::client::Publication`].
    pub info: &'a [u8],
    /// See [`crate::client::Publication`].
    pub data: &'a [u8],
}

/// What became of a publication at one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// So many outboxes have it.
    Took(u32),
    /// No client of this edge receives the channel.
    NotHere(EdgeId),
    /// It was not passed on, or may not have been.
    Unknown,
}

/// Why a link was ended by one side (QUIC application close code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// The node stops.
    Goodbye = 0,
    /// A frame did not decode, or came where it must not.
    BadFrame = 1,
    /// Hello's name is not the certificate's.
    WrongName = 2,
    /// A newer edge of this name is linked.
    Superseded = 3,
    /// This edge made a newer link.
    Replaced = 4,
    /// Nothing was heard for too long.
    Silent = 5,
    /// The control stream's queue is full.
    Overflow = 6,
    /// This node stood still for too long to believe what it had read.
    Froze = 7,
}

impl CloseCode {
    /// The code of this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        [
            Self::Goodbye,
            Self::BadFrame,
            Self::WrongName,
            Self::Superseded,
            Self::Replaced,
            Self::Silent,
            Self::Overflow,
            Self::Froze,
        ]
        .into_iter()
        .find(|code| u64::from(code.number()) == number)
    }

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }
}
