//! The ways in: bind, accept, admit; from there on bytes become frames.
//!
//! `http.rs` answers HTTP and lets `websocket.rs` take over upgraded connections; `line.rs` is the way in for terminals.
//! A door knows nothing of sessions: it tells the event loop of a client, of its frames and of its end, and gives the
//! client's outbox somebody who writes it (`client.rs`).

pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod websocket;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::outbox::{Drain, outbox};
use node::process::RunError;
use proto::client::ClientId;
use proto::client::code::Disconnect;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::core::{ClientKey, Encoding, Event, OUTBOX_BYTES_MAX, Opened};
use crate::eventloop::Input;
use crate::metrics::{Capacity, Metrics};
use crate::uplink::chance;

/// What every door needs.
#[derive(Debug, Clone)]
pub(crate) struct Hall {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) capacity: Capacity,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) next_client: Arc<AtomicU64>,
    /// The secret with which development tokens are signed; none outside development.
    pub(crate) dev_secret: Option<Arc<str>>,
}

/// Waits until the event loop has room for an event, and hands it over.
pub(crate) type HandingOver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client as its door sees it.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) client: ClientKey,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Hall {
    /// Tells the event loop of a new client.
    pub(crate) async fn open(
        &self,
        encoding: Encoding,
        pings: bool,
        patience: Duration,
    ) -> (Guest, Drain<Disconnect>) {
        let client = ClientKey(self.next_client.fetch_add(1, Ordering::Relaxed));
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        let (outbox, drain) = outbox(OUTBOX_BYTES_MAX);
        let opened = Opened { client, id, encoding, pings, patience, chance: chance(), outbox };
        let guest = Guest { client, inputs: self.inputs.clone() };
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

    /// Hands an event to the event loop at once, or answers what does it as soon as there is room.
    pub(crate) fn hand_over(&self, event: Event) -> Option<HandingOver> {
        match self.inputs.try_send(Input::Event(event)) {
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

    /// Tells that the client is gone, or must go.
    pub(crate) async fn closed(&self, why: Disconnect) {
        self.tell(Event::Closed { client: self.client, why }).await;
    }
}

/// Accepts connections until `stop` becomes true and hands each to `serve`, which must not wait.
pub(crate) async fn accept(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream),
) -> Result<(), RunError> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                // Frames go out when they are written; batches are made above.
                let _ = stream.set_nodelay(true);
                serve(stream);
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
