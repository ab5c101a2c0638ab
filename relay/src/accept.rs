//! Accepts links: QUIC handshake, certificate, streams. Each in a task of its own, so that a slow one delays nobody.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use proto::limits::{CONTROL_BYTES_MAX, LANE_BYTES_MAX, LANES};
use proto::link::{HEARTBEAT_BYTES, Lane, STREAM_CONTROL, STREAM_HEARTBEAT};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use node::link::{OPENING_MAX, PRIORITY_CONTROL, PRIORITY_HEARTBEAT, describe, write_frames};
use node::outbox::outbox;

use crate::core::{Event, LinkKey, LinkOutboxes};
use crate::eventloop::Input;
use crate::ingress::Ingress;
use crate::metrics::Metrics;

/// Links that may be in their handshake at once; more are refused, so that strangers cannot fill the memory.
const OPENING_LINKS_MAX: usize = 256;

/// Bytes of pings that may wait; an edge sends one a second.
const HEARTBEAT_QUEUE_BYTES: usize = 64 * HEARTBEAT_BYTES;

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
    let (heartbeat_outbox, heartbeat_drain) = outbox(HEARTBEAT_QUEUE_BYTES);
    let (control_outbox, control_drain) = outbox(CONTROL_BYTES_MAX);
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::with_capacity(LANES);
    for lane in Lane::all() {
        let mut stream = connection.open_uni().await?;
        stream.write_all(&[lane.0]).await?;
        let (lane_outbox, drain) = outbox(LANE_BYTES_MAX);
        tasks.spawn(write_frames(stream, drain));
        lanes.push(lane_outbox);
    }
    tasks.spawn(write_frames(heartbeat.0, heartbeat_drain));
    tasks.spawn(write_frames(control.0, control_drain));
    let outboxes = LinkOutboxes {
        control: control_outbox,
        heartbeat: heartbeat_outbox,
        lanes: lanes.try_into().expect("one for each lane"),
    };
    let (admit, admitted) = oneshot::channel();
    let opened = Input::LinkOpened { link, certificate, outboxes, connection: connection.clone(), admit };
    inputs.send(opened).await.context("the relay stops")?;
    let ingress = Ingress { link, connection: connection.clone(), inputs: inputs.clone(), pings };
    tasks.spawn(ingress.clone().heartbeat(heartbeat.1));
    tasks.spawn(ingress.clone().control(control.1));
    tasks.spawn(ingress.lanes(admitted));
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
