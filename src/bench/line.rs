//! The client protocol as a load generator needs it: what a line of a server means, and the commands it answers.
//!
//! Lines are looked at only as far as they matter. Servers begin an answer with its id; one that does not is read as
//! JSON, which is slower and no less right.

use serde::Deserialize;

/// What a line of a server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// To be answered with [`PONG`].
    Ping,
    /// The answer to the command `id`.
    Answer { id: u32, outcome: Outcome },
    /// A push, or whatever else may carry a message.
    Push,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// A receipt: so many of the addressee's connections have it.
    Delivered(u64),
    Refused(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, thiserror::Error)]
#[error("error {code}, {message}")]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
}

/// A client's answer to a ping.
pub(super) const PONG: &[u8] = b"{}";

/// Tells what `line` is.
pub(super) fn read(line: &[u8]) -> Line {
    if line == b"{}" {
        return Line::Ping;
    }
    if line.starts_with(b"{\"push\":") {
        return Line::Push;
    }
    if let Some((id, rest)) = leading_id(line)
        && let Some(outcome) = usual_outcome(rest)
    {
        return Line::Answer { id, outcome };
    }
    read_json(line)
}

/// The id that an answer begins with, and what follows.
fn leading_id(line: &[u8]) -> Option<(u32, &[u8])> {
    let digits = line.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let id = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some((id, &digits[end..]))
}

/// The answers that come for each message of a run.
fn usual_outcome(rest: &[u8]) -> Option<Outcome> {
    if rest == b",\"publish\":{}}" {
        return Some(Outcome::Done);
    }
    let digits = rest.strip_prefix(b",\"rpc\":{\"data\":{\"delivered\":")?.strip_suffix(b"}}}")?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Outcome::Delivered)
}

fn read_json(line: &[u8]) -> Line {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        id: u32,
        error: Option<Refusal>,
        rpc: Option<Rpc>,
    }
    #[derive(Deserialize)]
    struct Rpc {
        data: Option<Receipt>,
    }
    #[derive(Deserialize)]
    struct Receipt {
        delivered: Option<u64>,
    }
    match serde_json::from_slice::<Wire>(line) {
        Ok(Wire { id: 0, .. }) | Err(_) => Line::Push,
        Ok(Wire { id, error: Some(refusal), .. }) => Line::Answer { id, outcome: Outcome::Refused(refusal) },
        Ok(Wire { id, error: None, rpc }) => {
            let delivered = rpc.and_then(|rpc| rpc.data).and_then(|receipt| receipt.delivered);
            Line::Answer { id, outcome: delivered.map_or(Outcome::Done, Outcome::Delivered) }
        }
    }
}

/// The first command of a connection.
pub(super) fn connect(id: u32, token: &str) -> String {
    serde_json::json!({"connect": {"token": token, "name": "bench"}, "id": id}).to_string()
}

pub(super) fn subscribe(id: u32, channel: &str) -> String {
    serde_json::json!({"subscribe": {"channel": channel}, "id": id}).to_string()
}

/// A `publish` without its id and its payload: what goes before and behind the payload.
pub(super) fn publish_parts(channel: &str) -> (Vec<u8>, Vec<u8>) {
    let channel = serde_json::Value::from(channel);
    (format!(",\"publish\":{{\"channel\":{channel},\"data\":").into_bytes(), b"}}".to_vec())
}

/// The same for the RPC `send`.
pub(super) fn send_parts(user: &str) -> (Vec<u8>, Vec<u8>) {
    let user = serde_json::Value::from(user);
    let head = format!(",\"rpc\":{{\"method\":\"send\",\"data\":{{\"to\":{user},\"data\":");
    (head.into_bytes(), b"}}}".to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome) -> Line {
        Line::Answer { id: 7, outcome }
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(read(b"{}"), Line::Ping);
        assert_eq!(read(br#"{"id":7,"publish":{}}"#), answer(Outcome::Done));
        assert_eq!(read(br#"{"id":7,"connect":{"client":"x"}}"#), answer(Outcome::Done));
        assert_eq!(read(br#"{"id":7,"rpc":{"data":{"delivered":12}}}"#), answer(Outcome::Delivered(12)));
        assert_eq!(read(br#"{"push":{"channel":"c","pub":{"data":{"id":7}}}}"#), Line::Push);
        assert_eq!(read(br#""a raw message of the floor""#), Line::Push);
        let refusal = Refusal { code: 100, message: "internal server error".to_owned() };
        let line = br#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#;
        assert_eq!(read(line), answer(Outcome::Refused(refusal)));
    }

    #[test]
    fn another_servers_way_of_writing_json_is_understood() {
        assert_eq!(read(br#"{"publish":{}, "id": 7}"#), answer(Outcome::Done));
        assert_eq!(read(br#"{"rpc": {"data": {"delivered": 0}}, "id": 7}"#), answer(Outcome::Delivered(0)));
        assert_eq!(read(br#"{ "pub": 1 }"#), Line::Push);
        assert_eq!(
            read(br#"{"error":{"code":103},"id":7}"#),
            answer(Outcome::Refused(Refusal { code: 103, message: String::new() }))
        );
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for line in [&b""[..], b"{\"id\":", b"{\"id\":99999999999,\"publish\":{}}", b"{\"id\":-1}"] {
            assert_eq!(read(line), Line::Push, "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn commands_are_json_with_the_payload_in_its_place() {
        let whole = |(head, tail): (Vec<u8>, Vec<u8>)| {
            let bytes = [b"{\"id\":7", &head[..], b"\"hi\"", &tail].concat();
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON")
        };
        assert_eq!(
            whole(publish_parts("#\"b\"")),
            serde_json::json!({"id": 7, "publish": {"channel": "#\"b\"", "data": "hi"}})
        );
        assert_eq!(
            whole(send_parts("b")),
            serde_json::json!({"id": 7, "rpc": {"method": "send", "data": {"to": "b", "data": "hi"}}})
        );
        assert_eq!(subscribe(2, "c"), r#"{"id":2,"subscribe":{"channel":"c"}}"#);
        assert_eq!(connect(1, "t"), r#"{"connect":{"name":"bench","token":"t"},"id":1}"#);
    }
}
