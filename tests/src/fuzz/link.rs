//! Frames on a link.

use bytes::Bytes;
use proto::client::Publication;
use proto::limits::{FOUND_MAX, LINK_FRAME_BYTES_MAX, NODE_NAME_BYTES_MAX};
use proto::link::codec::{DecodeError, Frames};
use proto::link::{Answer, LaneFrame, PublicationFrame, ToEdge, ToRelay};

use super::{check_channel, check_shown, cuts};

/// However a stream is cut, the same frames come out of it, and what decodes is encoded as it came.
pub(super) fn check(bytes: &[u8]) {
    let [whole, single, pieces] = cuts(bytes).map(|cut| read(&cut));
    assert_eq!(whole, single, "byte by byte");
    assert_eq!(whole, pieces, "in pieces");
    let (frames, end) = whole;
    let taken: usize = frames.iter().map(Bytes::len).sum();
    assert_eq!(frames.concat(), bytes[..taken], "nothing is left out, and nothing added");
    if let Ok(is_at_boundary) = end {
        assert_eq!(is_at_boundary, taken == bytes.len());
    }
    for frame in &frames {
        assert!((5..=4 + LINK_FRAME_BYTES_MAX).contains(&frame.len()), "{} bytes", frame.len());
        check_frame(frame);
    }
}

/// The frames of a stream that comes in these chunks, and whether it may end there or is broken.
fn read(chunks: &[&[u8]]) -> (Vec<Bytes>, Result<bool, DecodeError>) {
    let mut frames = Frames::default();
    let mut all = Vec::new();
    for chunk in chunks {
        frames.push(Bytes::copy_from_slice(chunk));
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(error) => return (all, Err(error)),
            }
        }
    }
    (all, Ok(frames.is_at_boundary()))
}

fn check_frame(frame: &Bytes) {
    let (to_relay, to_edge, lane) = (ToRelay::decode(frame), ToEdge::decode(frame), LaneFrame::decode(frame));
    let meanings = [to_relay.is_ok(), to_edge.is_ok(), lane.is_ok()].into_iter().filter(|&is| is).count();
    assert!(meanings <= 1, "a frame means one thing");
    let shortened = frame.slice(..frame.len() - 1);
    if let Ok(decoded) = to_relay {
        check_to_relay(&decoded);
        assert_eq!(decoded.encode(), frame, "{decoded:?}");
        assert!(ToRelay::decode(&shortened).is_err(), "{decoded:?} is whole without its last byte");
    }
    if let Ok(decoded) = to_edge {
        check_to_edge(&decoded);
        assert_eq!(decoded.encode(), frame, "{decoded:?}");
        assert!(ToEdge::decode(&shortened).is_err(), "{decoded:?} is whole without its last byte");
    }
    if let Ok(decoded) = lane {
        check_lane(&decoded);
        // Flags that nobody knows are not kept; all else is.
        let encoded = decoded.encode();
        assert_eq!(encoded[..5], frame[..5]);
        assert_eq!(encoded[6..], frame[6..]);
        assert_eq!(LaneFrame::decode(&encoded), Ok(decoded));
    }
}

fn check_to_relay(frame: &ToRelay) {
    match frame {
        ToRelay::Hello { name, version, .. } => {
            assert!((1..=NODE_NAME_BYTES_MAX).contains(&name.as_str().len()), "{name}");
            assert!(version.len() <= 255, "{version}");
        }
        ToRelay::Join { channel, .. } | ToRelay::Leave { channel } => check_channel(channel),
        ToRelay::Here { clients, .. } => assert!(clients.len() <= FOUND_MAX, "{} clients", clients.len()),
        ToRelay::Synced
        | ToRelay::Unleased { .. }
        | ToRelay::Told { .. }
        | ToRelay::Goodbye
        | ToRelay::Status(_) => {}
    }
}

fn check_to_edge(frame: &ToEdge) {
    match frame {
        ToEdge::Joined { channel, .. }
        | ToEdge::Elsewhere { channel, .. }
        | ToEdge::WhereIs { channel, .. } => {
            check_channel(channel);
        }
        ToEdge::Welcome { .. }
        | ToEdge::Leased { .. }
        | ToEdge::Gone { .. }
        | ToEdge::Ended { .. }
        | ToEdge::Others { .. } => {}
    }
}

fn check_lane(frame: &LaneFrame<'_>) {
    match frame {
        // A terminal may trust in no edge that it is written something printable.
        LaneFrame::Publication(PublicationFrame { channel, info, data, .. }) => {
            check_shown(channel, Publication { data, info });
        }
        LaneFrame::Routed { holders, .. } => assert!(holders.len() <= LINK_FRAME_BYTES_MAX / 4),
        LaneFrame::Answer { answer: Answer::NotHere(edge), .. } => {
            assert!((1..=NODE_NAME_BYTES_MAX).contains(&edge.name.as_str().len()), "{edge}");
        }
        LaneFrame::Answer { answer: Answer::Took(_) | Answer::Unknown, .. } | LaneFrame::Canary { .. } => {}
    }
}
