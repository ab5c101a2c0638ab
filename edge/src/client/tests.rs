//! One client against its loop, on a stream in memory that holds as little as a test wants, and on none.

use node::outbox::{Outbox, outbox};
use proto::client::code::Disconnect;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::core::{ClientKey, Event};
use crate::door::LargeFrames;
use crate::eventloop::Input;
use crate::metrics::Traffic;

#[tokio::test]
async fn who_does_not_read_is_read_from_and_its_last_ping_is_answered() {
    let mut served = Served::start(64, 8);
    served.outbox.push(Bytes::from(vec![b'x'; 1000])).expect("room");
    // It is written, as far as it fits, before anything is read.
    assert_eq!(served.read(4).await, [0x81, 126, 0x03, 0xe8]);
    served
        .send(&[frame(9, b"first"), frame(1, b"hello"), frame(9, b"last"), frame(10, b"nobody asked")])
        .await;
    assert_eq!(served.heard().await, "frame hello");
    served.outbox.push(Bytes::from_static(b"later")).expect("room");

    assert_eq!(served.read(1000).await, [b'x'; 1000]);
    // In one write, with what has waited.
    assert_eq!(served.read(6 + 7).await, [&b"\x8a\x04last"[..], b"\x81\x05later"].concat());
}

#[tokio::test]
async fn an_event_loop_without_room_gets_every_frame_later_and_in_order() {
    let mut served = Served::start(4096, 1);
    let frames: Vec<_> = (0..300).map(|at: u32| frame(2, at.to_string().as_bytes())).collect();
    served.send(&frames).await;
    for at in 0..300 {
        assert_eq!(served.heard().await, format!("frame {at}"));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_queued_goes_out_as_one_frame() {
    let mut served = Served::start(4096, 8);
    for text in ["{}", "[]", "1"] {
        served.outbox.push(Bytes::from_static(text.as_bytes())).expect("room");
    }
    assert_eq!(served.read(9).await, b"\x81\x07{}\n[]\n1");
}

#[tokio::test]
async fn a_client_that_closes_gets_its_own_close_frame_back() {
    let mut served = Served::start(4096, 8);
    served.send(&[frame(8, b"\x03\xe8bye"), frame(1, b"too late")]).await;
    assert_eq!(served.heard().await, "closed Closed");
    assert_eq!(served.read(7).await, b"\x88\x05\x03\xe8bye");
    served.outbox.push(Bytes::from_static(b"too late as well")).expect("it counts until the Hub knows");
    served.outbox.close(Disconnect::Closed);
    assert_eq!(served.rest().await, b"");
}

#[tokio::test]
async fn a_broken_rule_is_told_to_both_sides_behind_what_was_queued() {
    let mut served = Served::start(4096, 8);
    served.send(&[frame(1, b"\xff")]).await;
    assert_eq!(served.heard().await, "closed InvalidText");
    served.outbox.push(Bytes::from_static(b"last")).expect("room");
    served.outbox.close(Disconnect::InvalidText);
    assert_eq!(served.read(6).await, b"\x81\x04last");
    assert_eq!(served.rest().await, [&b"\x88\x0e\x03\xef"[..], b"invalid text"].concat());
}

#[tokio::test]
async fn a_client_that_is_let_go_may_answer_the_close() {
    let mut served = Served::start(4096, 8);
    served.outbox.close(Disconnect::Shutdown);
    assert_eq!(served.read(12).await, [&b"\x88\x0a\x0b\xb9"[..], b"shutdown"].concat());
    served.send(&[frame(1, b"in between"), frame(8, b"\x0b\xb9")]).await;
    assert_eq!(served.rest().await, b"");
    served.task.await.expect("no panic");
    assert!(served.inputs.try_recv().is_err(), "nothing is heard of a client that was let go");
}

#[test]
fn what_another_edge_let_pass_goes_out_as_text() {
    let mut out = Vec::new();
    put_text(&mut out, &[Bytes::from_static(b"a\xff"), Bytes::from_static(b"b")]);
    assert_eq!(out, [&b"\x81\x06a"[..], "\u{fffd}".as_bytes(), b"\nb"].concat());
}

#[test]
fn an_idle_client_has_no_room_of_its_own_for_bytes() {
    assert!(size_of::<Connection<TcpStream>>() <= 384, "{}", size_of::<Connection<TcpStream>>());
}

struct Served {
    client: DuplexStream,
    outbox: Outbox<Disconnect>,
    inputs: mpsc::Receiver<Input>,
    task: JoinHandle<()>,
}

impl Served {
    /// A stream that holds `stream_bytes` each way, and a queue for `inputs_max` events.
    fn start(stream_bytes: usize, inputs_max: usize) -> Self {
        let (client, stream) = tokio::io::duplex(stream_bytes);
        let (sender, inputs) = mpsc::channel(inputs_max);
        let (outbox, drain) = outbox(4096);
        let guest = Guest {
            client: ClientKey(1),
            inputs: sender,
            large: LargeFrames::new(),
            traffic: Traffic::unseen(),
        };
        let connection = Connection::new(stream, BytesMut::new(), guest, drain);
        Self { client, outbox, inputs, task: tokio::spawn(connection.serve()) }
    }

    async fn send(&mut self, frames: &[Vec<u8>]) {
        self.client.write_all(&frames.concat()).await.expect("served");
    }

    /// The next event, in words.
    async fn heard(&mut self) -> String {
        let event = match soon(self.inputs.recv()).await.expect("served") {
            Input::Event(event) => event,
            Input::Timed { event, .. } => *event,
            other => panic!("{other:?}"),
        };
        match event {
            Event::Frame { frame, .. } => format!("frame {}", String::from_utf8_lossy(&frame)),
            Event::Closed { why, .. } => format!("closed {why:?}"),
            other => panic!("{other:?}"),
        }
    }

    async fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        soon(self.client.read_exact(&mut read)).await.expect("served");
        read
    }

    /// What comes until the server ends the stream.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        soon(self.client.read_to_end(&mut rest)).await.expect("served");
        rest
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("nothing happened for 30 s")
}

/// A short frame of a client, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}
