//! Accepts links: QUIC handshake, certificate, streams. Each in a task of its own, so that a slow one delays nobody.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use proto::link::{STREAM_CONTROL, STREAM_HEARTBEAT};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use node::link::{OPENING_MAX, PRIORITY_CONTROL, PRIORITY_HEARTBEAT, describe, write_link};

use crate::core::{Event, LinkKey};
use crate::eventloop::Input;
use crate::ingress::Ingress;
use crate::metrics::Metrics;

/// Links that may be in their handshake at once; more are refused, so that strangers cannot fill the memory.
const OPENING_LINKS_MAX: usize = 256;

/// Accepts links until the endpoint is closed.
pub(crate) async fn accept(
    endpoint: Endpoint,
    inputs: mpsc::Sender<Input>,
    pings: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
) {
    let opening = Arc::new(tokio::sync::Semaphore::new(OPENING_LINKS_MAX));
    let mut links = JoinSet::new();
    let mut last_key = 0;
    while let Some(incoming) = endpoint.accept().await {
        while links.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&opening).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        last_key += 1;
        let (link, inputs, pings, metrics) =
            (LinkKey(last_key), inputs.clone(), pings.clone(), Arc::clone(&metrics));
        links.spawn(async move {
            let address = incoming.remote_address();
            let opened = open(incoming, link, &inputs, pings).await;
            drop(permit);
            match opened {
                Ok(serving) => serving.run(link, &inputs).await,
                Err(error) => {
                    metrics.handshake_failed();
                    tracing::warn!(%address, "refused a link: {error:#}");
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
        tracing::info!(link = link.0, reason = describe(&why), "link ended");
        self.tasks.shutdown().await;
        // It fails only while the process ends.
        let _ = inputs.send(Input::Event(Event::LinkClosed { link })).await;
    }
}

async fn open(
    incoming: Incoming,
    link: LinkKey,
    inputs: &mpsc::Sender<Input>,
    pings: mpsc::Sender<Event>,
) -> anyhow::Result<Serving> {
    let connection = timeout(OPENING_MAX, incoming)
        .await
        .context("the handshake took longer than 5 s")?
        .map_err(|error| anyhow::anyhow!(describe(&error)))?;
    let certificate = peer_name(&connection)?;
    let (heartbeat, control) = timeout(OPENING_MAX, streams(&connection))
        .await
        .context("the streams were not opened within 5 s")?
        .with_context(|| format!("edge {certificate}"))?;
    let mut tasks = JoinSet::new();
    let outboxes = write_link(&connection, heartbeat.0, control.0, &mut tasks).await?;
    let (admit, admitted) = oneshot::channel();
    let opened = Input::LinkOpened { link, certificate, outboxes, connection: connection.clone(), admit };
    inputs.send(opened).await.context("the relay stops")?;
    let ingress = Ingress { link, inputs: inputs.clone(), pings };
    ingress.spawn(&connection, heartbeat.1, control.1, admitted, &mut tasks);
    Ok(Serving { connection, tasks })
}

fn peer_name(connection: &Connection) -> anyhow::Result<proto::id::NodeName> {
    let identity = connection.peer_identity().context("the edge shows no certificate")?;
    let chain = identity
        .downcast::<Vec<CertificateDer<'static>>>()
        .map_err(|_| anyhow::anyhow!("no certificate chain"))?;
    Ok(certs::link::peer_name(&chain)?)
}

type Bidirectional = (SendStream, RecvStream);

/// The heartbeat and control streams, in whichever order they come.
async fn streams(connection: &Connection) -> anyhow::Result<(Bidirectional, Bidirectional)> {
    let (mut heartbeat, mut control) = (None, None);
    loop {
        let (send, mut receive) =
            connection.accept_bi().await.map_err(|error| anyhow::anyhow!(describe(&error)))?;
        let mut kind = [0];
        receive.read_exact(&mut kind).await.context("a stream ended before it said what it is")?;
        let (slot, priority) = match kind[0] {
            STREAM_HEARTBEAT => (&mut heartbeat, PRIORITY_HEARTBEAT),
            STREAM_CONTROL => (&mut control, PRIORITY_CONTROL),
            other => bail!("a stream of unknown kind {other}"),
        };
        send.set_priority(priority)?;
        *slot = Some((send, receive));
        match (heartbeat, control) {
            (Some(heartbeat), Some(control)) => return Ok((heartbeat, control)),
            missing => (heartbeat, control) = missing,
        }
    }
}
