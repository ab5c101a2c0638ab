//! Accepts links: QUIC handshake, certificate, streams. Each in a task of its own, so that a slow one delays nobody.

use std::sync::Arc;

use certs::link::PeerNameError;
use proto::id::NodeName;
use proto::link::{CloseCode, STREAM_CONTROL, STREAM_HEARTBEAT};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, ServerConfig};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use node::link::{OPENING_MAX, OpenError, PRIORITY_CONTROL, PRIORITY_HEARTBEAT, close, describe, write_link};
use node::newcomers::Lobby;

use crate::core::{Event, LinkKey};
use crate::eventloop::Input;
use crate::ingress::Ingress;
use crate::metrics::Metrics;

/// Links that may be in their handshake at once; for one more, one of them has to go. A handshake costs some 60 KB, and
/// lasts for milliseconds unless somebody wants to be in the way.
const OPENING_LINKS_MAX: usize = 256;

/// While so many links are in their handshake, newer ones have to show that their address is theirs, by a QUIC Retry,
/// which costs us nothing to remember: else one sender could pass for any number of addresses. As many edges link at
/// once without the further round trip.
const RETRY_ABOVE: usize = 16;

/// Handshakes that quinn keeps until we look at them, which is at once; with what each may send in between.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 4 << 20;

/// Sets what strangers may make the endpoint keep.
pub(crate) fn bound(config: &mut ServerConfig) {
    config
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
}

/// Accepts links until the endpoint is closed.
pub(crate) async fn accept(
    endpoint: Endpoint,
    inputs: mpsc::Sender<Input>,
    pings: mpsc::Sender<Input>,
    metrics: Arc<Metrics>,
) {
    let opening = Lobby::new(OPENING_LINKS_MAX);
    let mut links = JoinSet::new();
    let mut last_key = 0;
    while let Some(incoming) = endpoint.accept().await {
        while links.try_join_next().is_some() {}
        if opening.len() >= RETRY_ABOVE && incoming.may_retry() {
            metrics.retried();
            incoming.retry().expect("it may be");
            continue;
        }
        last_key += 1;
        let mut stay = opening.enter(last_key, incoming.remote_address().ip());
        let (link, inputs, pings) = (LinkKey(last_key), inputs.clone(), pings.clone());
        let metrics = Arc::clone(&metrics);
        links.spawn(async move {
            let address = incoming.remote_address();
            let opened = tokio::select! {
                biased;
                () = stay.ended() => return metrics.newcomer_ended(),
                opened = open(incoming, link, &inputs, pings) => opened,
            };
            drop(stay);
            match opened {
                Ok(serving) => serving.run(link, &inputs).await,
                Err(error) => {
                    metrics.handshake_failed();
                    tracing::warn!(%address, "refused a link: {error}");
                }
            }
        });
    }
}

/// A link at work.
struct Serving {
    connection: Connection,
    tasks: JoinSet<()>,
}

impl Serving {
    async fn run(mut self, link: LinkKey, inputs: &mpsc::Sender<Input>) {
        let why = self.connection.closed().await;
        tracing::info!(link = link.0, why = describe(&why), "link ended");
        self.tasks.shutdown().await;
        // It fails only while the process ends.
        let _ = inputs.send(Input::Event(Event::LinkClosed { link })).await;
    }
}

async fn open(
    incoming: Incoming,
    link: LinkKey,
    inputs: &mpsc::Sender<Input>,
    pings: mpsc::Sender<Input>,
) -> Result<Serving, OpenError> {
    let connection = timeout(OPENING_MAX, incoming).await.map_err(|_| OpenError::Slow("the handshake"))??;
    serve(&connection, link, inputs, pings).await.inspect_err(|error| {
        // The other side's log should say the same.
        close(&connection, CloseCode::BadFrame, &error.to_string());
    })
}

async fn serve(
    connection: &Connection,
    link: LinkKey,
    inputs: &mpsc::Sender<Input>,
    pings: mpsc::Sender<Input>,
) -> Result<Serving, OpenError> {
    let certificate = peer_name(connection)?;
    let opened = timeout(OPENING_MAX, streams(connection)).await;
    let (heartbeat, control) = opened.map_err(|_| OpenError::Slow("the opening of the streams"))??;
    let mut tasks = JoinSet::new();
    let outboxes = write_link(connection, heartbeat.0, control.0, &mut tasks).await?;
    let (admit, admitted) = oneshot::channel();
    let opened = Input::LinkOpened { link, certificate, outboxes, connection: connection.clone(), admit };
    // Before all else, so that no ping of this link can come earlier.
    pings.send(opened).await.map_err(|_| OpenError::Stopping)?;
    let ingress = Ingress { link, inputs: inputs.clone(), pings };
    ingress.spawn(connection, heartbeat.1, control.1, admitted, &mut tasks);
    Ok(Serving { connection: connection.clone(), tasks })
}

fn peer_name(connection: &Connection) -> Result<NodeName, PeerNameError> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    certs::link::peer_name(&chain.unwrap_or_default())
}

type Bidirectional = (SendStream, RecvStream);

/// The heartbeat and control streams, in whichever order they come.
async fn streams(connection: &Connection) -> Result<(Bidirectional, Bidirectional), OpenError> {
    let (mut heartbeat, mut control) = (None, None);
    loop {
        let (send, mut receive) = connection.accept_bi().await?;
        let mut kind = [0];
        receive.read_exact(&mut kind).await.map_err(|_| OpenError::SilentStream)?;
        let (slot, priority) = match kind[0] {
            STREAM_HEARTBEAT => (&mut heartbeat, PRIORITY_HEARTBEAT),
            STREAM_CONTROL => (&mut control, PRIORITY_CONTROL),
            other => return Err(OpenError::UnknownStream(other)),
        };
        send.set_priority(priority)?;
        if slot.replace((send, receive)).is_some() {
            return Err(OpenError::SecondStream(kind[0]));
        }
        match (heartbeat, control) {
            (Some(heartbeat), Some(control)) => return Ok((heartbeat, control)),
            missing => (heartbeat, control) = missing,
        }
    }
}
