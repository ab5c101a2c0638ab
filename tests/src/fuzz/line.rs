//! What is typed at the line door.

use bytes::Bytes;
use proto::client::line::{HINT, Line, LineTooLong, Lines, invalid, parse};
use proto::client::{DirectMessage, Request};
use proto::limits::CLIENT_FRAME_BYTES_MAX;

use super::{check_line, check_named, check_payload, check_user, cuts, spelt};

/// However the bytes are cut, the same lines come out of them, and each can be typed so that it is read the same.
pub(super) fn check(bytes: &[u8]) {
    let [whole, single, pieces] = cuts(bytes).map(|cut| read(&cut));
    assert_eq!(whole, single, "byte by byte");
    assert_eq!(whole, pieces, "in pieces");
    let (lines, is_too_long) = whole;
    let mut taken = lines.join(&b'\n');
    // A line break at the end ends the last line, and begins none.
    if bytes.len() > taken.len() && !lines.is_empty() {
        taken.push(b'\n');
    }
    assert!(bytes.starts_with(&taken), "nothing is left out, and nothing added");
    assert!(is_too_long || taken.len() == bytes.len(), "all is read");
    for line in &lines {
        assert!(line.len() <= CLIENT_FRAME_BYTES_MAX, "{} bytes", line.len());
        check_parsed(&parse(line));
    }
}

/// The lines of a terminal that sends these chunks and closes its half, and whether one was too long.
fn read(chunks: &[&[u8]]) -> (Vec<Bytes>, bool) {
    let mut lines = Lines::default();
    let mut all = Vec::new();
    for chunk in chunks {
        lines.push(chunk);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => all.push(line),
                Ok(None) => break,
                Err(LineTooLong) => return (all, true),
            }
        }
    }
    all.extend(lines.last());
    (all, false)
}

fn check_parsed(line: &Line) {
    let again = match line {
        Line::Blank => String::new(),
        Line::Quit => "quit".to_owned(),
        Line::Login(who) => {
            assert!(!who.is_empty() && who.trim() == who, "{who:?}");
            format!("login {who}")
        }
        Line::Invalid(why) => {
            let answer = invalid(why);
            check_line(&answer);
            assert!(answer.ends_with(format!("{HINT}\n").as_bytes()), "{answer:?}");
            return;
        }
        Line::Request(request) => typed(request),
    };
    assert_eq!(&parse(again.as_bytes()), line, "{again:?}");
}

/// `request` as a person would type it; what the line door asks for, and no more.
fn typed(request: &Request) -> String {
    match request {
        Request::Direct(Some(DirectMessage { to, data })) => {
            check_user(to);
            format!("send {to} {}", text(data))
        }
        // Nobody of that name can exist, whatever the text is.
        Request::Direct(None) => "send #nobody text".to_owned(),
        Request::Publish { channel, data: Some(data), is_map: false } => {
            check_named(channel);
            format!("say {} {}", spelt(channel), text(data))
        }
        Request::Subscribe(subscribe) => {
            check_named(&subscribe.channel);
            assert!(!subscribe.has_filter && subscribe.delta.is_none() && !subscribe.is_map);
            format!("join {}", spelt(&subscribe.channel))
        }
        Request::Unsubscribe { channel } => {
            check_named(channel);
            format!("leave {}", spelt(channel))
        }
        Request::Presence { channel } => {
            check_named(channel);
            format!("who {}", spelt(channel))
        }
        Request::Pong
        | Request::Connect { .. }
        | Request::Publish { .. }
        | Request::PresenceStats { .. }
        | Request::History { .. }
        | Request::Ping
        | Request::Rpc
        | Request::Send
        | Request::Refresh { .. }
        | Request::SubRefresh { .. }
        | Request::Malformed => panic!("{request:?} has no command at the line door"),
    }
}

fn text(data: &Bytes) -> String {
    check_payload(data);
    assert!(data.len() <= CLIENT_FRAME_BYTES_MAX, "{} bytes", data.len());
    serde_json::from_slice(data).expect("a text is a JSON string")
}
