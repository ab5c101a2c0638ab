//! Clients' frames in JSON.

use bytes::Bytes;
use proto::client::json::commands;
use proto::client::{Command, DirectMessage, Request, Subscribe};
use proto::limits::CLIENT_FRAME_BYTES_MAX;
use serde_json::json;
use serde_json::value::RawValue;

use super::{check_named, check_payload, check_user, spelt};

/// A frame is walked to its end, line by line, and each command can be written so that it is read the same.
pub(super) fn check(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(&bytes[..bytes.len().min(CLIENT_FRAME_BYTES_MAX)]);
    let walked: Vec<Command> = commands(&frame).collect();
    assert_eq!(walked, by_line(&frame), "a command depends on nothing but its line");
    for (at, command) in walked.iter().enumerate() {
        let is_last = at + 1 == walked.len();
        assert!(is_last || command.request != Request::Malformed, "what follows it is not read");
        check_request(&command.request, &frame);
        let again = Bytes::from(written(command));
        assert_eq!(commands(&again).collect::<Vec<_>>(), std::slice::from_ref(command), "{again:?}");
    }
}

fn by_line(frame: &Bytes) -> Vec<Command> {
    let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
    let mut all = Vec::new();
    for line in frame.split(|&byte| byte == b'\n') {
        // Without its own line break an empty line would lose nothing.
        let mut of_line = commands(&Bytes::copy_from_slice(line));
        all.extend(of_line.next());
        assert_eq!(of_line.next(), None, "a line holds one command");
        if all.last().is_some_and(|command| command.request == Request::Malformed) {
            break;
        }
    }
    all
}

fn check_request(request: &Request, frame: &Bytes) {
    match request {
        Request::Subscribe(subscribe) => check_named(&subscribe.channel),
        Request::Publish { channel, data, .. } => {
            check_named(channel);
            if let Some(data) = data {
                check_slice(data, frame);
            }
        }
        Request::Unsubscribe { channel }
        | Request::Presence { channel }
        | Request::PresenceStats { channel }
        | Request::History { channel }
        | Request::SubRefresh { channel } => check_named(channel),
        Request::Direct(Some(DirectMessage { to, data })) => {
            check_user(to);
            check_slice(data, frame);
        }
        Request::Connect { token } | Request::Refresh { token } => {
            assert_ne!(token.as_deref(), Some(""), "an empty token is none");
        }
        Request::Pong
        | Request::Ping
        | Request::Direct(None)
        | Request::Rpc
        | Request::Send
        | Request::Malformed => {}
    }
}

/// A payload is a part of its frame, not a copy.
fn check_slice(data: &Bytes, frame: &Bytes) {
    check_payload(data);
    assert!(frame.as_ptr_range().contains(&data.as_ptr()), "a payload is a slice of its frame");
}

/// `command` as a client would write it.
fn written(command: &Command) -> String {
    let raw = |data: &Bytes| {
        let text = String::from_utf8(data.to_vec()).expect("JSON is UTF-8");
        RawValue::from_string(text).expect("a payload is JSON")
    };
    let id = command.id;
    let request = match &command.request {
        Request::Pong => return "{}".to_owned(),
        Request::Malformed if id == 0 => return String::new(),
        Request::Malformed => return format!(r#"{{"id":{id}}}"#),
        Request::Connect { token } => json!({"connect": {"token": token.as_deref().unwrap_or_default()}}),
        Request::Refresh { token } => json!({"refresh": {"token": token.as_deref().unwrap_or_default()}}),
        Request::Subscribe(subscribe) => {
            let Subscribe { channel, has_filter, delta, is_map } = &**subscribe;
            json!({"subscribe": {
                "channel": spelt(channel),
                "delta": delta.as_deref().unwrap_or_default(),
                "type": i32::from(*is_map),
                "tf": has_filter.then_some(1),
            }})
        }
        Request::Unsubscribe { channel } => json!({"unsubscribe": {"channel": spelt(channel)}}),
        Request::Presence { channel } => json!({"presence": {"channel": spelt(channel)}}),
        Request::PresenceStats { channel } => json!({"presence_stats": {"channel": spelt(channel)}}),
        Request::History { channel } => json!({"history": {"channel": spelt(channel)}}),
        Request::SubRefresh { channel } => json!({"sub_refresh": {"channel": spelt(channel)}}),
        Request::Ping => json!({"ping": {}}),
        Request::Rpc => json!({"rpc": {}}),
        Request::Send => json!({"send": {}}),
        // The payloads are put in as they are: a JSON value of ours would write them anew.
        Request::Publish { channel, data, is_map } => {
            let (channel, kind) = (json!(spelt(channel)), i32::from(*is_map));
            let data = data.as_ref().map(|data| format!(r#","data":{}"#, raw(data))).unwrap_or_default();
            return format!(r#"{{"id":{id},"publish":{{"channel":{channel},"type":{kind}{data}}}}}"#);
        }
        Request::Direct(None) => json!({"rpc": {"method": "send"}}),
        Request::Direct(Some(DirectMessage { to, data })) => {
            let (to, data) = (json!(to.as_str()), raw(data));
            return format!(r#"{{"id":{id},"rpc":{{"method":"send","data":{{"to":{to},"data":{data}}}}}}}"#);
        }
    };
    let mut object = request;
    object["id"] = id.into();
    object.to_string()
}
