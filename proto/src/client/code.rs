//! The numbers by which clients decide: of errors (the connection stays) and of disconnects (it ends).

/// Why a command failed (client protocol, error replies).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// Something of ours is away, or it is not known what became of a message: try again.
    Internal = 100,
    /// Log in first (line protocol; others are disconnected).
    Unauthorized = 101,
    /// Not for this user.
    PermissionDenied = 103,
    /// The client already receives this channel.
    AlreadySubscribed = 105,
    /// More channels than a client may have.
    LimitExceeded = 106,
    /// An argument that cannot be right.
    BadRequest = 107,
    /// This server does not offer that.
    NotAvailable = 108,
    /// The token is past its `exp`, or before its `nbf`: get another and come again.
    TokenExpired = 109,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The text on the wire.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::PermissionDenied => "permission denied",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
        }
    }

    /// Whether the same command may succeed later; clients retry these by themselves.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal)
    }
}

/// Why the server ends a connection. Clients come back, except after 3500 to 3999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Disconnect {
    /// The client breaks the transport's rules (RFC 6455, section 7.4.1).
    TransportBroken = 1002,
    /// A text frame that is not UTF-8.
    InvalidText = 1007,
    /// A frame above the limit.
    TooLarge = 1009,
    /// The client went by itself; never sent.
    Closed = 3000,
    /// This edge stops.
    Shutdown = 3001,
    /// The token expired and no other came.
    Expired = 3005,
    /// The client does not read what it is sent.
    Slow = 3008,
    /// The server-side channels of the new token are others: connect anew.
    InsufficientState = 3010,
    /// A ping was not answered.
    NoPong = 3012,
    /// The client had not logged in when its place was needed for another; never sent, since it just ends.
    Crowded = 3013,
    /// The token is not ours.
    InvalidToken = 3500,
    /// The client does not speak the protocol.
    BadRequest = 3501,
    /// The client did not connect in time.
    Stale = 3502,
    /// The token subscribes to more channels than a client may have.
    ChannelLimit = 3505,
    /// This server does not take messages without reply.
    NotAvailable = 3508,
}

impl Disconnect {
    /// All of them, for whoever counts by code.
    pub const ALL: [Self; 15] = [
        Self::TransportBroken,
        Self::InvalidText,
        Self::TooLarge,
        Self::Closed,
        Self::Shutdown,
        Self::Expired,
        Self::Slow,
        Self::InsufficientState,
        Self::NoPong,
        Self::Crowded,
        Self::InvalidToken,
        Self::BadRequest,
        Self::Stale,
        Self::ChannelLimit,
        Self::NotAvailable,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The text on the wire. Never empty and never JSON, or centrifuge-js ignores the number.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TransportBroken => "protocol error",
            Self::InvalidText => "invalid text",
            Self::TooLarge => "message size limit",
            Self::Closed => "connection closed",
            Self::Shutdown => "shutdown",
            Self::Expired => "connection expired",
            Self::Slow => "slow",
            Self::InsufficientState => "insufficient state",
            Self::NoPong => "no pong",
            Self::Crowded => "too many requests",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ChannelLimit => "channel limit",
            Self::NotAvailable => "not available",
        }
    }
}
