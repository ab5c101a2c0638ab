//! What comes on a WebTransport stream.

use bytes::Bytes;
use proto::client::stream::LineFrames;
use proto::limits::CLIENT_FRAME_BYTES_MAX;

use super::cuts;

/// However the bytes are cut, the same lines come out of them, in order and with nothing left out.
pub(super) fn check(bytes: &[u8]) {
    let [whole, single, pieces] = cuts(bytes).map(|cut| read(&cut));
    assert_eq!(whole, single, "byte by byte");
    assert_eq!(whole, pieces, "in pieces");
    let (taken, is_too_long) = whole;
    assert!(bytes.starts_with(&taken), "nothing is left out, and nothing added");
    let left = &bytes[taken.len()..];
    let begun = left.split(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
    assert_eq!(is_too_long, begun > CLIENT_FRAME_BYTES_MAX);
    assert!(is_too_long || !left.contains(&b'\n'), "all whole lines are taken");
}

/// All frames of these chunks, and whether one was too long.
fn read(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut frames = LineFrames::default();
    let mut all = Vec::new();
    for chunk in chunks {
        frames.push(Bytes::copy_from_slice(chunk));
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    assert!(frame.ends_with(b"\n"), "a frame is whole lines");
                    all.extend_from_slice(&frame);
                }
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}
