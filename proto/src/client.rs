//! The client protocol (Centrifugo's, version 2): what a client asks, what it is answered and pushed.
//!
//! [`json`] turns frames into [`Command`]s and answers into bytes, [`line`] does the same for terminals. Protobuf will
//! stand beside them, as one more encoding of the same types. [`stream`] cuts frames out of a transport that has none. The
//! codes are in [`code`].

pub mod code;
pub mod json;
pub mod line;
pub mod stream;

use std::fmt;

use bytes::Bytes;

use crate::id::{Channel, InvalidChannel, UserId};
use code::ErrorCode;

/// One command of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Picked by the client and echoed in the reply; 0 where no reply is wanted.
    pub id: u32,
    /// What it asks.
    pub request: Request,
}

/// A channel as a client named it: its mistake is answered by whoever handles the command.
pub type NamedChannel = Result<Channel, InvalidChannel>;

/// What a command asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The answer to a server's ping: a command without id that is no `send`.
    Pong,
    /// Log in. `None`: no token, or an empty one.
    Connect {
        /// The JWT.
        token: Option<String>,
    },
    /// Receive what is published in a channel.
    Subscribe(Box<Subscribe>),
    /// Receive it no longer.
    Unsubscribe {
        /// Which.
        channel: NamedChannel,
    },
    /// Send to all subscribers of a channel.
    Publish {
        /// Which.
        channel: NamedChannel,
        /// JSON, byte for byte as it came; `None` where the field is missing.
        data: Option<Bytes>,
        /// Whether a map publication (`type`, not offered) is asked for.
        is_map: bool,
    },
    /// Who is in a channel.
    Presence {
        /// Which.
        channel: NamedChannel,
    },
    /// How many are in a channel.
    PresenceStats {
        /// Which.
        channel: NamedChannel,
    },
    /// What was published in a channel.
    History {
        /// Which.
        channel: NamedChannel,
    },
    /// A ping of the client's own.
    Ping,
    /// The RPC method `send`; `None` where its argument is not `{"to":USER,"data":…}`.
    Direct(Option<DirectMessage>),
    /// Any other RPC method.
    Rpc,
    /// A message without reply.
    Send,
    /// A new token before the old one expires.
    Refresh {
        /// The JWT. `None`: no token, or an empty one.
        token: Option<String>,
    },
    /// A new subscription token.
    SubRefresh {
        /// For which channel.
        channel: NamedChannel,
    },
    /// Not a command at all. What follows it in its frame is not read.
    Malformed,
}

/// The parts of a subscribe command that matter here; recovery, positions and join/leave are not granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// Which channel.
    pub channel: NamedChannel,
    /// Whether tags are to be filtered (`tf`).
    pub has_filter: bool,
    /// The delta algorithm asked for.
    pub delta: Option<String>,
    /// Whether something else than a stream subscription (`type`) is asked for.
    pub is_map: bool,
}

/// The argument of the RPC method `send`: `{"to":"bob","data":…}`.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectMessage {
    /// The addressee.
    pub to: UserId,
    /// JSON, byte for byte.
    pub data: Bytes,
}

/// One client of the cluster, for ever: a version 4 UUID, written with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u128);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            (n >> 80) & 0xffff,
            (n >> 64) & 0xffff,
            (n >> 48) & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a subscriber gets: both parts are JSON that is copied as it is, on every way through the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication<'a> {
    /// The publisher's payload, byte for byte.
    pub data: &'a [u8],
    /// Who published: a `ClientInfo`, encoded once when he connected ([`json::client_info`]).
    pub info: &'a [u8],
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It failed; the connection stays.
    Error(ErrorCode),
    /// The client is in.
    Connect(Connected),
    /// It receives from now on.
    Subscribe,
    /// It receives no longer.
    Unsubscribe,
    /// The publication is accepted.
    Publish,
    /// The client's own ping.
    Ping,
    /// What became of a directed message: n connections have it in their outbox.
    Delivered(u32),
    /// The new token is good for so many seconds; `None`: for ever.
    Refresh {
        /// The session's id, since clients overwrite what they stored.
        client: ClientId,
        /// Seconds until this token expires.
        ttl: Option<u32>,
    },
}

/// The answer to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The session's id.
    pub client: ClientId,
    /// Seconds until the token expires; `None`: never.
    pub ttl: Option<u32>,
    /// What the server subscribed this client to.
    pub channels: Vec<Channel>,
    /// Seconds between the server's pings, each of which wants a pong; 0: none come.
    pub ping_seconds: u32,
}
