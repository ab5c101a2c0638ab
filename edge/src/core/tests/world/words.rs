//! What is said, in a script's words: commands, tokens, replies, pushes.

use std::time::Duration;

use bytes::Bytes;
use proto::client::ClientId;
use proto::id::{Channel, EdgeId, Epoch, NodeName};
use proto::link::PublicationFrame;

use super::super::super::ClientKey;
use super::{EPOCH, THERE};
use crate::token;

pub(crate) fn publication_of_zoe(channel: &str, number: u64, data: &str, wants_receipt: bool) -> Bytes {
    let (info, data) = (br#"{"user":"zoe","client":"z"}"#, data.as_bytes());
    PublicationFrame { source: THERE, number, wants_receipt, channel, info, data }.encode()
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("valid")
}

pub(crate) fn edge(name: &str, epoch: u64) -> EdgeId {
    EdgeId { name: NodeName::parse(name).expect("valid"), epoch: Epoch(epoch) }
}

pub(crate) fn this_edge() -> EdgeId {
    edge("edge-1", EPOCH)
}

/// How long it takes until all that is held is written again.
pub(crate) const ROUND: Duration = seconds(8);

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A token that never expires.
pub(crate) fn token_of(user: &str) -> String {
    signed(&format!(r#"{{"sub":"{user}"}}"#))
}

/// A token with these claims.
pub(crate) fn signed(claims: &str) -> String {
    token::sign("secret", r#"{"alg":"HS256"}"#, claims)
}

pub(crate) fn connect(id: u32, token: &str) -> String {
    format!(r#"{{"id":{id},"connect":{{"token":"{token}"}}}}"#)
}

pub(crate) fn refresh(id: u32, token: &str) -> String {
    format!(r#"{{"id":{id},"refresh":{{"token":"{token}"}}}}"#)
}

pub(crate) fn subscribe(id: u32, channel: &str) -> String {
    format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#)
}

pub(crate) fn unsubscribe(id: u32, channel: &str) -> String {
    format!(r#"{{"id":{id},"unsubscribe":{{"channel":"{channel}"}}}}"#)
}

pub(crate) fn publish(id: u32, channel: &str, data: &str) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":{data}}}}}"#)
}

/// A directed message.
pub(crate) fn direct(id: u32, to: &str, data: &str) -> String {
    format!(r#"{{"id":{id},"rpc":{{"method":"send","data":{{"to":"{to}","data":{data}}}}}}}"#)
}

pub(crate) fn delivered(id: u32, n: u32) -> String {
    format!(r#"{{"id":{id},"rpc":{{"data":{{"delivered":{n}}}}}}}"#)
}

/// The error reply of `code` to the command `id`.
pub(crate) fn error(id: u32, code: u32) -> String {
    let text = match code {
        100 => r#""internal server error","temporary":true"#,
        103 => r#""permission denied""#,
        105 => r#""already subscribed""#,
        106 => r#""limit exceeded""#,
        107 => r#""bad request""#,
        108 => r#""not available""#,
        109 => r#""token expired""#,
        other => panic!("nothing here answers {other}"),
    };
    format!(r#"{{"id":{id},"error":{{"code":{code},"message":{text}}}}}"#)
}

/// The push of a publication of `user`, who is the client of that number.
pub(crate) fn push(channel: &str, data: &str, user: &str, client: ClientKey) -> String {
    let id = ClientId(u128::from(client.0));
    format!(
        r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data},"info":{{"user":"{user}","client":"{id}"}}}}}}}}"#
    )
}

/// The push of a publication that [`World::arrives`].
pub(crate) fn push_of_zoe(channel: &str, data: &str) -> String {
    format!(
        r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data},"info":{{"user":"zoe","client":"z"}}}}}}}}"#
    )
}
