//! Cuts a stream of bytes, such as WebTransport's, into frames of whole lines: one JSON object a line.
//!
//! What a door read at once becomes one frame where that can be, without a copy; only the line that a read ends in the
//! middle of is kept, and an idle client keeps nothing. The same bytes give the same lines, however they come in pieces.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::CLIENT_FRAME_BYTES_MAX;

/// Bytes on their way to becoming frames.
///
/// # Invariants
/// `begun` has no line break and at most [`CLIENT_FRAME_BYTES_MAX`] bytes.
#[derive(Debug, Default)]
pub struct LineFrames {
    /// The beginning of a line.
    begun: BytesMut,
    /// What came after it and was not looked at yet.
    rest: Bytes,
}

/// A line of more than [`CLIENT_FRAME_BYTES_MAX`] bytes, its end not counted. Nothing behind it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {CLIENT_FRAME_BYTES_MAX} bytes")]
pub struct LineTooLong;

impl LineFrames {
    /// Takes what was read. Everything before it must have been taken out.
    pub fn push(&mut self, read: Bytes) {
        debug_assert!(self.rest.is_empty(), "next_frame() is called until it gives none");
        self.rest = read;
    }

    /// The next frame: whole lines with their ends.
    ///
    /// # Errors
    /// The client does not keep to the limit.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.begun.is_empty() && self.rest.len() <= CLIENT_FRAME_BYTES_MAX {
            // No line in here can be too long.
            return Ok(match memchr::memrchr(b'\n', &self.rest) {
                Some(end) => Some(self.rest.split_to(end + 1)),
                None => self.keep(),
            });
        }
        let end = memchr::memchr(b'\n', &self.rest);
        if self.begun.len() + end.unwrap_or(self.rest.len()) > CLIENT_FRAME_BYTES_MAX {
            return Err(LineTooLong);
        }
        let Some(end) = end else { return Ok(self.keep()) };
        if self.begun.is_empty() {
            return Ok(Some(self.rest.split_to(end + 1)));
        }
        let mut line = std::mem::take(&mut self.begun);
        line.extend_from_slice(&self.rest[..=end]);
        self.rest.advance(end + 1);
        Ok(Some(line.freeze()))
    }

    /// Keeps a copy: what was read lies in larger buffers, which would be kept with it.
    fn keep(&mut self) -> Option<Bytes> {
        self.begun.extend_from_slice(&self.rest);
        self.rest = Bytes::new();
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_came_at_once_is_one_frame_and_the_begun_line_waits() {
        let mut frames = LineFrames::default();
        frames.push(Bytes::from_static(b"{\"id\":1}\n{}\n{\"id\""));
        assert_eq!(frames.next_frame(), Ok(Some(Bytes::from_static(b"{\"id\":1}\n{}\n"))));
        assert_eq!(frames.next_frame(), Ok(None));
        frames.push(Bytes::from_static(b":2}\n{}\n"));
        assert_eq!(frames.next_frame(), Ok(Some(Bytes::from_static(b"{\"id\":2}\n"))));
        assert_eq!(frames.next_frame(), Ok(Some(Bytes::from_static(b"{}\n"))));
        assert_eq!(frames.next_frame(), Ok(None));
    }

    #[test]
    fn a_line_of_65536_bytes_passes_and_one_byte_more_does_not() {
        for piece in [1_000, 65_536, 65_537, 200_000] {
            let longest = [vec![b'a'; 65_536], vec![b'\n']].concat();
            assert_eq!(cut(&longest, piece), (vec![longest[..65_536].to_vec()], Ok(())), "pieces of {piece}");
            let too_long = [b"a\n".to_vec(), vec![b'a'; 65_537], vec![b'\n']].concat();
            assert_eq!(cut(&too_long, piece), (vec![b"a".to_vec()], Err(LineTooLong)), "pieces of {piece}");
            // It need not end to be known.
            assert_eq!(cut(&too_long[..65_539], piece).1, Err(LineTooLong), "pieces of {piece}");
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_lines_are_the_same(
            lines in prop::collection::vec("[a-zäß😀]{0,40}", 0..20),
            piece in 1_usize..50,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let expected: Vec<_> = lines.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(cut(text.as_bytes(), piece), (expected, Ok(())));
        }
    }

    /// The lines of `bytes` that comes in pieces of `piece` bytes.
    fn cut(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), LineTooLong>) {
        let mut frames = LineFrames::default();
        let mut lines = Vec::new();
        for chunk in bytes.chunks(piece) {
            frames.push(Bytes::copy_from_slice(chunk));
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => {
                        let whole = frame.strip_suffix(b"\n").expect("lines are whole");
                        lines.extend(whole.split(|&byte| byte == b'\n').map(<[u8]>::to_vec));
                    }
                    Ok(None) => break,
                    Err(error) => return (lines, Err(error)),
                }
            }
        }
        (lines, Ok(()))
    }
}
