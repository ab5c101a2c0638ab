//! What each decoder promises for any bytes whatever, as one function per decoder that panics where a promise is broken.
//!
//! The same functions replay the kept inputs (`tests/corpus`) and play with them in `tests/tests/decoders.rs`, and are run
//! for minutes by a fuzzer that looks at coverage (`tests/fuzz`).

mod client;
mod config;
mod line;
mod link;
mod proxy;
mod stream;
mod token;
mod websocket;

use bytes::Bytes;
use proto::client::{ClientId, NamedChannel, Publication, json};
use proto::id::{Channel, UserId};
use proto::limits::{CHANNEL_BYTES_MAX, USER_BYTES_MAX};
use serde_json::value::RawValue;

/// One decoder.
#[derive(Debug)]
pub struct Target {
    /// The name of its folder of inputs.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "client", check: client::check },
    Target { name: "config", check: config::check },
    Target { name: "line", check: line::check },
    Target { name: "link", check: link::check },
    Target { name: "proxy", check: proxy::check },
    Target { name: "stream", check: stream::check },
    Target { name: "token", check: token::check },
    Target { name: "websocket", check: websocket::check },
];

/// Cuts `bytes` in several ways, which are the same each time: whole, byte by byte, and in pieces of sizes that the bytes
/// themselves say.
fn cuts(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut seed = bytes.len();
    while !rest.is_empty() {
        seed = seed.wrapping_mul(31).wrapping_add(usize::from(rest[0]));
        let (piece, after) = rest.split_at((1 + seed % 61).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    [vec![bytes], bytes.chunks(1).collect(), pieces]
}

/// A channel that a decoder let in can be one, and does no harm in a line of anything.
fn check_channel(channel: &Channel) {
    let name = channel.as_str();
    assert_eq!(Channel::parse(name).as_ref(), Ok(channel));
    assert!((1..=CHANNEL_BYTES_MAX).contains(&name.len()), "{name:?} has {} bytes", name.len());
    assert!(!name.chars().any(char::is_control), "{name:?} has control characters");
}

fn check_named(channel: &NamedChannel) {
    if let Ok(channel) = channel {
        check_channel(channel);
    }
}

/// A user that a decoder let in can be one, and does no harm in a list or in a line of anything.
fn check_user(user: &UserId) {
    let name = user.as_str();
    assert_eq!(UserId::parse(name).as_ref(), Ok(user));
    assert!((1..=USER_BYTES_MAX).contains(&name.len()), "{name:?} has {} bytes", name.len());
    assert!(!name.chars().any(|c| c.is_control() || c == ',' || c == '#'), "{name:?}");
    check_channel(&user.personal_channel());
}

/// A payload is one JSON value on one line, with nothing around it; all who get it get it whole, and nothing else by it.
fn check_payload(data: &[u8]) {
    let value: &RawValue = serde_json::from_slice(data).expect("a payload is one JSON value");
    assert_eq!(value.get().as_bytes(), data, "a payload has nothing around it");
    assert!(!data.contains(&b'\n'), "a payload is one line");
    let alice = UserId::parse("alice").expect("valid");
    let info = json::client_info(&alice, ClientId(1), None);
    check_push("news", Publication { data, info: &info });
    check_shown("news", Publication { data, info: &info });
}

/// The push in JSON is one line with the publication's own bytes in it.
fn check_push(channel: &str, publication: Publication<'_>) {
    let push = json::publication(channel, publication);
    let expected = serde_json::to_string(channel).expect("a string is JSON");
    assert!(!push.contains(&b'\n'), "a push is one line");
    let value: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_slice(&push).expect("a push is JSON");
    let value: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(value["push"].get()).expect("an object");
    assert_eq!(value["channel"].get(), expected);
    let value: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(value["pub"].get()).expect("an object");
    assert_eq!(value["data"].get().as_bytes(), publication.data);
    assert_eq!(value["info"].get().as_bytes(), publication.info);
}

/// A terminal is shown one line, and nothing that drives it.
fn check_shown(channel: &str, publication: Publication<'_>) {
    check_line(&proto::client::line::publication(channel, publication));
}

fn check_line(line: &Bytes) {
    let text = std::str::from_utf8(line).expect("a line is UTF-8");
    let (text, end) = text.split_at(text.len() - 1);
    assert_eq!(end, "\n", "{text:?}");
    assert!(!text.chars().any(char::is_control), "{text:?} drives a terminal");
}

/// What a client would write for `channel`, so that it is judged alike.
fn spelt(channel: &NamedChannel) -> String {
    use proto::id::InvalidChannel::{Empty, Long, Malformed};
    match channel {
        Ok(channel) => channel.as_str().to_owned(),
        Err(Empty) => String::new(),
        Err(Long) => "c".repeat(CHANNEL_BYTES_MAX + 1),
        Err(Malformed) => "-".to_owned(),
    }
}
