//! The public node: holds clients, delivers to them, and resolves everybody else through its relay.
//!
//! ```text
//! door ─▶ client (read) ─┐                                  ┌─▶ outbox ─▶ client (write)
//! downlink (link, read) ─┼─events─▶ eventloop ⟷ core::Hub ──┤
//! store ─────────────────┘                                  └─▶ outbox ─▶ uplink (link, write)
//! ```
//!
//! [`Edge::bind`] opens the listeners, so that a busy port is told before anything runs; [`Edge::run`] serves until it is
//! told to stop. All of it lives on the caller's runtime, which should be a `current_thread` one, except the admin
//! listener, which has its own thread.

mod client;
pub mod config;
pub mod core;
mod door;
mod downlink;
mod eventloop;
mod freeze;
mod isolation;
mod listeners;
mod metrics;
pub mod token;
mod uplink;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use certs::link::{Identities, Identity};
use certs::public::{Offer, Pairs, Shown};
use node::admin::{Admin, Pulse, Readiness};
use node::certificates::{self, CertificateMetrics, Use};
use node::metrics::{LoopMetrics, Registry};
use node::newcomers::Lobby;
use node::process::RunError;
use node::udp::UdpSockets;
use proto::id::NodeName;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use crate::door::proxies::{InvalidNetwork, Network, Proxies};

use crate::core::{Hub, HubConfig};
use crate::door::http::Http;
use crate::door::http::pages::{Dev, Pages};
use crate::door::webtransport::{self, WebTransport};
use crate::door::{Hall, LargeFrames};
use crate::eventloop::{EventLoop, INPUTS_MAX, unix};
use crate::isolation::Isolation;
use crate::listeners::{Listeners, Pair};
use crate::metrics::{Capacity, Metrics};
use crate::token::Verifier;
use crate::uplink::Uplink;

/// What an edge needs to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// This edge's name.
    pub name: NodeName,
    /// HTTP and WebSocket.
    pub listen: Address,
    /// HTTPS, WebSocket and WebTransport, if they are open.
    pub tls: Option<Tls>,
    /// The line door, if it is open.
    pub line_listen: Option<Address>,
    /// Metrics and health.
    pub admin_listen: Address,
    /// The relay; without one the edge serves local traffic only.
    pub relay: Option<Link>,
    /// The key of HS256 tokens; without one nobody gets in.
    pub token_hmac_secret: Option<String>,
    /// Whether tokens are given to whoever asks, signed with that key.
    pub is_dev: bool,
    /// Connections that are let in at most.
    pub max_clients: usize,
    /// Which pages may connect.
    pub origins: Origins,
    /// Which balancers are believed.
    pub proxies: Proxies,
    /// Time between pings.
    pub ping_interval: Duration,
    /// How long a pong may take; below `ping_interval`.
    pub pong_timeout: Duration,
}

/// The doors with a public certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// TCP and UDP, with one port number.
    pub listen: Address,
    /// What is shown at first.
    pub offer: Offer,
    /// Where later pairs come from.
    pub pairs: Pairs,
}

/// Where pages may come from. Requests without an origin come from no page, and pass.
#[derive(Debug, Clone)]
pub enum Origins {
    /// From the host that they ask, any port.
    OwnHost,
    /// From these hosts, any scheme and port.
    Hosts(Vec<String>),
    /// From these origins: scheme, host, and port where it is not the scheme's own.
    Exactly(Vec<String>),
}

/// A listener's address, and the flag that changes it.
#[derive(Debug, Clone)]
pub struct Address {
    /// Where to listen.
    pub address: SocketAddr,
    /// For errors.
    pub flag: String,
}

impl Address {
    /// An address that `flag` changes.
    pub fn new(address: SocketAddr, flag: &str) -> Self {
        Self { address, flag: flag.to_owned() }
    }
}

/// Which relay to link to, and as whom.
#[derive(Debug, Clone)]
pub struct Link {
    /// `HOST:PORT`.
    pub relay: String,
    /// Who this edge is, and whom it trusts.
    pub identity: Identity,
    /// Where later identities come from; without it this one stays.
    pub identities: Option<Identities>,
}

/// An edge whose listeners are open.
pub struct Edge {
    config: Config,
    listeners: Listeners,
    readiness: Readiness,
}

impl Edge {
    /// Opens the listeners.
    ///
    /// # Errors
    /// The operator must choose another address.
    pub fn bind(config: Config) -> Result<Self, RunError> {
        let listeners = Listeners::open(&config)?;
        Ok(Self { config, listeners, readiness: Readiness::new() })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn http_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.http[0].local_addr()
    }

    /// Where browsers connect, with TLS over TCP and over QUIC.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn tls_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.listeners.tls.first().map(|pair| pair.tcp.local_addr()).transpose()
    }

    /// Where terminals connect.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn line_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.listeners.line.as_ref().map(std::net::TcpListener::local_addr).transpose()
    }

    /// Where metrics are.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.admin.local_addr()
    }

    /// Whether clients should be sent here; tells it while the edge runs.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `stop` becomes true, then tells every client and the relay.
    ///
    /// # Errors
    /// The edge cannot go on: the process should end, loudly.
    pub async fn run(self, store: Store, stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let Self { config, listeners, readiness } = self;
        let Listeners { http, tls, line, admin } = listeners;
        let (halt, halted) = watch::channel(false);
        let registry = Registry::new("edge", env!("CARGO_PKG_VERSION"));
        let metrics = Arc::new(Metrics::new(&registry, config.max_clients));
        let capacity = Capacity::new(config.max_clients, Arc::clone(&metrics));
        let pulse = Pulse::new();
        readiness.show(&registry);
        pulse.show(&registry);
        registry.collect_runtime(tokio::runtime::Handle::current());
        let (link_sockets, web_sockets) = (UdpSockets::default(), UdpSockets::default());
        UdpSockets::show(&registry, [("link", link_sockets.clone()), ("webtransport", web_sockets.clone())]);
        let loop_metrics = LoopMetrics::new(&registry);
        let _admin = Admin::spawn(admin, registry.page(), pulse.clone(), readiness.clone(), None)?;
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let (echoes, echo_receiver) = mpsc::channel(INPUTS_MAX);
        let hall = Hall {
            inputs: inputs.clone(),
            capacity: capacity.clone(),
            metrics: Arc::clone(&metrics),
            next_client: Arc::new(AtomicU64::new(1)),
            // There are never more than places.
            newcomers: Lobby::new(usize::MAX),
            large: LargeFrames::new(),
            dev_secret: config.token_hmac_secret.as_deref().filter(|_| config.is_dev).map(Into::into),
        };
        let eventloop = EventLoop {
            hub: Hub::new(hub_config(&config)?, Instant::now(), unix()),
            name: config.name.clone(),
            has_relay: config.relay.is_some(),
            was_linked: false,
            store,
            inputs: receiver,
            echoes: echo_receiver,
            answers: inputs.clone(),
            metrics,
            loop_metrics,
            capacity,
            newcomers: hall.newcomers.clone(),
            pulse,
            readiness,
            stop: halted.clone(),
            link: None,
            isolation: Isolation::new(config.name.clone(), Instant::now()),
            fence_warned: None,
        };
        let mut tasks = JoinSet::new();
        let origins = Arc::new(config.origins);
        let shown = config.tls.as_ref().map(|tls| Shown::new(tls.offer.clone()));
        let tls_port = tls.first().and_then(|pair| pair.tcp.local_addr().ok()).map(|address| address.port());
        let dev = hall.dev_secret.clone().map(|secret| Dev { secret, tls: shown.clone().zip(tls_port) });
        let door = Http::new(hall.clone(), Arc::clone(&origins), Pages::new(dev), config.proxies);
        for listener in http {
            let (listener, door) = (TcpListener::from_std(listener)?, door.clone());
            tasks.spawn(door::accept(listener, halted.clone(), move |stream, peer| door.serve(stream, peer)));
        }
        let mut endpoints = Vec::new();
        if let (Some(Tls { offer, pairs, .. }), Some(shown)) = (config.tls, shown) {
            let certificate = CertificateMetrics::new(&registry, Use::Public, &offer);
            let (door, sessions) =
                (door::tls::Tls::new(&shown, door), WebTransport::new(hall.clone(), origins));
            for Pair { tcp, udp } in tls {
                let (listener, door) = (TcpListener::from_std(tcp)?, door.clone());
                tasks.spawn(door::accept(listener, halted.clone(), move |stream, peer| {
                    door.serve(stream, peer);
                }));
                let endpoint = webtransport::endpoint(udp, &shown, &web_sockets)?;
                endpoints.push(endpoint.clone());
                tasks.spawn(webtransport::accept(endpoint, halted.clone(), sessions.clone()));
            }
            let take = move |offer| shown.change(offer);
            tasks.spawn(certificates::watch(pairs, Use::Public, certificate, take));
        }
        if let Some(line) = line {
            let listener = TcpListener::from_std(line)?;
            tasks.spawn(door::accept(listener, halted.clone(), move |stream, address| {
                door::line::serve(&hall, stream, address);
            }));
        }
        if let Some(Link { relay, identity, identities }) = config.relay {
            let certificate = CertificateMetrics::new(&registry, Use::Link, &identity);
            let (renewed, identity) = watch::channel(identity);
            if let Some(identities) = identities {
                // The link that is up stays; the next one is made with the new identity.
                let take = move |identity| {
                    renewed.send_replace(identity);
                };
                tasks.spawn(certificates::watch(identities, Use::Link, certificate, take));
            }
            let uplink = Uplink::new(config.name, relay, identity, inputs, echoes, &link_sockets)?;
            tasks.spawn(uplink.run(halted.clone()));
        }
        let ended = supervise(eventloop, tasks, halt, stop).await;
        for endpoint in endpoints {
            // Lets the last packets out.
            let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        }
        ended
    }
}

/// Any long-lived task that ends before it was told to ends the edge; one that says why lets it stop in order.
async fn supervise(
    eventloop: EventLoop,
    mut tasks: JoinSet<Result<(), RunError>>,
    halt: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let mut running = node::process::spawn(eventloop.run());
    let mut failure = None;
    loop {
        let is_halted = *halt.borrow();
        tokio::select! {
            () = &mut running => return failure.map_or(Ok(()), Err),
            _ = stop.wait_for(|stop| *stop), if !is_halted => {
                halt.send_replace(true);
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) if is_halted => {}
                Ok(Err(error)) => {
                    failure = Some(error);
                    halt.send_replace(true);
                }
                Ok(Ok(())) | Err(_) => return Err(RunError::TaskEnded("door, link or certificate")),
            },
        }
    }
}

fn hub_config(config: &Config) -> std::io::Result<HubConfig> {
    Ok(HubConfig {
        name: config.name.clone(),
        capacity: u32::try_from(config.max_clients).unwrap_or(u32::MAX),
        has_relay: config.relay.is_some(),
        verifier: Verifier::new(config.token_hmac_secret.as_deref()),
        ping_interval: config.ping_interval,
        pong_timeout: config.pong_timeout,
        hash_seed: getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))?,
    })
}
