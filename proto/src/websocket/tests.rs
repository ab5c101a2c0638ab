//! RFC 6455, as far as a server needs it: bytes pinned in hex, and every rule broken once.

use proptest::prelude::*;

use super::*;

#[test]
fn a_masked_text_of_the_rfc_is_read() {
    // Section 5.7: "Hello", masked and whole.
    let read = all(&hex("81 85 37fa213d 7f9f4d5158"));
    assert_eq!(read, (vec![text("Hello")], None));
}

#[test]
fn several_messages_of_one_read_come_one_by_one() {
    let bytes =
        [frame(1, true, b"a"), frame(2, true, b"b"), frame(9, true, b"?"), frame(10, true, b"!")].concat();
    let expected = vec![text("a"), Received::Binary(bytes_of(b"b")), Received::Ping(bytes_of(b"?"))];
    assert_eq!(all(&bytes), (expected, None));
}

#[test]
fn a_message_that_came_whole_is_not_copied() {
    let mut bytes = BytesMut::from(&*[frame(1, true, b"abc"), frame(1, true, b"def")].concat());
    let range = bytes.as_ptr_range();
    let mut decoder = Decoder::default();
    while let Some(received) = decoder.next(&mut bytes).expect("valid") {
        let Received::Text(text) = received else { panic!("{received:?}") };
        assert!(range.contains(&text.as_ptr()));
    }
}

#[test]
fn fragments_make_one_message_and_control_frames_may_lie_between() {
    let bytes = [
        frame(1, false, "gr\u{fc}".as_bytes().split_at(3).0),
        frame(9, true, b"hi"),
        frame(0, false, b""),
        frame(0, true, "gr\u{fc}n".as_bytes().split_at(3).1),
    ]
    .concat();
    assert_eq!(all(&bytes), (vec![Received::Ping(bytes_of(b"hi")), text("gr\u{fc}n")], None));
}

#[test]
fn every_violation_has_its_code() {
    let too_long = [frame(1, false, &[b'x'; 65_536]), frame(0, true, b"x")].concat();
    for (what, bytes, expected) in [
        ("no mask", hex("81 02 7b7d"), Violation::Framing),
        ("a reserved bit", hex("c1 80 00000000"), Violation::Framing),
        ("a reserved opcode", hex("83 80 00000000"), Violation::Framing),
        ("a reserved control opcode", hex("8b 80 00000000"), Violation::Framing),
        ("a ping in fragments", hex("09 80 00000000"), Violation::Framing),
        ("a ping of 126 bytes", hex("89 fe 007e 00000000"), Violation::Framing),
        ("a continuation of nothing", frame(0, true, b"x"), Violation::Framing),
        ("a text in a text", [frame(1, false, b"x"), frame(1, true, b"x")].concat(), Violation::Framing),
        ("a close of one byte", frame(8, true, b"\x03"), Violation::Framing),
        ("a close with 999", frame(8, true, &999_u16.to_be_bytes()), Violation::Framing),
        ("a close with 1005", frame(8, true, &1005_u16.to_be_bytes()), Violation::Framing),
        ("a close with 5000", frame(8, true, &5000_u16.to_be_bytes()), Violation::Framing),
        ("a close whose reason is no text", frame(8, true, b"\x03\xe8\xff"), Violation::Text),
        ("a text that is none", frame(1, true, b"\"\xc3\x28\""), Violation::Text),
        ("a text that ends within a letter", frame(1, true, b"\xe6\x9d"), Violation::Text),
        ("a byte too many, promised", hex("81 ff 0000000000010001 00000000"), Violation::Size),
        ("more than there are bytes", hex("82 ff ffffffffffffffff 00000000"), Violation::Size),
        ("a byte too many, in two frames", too_long, Violation::Size),
    ] {
        assert_eq!(all(&bytes), (vec![], Some(expected)), "{what}");
    }
}

#[test]
fn what_is_just_allowed_passes() {
    for code in [1000, 1003, 1007, 1014, 3000, 4999_u16] {
        let payload = code.to_be_bytes();
        assert_eq!(all(&frame(8, true, &payload)), (vec![Received::Close(bytes_of(&payload))], None));
    }
    let largest = [b'x'; CLIENT_FRAME_BYTES_MAX];
    assert_eq!(all(&frame(1, true, &largest)).0.len(), 1);
    assert_eq!(all(&frame(9, true, &largest[..125])).0, [Received::Ping(bytes_of(&largest[..125]))]);
    // A length in a longer form than it needs.
    assert_eq!(all(&hex("81 fe 0001 00000000 78")), (vec![text("x")], None));
    assert_eq!(all(&hex("89 fe 0001 00000000 78")), (vec![Received::Ping(bytes_of(b"x"))], None));
}

#[test]
fn a_message_has_so_many_frames_and_not_one_more() {
    let with = |frames: usize| {
        let between = frame(0, false, b"").repeat(frames - 2);
        all(&[frame(1, false, b""), between, frame(0, true, b"")].concat())
    };
    assert_eq!(with(FRAGMENTS_MAX), (vec![text("")], None));
    assert_eq!(with(FRAGMENTS_MAX + 1), (vec![], Some(Violation::Size)));
}

#[test]
fn a_promise_takes_no_room() {
    let mut decoder = Decoder::default();
    let promise = [hex("82 ff 0000000000010000 00000000"), vec![0; 10]].concat();
    assert_eq!(decoder.next(&mut BytesMut::from(&*promise)), Ok(None));
    assert_eq!(decoder.message.as_ref().map(|message| message.bytes.capacity()), Some(10));
    for _ in 0..65_525 {
        assert_eq!(decoder.next(&mut BytesMut::from(&b"x"[..])), Ok(None));
    }
    let capacity = decoder.message.as_ref().map(|message| message.bytes.capacity());
    assert_eq!(capacity, Some(CLIENT_FRAME_BYTES_MAX));
    assert!(matches!(decoder.next(&mut BytesMut::from(&b"x"[..])), Ok(Some(Received::Binary(_)))));
    assert!(decoder.message.is_none());
}

#[test]
fn frames_of_a_server_are_pinned() {
    let head = |opcode, payload_bytes| {
        let mut out = Vec::new();
        put_head(&mut out, opcode, payload_bytes);
        out
    };
    assert_eq!(head(Opcode::Text, 0), hex("81 00"));
    assert_eq!(head(Opcode::Text, 125), hex("81 7d"));
    assert_eq!(head(Opcode::Text, 126), hex("81 7e 007e"));
    assert_eq!(head(Opcode::Text, 65_535), hex("81 7e ffff"));
    assert_eq!(head(Opcode::Text, 65_536), hex("81 7f 0000000000010000"));
    let mut out = Vec::new();
    put_control(&mut out, Opcode::Pong, b"hi");
    put_control(&mut out, Opcode::Close, &close_payload(Disconnect::Slow));
    put_control(&mut out, Opcode::Close, &close_payload(Disconnect::Closed));
    assert_eq!(out, hex("8a 02 6869 88 06 0bc0 736c6f77 88 00"));
}

#[test]
fn every_close_that_we_send_may_be_sent() {
    for why in Disconnect::ALL {
        let payload = close_payload(why);
        assert!(payload.len() <= CONTROL_BYTES_MAX);
        assert_eq!(close(payload.clone().into()), Ok(payload.into()), "{why:?}");
    }
}

proptest! {
    #[test]
    fn cutting_changes_nothing_whatever_the_lengths(
        payloads in proptest::collection::vec((0_usize..300, any::<[u8; 4]>()), 1..5),
        cut in 1_usize..40,
    ) {
        let frames = payloads.iter().map(|&(len, mask)| {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            (masked(2, true, &payload, mask), Received::Binary(payload.into()))
        });
        let (bytes, expected): (Vec<_>, Vec<_>) = frames.unzip();
        let bytes = bytes.concat();
        prop_assert_eq!(read(bytes.chunks(cut)), (expected.clone(), None));
        prop_assert_eq!(all(&bytes), (expected, None));
    }
}

fn all(bytes: &[u8]) -> (Vec<Received>, Option<Violation>) {
    let whole = read(std::iter::once(bytes));
    assert_eq!(read(bytes.chunks(1)), whole, "byte by byte");
    whole
}

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Received>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut bytes = BytesMut::from(chunk);
        loop {
            match decoder.next(&mut bytes) {
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
        }
        assert!(bytes.is_empty(), "all is taken");
    }
    (all, None)
}

fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    masked(opcode, is_last, payload, [0x37, 0xfa, 0x21, 0x3d])
}

fn masked(opcode: u8, is_last: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![u8::from(is_last) << 7 | opcode];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn text(text: &str) -> Received {
    Received::Text(bytes_of(text.as_bytes()))
}

fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b' ').collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}
