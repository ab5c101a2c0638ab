//! One WebSocket client: one task that reads and writes, whichever can be done.
//!
//! ```text
//! bytes ─▶ poll_read ─▶ Decoder ─Event::Frame─▶ event loop ─▶ outbox ─▶ poll_write ─▶ bytes
//!                          └──────────── the last ping ───────────────────┘
//! ```
//!
//! Neither waits for the other: who does not read is still read from, and the other way round. While nothing happens a
//! client holds no buffer at all: what is read goes through the stack, what is written through memory that all clients of
//! the thread share, and only what could not be decoded, handed over or written stays, until it can be.
//!
//! Whoever ends the connection, its last words reach the client: the close frame is written, and what the client still
//! sends is read until it closes or 5 s have passed, since TCP would otherwise throw them away.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use node::outbox::{Drain, Taken};
use proto::client::code::Disconnect;
use proto::client::json::Slices;
use proto::websocket::{Decoder, Opcode, Received, close_payload, put_control, put_head};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use crate::core::OUTBOX_AGE_MAX;
use crate::door::{Guest, HandingOver};

/// Bytes that one read takes.
pub(crate) const READ_BYTES: usize = 16 << 10;

/// Reads, and frames or slices of them handed over, before others have their turn.
const READS_A_TURN: usize = 4;
const FRAMES_A_TURN: usize = 128;

/// Bytes that go out in one WebSocket frame, unless one message has more.
const BATCH_BYTES: usize = 16 << 10;

/// How long the closing of a connection may take.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Bytes that a client may still send while its connection is closed.
const LINGER_BYTES_MAX: u64 = 1 << 20;

/// A client behind its handshake, on any stream of bytes.
///
/// # Invariants
/// While `handing_over` or a slice is there nothing is decoded, and while there is something undecoded nothing is read.
pub(crate) struct Connection<S> {
    stream: S,
    guest: Guest,
    drain: Drain<Disconnect>,
    decoder: Decoder,
    undecoded: BytesMut,
    /// What is not yet handed over of the frame that was decoded last.
    slices: Slices,
    /// A slice for which the event loop had no room.
    handing_over: Option<HandingOver>,
    /// What the last ping that is not answered said.
    pong: Option<Bytes>,
    /// The rest of a write that the stream took a part of.
    unwritten: Bytes,
    /// When that rest makes the client too slow.
    unwritten_until: Option<Pin<Box<Sleep>>>,
}

/// Why nothing more is read and written as usual.
#[derive(Debug)]
enum End {
    /// The client closes, with this payload.
    Goodbye(Bytes),
    /// The client is gone, or has broken a rule.
    Broken(Disconnect),
    /// The Hub lets the client go, and everything that was queued is written.
    Dismissed(Disconnect),
    /// The client does not read, or is gone.
    Unwritable(Disconnect),
}

/// What one write needs, and no longer than that.
struct Scratch {
    frames: Vec<Bytes>,
    bytes: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { frames: Vec::new(), bytes: Vec::new() }) };
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// `early` has come already.
    pub(crate) fn new(stream: S, early: BytesMut, guest: Guest, drain: Drain<Disconnect>) -> Self {
        Self {
            stream,
            guest,
            drain,
            decoder: Decoder::default(),
            undecoded: early,
            slices: Slices::default(),
            handing_over: None,
            pong: None,
            unwritten: Bytes::new(),
            unwritten_until: None,
        }
    }

    /// Serves the client until it or the edge ends the connection.
    pub(crate) async fn serve(mut self) {
        let end = poll_fn(|context| self.poll(context)).await;
        // Boxed, so that its room is not every client's.
        Box::pin(self.leave(end)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_read(context) {
            return Poll::Ready(end);
        }
        self.poll_write(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READS_A_TURN {
            if let Err(end) = ready!(self.poll_hand_over(context)) {
                return Poll::Ready(end);
            }
            if !ready!(self.poll_fill(context)) {
                return Poll::Ready(End::Broken(Disconnect::Closed));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once; whether there may be more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        // Tokio knows that a socket that did not fill the buffer is empty: the next try costs no call of the kernel.
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
        self.guest.traffic.read(buffer.filled().len());
        self.undecoded = BytesMut::from(buffer.filled());
        Poll::Ready(read.is_ok() && !self.undecoded.is_empty())
    }

    /// Decodes what was read, and hands it over; ready when nothing is left of it.
    fn poll_hand_over(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        for _ in 0..FRAMES_A_TURN {
            if let Some(handing_over) = &mut self.handing_over {
                ready!(handing_over.as_mut().poll(context));
                self.handing_over = None;
            }
            if let Some(handing_over) = self.guest.rest(&mut self.slices) {
                self.handing_over = handing_over;
                continue;
            }
            match self.decoder.next(&mut self.undecoded) {
                Ok(Some(Received::Text(frame) | Received::Binary(frame))) => {
                    self.guest.traffic.frame_came();
                    self.handing_over = self.guest.frame(frame, &mut self.slices);
                }
                Ok(Some(Received::Ping(payload))) => self.pong = Some(payload),
                Ok(Some(Received::Close(payload))) => return Poll::Ready(Err(End::Goodbye(payload))),
                Ok(None) => {
                    self.undecoded = BytesMut::new();
                    return Poll::Ready(Ok(()));
                }
                Err(violation) => return Poll::Ready(Err(End::Broken(violation.into()))),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Err(why) = ready!(self.poll_rest(context)) {
                return Poll::Ready(End::Unwritable(why));
            }
            let written = SCRATCH.with_borrow_mut(|scratch| self.poll_batch(context, scratch));
            if let Err(end) = ready!(written) {
                return Poll::Ready(end);
            }
        }
    }

    /// Writes what is left of the last write. One that takes too long makes the client slow.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        match self.poll_flush(context) {
            Poll::Ready(written) => {
                self.unwritten_until = None;
                Poll::Ready(written.map_err(|_| Disconnect::Closed))
            }
            Poll::Pending => {
                // Most writes are over at once, so that only others take a timer.
                let until = self.unwritten_until.get_or_insert_with(|| Box::pin(sleep(OUTBOX_AGE_MAX)));
                until.as_mut().poll(context).map(|()| Err(Disconnect::Slow))
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.unwritten))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unwritten.advance(written),
            }
        }
        self.unwritten = Bytes::new();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Writes a pong and what is queued, up to a frame's worth, in one write; pending when there is neither.
    fn poll_batch(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), End>> {
        let Scratch { frames, bytes } = scratch;
        bytes.clear();
        match self.drain.poll_take(context, frames, BATCH_BYTES) {
            Poll::Ready(Taken::Closed(why)) => return Poll::Ready(Err(End::Dismissed(why))),
            Poll::Pending if self.pong.is_none() => return Poll::Pending,
            Poll::Ready(Taken::Frames) | Poll::Pending => {}
        }
        if let Some(payload) = self.pong.take() {
            put_control(bytes, Opcode::Pong, &payload);
        }
        if !frames.is_empty() {
            put_text(bytes, frames);
            frames.clear();
        }
        self.guest.traffic.wrote(bytes.len());
        // Copied into one piece: less work than for the kernel to gather small ones, and what it takes at once is not kept.
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) if written == bytes.len() => {}
            Poll::Ready(Ok(written)) => self.unwritten = Bytes::copy_from_slice(&bytes[written..]),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Unwritable(Disconnect::Closed))),
            Poll::Pending => self.unwritten = Bytes::copy_from_slice(bytes),
        }
        Poll::Ready(Ok(()))
    }

    /// Says what there is left to say, to the client and to the Hub.
    async fn leave(mut self, end: End) {
        match end {
            End::Goodbye(payload) => {
                self.guest.closed(Disconnect::Closed).await;
                let _ = timeout(CLOSING_MAX, self.write_close(&payload)).await;
                // Until the Hub has heard of it, what it queues is not refused, or the client would count as slow.
                let mut frames = Vec::new();
                while self.drain.take(&mut frames, BATCH_BYTES).await == Taken::Frames {
                    frames.clear();
                }
            }
            End::Broken(why) => {
                self.guest.closed(why).await;
                // The event loop closes the outbox, which ends the writing.
                let _ = timeout(CLOSING_MAX, async {
                    if let End::Dismissed(why) = poll_fn(|context| self.poll_write(context)).await {
                        let _ = self.write_close(&close_payload(why)).await;
                    }
                })
                .await;
                if why != Disconnect::Closed {
                    self.linger().await;
                }
            }
            End::Dismissed(why) => {
                let _ = timeout(CLOSING_MAX, self.write_close(&close_payload(why))).await;
                let _ = timeout(CLOSING_MAX, self.read_close()).await;
            }
            End::Unwritable(why) => {
                self.guest.closed(why).await;
                self.linger().await;
            }
        }
    }

    async fn write_close(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut bytes = self.unwritten.to_vec();
        put_control(&mut bytes, Opcode::Close, payload);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Reads until the client closes as well.
    async fn read_close(&mut self) {
        loop {
            match self.decoder.next(&mut self.undecoded) {
                Ok(Some(Received::Close(_))) | Err(_) => return,
                Ok(Some(Received::Text(_) | Received::Binary(_) | Received::Ping(_))) => {}
                Ok(None) => {
                    if !poll_fn(|context| self.poll_fill(context)).await {
                        return;
                    }
                }
            }
        }
    }

    /// Ends our half and reads the rest, so that the last words are not lost to a reset.
    async fn linger(&mut self) {
        let _ = timeout(CLOSING_MAX, async {
            self.stream.shutdown().await?;
            let mut rest = (&mut self.stream).take(LINGER_BYTES_MAX);
            let mut scratch = vec![0; 1024];
            while rest.read(&mut scratch).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }
}

/// Many messages make one frame, one a line.
fn put_text(out: &mut Vec<u8>, frames: &[Bytes]) {
    let payload_bytes = frames.iter().map(|frame| frame.len() + 1).sum::<usize>() - 1;
    let head_at = out.len();
    put_head(out, Opcode::Text, payload_bytes);
    let payload_at = out.len();
    for (at, frame) in frames.iter().enumerate() {
        if at > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(frame);
    }
    // Payloads of our own clients were checked when they came in; those of other edges must not hurt either.
    if std::str::from_utf8(&out[payload_at..]).is_err() {
        let text = String::from_utf8_lossy(&out[payload_at..]).into_owned();
        out.truncate(head_at);
        put_head(out, Opcode::Text, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests;
