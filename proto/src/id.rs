//! Names of things, parsed once at the door and trusted inside.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{CHANNEL_BYTES_MAX, EPOCH_MAX, NODE_NAME_BYTES_MAX, USER_BYTES_MAX};

/// The name of an edge or a relay: `[a-z0-9-]+`, at most 63 bytes (a DNS label, since it is a certificate's SAN).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

/// Why a text is no [`NodeName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: 1 to 63 of a-z, 0-9 and '-'")]
pub struct InvalidNodeName(pub String);

impl NodeName {
    /// Checks `name`.
    ///
    /// # Errors
    /// Whoever chose the name must choose another: see [`InvalidNodeName`].
    pub fn parse(name: &str) -> Result<Self, InvalidNodeName> {
        let fits = (1..=NODE_NAME_BYTES_MAX).contains(&name.len());
        let plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && plain { Ok(Self(name.into())) } else { Err(InvalidNodeName(name.to_owned())) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidNodeName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One lease of an edge, as a number that only grows for a name (unix milliseconds, or the last one plus 1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One life of an edge in the cluster's memory: `<name>.<epoch>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId {
    /// Which edge.
    pub name: NodeName,
    /// Which of its lives.
    pub epoch: Epoch,
}

/// A text that is no [`EdgeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an edge id is a node's name, a dot and a number")]
pub struct InvalidEdgeId;

impl FromStr for EdgeId {
    type Err = InvalidEdgeId;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        let (name, epoch) = id.rsplit_once('.').ok_or(InvalidEdgeId)?;
        let parsed = Self {
            name: NodeName::parse(name).map_err(|_| InvalidEdgeId)?,
            epoch: Epoch(epoch.parse().map_err(|_| InvalidEdgeId)?),
        };
        // One edge has one id: no sign, no zeros in front.
        if parsed.epoch.0 <= EPOCH_MAX && parsed.to_string() == id { Ok(parsed) } else { Err(InvalidEdgeId) }
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.epoch.0)
    }
}

impl fmt::Debug for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A user: 1 to 200 bytes of UTF-8 without control characters, `,` and `#`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// A text that is no [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id has 1 to 200 bytes, no control characters, no ',' and no '#'")]
pub struct InvalidUserId;

impl UserId {
    /// Checks `user`.
    ///
    /// # Errors
    /// The client named a user that cannot exist: see [`InvalidUserId`].
    pub fn parse(user: &str) -> Result<Self, InvalidUserId> {
        let fits = (1..=USER_BYTES_MAX).contains(&user.len());
        let plain = !user.chars().any(|c| c.is_control() || c == ',' || c == '#');
        if fits && plain { Ok(Self(user.into())) } else { Err(InvalidUserId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel on which only this user listens.
    pub fn personal_channel(&self) -> Channel {
        Channel(format!("#{}", self.0).into())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name of a channel that exists: a plain one, or a user's personal one (`#bob`).
///
/// Cheap to clone. Which commands may name which channel is decided by [`Channel::parse`] and [`ChannelKind`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// What a channel's name says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind<'a> {
    /// `news`, `chat:1`: anybody.
    Open,
    /// `dialog#42,43`: the users of the list behind the last `#`.
    UserLimited(&'a str),
    /// `#bob`: the user bob, and only by the server.
    Personal(&'a str),
    /// `$…`: whoever holds a subscription token.
    Private,
}

/// Why a text names no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannel {
    /// Nothing at all.
    #[error("a channel's name is empty")]
    Empty,
    /// Over 255 bytes.
    #[error("a channel's name has at most 255 bytes")]
    Long,
    /// A character, or a beginning, that no channel has.
    #[error("a channel's name is printable ASCII and begins with a letter, a digit, '#' or '$'")]
    Malformed,
}

impl Channel {
    /// Checks `name`.
    ///
    /// # Errors
    /// The client named a channel that cannot exist: see [`InvalidChannel`].
    pub fn parse(name: &str) -> Result<Self, InvalidChannel> {
        let Some(&first) = name.as_bytes().first() else { return Err(InvalidChannel::Empty) };
        if name.len() > CHANNEL_BYTES_MAX {
            return Err(InvalidChannel::Long);
        }
        let well_formed = match first {
            b'#' => UserId::parse(&name[1..]).is_ok(),
            b'$' => printable_ascii(name),
            other => other.is_ascii_alphanumeric() && printable_ascii(name),
        };
        if well_formed { Ok(Self(name.into())) } else { Err(InvalidChannel::Malformed) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name says about who may use it.
    pub fn kind(&self) -> ChannelKind<'_> {
        match self.0.as_bytes()[0] {
            b'#' => ChannelKind::Personal(&self.0[1..]),
            b'$' => ChannelKind::Private,
            _ => match self.0.rsplit_once('#') {
                Some((_, users)) => ChannelKind::UserLimited(users),
                None => ChannelKind::Open,
            },
        }
    }
}

impl ChannelKind<'_> {
    /// Whether `user` is on the list of a user-limited channel.
    pub fn lists(users: &str, user: &UserId) -> bool {
        users.split(',').any(|listed| listed == user.as_str())
    }
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn printable_ascii(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_of_255_bytes_exists_and_one_of_256_does_not() {
        assert!(Channel::parse(&"c".repeat(255)).is_ok());
        assert_eq!(Channel::parse(&"c".repeat(256)), Err(InvalidChannel::Long));
        assert_eq!(Channel::parse(""), Err(InvalidChannel::Empty));
    }

    #[test]
    fn a_channel_says_by_its_beginning_whose_it_is() {
        let kind_is =
            |name: &str, kind| assert_eq!(Channel::parse(name).expect("valid").kind(), kind, "{name}");
        kind_is("news", ChannelKind::Open);
        kind_is("a:b", ChannelKind::Open);
        kind_is("dialog#42,43", ChannelKind::UserLimited("42,43"));
        kind_is("a#1#2", ChannelKind::UserLimited("2"));
        kind_is("#bob", ChannelKind::Personal("bob"));
        kind_is("#jürgen", ChannelKind::Personal("jürgen"));
        kind_is("$secret", ChannelKind::Private);
        for name in ["-x", ":x", " x", "é", "a\nb", "a\u{7f}", "#", "#a,b", "#a#b", "#a\n"] {
            assert_eq!(Channel::parse(name), Err(InvalidChannel::Malformed), "{name:?}");
        }
    }

    #[test]
    fn a_user_limited_channel_lists_whole_names_only() {
        let bob = UserId::parse("bob").expect("valid");
        assert!(ChannelKind::lists("alice,bob", &bob));
        assert!(!ChannelKind::lists("alice,bobby", &bob));
        assert!(!ChannelKind::lists("", &bob));
    }

    #[test]
    fn a_user_of_200_bytes_exists_and_one_of_201_does_not() {
        assert!(UserId::parse(&"u".repeat(200)).is_ok());
        for user in ["", "a,b", "a#b", "a\tb", "a\u{85}b", &"u".repeat(201)] {
            assert_eq!(UserId::parse(user), Err(InvalidUserId), "{user:?}");
        }
    }

    #[test]
    fn an_edge_id_reads_as_it_is_written_and_nothing_else_does() {
        let id: EdgeId = "edge-1.7".parse().expect("valid");
        assert_eq!((id.name.as_str(), id.epoch, id.to_string().as_str()), ("edge-1", Epoch(7), "edge-1.7"));
        for other in
            ["", "edge-1", "edge-1.", ".7", "edge-1.+7", "edge-1.07", "a.b.7", "edge-1.7 ", "edge-1.-7"]
        {
            assert!(other.parse::<EdgeId>().is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_node_name_is_a_dns_label_in_lower_case() {
        assert!(NodeName::parse("edge-1").is_ok());
        for name in ["", "Edge", "a.b", "a_b", "é", &"n".repeat(64)] {
            assert!(NodeName::parse(name).is_err(), "{name:?}");
        }
    }
}
