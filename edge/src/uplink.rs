//! Makes the link, and makes it again: QUIC connection, streams, and the tasks that write what the Hub queues.

use std::sync::Arc;
use std::time::Duration;

use certs::link::Identity;
use proto::id::NodeName;
use proto::link::{CloseCode, STREAM_CONTROL, STREAM_HEARTBEAT};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use node::link::{OpenError, PRIORITY_CONTROL, PRIORITY_HEARTBEAT, describe, write_link};

use node::process::RunError;
use node::udp::UdpSockets;

use crate::core::{Event, Generation};
use crate::downlink::Downlink;
use crate::eventloop::Input;

/// How long a handshake may take before another is tried: a round trip of half a second fits, and a relay that is back
/// is found within a second.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);

/// The longest pause between two tries.
const BACK_OFF_MAX: Duration = Duration::from_millis(500);

/// A link that lived so long was wanted by its relay.
const LIVED_MIN: Duration = Duration::from_secs(1);

/// The pause after the first try is at most this, then twice as much each time.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);

/// The name in the TLS handshake. Edges check their relay's chain and role, not its name.
const SERVER_NAME: &str = "relay";

pub(crate) struct Uplink {
    edge: NodeName,
    endpoint: Endpoint,
    identity: watch::Receiver<Identity>,
    /// `HOST:PORT`, looked up at each try.
    relay: String,
    inputs: mpsc::Sender<Input>,
    echoes: mpsc::Sender<Event>,
}

impl Uplink {
    pub(crate) fn new(
        edge: NodeName,
        relay: String,
        identity: watch::Receiver<Identity>,
        inputs: mpsc::Sender<Input>,
        echoes: mpsc::Sender<Event>,
        sockets: &UdpSockets,
    ) -> std::io::Result<Self> {
        let socket = node::bind::udp_client()?;
        let endpoint = node::link::endpoint(EndpointConfig::default(), None, socket, sockets)?;
        Ok(Self { edge, endpoint, identity, relay, inputs, echoes })
    }

    /// Keeps a link until `stop` becomes true. Says once, not at each try, that there is none.
    ///
    /// # Errors
    /// A newer edge of this name is linked.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let (mut generation, mut failures) = (0, 0);
        // That there is no link is said once until there was one, however often a try fails.
        let mut is_told = false;
        while !*stop.borrow() {
            generation += 1;
            let opened = tokio::select! {
                // Nobody waits for a handshake that hangs; what it has opened is closed with it.
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                opened = self.open(Generation(generation)) => opened,
            };
            let (reason, has_lived, is_ours) = match opened {
                Ok(serving) => {
                    let since = Instant::now();
                    let why = serving.run(Generation(generation), &self.inputs).await;
                    if is_superseded(&why) {
                        return Err(RunError::Superseded(self.edge));
                    }
                    // What we ended ourselves was said when we did.
                    let is_ours = matches!(why, ConnectionError::LocallyClosed);
                    (describe(&why), since.elapsed() >= LIVED_MIN, is_ours)
                }
                Err(error) => (error.to_string(), false, false),
            };
            if *stop.borrow() {
                break;
            }
            // A relay that does not want this edge says so only after the handshake.
            if has_lived {
                failures = 0;
                is_told = false;
            }
            is_told |= is_ours;
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(edge = %self.edge, relay = self.relay, reason, "no link to the relay; trying on");
            } else {
                tracing::debug!(edge = %self.edge, relay = self.relay, reason, "still no link to the relay");
            }
            tokio::select! {
                () = sleep(back_off(failures, chance())) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            failures += 1;
        }
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
        Ok(())
    }

    async fn open(&self, generation: Generation) -> Result<Serving, OpenError> {
        let connection =
            timeout(CONNECT_MAX, self.connect()).await.map_err(|_| OpenError::Slow("the handshake"))??;
        let mut tasks = JoinSet::new();
        let (heartbeat, echoes) = stream(&connection, STREAM_HEARTBEAT, PRIORITY_HEARTBEAT).await?;
        let (control, answers) = stream(&connection, STREAM_CONTROL, PRIORITY_CONTROL).await?;
        let outboxes = write_link(&connection, heartbeat, control, &mut tasks).await?;
        let opened =
            Input::LinkOpened { generation, outboxes: Box::new(outboxes), connection: connection.clone() };
        self.inputs.send(opened).await.map_err(|_| OpenError::Stopping)?;
        let downlink = Downlink { generation, inputs: self.inputs.clone(), echoes: self.echoes.clone() };
        downlink.spawn(&connection, echoes, answers, &mut tasks);
        Ok(Serving { connection, tasks })
    }

    async fn connect(&self) -> Result<Connection, OpenError> {
        let unresolved = |error| OpenError::Unresolved(self.relay.clone(), error);
        let addresses = tokio::net::lookup_host(&self.relay).await.map_err(unresolved)?;
        let mut last_error = unresolved(std::io::ErrorKind::NotFound.into());
        // Each link with the identity of its moment, which may have been renewed.
        let config = client_config(&self.identity.borrow());
        for address in addresses {
            let address = mapped(address, &self.endpoint);
            match self.endpoint.connect_with(config.clone(), address, SERVER_NAME) {
                Ok(connecting) => match connecting.await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last_error = error.into(),
                },
                Err(error) => last_error = error.into(),
            }
        }
        Err(last_error)
    }
}

fn client_config(identity: &Identity) -> ClientConfig {
    let tls = QuicClientConfig::try_from(identity.client_config(proto::link::ALPN))
        .expect("ring has the cipher suite of QUIC's first packets");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(node::link::transport()));
    config
}

/// A link at work.
struct Serving {
    connection: Connection,
    tasks: JoinSet<()>,
}

impl Serving {
    /// Waits for the link's end and answers why it ended.
    async fn run(mut self, generation: Generation, inputs: &mpsc::Sender<Input>) -> ConnectionError {
        let why = self.connection.closed().await;
        self.tasks.shutdown().await;
        // It fails only while the process ends.
        let _ = inputs.send(Input::Event(Event::LinkClosed { generation })).await;
        why
    }
}

fn is_superseded(why: &ConnectionError) -> bool {
    matches!(why, ConnectionError::ApplicationClosed(close)
        if CloseCode::from_number(close.error_code.into_inner()) == Some(CloseCode::Superseded))
}

async fn stream(
    connection: &Connection,
    kind: u8,
    priority: i32,
) -> Result<(SendStream, RecvStream), OpenError> {
    let (mut send, receive) = connection.open_bi().await?;
    send.set_priority(priority)?;
    // The relay learns of a stream by its first byte.
    send.write_all(&[kind]).await?;
    Ok((send, receive))
}

/// A socket of both families takes an IPv4 address in its mapped form.
fn mapped(address: std::net::SocketAddr, endpoint: &Endpoint) -> std::net::SocketAddr {
    match (address, endpoint.local_addr()) {
        (std::net::SocketAddr::V4(v4), Ok(local)) if local.is_ipv6() => {
            (v4.ip().to_ipv6_mapped(), v4.port()).into()
        }
        _ => address,
    }
}

/// Full jitter: anything between nothing and twice the last bound, so that edges of a relay that died do not come back
/// in step.
fn back_off(failures: u32, chance: f64) -> Duration {
    let bound = BACK_OFF_MIN.saturating_mul(1 << failures.min(10)).min(BACK_OFF_MAX);
    bound.mul_f64(chance)
}

/// A number by chance, from 0 up to, not including, 1.
pub(crate) fn chance() -> f64 {
    // 32 bits are plenty for a pause; without the system's randomness a fixed one will do.
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second_and_not_beyond() {
        assert_eq!(back_off(0, 0.5), Duration::from_millis(25));
        assert_eq!(back_off(3, 0.5), Duration::from_millis(200));
        assert_eq!(back_off(5, 1.0), BACK_OFF_MAX);
        assert_eq!(back_off(u32::MAX, 1.0), BACK_OFF_MAX);
    }
}
