//! WebSocket after its handshake (RFC 6455), as a server speaks it: [`Decoder`] reads what a client sent, [`put_head`] and
//! [`put_control`] write what it is sent.
//!
//! The RFC's *message* is what everybody else here calls a client's frame. Its own *frames*, of which a message may have
//! many, are known in this file only:
//!
//! ```text
//! F rrr oooo │ M lllllll │ 0, 2 or 8 bytes of length │ 4 bytes of mask │ payload
//! F: the message's last frame; r: reserved, 0; o: Opcode; M: masked, always by a client and never by a server
//! ```

use bytes::{Buf as _, Bytes, BytesMut};

use crate::client::code::Disconnect;
use crate::limits::{CLIENT_FRAME_BYTES_MAX, FRAGMENTS_MAX};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that has begun.
    Continuation = 0x0,
    /// A message in UTF-8, or its beginning.
    Text = 0x1,
    /// A message of any bytes, or its beginning.
    Binary = 0x2,
    /// The last frame: a code and a reason, or nothing.
    Close = 0x8,
    /// Wants a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or nothing.
    Pong = 0xa,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A whole message in UTF-8.
    Text(Bytes),
    /// A whole message of any bytes.
    Binary(Bytes),
    /// To be answered with a pong of the same payload; of several that wait, only the last must be.
    Ping(Bytes),
    /// To be answered with a close frame of the same payload. What the client sends afterwards means nothing.
    Close(Bytes),
}

/// A client that breaks the rules. The connection must end, and nothing that follows can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Of the framing.
    #[error("no WebSocket frame of a client")]
    Framing,
    /// A text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Text,
    /// Too many bytes, or too many frames, in one message.
    #[error("a message has at most {CLIENT_FRAME_BYTES_MAX} bytes, in {FRAGMENTS_MAX} frames")]
    Size,
}

impl From<Violation> for Disconnect {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Framing => Self::TransportBroken,
            Violation::Text => Self::InvalidText,
            Violation::Size => Self::TooLarge,
        }
    }
}

/// Makes whole messages of bytes, however these are cut.
///
/// Keeps what has come of one message and of one control frame, and nothing in between: at most
/// `CLIENT_FRAME_BYTES_MAX` and `CONTROL_BYTES_MAX` bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    head: Head,
    /// The frame whose payload has not come whole.
    frame: Option<Frame>,
    /// What has come of a control frame's payload: they may come in the middle of a message.
    control: Vec<u8>,
    message: Option<Message>,
}

/// Bytes that the payload of a control frame may have (RFC 6455, section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

#[derive(Debug)]
struct Frame {
    is_last: bool,
    opcode: Opcode,
    /// Begins at the next byte that is missing.
    mask: [u8; 4],
    bytes_missing: usize,
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    frames: usize,
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes the next message, ping or close out of `bytes`, which must follow what was taken before. `None` when all of
    /// them are taken.
    ///
    /// A message that `bytes` has whole is a slice of them.
    ///
    /// # Errors
    /// The connection must end, with the code that the violation stands for. Sizes are judged by headers, before the
    /// payloads come.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Received>, Violation> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.head.read(bytes)? {
                    Some(frame) => self.begin(frame)?,
                    None => return Ok(None),
                },
            };
            if bytes.len() < frame.bytes_missing {
                self.keep(frame, bytes);
                return Ok(None);
            }
            let mut payload = bytes.split_to(frame.bytes_missing);
            unmask(&mut payload, frame.mask);
            let received = match frame.opcode {
                Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                    self.end_data(frame.is_last, payload.freeze())?
                }
                Opcode::Close => Some(Received::Close(close(self.end_control(payload.freeze()))?)),
                Opcode::Ping => Some(Received::Ping(self.end_control(payload.freeze()))),
                Opcode::Pong => {
                    self.end_control(payload.freeze());
                    None
                }
            };
            if received.is_some() {
                return Ok(received);
            }
        }
    }

    /// Judges a frame by its header and by what came before.
    fn begin(&mut self, frame: Frame) -> Result<Frame, Violation> {
        match (frame.opcode, &mut self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(frame),
            (Opcode::Continuation, Some(message)) => message.frames += 1,
            (Opcode::Text | Opcode::Binary, message @ None) => {
                *message =
                    Some(Message { is_text: frame.opcode == Opcode::Text, frames: 1, bytes: Vec::new() });
            }
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Framing);
            }
        }
        let message = self.message.as_ref().expect("begun or gone on with above");
        // A frame without payload costs nothing, but a message must come to an end.
        if frame.bytes_missing > CLIENT_FRAME_BYTES_MAX - message.bytes.len()
            || message.frames > FRAGMENTS_MAX
        {
            return Err(Violation::Size);
        }
        Ok(frame)
    }

    /// Takes all of `bytes`, which do not end `frame`.
    fn keep(&mut self, mut frame: Frame, bytes: &mut BytesMut) {
        if bytes.is_empty() {
            self.frame = Some(frame);
            return;
        }
        let kept = match (frame.opcode, &mut self.message) {
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, Some(message)) => &mut message.bytes,
            _ => &mut self.control,
        };
        // Room comes with what has come, and not with what was promised: a promise costs its sender nothing.
        kept.reserve_exact(frame.bytes_missing.min(bytes.len().max(kept.len())));
        unmask(bytes, frame.mask);
        kept.extend_from_slice(bytes);
        frame.bytes_missing -= bytes.len();
        frame.mask.rotate_left(bytes.len() % 4);
        bytes.clear();
        self.frame = Some(frame);
    }

    fn end_data(&mut self, is_last: bool, payload: Bytes) -> Result<Option<Received>, Violation> {
        let message = self.message.as_mut().expect("begun by this frame or an earlier one");
        let is_whole = is_last && message.bytes.is_empty();
        if !is_whole {
            message.bytes.extend_from_slice(&payload);
        }
        if !is_last {
            return Ok(None);
        }
        let Message { is_text, bytes, .. } = self.message.take().expect("seen above");
        let bytes = if is_whole { payload } else { Bytes::from(bytes) };
        if !is_text {
            return Ok(Some(Received::Binary(bytes)));
        }
        if std::str::from_utf8(&bytes).is_err() {
            return Err(Violation::Text);
        }
        Ok(Some(Received::Text(bytes)))
    }

    /// The whole payload of a control frame that ends with `payload`.
    fn end_control(&mut self, payload: Bytes) -> Bytes {
        if self.control.is_empty() {
            return payload;
        }
        let mut kept = std::mem::take(&mut self.control);
        kept.extend_from_slice(&payload);
        Bytes::from(kept)
    }
}

/// The first bytes of a header that has not come whole.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    filled: usize,
}

const HEAD_BYTES_MAX: usize = 2 + 8 + 4;

impl Head {
    /// Takes a header out of `bytes`; `None` when they end before it does.
    fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        if !self.fill(2, bytes) {
            return Ok(None);
        }
        let [first, second, ..] = self.bytes;
        let is_last = first & 0x80 != 0;
        let opcode = opcode(first & 0x0f).ok_or(Violation::Framing)?;
        let short = usize::from(second & 0x7f);
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        let is_masked = second & 0x80 != 0;
        if first & 0x70 != 0 || !is_masked || is_control && !is_last {
            return Err(Violation::Framing);
        }
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_at = 2 + length_bytes;
        if !self.fill(mask_at + 4, bytes) {
            return Ok(None);
        }
        let bytes_missing = match length_bytes {
            0 => short,
            // Not all clients use the shortest form for a length, which does no harm.
            _ => self.bytes[2..mask_at]
                .iter()
                .fold(0_usize, |length, &byte| length.saturating_mul(256).saturating_add(byte.into())),
        };
        if is_control && bytes_missing > CONTROL_BYTES_MAX {
            return Err(Violation::Framing);
        }
        let mask = self.bytes[mask_at..mask_at + 4].try_into().expect("four bytes");
        self.filled = 0;
        Ok(Some(Frame { is_last, opcode, mask, bytes_missing }))
    }

    /// Whether there are `until` bytes now.
    fn fill(&mut self, until: usize, bytes: &mut BytesMut) -> bool {
        let taken = until.saturating_sub(self.filled).min(bytes.len());
        self.bytes[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        bytes.advance(taken);
        self.filled += taken;
        self.filled >= until
    }
}

fn opcode(number: u8) -> Option<Opcode> {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    [Continuation, Text, Binary, Close, Ping, Pong].into_iter().find(|opcode| *opcode as u8 == number)
}

/// A close frame's payload, if it may be one: nothing, or a code that may be sent, and a reason in UTF-8.
fn close(payload: Bytes) -> Result<Bytes, Violation> {
    match *payload {
        [] => {}
        [_] => return Err(Violation::Framing),
        [high, low, ref reason @ ..] => {
            // Section 7.4: what is not listed is reserved, or is never sent.
            if !matches!(u16::from_be_bytes([high, low]), 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::Framing);
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Violation::Text);
            }
        }
    }
    Ok(payload)
}

/// Masking and unmasking are the same. Eight bytes at a time: of these a compiler makes still more.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= mask;
    }
}

/// Appends the header of a whole message or a control frame to `out`; `payload_bytes` bytes must follow.
pub fn put_head(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    out.push(0x80 | opcode as u8);
    if payload_bytes <= CONTROL_BYTES_MAX {
        out.push(payload_bytes as u8);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// Appends a control frame to `out`.
///
/// # Panics
/// `payload` has more than [`CONTROL_BYTES_MAX`] bytes.
pub fn put_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame of {} bytes", payload.len());
    put_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// The payload of the close frame that tells a client why it is let go; empty for one that went by itself.
pub fn close_payload(why: Disconnect) -> Vec<u8> {
    if why == Disconnect::Closed {
        return Vec::new();
    }
    [&why.number().to_be_bytes(), why.reason().as_bytes()].concat()
}

#[cfg(test)]
mod tests;
