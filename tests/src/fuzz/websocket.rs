//! WebSocket after its handshake.

use std::io::{self, Cursor, Read, Write};

use bytes::{Bytes, BytesMut};
use proto::limits::CLIENT_FRAME_BYTES_MAX;
use proto::websocket::{Decoder, Opcode, Received, Violation, put_control, put_head};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::cuts;

/// However the bytes are cut, the same comes out of them, tungstenite says the same, and what we write of it tungstenite
/// reads.
pub(super) fn check(bytes: &[u8]) {
    let [whole, single, pieces] = cuts(bytes).map(|cut| read(&cut));
    assert_eq!(whole, single, "byte by byte");
    assert_eq!(whole, pieces, "in pieces");
    for received in &whole.0 {
        check_received(received);
    }
    check_agreement(&whole, &tungstenite(Role::Server, bytes));
    check_written(&whole.0);
}

type Outcome = (Vec<Received>, Option<Violation>);

/// All up to a close, and why no more could be read.
fn read(chunks: &[&[u8]]) -> Outcome {
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut bytes = BytesMut::from(*chunk);
        loop {
            match decoder.next(&mut bytes) {
                Ok(Some(received)) => {
                    let is_close = matches!(received, Received::Close(_));
                    all.push(received);
                    if is_close {
                        return (all, None);
                    }
                }
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
        }
        assert!(bytes.is_empty(), "all is taken");
    }
    (all, None)
}

fn check_received(received: &Received) {
    match received {
        Received::Text(bytes) => {
            std::str::from_utf8(bytes).expect("a text is UTF-8");
            assert!(bytes.len() <= CLIENT_FRAME_BYTES_MAX);
        }
        Received::Binary(bytes) => assert!(bytes.len() <= CLIENT_FRAME_BYTES_MAX),
        Received::Ping(payload) | Received::Close(payload) => assert!(payload.len() <= 125),
    }
}

/// What we judge by a header tungstenite judges when the payload is there; it judges a text with each of its fragments,
/// and we when it is whole. Where several rules are broken, the two may name different ones.
fn check_agreement(ours: &Outcome, theirs: &Outcome) {
    let ((received, violation), (their_received, their_violation)) = (ours, theirs);
    let (same, more) = received.split_at(their_received.len().min(received.len()));
    assert_eq!(same, their_received, "{ours:?} is not {theirs:?}");
    let is_data = |received: &Received| matches!(received, Received::Text(_) | Received::Binary(_));
    match (violation, their_violation) {
        (_, Some(Violation::Text)) => assert!(!more.iter().any(is_data), "{ours:?} is not {theirs:?}"),
        (None | Some(Violation::Framing | Violation::Size), None) => assert_eq!(more, [], "{theirs:?}"),
        (Some(Violation::Framing), Some(Violation::Framing | Violation::Size))
        | (Some(Violation::Size), Some(Violation::Size)) => assert_eq!(more, [], "{theirs:?}"),
        (_, Some(Violation::Framing)) if is_strange_close(received.last()) => {}
        _ => panic!("{ours:?} is not {theirs:?}"),
    }
}

/// A code that was given to servers after tungstenite's list was made.
fn is_strange_close(received: Option<&Received>) -> bool {
    matches!(received, Some(Received::Close(payload)) if payload.starts_with(&1014_u16.to_be_bytes()))
}

/// Written by us as a server, and read by tungstenite as a client.
fn check_written(all: &[Received]) {
    let mut out = Vec::new();
    for received in all {
        match received {
            Received::Text(payload) => {
                put_head(&mut out, Opcode::Text, payload.len());
                out.extend_from_slice(payload);
            }
            Received::Binary(payload) => {
                put_head(&mut out, Opcode::Binary, payload.len());
                out.extend_from_slice(payload);
            }
            Received::Ping(payload) => put_control(&mut out, Opcode::Ping, payload),
            Received::Close(payload) => put_control(&mut out, Opcode::Close, payload),
        }
    }
    let (read, violation) = tungstenite(Role::Client, &out);
    if !is_strange_close(all.last()) {
        assert_eq!((read.as_slice(), violation), (all, None));
    }
}

fn tungstenite(role: Role, bytes: &[u8]) -> Outcome {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_FRAME_BYTES_MAX))
        .max_frame_size(Some(CLIENT_FRAME_BYTES_MAX))
        .read_buffer_size(INPUT_BYTES);
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(bytes)), role, Some(config));
    let mut all = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => all.push(Received::Text(text.into())),
            Ok(Message::Binary(bytes)) => all.push(Received::Binary(bytes)),
            Ok(Message::Ping(payload)) => all.push(Received::Ping(payload)),
            Ok(Message::Pong(_)) => {}
            Ok(Message::Close(close)) => {
                let close = close.map(|close| (u16::from(close.code), close.reason));
                // That is how it reports a code that may not be sent.
                if close.as_ref().is_some_and(|(code, reason)| (*code, reason.as_str()) == BAD_CODE) {
                    return (all, Some(Violation::Framing));
                }
                let payload = close.map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
                all.push(Received::Close(Bytes::from(payload.unwrap_or_default())));
                return (all, None);
            }
            Ok(Message::Frame(frame)) => panic!("{frame} is no message"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return (all, None),
            Err(Error::Protocol(_)) => return (all, Some(Violation::Framing)),
            Err(Error::Utf8(_)) => return (all, Some(Violation::Text)),
            Err(Error::Capacity(_)) => return (all, Some(Violation::Size)),
            Err(error) => panic!("{error}"),
        }
    }
}

const BAD_CODE: (u16, &str) = (1002, "Protocol violation");

/// Of one read of tungstenite's, so that it does not take 128 KiB for each input.
const INPUT_BYTES: usize = 4096;

/// Bytes to read; what is written goes nowhere.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
