use proptest::prelude::*;

use super::*;
use crate::link::{Lane, lane_of};

#[test]
fn control_frames_to_the_relay_are_these_bytes() {
    let hello = |epoch| ToRelay::Hello { name: name("e1"), epoch, capacity: 500, version: "1".into() };
    for (frame, bytes) in [
        (hello(None), "00000012 01 02 6531 0000000000000000 000001f4 01 31"),
        (hello(Some(Epoch(9))), "00000012 01 02 6531 0000000000000009 000001f4 01 31"),
        (ToRelay::Join { channel: channel("c"), number: 2 }, "00000007 02 01 63 00000002"),
        (ToRelay::Leave { channel: channel("#é") }, "00000005 03 03 23c3a9"),
        (ToRelay::Synced, "00000001 04"),
        (ToRelay::Told { telling: 258 }, "00000009 05 0000000000000102"),
        (ToRelay::Goodbye, "00000001 06"),
        (ToRelay::Unleased { epoch: Epoch(9) }, "00000009 07 0000000000000009"),
        (
            ToRelay::Status(Status {
                clients: 500,
                is_ready: true,
                carries: true,
                rtt_micros: 258,
                received: 3,
                pushes: 4,
                unknown: 5,
            }),
            "00000023 08 000001f4 01 01 00000102 0000000000000003 0000000000000004 0000000000000005",
        ),
        (ToRelay::Here { query: 7, total: 0, clients: vec![] }, "0000000a 09 00000007 00000000 00"),
        (
            ToRelay::Here {
                query: 7,
                total: 40,
                clients: Door::ALL.map(|door| Found { door, since: 258 }).into(),
            },
            "00000025 09 00000007 00000028 03 00 0000000000000102 01 0000000000000102 02 0000000000000102",
        ),
    ] {
        assert_eq!(hex(&frame.encode()), bytes.replace(' ', ""), "{frame:?}");
        assert_eq!(ToRelay::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn control_frames_to_the_edge_are_these_bytes() {
    let joined = |elsewhere| ToEdge::Joined { channel: channel("c"), number: 1, elsewhere };
    for (frame, bytes) in [
        (ToEdge::Welcome { epoch: Epoch(7), member: Member(3) }, "0000000d 41 0000000000000007 00000003"),
        (ToEdge::Leased { epoch: Epoch(7) }, "00000009 42 0000000000000007"),
        (joined(true), "00000008 43 01 63 00000001 01"),
        (joined(false), "00000008 43 01 63 00000001 00"),
        (
            ToEdge::Elsewhere { channel: channel("c"), elsewhere: true, telling: 5 },
            "0000000c 44 01 63 01 0000000000000005",
        ),
        (ToEdge::Gone { member: Member(3) }, "00000005 45 00000003"),
        (ToEdge::Ended { next: Epoch(9) }, "00000009 46 0000000000000009"),
        (ToEdge::Others { carry: true }, "00000002 48 01"),
        (ToEdge::WhereIs { query: 7, channel: channel("#é") }, "00000009 47 00000007 03 23c3a9"),
    ] {
        assert_eq!(hex(&frame.encode()), bytes.replace(' ', ""), "{frame:?}");
        assert_eq!(ToEdge::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn lane_frames_are_these_bytes() {
    let answer = |answer| LaneFrame::Answer { source: Member(1), number: 2, holder: Member(3), answer };
    let head = "01 0000000000000002";
    for (frame, bytes) in [
        (
            LaneFrame::Publication(publication()),
            "00000018 81 01 00000001 0000000000000002 01 63 00000002 7b7d 3432".to_owned(),
        ),
        (
            LaneFrame::Routed {
                source: Member(1),
                number: 2,
                holders: vec![Member(3), Member(4)],
                complete: true,
            },
            format!("00000016 82 01 000000{head} 00000003 00000004"),
        ),
        (answer(Answer::Took(9)), format!("00000017 83 00 000000{head} 00000003 00 00000009")),
        (
            answer(Answer::NotHere(EdgeId { name: name("e2"), epoch: Epoch(8) })),
            format!("0000001e 83 00 000000{head} 00000003 01 0000000000000008 02 6532"),
        ),
        (answer(Answer::Unknown), format!("00000013 83 00 000000{head} 00000003 02")),
        (LaneFrame::Canary { source: Member(1), number: 2 }, format!("0000000e 84 00 000000{head}")),
    ] {
        assert_eq!(hex(&frame.encode()), bytes.replace(' ', ""), "{frame:?}");
        assert_eq!(LaneFrame::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn broken_frames_are_refused_by_name() {
    let relay = |bytes: &str| ToRelay::decode(&unhex(bytes)).expect_err("broken");
    assert_eq!(relay(""), DecodeError::Length(0));
    assert_eq!(relay("00000001 63"), DecodeError::Kind(99));
    assert_eq!(relay("00000001 41"), DecodeError::Kind(WELCOME));
    assert_eq!(relay("00000003 03 02 63"), DecodeError::Short(LEAVE));
    assert_eq!(relay("00000002 04 00"), DecodeError::Trailing(SYNCED));
    assert_eq!(relay("00000003 03 01 0a"), DecodeError::Field(LEAVE, "channel"));
    assert_eq!(relay("00000003 03 01 ff"), DecodeError::Field(LEAVE, "text"));
    assert_eq!(
        relay("00000013 09 00000007 00000001 01 03 0000000000000102"),
        DecodeError::Field(HERE, "door")
    );
    assert_eq!(relay("0000000a 09 00000007 00000000 21"), DecodeError::Field(HERE, "number of clients"));
    assert_eq!(relay("0000000a 09 00000007 00000000 20"), DecodeError::Short(HERE));
    assert_eq!(relay("00000006 08 000001f4 02"), DecodeError::Field(STATUS, "yes or no"));
    let edge = |bytes: &str| ToEdge::decode(&unhex(bytes)).expect_err("broken");
    assert_eq!(edge("00000008 43 01 63 00000001 02"), DecodeError::Field(JOINED, "yes or no"));
    let lane = |bytes: &str| LaneFrame::decode(&unhex(bytes)).expect_err("broken").to_string();
    assert_eq!(
        lane("00000016 81 01 00000001 0000000000000002 01 63 00000003 7b7d"),
        "a frame of kind 129 is too short"
    );
    assert_eq!(
        lane("00000013 83 00 00000001 0000000000000002 00000003 03"),
        "a frame of kind 131 has an invalid outcome"
    );
}

#[test]
fn a_frame_at_the_limit_passes_and_one_above_it_ends_the_stream() {
    let mut at_limit = BytesMut::zeroed(LENGTH_BYTES + LINK_FRAME_BYTES_MAX);
    at_limit[..LENGTH_BYTES].copy_from_slice(&(LINK_FRAME_BYTES_MAX as u32).to_be_bytes());
    let mut frames = Frames::default();
    frames.push(at_limit.clone().freeze());
    assert_eq!(frames.next_frame(), Ok(Some(at_limit.freeze())));
    frames.push(Bytes::copy_from_slice(&(LINK_FRAME_BYTES_MAX as u32 + 1).to_be_bytes()));
    assert_eq!(frames.next_frame(), Err(DecodeError::Length(LINK_FRAME_BYTES_MAX + 1)));
}

#[test]
fn lanes_are_shared_evenly_and_never_change() {
    let mut counts = [0; crate::limits::LANES];
    for i in 0..16_000 {
        counts[lane_of(&format!("#user-{i}")).index()] += 1;
    }
    assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    assert_eq!([lane_of("news"), lane_of("#bob"), lane_of("")], [Lane(1), Lane(11), Lane(9)]);
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_same_frames_come_out(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in proptest::collection::vec(1_usize..30, 1..40),
    ) {
        let sent: Vec<Bytes> = bodies.iter().map(|body| frame(body[0], |out| out.put_slice(&body[1..]))).collect();
        let mut stream: Bytes = sent.concat().into();
        let mut frames = Frames::default();
        let mut got = Vec::new();
        for cut in cuts.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            frames.push(stream.split_to((*cut).min(stream.len())));
            while let Some(frame) = frames.next_frame().expect("lengths are right") {
                got.push(frame);
            }
        }
        prop_assert_eq!(got, sent);
        prop_assert!(frames.is_at_boundary());
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in any::<u8>()) {
        let whole = frame(kind, |out| out.put_slice(&bytes));
        let _ = ToRelay::decode(&whole);
        let _ = ToEdge::decode(&whole);
        if let Ok(frame) = LaneFrame::decode(&whole) {
            let encoded = frame.encode();
            prop_assert_eq!(LaneFrame::decode(&encoded), Ok(frame));
        }
    }
}

fn publication() -> PublicationFrame<'static> {
    PublicationFrame {
        source: Member(1),
        number: 2,
        wants_receipt: true,
        channel: "c",
        info: b"{}",
        data: b"42",
    }
}

fn name(name: &str) -> NodeName {
    NodeName::parse(name).expect("valid")
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("valid")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("below 16"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
