//! What each message carries: who sent it, its number, and when it was meant to go.
//!
//! ```text
//! "cw RRRRRRRR FFFFFFFF NNNNNNNNNNNN TTTTTTTTTTTTTTTT xxxx…"     without the spaces; all numbers in hex
//!     run      flow     number       intended, ns     padding
//! ```
//!
//! It is a JSON string, so that any server passes it on; of fixed width, so that nothing has to be parsed to find it.

/// Bytes of the shortest payload: all fields, quotes included, and no padding.
pub(super) const PAYLOAD_BYTES_MIN: usize = 48;

/// Bytes of the longest one: a client's frame has 65,536 bytes, and the command around it needs some.
pub(super) const PAYLOAD_BYTES_MAX: usize = 60_000;

const MARK: &[u8; 3] = b"\"cw";
const RUN: usize = MARK.len();
const FLOW: usize = RUN + 8;
const NUMBER: usize = FLOW + 8;
const INTENDED: usize = NUMBER + 12;
const PADDING: usize = INTENDED + 16;

const _: () = assert!(PADDING + 1 == PAYLOAD_BYTES_MIN);

/// One message, as its sender and its receivers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Which flow it belongs to.
    pub(super) flow: usize,
    /// Its place in the flow, from 0.
    pub(super) number: u64,
    /// When it was meant to be sent, in nanoseconds since the run began.
    pub(super) intended_nanos: u64,
}

/// Writes the messages of one run, and finds them in what arrives.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Vec<u8>,
    finder: memchr::memmem::Finder<'static>,
}

impl Payload {
    /// Payloads of `size` bytes for a run that chose the number `run`.
    pub(super) fn new(run: u32, size: usize) -> Self {
        let mut bytes = vec![b'x'; size.max(PAYLOAD_BYTES_MIN)];
        bytes[..RUN].copy_from_slice(MARK);
        write_hex(&mut bytes[RUN..FLOW], run.into());
        *bytes.last_mut().expect("not empty") = b'"';
        let finder = memchr::memmem::Finder::new(&bytes[..FLOW]).into_owned();
        Self { bytes, finder }
    }

    /// The bytes of `message`.
    pub(super) fn write(&mut self, message: Message) -> &[u8] {
        write_hex(&mut self.bytes[FLOW..NUMBER], message.flow as u64);
        write_hex(&mut self.bytes[NUMBER..INTENDED], message.number);
        write_hex(&mut self.bytes[INTENDED..PADDING], message.intended_nanos);
        &self.bytes
    }

    /// The message of this run that `line` contains.
    pub(super) fn find(&self, line: &[u8]) -> Option<Message> {
        let start = self.finder.find(line)?;
        let fields = line.get(start..start + PADDING)?;
        Some(Message {
            flow: read_hex(&fields[FLOW..NUMBER])? as usize,
            number: read_hex(&fields[NUMBER..INTENDED])?,
            intended_nanos: read_hex(&fields[INTENDED..PADDING])?,
        })
    }
}

fn write_hex(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(field: &[u8]) -> Option<u64> {
    field.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message = Message { flow: 249, number: 1_000_000, intended_nanos: u64::MAX };

    #[test]
    fn a_payload_is_a_json_string_of_exactly_the_size_that_was_asked_for() {
        for size in [PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MIN + 1, 100, PAYLOAD_BYTES_MAX] {
            let mut payload = Payload::new(7, size);

            let bytes = payload.write(MESSAGE);

            assert_eq!(bytes.len(), size);
            assert!(serde_json::from_slice::<String>(bytes).is_ok());
        }
        assert_eq!(
            Payload::new(0xabc, 50).write(MESSAGE),
            br#""cw00000abc000000f90000000f4240ffffffffffffffffxx""#
        );
    }

    #[test]
    fn what_was_written_is_found_wherever_it_stands_in_a_line() {
        let mut payload = Payload::new(7, 60);
        let bytes = payload.write(MESSAGE).to_vec();
        let push = [br##"{"push":{"channel":"#cw","pub":{"data":"##, &bytes[..], b"}}}"].concat();

        assert_eq!(payload.find(&bytes), Some(MESSAGE));
        assert_eq!(payload.find(&push), Some(MESSAGE));
    }

    #[test]
    fn other_runs_other_payloads_and_torn_ones_are_not_ours() {
        let mut payload = Payload::new(7, 60);
        let bytes = payload.write(MESSAGE).to_vec();

        assert_eq!(Payload::new(8, 60).find(&bytes), None);
        for line in [&b""[..], b"{}", &bytes[..PADDING - 1], br#""cw00000007hello""#] {
            assert_eq!(payload.find(line), None);
        }
    }
}
