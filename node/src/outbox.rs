//! The one kind of queue that leads out of a core: to a client, into a lane, into a control stream.
//!
//! A core pushes and never waits; one writer task takes whole batches. The queue is bounded in bytes, costs nothing
//! while it is empty, and wakes its writer once however much was pushed since it last looked.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proto::limits::LANES;
use proto::link::CloseCode;

/// The pushing end. `E` says why the queue was closed.
#[derive(Debug)]
pub struct Outbox<E> {
    shared: Arc<Mutex<Shared<E>>>,
}

/// The writing end; there is one.
#[derive(Debug)]
pub struct Drain<E> {
    shared: Arc<Mutex<Shared<E>>>,
}

/// The frame does not fit, or nobody will write it any more. It was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What a writer finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<E> {
    /// Frames were appended to its batch; there may be more.
    Frames,
    /// The queue was closed, and everything in it has been taken.
    Closed(E),
}

#[derive(Debug)]
struct Shared<E> {
    frames: VecDeque<Bytes>,
    bytes: usize,
    bytes_max: usize,
    closed: Option<E>,
    writer: Option<Waker>,
}

/// A queue of at most `bytes_max` bytes; the frame that a writer is busy with does not count.
pub fn outbox<E>(bytes_max: usize) -> (Outbox<E>, Drain<E>) {
    let shared = Shared { frames: VecDeque::new(), bytes: 0, bytes_max, closed: None, writer: None };
    let shared = Arc::new(Mutex::new(shared));
    (Outbox { shared: Arc::clone(&shared) }, Drain { shared })
}

/// Where a link's frames go, at either end.
#[derive(Debug, Clone)]
pub struct LinkOutboxes {
    /// [`proto::link::ToRelay`] or [`proto::link::ToEdge`].
    pub control: Outbox<CloseCode>,
    /// Pings, or echoes.
    pub heartbeat: Outbox<CloseCode>,
    /// [`proto::link::LaneFrame`]s, a queue for each lane.
    pub lanes: [Outbox<CloseCode>; LANES],
}

/// What waits for links at one moment, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// In control streams.
    pub control: usize,
    /// In all lanes.
    pub lanes: usize,
    /// In the lane that has the most.
    pub fullest_lane: usize,
}

impl Queued {
    /// Adds what waits for one link.
    pub fn add(&mut self, outboxes: &LinkOutboxes) {
        self.control += outboxes.control.queued_bytes();
        for lane in &outboxes.lanes {
            let bytes = lane.queued_bytes();
            self.lanes += bytes;
            self.fullest_lane = self.fullest_lane.max(bytes);
        }
    }
}

impl<E: Copy> Outbox<E> {
    /// Queues `frame` behind what is already queued.
    ///
    /// # Errors
    /// [`Full`]: whoever pushes decides what that means for the one behind the queue.
    pub fn push(&self, frame: Bytes) -> Result<(), Full> {
        let writer = {
            let mut shared = lock(&self.shared);
            if shared.closed.is_some() || shared.bytes + frame.len() > shared.bytes_max {
                return Err(Full);
            }
            shared.bytes += frame.len();
            shared.frames.push_back(frame);
            shared.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Bytes that wait in it.
    pub fn queued_bytes(&self) -> usize {
        lock(&self.shared).bytes
    }

    /// Lets the writer finish what is queued and then end for reason `why`. Only the first call counts.
    pub fn close(&self, why: E) {
        self.end(why, false);
    }

    /// Throws away what is queued and ends the writer for reason `why`. Only the first close counts.
    pub fn abort(&self, why: E) {
        self.end(why, true);
    }

    fn end(&self, why: E, discard: bool) {
        let writer = {
            let mut shared = lock(&self.shared);
            if shared.closed.is_some() {
                return;
            }
            shared.closed = Some(why);
            if discard {
                shared.frames = VecDeque::new();
                shared.bytes = 0;
            }
            shared.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl<E: Copy> Drain<E> {
    /// Waits for frames and moves them to `batch`: all there are, up to about `bytes_max` bytes but at least one.
    ///
    /// Cancelling loses nothing.
    pub async fn take(&mut self, batch: &mut Vec<Bytes>, bytes_max: usize) -> Taken<E> {
        poll_fn(|context| self.poll_take(context, batch, bytes_max)).await
    }

    /// [`Self::take`] for whoever waits for other things as well.
    pub fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        batch: &mut Vec<Bytes>,
        bytes_max: usize,
    ) -> Poll<Taken<E>> {
        let mut shared = lock(&self.shared);
        if shared.take_into(batch, bytes_max) {
            return Poll::Ready(Taken::Frames);
        }
        if let Some(why) = shared.closed {
            return Poll::Ready(Taken::Closed(why));
        }
        // A task that looks here each time that it is woken for something else has left its waker already.
        if !shared.writer.as_ref().is_some_and(|writer| writer.will_wake(context.waker())) {
            shared.writer = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Moves what is there to `batch` without waiting; whether there was anything.
    pub fn try_take(&mut self, batch: &mut Vec<Bytes>, bytes_max: usize) -> bool {
        lock(&self.shared).take_into(batch, bytes_max)
    }

    /// Why the queue was closed, as soon as it was, whatever it still holds.
    pub fn closed(&self) -> Option<E> {
        lock(&self.shared).closed
    }
}

impl<E> Drop for Drain<E> {
    /// Nobody will write: what is queued is let go, and what comes is refused by its size.
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.frames = VecDeque::new();
        shared.bytes = 0;
        shared.bytes_max = 0;
    }
}

impl<E> Shared<E> {
    fn take_into(&mut self, batch: &mut Vec<Bytes>, bytes_max: usize) -> bool {
        let mut taken = 0;
        let before = batch.len();
        while let Some(frame) = self.frames.front() {
            if taken > 0 && taken + frame.len() > bytes_max {
                break;
            }
            taken += frame.len();
            batch.extend(self.frames.pop_front());
        }
        self.bytes -= taken;
        if self.frames.is_empty() && self.frames.capacity() > IDLE_FRAMES_KEPT {
            self.frames = VecDeque::new();
        }
        batch.len() > before
    }
}

impl<E> Clone for Outbox<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// An empty queue keeps room for so few frames, so that an idle client costs next to nothing.
const IDLE_FRAMES_KEPT: usize = 8;

fn lock<E>(shared: &Mutex<Shared<E>>) -> MutexGuard<'_, Shared<E>> {
    shared.lock().expect("no code that holds this lock can panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_queue_takes_its_limit_and_not_a_byte_more() {
        let (outbox, mut drain) = outbox::<u16>(4);
        assert_eq!(outbox.push(frame("abcd")), Ok(()));
        assert_eq!((outbox.push(frame("e")), outbox.queued_bytes()), (Err(Full), 4));
        let mut batch = Vec::new();
        assert!(drain.try_take(&mut batch, 1));
        assert_eq!(outbox.queued_bytes(), 0);
        assert_eq!((batch, outbox.push(frame("e"))), (vec![frame("abcd")], Ok(())));
    }

    #[tokio::test]
    async fn what_was_queued_before_the_close_is_still_written() {
        let (outbox, mut drain) = outbox::<u16>(100);
        outbox.push(frame("a")).expect("room");
        outbox.close(3001);
        outbox.close(3008);
        assert_eq!(outbox.push(frame("b")), Err(Full));
        let mut batch = Vec::new();
        assert_eq!(drain.take(&mut batch, 100).await, Taken::Frames);
        assert_eq!(drain.take(&mut batch, 100).await, Taken::Closed(3001));
        assert_eq!(batch, [frame("a")]);
    }

    #[tokio::test]
    async fn an_abort_discards_what_was_queued() {
        let (outbox, mut drain) = outbox::<u16>(100);
        outbox.push(frame("a")).expect("room");
        outbox.abort(3008);
        assert_eq!(drain.take(&mut Vec::new(), 100).await, Taken::Closed(3008));
    }

    #[tokio::test]
    async fn a_waiting_writer_is_woken_and_takes_batches() {
        let (outbox, mut drain) = outbox::<u16>(100);
        let writer = tokio::spawn(async move {
            let mut batch = Vec::new();
            drain.take(&mut batch, 2).await;
            drain.take(&mut batch, 2).await;
            batch
        });
        tokio::task::yield_now().await;
        for text in ["a", "b", "c"] {
            outbox.push(frame(text)).expect("room");
        }
        assert_eq!(writer.await.expect("no panic"), [frame("a"), frame("b"), frame("c")]);
    }

    #[test]
    fn nothing_is_queued_for_a_writer_that_is_gone() {
        let (outbox, drain) = outbox::<u16>(100);
        drop(drain);
        assert_eq!(outbox.push(frame("a")), Err(Full));
    }
}
