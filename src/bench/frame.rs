//! WebSocket frames (RFC 6455), a client's side of it: masked when written, plain when read. Only bytes; no sockets.
//!
//! Written by hand, because a frame that is built in its place in the outbox, and read in the place where it arrived,
//! leaves more of the machine to the servers that are measured.

/// A frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    /// Whether its message ends here.
    pub(super) is_last: bool,
    pub(super) payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    /// Text or binary.
    Message,
    Close,
    Ping,
    Pong,
}

/// A server broke the rules of the WebSocket protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it sent a frame of the unknown kind {0}")]
    Opcode(u8),
    #[error("it sent a masked frame, or one of an extension that nobody asked for")]
    Flags,
    #[error("it sent a message of over {PAYLOAD_BYTES_MAX} bytes")]
    Length,
}

/// Bytes of a message that are read: more than sixteen of the largest messages that clients may send.
pub(super) const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// Reads the frame that `bytes` begin with, and how long it is; `None` while it is not complete.
///
/// # Errors
/// The connection cannot be read any further.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Malformed::Flags);
    }
    let kind = match first & 0x0f {
        0 => Kind::Continuation,
        1 | 2 => Kind::Message,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        other => return Err(Malformed::Opcode(other)),
    };
    let (length, rest) = match (second & 0x7f, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        (126 | 127, _) => return Ok(None),
        (length, rest) => (length.into(), rest),
    };
    if length > PAYLOAD_BYTES_MAX as u64 {
        return Err(Malformed::Length);
    }
    let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
    let whole = bytes.len() - rest.len() + payload.len();
    Ok(Some((Frame { kind, is_last: first & 0x80 != 0, payload }, whole)))
}

/// Appends a text message, made of `parts`.
pub(super) fn write_text(out: &mut Vec<u8>, mask: [u8; 4], parts: &[&[u8]]) {
    write(out, 0x1, mask, parts);
}

/// Appends the answer to a ping.
pub(super) fn write_pong(out: &mut Vec<u8>, mask: [u8; 4], payload: &[u8]) {
    write(out, 0xa, mask, &[payload]);
}

/// Appends the end of a connection: 1000, all is well.
pub(super) fn write_close(out: &mut Vec<u8>, mask: [u8; 4]) {
    write(out, 0x8, mask, &[&1000u16.to_be_bytes()]);
}

fn write(out: &mut Vec<u8>, opcode: u8, mask: [u8; 4], parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(0x80 | length as u8),
        126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    // In fours, which the compiler makes into sixteens.
    let mut words = out[start..].chunks_exact_mut(4);
    for word in &mut words {
        xor(word, mask);
    }
    xor(words.into_remainder(), mask);
}

fn xor(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, payload: &[u8]) -> Frame<'_> {
        Frame { kind, is_last: true, payload }
    }

    #[test]
    fn frames_of_every_length_are_read_when_they_are_complete_and_not_before() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; length];
            let head = match length {
                0..126 => vec![0x81, length as u8],
                126..0x1_0000 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            let bytes = [&head[..], &payload, b"next"].concat();
            let whole = head.len() + length;

            assert_eq!(read(&bytes), Ok(Some((frame(Kind::Message, &payload), whole))));
            for cut in [0, 1, head.len() - 1, (whole - 1).max(1)] {
                assert!(cut >= whole || read(&bytes[..cut]) == Ok(None), "{length} bytes, cut at {cut}");
            }
        }
    }

    #[test]
    fn control_frames_and_parts_of_messages_are_told_apart() {
        assert_eq!(read(b"\x88\x02\x03\xe8"), Ok(Some((frame(Kind::Close, b"\x03\xe8"), 4))));
        assert_eq!(read(b"\x89\x01p"), Ok(Some((frame(Kind::Ping, b"p"), 3))));
        assert_eq!(read(b"\x8a\x00"), Ok(Some((frame(Kind::Pong, b""), 2))));
        let part = Frame { kind: Kind::Message, is_last: false, payload: b"a" };
        assert_eq!(read(b"\x01\x01a\x80\x01b"), Ok(Some((part, 3))));
        assert_eq!(read(b"\x80\x01b"), Ok(Some((frame(Kind::Continuation, b"b"), 3))));
    }

    #[test]
    fn a_server_that_breaks_the_rules_is_not_read_on() {
        assert_eq!(read(b"\x83\x00"), Err(Malformed::Opcode(3)));
        assert_eq!(read(b"\xc1\x00"), Err(Malformed::Flags));
        assert_eq!(read(b"\x81\x80\0\0\0\0"), Err(Malformed::Flags));
        assert_eq!(read(b"\x81\x7f\0\0\0\0\0\x20\0\x01"), Err(Malformed::Length));
    }

    #[test]
    fn what_is_written_is_masked_and_comes_out_again_at_a_server() {
        let mut out = b"before".to_vec();

        write_text(&mut out, [1, 2, 3, 4], &[b"{\"id\"", b":1}"]);

        let (head, masked) = out[6..].split_at(6);
        assert_eq!(head, [0x81, 0x88, 1, 2, 3, 4]);
        let plain: Vec<u8> = masked.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(plain, b"{\"id\":1}");
    }

    #[test]
    fn long_texts_have_long_heads() {
        for (length, head) in [
            (125, vec![0x81, 0xfd]),
            (126, vec![0x81, 0xfe, 0, 126]),
            (0x1_0000, vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_text(&mut out, [0; 4], &[&vec![b'x'; length]]);

            assert_eq!(out[..head.len()], head);
            assert_eq!(out.len(), head.len() + 4 + length);
        }
    }

    #[test]
    fn a_close_and_a_pong_are_as_the_protocol_has_them() {
        let mut out = Vec::new();
        write_close(&mut out, [0; 4]);
        write_pong(&mut out, [0; 4], b"p");

        assert_eq!(out, b"\x88\x82\0\0\0\0\x03\xe8\x8a\x81\0\0\0\0p");
    }
}
