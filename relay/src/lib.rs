//! The private node: forwards frames between edges and removes what dead edges leave behind.
//!
//! ```text
//! accept.rs ─▶ ingress.rs ─events─▶ eventloop.rs ⟷ core::Router ─frames─▶ node::outbox ─▶ node::link writes
//!                         console.rs ─asks──▲                     (what operators see)
//! ```
//!
//! [`Relay::bind`] opens the listeners, so that a busy port is told before anything runs; [`Relay::run`] serves until it
//! is told to stop. All of it lives on the caller's runtime, which should be a `current_thread` one, except the admin
//! listener, which has its own thread.

mod accept;
pub mod config;
mod console;
pub mod core;
mod eventloop;
mod heartbeat;
mod ingress;
mod metrics;
mod sweep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certs::link::{Identities, Identity};
use hashbrown::HashMap;
use node::admin::{Admin, Hosts, Pulse, Readiness};
use node::bind;
use node::certificates::{CertificateMetrics, Use};
use node::metrics::LoopMetrics;
use node::metrics::Registry;
use node::process::RunError;
use node::udp::UdpSockets;
use proto::id::NodeName;
use quinn::Endpoint;
use quinn::crypto::rustls::QuicServerConfig;
use ring::hmac;
use store::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::console::Desk;
use crate::core::Router;
use crate::eventloop::{EventLoop, INPUTS_MAX, unix};
use crate::heartbeat::Heartbeat;
use crate::metrics::Metrics;

/// How often the whole store is searched, where nobody says otherwise: it should find nothing.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// What a relay needs to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which relay; edges' entries in the store name it.
    pub name: NodeName,
    /// Where edges link (UDP).
    pub listen: SocketAddr,
    /// The flag that changes it, for errors.
    pub listen_flag: String,
    /// Metrics and health (TCP).
    pub admin_listen: SocketAddr,
    /// The flag that changes it, for errors.
    pub admin_listen_flag: String,
    /// Names by which browsers may call the console, besides `localhost` and addresses.
    pub admin_hosts: Vec<String>,
    /// Who this relay is, and whom it trusts.
    pub identity: Identity,
    /// Where later ones come from; without it this one stays.
    pub identities: Option<Identities>,
    /// How often the whole store is searched for routes of edges that are nobody any more.
    pub sweep_interval: Duration,
}

/// A relay whose listeners are open.
pub struct Relay {
    config: Config,
    link_socket: std::net::UdpSocket,
    admin_listener: std::net::TcpListener,
}

impl Relay {
    /// Opens the listeners.
    ///
    /// # Errors
    /// The operator must choose another address.
    pub fn bind(config: Config) -> Result<Self, RunError> {
        let link_socket = bind::udp(config.listen, &config.listen_flag, "links of edges")?;
        let admin_listener = bind::tcp(config.admin_listen, &config.admin_listen_flag, "metrics and health")?;
        Ok(Self { config, link_socket, admin_listener })
    }

    /// Where edges link.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn link_address(&self) -> std::io::Result<SocketAddr> {
        self.link_socket.local_addr()
    }

    /// Where metrics are.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin_listener.local_addr()
    }

    /// Serves until `stop` becomes true.
    ///
    /// # Errors
    /// The relay cannot go on: the process should end, loudly.
    pub async fn run(self, store: Store, stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let registry = Registry::new("relay", env!("CARGO_PKG_VERSION"));
        let metrics = Arc::new(Metrics::new(&registry));
        let (pulse, readiness) = (Pulse::new(), Readiness::new());
        readiness.show(&registry);
        pulse.show(&registry);
        registry.collect_runtime(tokio::runtime::Handle::current());
        let sockets = UdpSockets::default();
        UdpSockets::show(&registry, [("link", sockets.clone())]);
        let loop_metrics = LoopMetrics::new(&registry);
        let Config { name, admin_hosts, identity, identities, sweep_interval, .. } = self.config;
        let (desk, console) = Desk::new(name.clone());
        let _admin = Admin::spawn(
            self.admin_listener,
            registry.page(),
            pulse.clone(),
            readiness.clone(),
            Some((Box::new(console), Hosts::new(&admin_hosts))),
        )?;
        let endpoint = endpoint(self.link_socket, &identity, &sockets)?;
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let (pings, ping_receiver) = mpsc::channel(INPUTS_MAX);
        let sweeps = Arc::new(Notify::new());
        let (heartbeat, obeying) =
            Heartbeat::new(name, store.clone(), pings.clone(), Arc::clone(&sweeps), Arc::clone(&metrics));
        let eventloop = EventLoop {
            router: Router::new(hash_seed(&identity), Instant::now(), unix()),
            heartbeat,
            inputs: receiver,
            pings: ping_receiver,
            metrics: Arc::clone(&metrics),
            loop_metrics,
            pulse,
            readiness,
            stop,
            desk,
            links: HashMap::new(),
            was_complete: false,
        };
        let mut tasks = JoinSet::new();
        let certificate = CertificateMetrics::new(&registry, Use::Link, &identity);
        if let Some(identities) = identities {
            let endpoint = endpoint.clone();
            // Links that are up stay; whoever comes next meets the new one.
            let take = move |identity| endpoint.set_server_config(Some(server_config(&identity)));
            tasks.spawn(async {
                let _ = node::certificates::watch(identities, Use::Link, certificate, take).await;
            });
        }
        tasks.spawn(obeying);
        tasks.spawn(sweep::sweep(store, sweep_interval, sweeps, Arc::clone(&metrics)));
        tasks.spawn(accept::accept(endpoint.clone(), inputs, pings, metrics));
        let mut running = node::process::spawn(eventloop.run());
        tokio::select! {
            // First: with the event loop end those who waited for its word, and that is in order.
            biased;
            () = &mut running => {
                endpoint.close(0_u32.into(), b"the relay stops");
                // Lets the last packets out; an edge that hears nothing gives up by itself.
                let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
                Ok(())
            }
            _ = tasks.join_next() => Err(RunError::TaskEnded("accept, heartbeat, sweep or certificate")),
        }
    }
}

/// Both keys come from the identity that the relay began with, so that a restarted relay answers packets of its former
/// life with a reset that edges believe: they notice in 0.1 s to 0.3 s instead of 3.3 s.
fn endpoint(
    socket: std::net::UdpSocket,
    identity: &Identity,
    sockets: &UdpSockets,
) -> std::io::Result<Endpoint> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &identity.derive(b"causeway quic reset"));
    let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
    let cid_key = identity.derive(b"causeway quic cid");
    let cid_key = u64::from_be_bytes(cid_key[..8].try_into().expect("8 of 32 bytes"));
    config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(cid_key)));
    node::link::endpoint(config, Some(server_config(identity)), socket, sockets)
}

fn server_config(identity: &Identity) -> quinn::ServerConfig {
    let tls = QuicServerConfig::try_from(identity.server_config(proto::link::ALPN))
        .expect("ring has the cipher suite of QUIC's first packets");
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
    server.transport_config(Arc::new(node::link::transport()));
    accept::bound(&mut server);
    server
}

/// Differs per deployment and is not known to clients.
fn hash_seed(identity: &Identity) -> u64 {
    let seed = identity.derive(b"causeway hash seed");
    u64::from_be_bytes(seed[..8].try_into().expect("8 of 32 bytes"))
}
