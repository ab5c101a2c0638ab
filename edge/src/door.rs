//! The ways in: bind, accept, admit; from there on bytes become frames.
//!
//! `http.rs` answers HTTP and lets `websocket.rs` take over upgraded connections; `tls.rs` is a handshake in front of that.
//! `proxies.rs` knows who is behind a balancer. `webtransport.rs` is the way in over QUIC, `line.rs` that for terminals.
//! A door knows nothing of sessions: it tells the event loop of a client, of its frames and of its end, and gives the
//! client's outbox somebody who writes it (`client.rs`).

pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod proxies;
pub(crate) mod tls;
pub(crate) mod websocket;
pub(crate) mod webtransport;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use node::newcomers::{Lobby, Stay};
use node::outbox::{Drain, outbox};
use node::process::RunError;
use proto::client::ClientId;
use proto::client::code::Disconnect;
use proto::client::json::{self, Slices};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::core::{ClientKey, Encoding, Event, OUTBOX_BYTES_MAX, Opened};
use crate::eventloop::{Input, LARGE_FRAME_BYTES, LARGE_FRAMES_MAX};
use crate::metrics::{Capacity, Door, Metrics, Place, Refusal, Stage, Traffic};
use crate::uplink::chance;

/// What every door needs.
#[derive(Debug, Clone)]
pub(crate) struct Hall {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) capacity: Capacity,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) next_client: Arc<AtomicU64>,
    /// Clients that have a place and have not logged in.
    pub(crate) newcomers: Lobby,
    pub(crate) large: LargeFrames,
    /// The secret with which development tokens are signed; none outside development.
    pub(crate) dev_secret: Option<Arc<str>>,
}

/// What carries HTTP and then WebSocket: TCP, plain or under TLS. Known when it is compiled, so that no message asks.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wire for S {}

/// Waits until the event loop has room for an event, and hands it over.
pub(crate) type HandingOver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client as its door sees it.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) client: ClientKey,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) large: LargeFrames,
    /// What goes through its door.
    pub(crate) traffic: Arc<Traffic>,
}

/// Permits for large frames to wait for the event loop.
#[derive(Debug, Clone)]
pub(crate) struct LargeFrames(Arc<Semaphore>);

impl LargeFrames {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_FRAMES_MAX)))
    }

    /// Waits until a large frame may wait.
    async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0).acquire_owned().await.expect("nobody closes it")
    }
}

/// A client that is let in, and not yet logged in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) client: ClientKey,
    pub(crate) place: Place,
    pub(crate) stay: Stay,
}

impl Hall {
    /// A number for whoever comes in next, higher than all before.
    pub(crate) fn number(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets in one more from `address`. Where all places are taken, a client that has not logged in gives way, and its
    /// place is free when its task has ended, in this turn of the runtime; where everybody has logged in, nobody does.
    pub(crate) fn admit(&self, address: IpAddr, door: Door) -> Option<Admission> {
        let place = match self.capacity.take(door) {
            Some(place) => place,
            None if self.newcomers.make_room() => self.capacity.take_over(door),
            None => {
                self.metrics.refused(door, Refusal::Full);
                return None;
            }
        };
        let client = ClientKey(self.number());
        let stay = self.newcomers.enter(client.0, address);
        Some(Admission { client, place, stay })
    }

    /// Tells the event loop of a new client.
    pub(crate) async fn open(
        &self,
        client: ClientKey,
        door: Door,
        patience: Duration,
    ) -> (Guest, Drain<Disconnect>) {
        // A terminal answers no pings.
        let (encoding, pings) = match door {
            Door::WebSocket | Door::WebTransport => (Encoding::Json, true),
            Door::Line => (Encoding::Line, false),
        };
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        let (outbox, drain) = outbox(OUTBOX_BYTES_MAX);
        let opened = Opened { client, id, door, encoding, pings, patience, chance: chance(), outbox };
        let traffic = self.metrics.traffic(door);
        let guest = Guest { client, inputs: self.inputs.clone(), large: self.large.clone(), traffic };
        guest.tell(Event::Opened(opened)).await;
        (guest, drain)
    }
}

impl Guest {
    /// Hands an event to the event loop; waits while that is busy, which holds the client back.
    pub(crate) async fn tell(&self, event: Event) {
        // It fails only while the process ends.
        let _ = self.inputs.send(Input::Event(event)).await;
    }

    /// Hands an input to the event loop at once, or answers what does it as soon as there is room.
    fn hand_over(&self, input: Input) -> Option<HandingOver> {
        match self.inputs.try_send(input) {
            Ok(()) => None,
            Err(TrySendError::Full(input)) => {
                let inputs = self.inputs.clone();
                Some(Box::pin(async move {
                    // It fails only while the process ends.
                    let _ = inputs.send(input).await;
                }))
            }
            // The process ends.
            Err(TrySendError::Closed(_)) => None,
        }
    }

    /// Hands over a frame of commands or, where it has many, its beginning; what others sent meanwhile is heard before its
    /// `rest` is handed over, slice by slice.
    pub(crate) fn frame(&self, frame: Bytes, rest: &mut Slices) -> Option<HandingOver> {
        if frame.len() > LARGE_FRAME_BYTES {
            return Some(Box::pin(self.clone().large_frame(frame)));
        }
        *rest = json::slices(frame);
        rest.next().and_then(|slice| self.slice(slice, false))
    }

    /// Hands over the next slice of the rest of a frame; `None` when there is none.
    pub(crate) fn rest(&self, rest: &mut Slices) -> Option<Option<HandingOver>> {
        rest.next().map(|slice| self.slice(slice, true))
    }

    fn slice(&self, frame: Bytes, is_rest: bool) -> Option<HandingOver> {
        let event = Event::Frame { client: self.client, frame, is_rest };
        self.hand_over(Input::sampled(&self.traffic.sampler, Stage::In, event))
    }

    /// Each slice keeps the whole frame in memory, so that the last one gives back the permit.
    async fn large_frame(self, frame: Bytes) {
        let mut permit = Some(self.large.permit().await);
        let mut slices = json::slices(frame).enumerate().peekable();
        while let Some((at, frame)) = slices.next() {
            let event = Event::Frame { client: self.client, frame, is_rest: at > 0 };
            let last = permit.take_if(|_| slices.peek().is_none());
            let input = match last {
                Some(permit) => Input::Large { event: Box::new(event), permit },
                None => Input::Event(event),
            };
            // It fails only while the process ends.
            let _ = self.inputs.send(input).await;
        }
    }

    /// Tells that the client is gone, or must go.
    pub(crate) async fn closed(&self, why: Disconnect) {
        self.tell(Event::Closed { client: self.client, why }).await;
    }
}

/// Accepts connections until `stop` becomes true and hands each, with who it is from, to `serve`, which must not wait.
pub(crate) async fn accept(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, IpAddr),
) -> Result<(), RunError> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                // Frames go out when they are written; batches are made above.
                let _ = stream.set_nodelay(true);
                serve(stream, peer.ip().to_canonical());
            }
            // Out of descriptors or memory: wait for relief instead of spinning.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;
    use crate::eventloop::INPUTS_MAX;

    #[tokio::test]
    async fn only_so_many_large_frames_wait_and_small_ones_pass_them() {
        let (inputs, mut receiver) = mpsc::channel(INPUTS_MAX);
        let large = LargeFrames::new();
        let traffic = Traffic::unseen();
        let guest = |n| Guest {
            client: ClientKey(n),
            inputs: inputs.clone(),
            large: large.clone(),
            traffic: Arc::clone(&traffic),
        };
        let flooding = guest(1);
        let flood = tokio::spawn(async move {
            loop {
                hand_over(&flooding, LARGE_FRAME_BYTES + 1).await;
            }
        });
        while receiver.len() < LARGE_FRAMES_MAX {
            yield_now().await;
        }
        yield_now().await;
        hand_over(&guest(2), LARGE_FRAME_BYTES).await;
        assert_eq!(receiver.len(), LARGE_FRAMES_MAX + 1);

        for _ in 0..LARGE_FRAMES_MAX {
            assert!(matches!(receiver.recv().await, Some(Input::Large { .. })));
        }
        assert!(matches!(receiver.recv().await, Some(Input::Event(_))), "it waited for nobody's permit");
        assert!(matches!(receiver.recv().await, Some(Input::Large { .. })), "the flood goes on");
        flood.abort();
    }

    async fn hand_over(guest: &Guest, bytes: usize) {
        let mut rest = Slices::default();
        if let Some(handing_over) = guest.frame(vec![b'x'; bytes].into(), &mut rest) {
            handing_over.await;
        }
    }
}
