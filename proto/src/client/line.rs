//! The line protocol: the client protocol for a person at a terminal (`nc`, `telnet`).
//!
//! [`Lines`] cuts what is typed into lines, [`parse`] reads one. One command a line, in UTF-8; answers begin with `ok`, `err CODE TEXT`, `msg FROM TEXT` or `pub CHANNEL FROM TEXT`.
//! Text is a JSON string on every other door, and any other JSON value is shown as it is. Nothing that somebody else
//! wrote reaches a terminal with control characters in it.

use bytes::{Buf as _, Bytes, BytesMut};

use super::code::{Disconnect, ErrorCode};
use super::{DirectMessage, Publication, Reply, Request, Subscribe, json};
use crate::id::{Channel, ChannelKind, UserId};
use crate::limits::CLIENT_FRAME_BYTES_MAX;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A log-in: `NAME`, where names are enough, or a token.
    Login(String),
    /// Anything that other clients can ask as well.
    Request(Request),
    /// The end.
    Quit,
    /// No command: the answer, with a hint.
    Invalid(&'static str),
    /// An empty line, which is not answered.
    Blank,
}

/// Cuts what a terminal sends into lines.
///
/// Holds one incomplete line and what followed the last one taken.
#[derive(Debug, Default)]
pub struct Lines {
    partial: BytesMut,
    /// So many bytes of `partial` are known to hold no line break; who sends byte by byte is not searched anew for each.
    searched: usize,
}

/// A line that is longer than any other door would let in. Nothing that follows it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has at most {CLIENT_FRAME_BYTES_MAX} bytes, its line break included")]
pub struct LineTooLong;

impl Lines {
    /// Takes the next bytes; everything before must have been taken with [`Self::next_line`].
    pub fn push(&mut self, chunk: &[u8]) {
        self.partial.extend_from_slice(chunk);
    }

    /// The next line without its line break; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The connection must end.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        let fresh = &self.partial[self.searched..];
        let Some(newline) = fresh.iter().position(|&byte| byte == b'\n').map(|at| self.searched + at) else {
            self.searched = self.partial.len();
            return if self.searched > CLIENT_FRAME_BYTES_MAX { Err(LineTooLong) } else { Ok(None) };
        };
        if newline >= CLIENT_FRAME_BYTES_MAX {
            return Err(LineTooLong);
        }
        let line = self.partial.split_to(newline).freeze();
        self.partial.advance(1);
        self.searched = 0;
        Ok(Some(line))
    }

    /// What came after the last line break, when nothing more comes; `None` if nothing did.
    pub fn last(self) -> Option<Bytes> {
        (!self.partial.is_empty()).then(|| self.partial.freeze())
    }
}

/// What to type, for whoever typed something else.
pub const HINT: &str =
    "try: login NAME | send USER TEXT | join CHANNEL | leave CHANNEL | say CHANNEL TEXT | who CHANNEL | quit";

/// Reads one line, without its line break.
pub fn parse(line: &[u8]) -> Line {
    let Ok(line) = std::str::from_utf8(line) else { return Line::Invalid("a line is UTF-8 text") };
    let line = line.trim();
    let (verb, rest) = split(line);
    let (first, text) = split(rest);
    let channel = || Channel::parse(rest);
    match verb {
        "" => Line::Blank,
        "quit" => Line::Quit,
        "login" if !rest.is_empty() => Line::Login(rest.to_owned()),
        "send" if !text.is_empty() => {
            let Some(data) = payload(text) else { return TOO_LONG };
            Line::Request(Request::Direct(UserId::parse(first).ok().map(|to| DirectMessage { to, data })))
        }
        "join" if !rest.is_empty() => Line::Request(Request::Subscribe(Box::new(Subscribe {
            channel: channel(),
            has_filter: false,
            delta: None,
            is_map: false,
        }))),
        "leave" if !rest.is_empty() => Line::Request(Request::Unsubscribe { channel: channel() }),
        "say" if !text.is_empty() => {
            let Some(data) = payload(text) else { return TOO_LONG };
            Line::Request(Request::Publish {
                channel: Channel::parse(first),
                data: Some(data),
                is_map: false,
            })
        }
        "who" if !rest.is_empty() => Line::Request(Request::Presence { channel: channel() }),
        "login" | "send" | "join" | "leave" | "say" | "who" => Line::Invalid("something is missing"),
        _ => Line::Invalid("no such command"),
    }
}

/// Encodes `reply`.
pub fn reply(reply: &Reply) -> Bytes {
    match reply {
        Reply::Error(code) => error(code.number(), code.message()),
        Reply::Connect(connected) => match connected.channels.first().map(Channel::kind) {
            Some(ChannelKind::Personal(user)) => format!("ok logged in as {user}\n").into(),
            _ => Bytes::from_static(b"ok\n"),
        },
        Reply::Delivered(0) => Bytes::from_static(b"ok delivered 0 (offline)\n"),
        Reply::Delivered(n) => format!("ok delivered {n}\n").into(),
        Reply::Subscribe | Reply::Unsubscribe | Reply::Publish | Reply::Ping | Reply::Refresh { .. } => {
            Bytes::from_static(b"ok\n")
        }
    }
}

/// Encodes the answer to a line that is no command.
pub fn invalid(why: &str) -> Bytes {
    error(ErrorCode::BadRequest.number(), &format!("{why}; {HINT}"))
}

/// Encodes why the server hangs up.
pub fn disconnect(disconnect: Disconnect) -> Bytes {
    error(u32::from(disconnect.number()), disconnect.reason())
}

/// Encodes an error: `err CODE TEXT`.
pub fn error(code: u32, text: &str) -> Bytes {
    format!("err {code} {text}\n").into()
}

/// Encodes a publication: `msg FROM TEXT` in the reader's personal channel, `pub CHANNEL FROM TEXT` in others.
pub fn publication(channel: &str, publication: Publication<'_>) -> Bytes {
    let from = json::user_of(publication.info).unwrap_or_default();
    let mut out = String::with_capacity(channel.len() + from.len() + publication.data.len() + 8);
    if channel.starts_with('#') {
        out.push_str("msg ");
    } else {
        out.push_str("pub ");
        push_word(&mut out, channel);
        out.push(' ');
    }
    push_word(&mut out, &from);
    out.push(' ');
    match serde_json::from_slice::<String>(publication.data) {
        Ok(text) => push_printable(&mut out, &text),
        Err(_) => push_printable(&mut out, &String::from_utf8_lossy(publication.data)),
    }
    out.push('\n');
    out.into()
}

/// Names may have spaces, which would end the word: they are shown, or a name could pass for another and a text. Control
/// characters they cannot have, but what comes over a link says so only by its edge's word.
fn push_word(out: &mut String, name: &str) {
    out.extend(name.chars().map(|c| match c {
        c if c.is_whitespace() => '\u{2423}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }));
}

/// Line breaks and tabs become spaces; other control characters, which could drive a terminal, U+FFFD.
fn push_printable(out: &mut String, text: &str) {
    out.extend(text.chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }));
}

fn split(text: &str) -> (&str, &str) {
    let (head, rest) = text.split_once(' ').unwrap_or((text, ""));
    (head, rest.trim_start())
}

/// The text as a JSON string, unless escapes have made it larger than any other door would let in.
fn payload(text: &str) -> Option<Bytes> {
    let json = serde_json::to_string(text).expect("a string is always JSON");
    (json.len() <= CLIENT_FRAME_BYTES_MAX).then(|| json.into())
}

const TOO_LONG: Line = Line::Invalid("the text is too long");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientId, Connected};

    #[test]
    fn every_command_of_the_sheet_is_understood() {
        let channel = Channel::parse("news");
        assert_eq!(parse(b"login alice\r"), Line::Login("alice".into()));
        assert_eq!(
            parse(b"send bob hello  \"world\""),
            Line::Request(Request::Direct(Some(DirectMessage {
                to: UserId::parse("bob").expect("valid"),
                data: Bytes::from_static(br#""hello  \"world\"""#),
            })))
        );
        assert_eq!(
            parse(b"say news hi"),
            Line::Request(Request::Publish {
                channel: channel.clone(),
                data: Some(Bytes::from_static(b"\"hi\"")),
                is_map: false
            })
        );
        assert_eq!(parse(b"leave news"), Line::Request(Request::Unsubscribe { channel: channel.clone() }));
        assert_eq!(parse(b"who news"), Line::Request(Request::Presence { channel }));
        assert_eq!(parse(b"quit"), Line::Quit);
        assert_eq!(parse(b"  "), Line::Blank);
        assert!(matches!(parse(b"join news"), Line::Request(Request::Subscribe(_))));
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_above_it_ends_the_connection() {
        let mut lines = Lines::default();
        let mut typed = vec![b'x'; CLIENT_FRAME_BYTES_MAX];
        *typed.last_mut().expect("not empty") = b'\n';
        lines.push(&typed);
        assert_eq!(
            lines.next_line().map(|line| line.map(|line| line.len())),
            Ok(Some(CLIENT_FRAME_BYTES_MAX - 1))
        );
        lines.push(&typed[..CLIENT_FRAME_BYTES_MAX - 1]);
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"x");
        assert_eq!(lines.next_line(), Ok(None), "the line break may not come, and then it fits");
        lines.push(b"\n");
        assert_eq!(lines.next_line(), Err(LineTooLong));
    }

    #[test]
    fn what_follows_the_last_line_break_is_a_line_when_nothing_more_comes() {
        let mut lines = Lines::default();
        lines.push(b"one\ntwo");
        assert_eq!(lines.next_line(), Ok(Some(Bytes::from_static(b"one"))));
        assert_eq!(lines.next_line(), Ok(None));
        assert_eq!(lines.last().as_deref(), Some(&b"two"[..]));
        assert_eq!(Lines::default().last(), None);
    }

    #[test]
    fn nonsense_gets_a_hint() {
        for line in [&b"hello"[..], b"send bob", b"login", b"join ", b"\xff\xfe", b"LOGIN alice"] {
            assert!(matches!(parse(line), Line::Invalid(_)), "{line:?}");
        }
        let answer = invalid("no such command");
        assert!(answer.starts_with(b"err 107 no such command; try: login NAME"), "{answer:?}");
    }

    #[test]
    fn answers_begin_with_ok_or_err() {
        let alice = Channel::parse("#alice").expect("valid");
        let connected = Connected { client: ClientId(1), ttl: None, channels: vec![alice], ping_seconds: 0 };
        assert_eq!(reply(&Reply::Connect(connected)), "ok logged in as alice\n");
        assert_eq!(reply(&Reply::Delivered(2)), "ok delivered 2\n");
        assert_eq!(reply(&Reply::Delivered(0)), "ok delivered 0 (offline)\n");
        assert_eq!(reply(&Reply::Error(ErrorCode::NotAvailable)), "err 108 not available\n");
        assert_eq!(disconnect(Disconnect::Shutdown), "err 3001 shutdown\n");
    }

    #[test]
    fn a_text_is_no_longer_than_a_frame_of_another_door_however_it_is_escaped() {
        let line = |text: &str| parse(format!("send bob {text}").as_bytes());
        assert!(matches!(line(&"x".repeat(CLIENT_FRAME_BYTES_MAX - 2)), Line::Request(_)));
        assert_eq!(line(&"x".repeat(CLIENT_FRAME_BYTES_MAX - 1)), TOO_LONG);
        assert_eq!(line(&"\u{1}".repeat(CLIENT_FRAME_BYTES_MAX / 6 + 1)), TOO_LONG);
    }

    #[test]
    fn nobody_passes_for_another_by_a_space_in_his_name() {
        let info = br#"{"user":"bob hi"}"#;
        let shown = publication("two words", Publication { data: b"\"x\"", info });
        assert_eq!(shown, "pub two\u{2423}words bob\u{2423}hi x\n");
    }

    #[test]
    fn a_terminal_is_never_driven_by_what_others_wrote() {
        let show = |channel: &str, data: &[u8]| {
            publication(channel, Publication { data, info: br#"{"user":"bob"}"# })
        };
        assert_eq!(show("#alice", br#""two\nlines \u001b[31mred""#), "msg bob two lines \u{fffd}[31mred\n");
        assert_eq!(show("news", br#"{"a": 1}"#), "pub news bob {\"a\": 1}\n");
        let info = br#"{"user":"\u001b[2Jbob"}"#;
        let shown = publication("a\u{7}b", Publication { data: b"1", info });
        assert_eq!(shown, "pub a\u{fffd}b \u{fffd}[2Jbob 1\n");
    }
}
