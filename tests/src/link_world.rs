//! Real nodes in one process, for tests of the link: QUIC on loopback, certificates in memory, all ports 0.
//!
//! Each node has a thread, a runtime and a log of its own, as it would have a process of its own; what nodes of one
//! [`World`] share is the store. [`fake`] has peers that break the rules, [`terminal`] clients that obey them.
//!
//! What must stay true: every wait is for an event and ends by [`DEADLINE`]; when a node is dropped nothing of it runs
//! any more and its ports are free.

pub mod fake;
pub mod terminal;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use certs::link::Identity;
use certs::mint::Authority;
use certs::{Role, Roles};
use edge::{Address, Edge};
use proto::id::NodeName;
use relay::Relay;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

/// How long any wait may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A port of the system's choice, on loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Waits for `future`.
///
/// # Panics
/// It takes longer than [`DEADLINE`]; `what` is what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within 10 s: {what}"))
}

/// A relay, the CA of its cluster, and what its nodes share.
pub struct World {
    /// Whom the nodes trust.
    pub authority: Authority,
    /// What the nodes share.
    pub store: Store,
    /// The relay's.
    pub identity: Identity,
    /// The relay, taken while it is away.
    relay: Option<Node>,
    /// Where the relay is, or will be again.
    pub link: SocketAddr,
}

impl World {
    /// A relay, and no edge yet.
    pub fn new() -> Self {
        let authority = authority();
        let store = Store::memory();
        let identity = identity(&authority, "relay-1", Role::Relay);
        let relay = start_relay(&identity, &store, ANY_PORT);
        let link = relay.address;
        Self { authority, store, identity, relay: Some(relay), link }
    }

    /// A relay with edges that are linked to it, and known to be.
    pub async fn linked<const N: usize>(names: [&str; N]) -> (Self, [Node; N]) {
        let world = Self::new();
        let edges = names.map(|name| world.edge(name));
        world.settled(&edges).await;
        (world, edges)
    }

    /// Waits until `edges`, and no others, are linked and have told all that they hold.
    pub async fn settled(&self, edges: &[Node]) {
        for edge in edges {
            edge.reaches("edge_link_up", 1.0).await;
        }
        self.relay().reaches("relay_edges", edges.len() as f64).await;
        self.relay().reaches("relay_complete", 1.0).await;
    }

    /// Starts a good edge.
    pub fn edge(&self, name: &str) -> Node {
        self.edge_as(name, identity(&self.authority, name, Role::Edge))
    }

    /// Starts an edge that links as somebody else.
    pub fn edge_as(&self, name: &str, identity: Identity) -> Node {
        start_edge(name, identity, self.link, &self.store)
    }

    /// The relay, which is up.
    pub fn relay(&self) -> &Node {
        self.relay.as_ref().expect("the relay is up")
    }

    /// Takes the relay away; the caller stops or kills it.
    pub fn take_relay(&mut self) -> Node {
        self.relay.take().expect("the relay is up")
    }

    /// Starts the relay again, at the same address and with the same identity.
    pub fn restart_relay(&mut self) {
        self.relay = Some(start_relay(&self.identity, &self.store, self.link));
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A node on a thread and a runtime of its own. Dropping it is killing it.
pub struct Node {
    /// Where a relay listens for links, and an edge for terminals.
    pub address: SocketAddr,
    /// What it said.
    pub log: Log,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn spawn<F: Future<Output = Result<(), String>>>(
        name: &str,
        address: SocketAddr,
        admin: SocketAddr,
        body: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static,
    ) -> Self {
        let log = Log::new(name);
        let (stop, stopped) = watch::channel(false);
        let (kill, killed) = oneshot::channel();
        let dispatch = log.dispatch();
        let run = move || {
            let _logged = tracing::dispatcher::set_default(&dispatch);
            let runtime = node::process::runtime().expect("the system has room for another runtime");
            runtime.block_on(async {
                tokio::select! {
                    ended = body(stopped) => ended.expect("a node ends without an error"),
                    _ = killed => {}
                }
            });
            // Nothing is polled any more, so a killed node sends no farewell: its sockets just go.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread");
        Self { address, log, admin, stop, kill: Some(kill), thread: Some(thread) }
    }

    /// Asks the node to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let thread = self.thread.take().expect("it is taken only at the end");
        let joined = within("the node stops", tokio::task::spawn_blocking(|| thread.join())).await;
        joined.expect("not cancelled").expect("the node ended without a panic");
    }

    /// Ends the node as SIGKILL would: nobody is told.
    pub fn kill(self) {
        drop(self);
    }

    /// The sum over all labels of a metric, as the admin listener tells it.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = within("metrics", get(self.admin, "/metrics")).await.expect("the admin listener answers");
        let values = page.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            (key.split('{').next() == Some(name)).then(|| value.parse::<f64>().expect("a number"))
        });
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "{} has no metric {name}:\n{page}", self.log.name);
        values.into_iter().sum()
    }

    /// Waits until a metric is exactly `value`.
    pub async fn reaches(&self, name: &str, value: f64) {
        self.metric_is(name, |now| now == value, &format!("= {value}")).await;
    }

    /// Waits until a metric is `value` or more.
    pub async fn exceeds(&self, name: &str, value: f64) {
        self.metric_is(name, |now| now > value, &format!("> {value}")).await;
    }

    async fn metric_is(&self, name: &str, test: impl Fn(f64) -> bool, wanted: &str) {
        let is_so = async {
            while !test(self.metric(name).await) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(DEADLINE, is_so).await.is_err() {
            let now = self.metric(name).await;
            panic!("{} has {name} = {now}, wanted {wanted}\n{}", self.log.name, self.log.text());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.kill.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) && !std::thread::panicking() {
            panic!("{} had panicked", self.log.name);
        }
    }
}

/// What a node logged from `info` on, one event a line.
#[derive(Clone)]
pub struct Log {
    name: String,
    lines: Arc<watch::Sender<Vec<String>>>,
}

impl Log {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: Arc::new(watch::Sender::new(Vec::new())) }
    }

    fn dispatch(&self) -> tracing::Dispatch {
        let lines = Arc::clone(&self.lines);
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || Lines(Arc::clone(&lines)))
            .finish()
            .into()
    }

    /// Waits for a line that has all of `words` in it.
    pub async fn says(&self, words: &[&str]) -> String {
        let mut lines = self.lines.subscribe();
        let is_said = |lines: &Vec<String>| lines.iter().any(|line| has(line, words));
        match timeout(DEADLINE, lines.wait_for(is_said)).await {
            Ok(lines) => {
                let lines = lines.expect("the sender is in self");
                lines.iter().find(|line| has(line, words)).expect("it was just there").clone()
            }
            Err(_) => panic!("{} does not say {words:?} within 10 s:\n{}", self.name, self.text()),
        }
    }

    /// How many lines have all of `words` in them.
    pub fn count(&self, words: &[&str]) -> usize {
        self.lines.borrow().iter().filter(|line| has(line, words)).count()
    }

    fn text(&self) -> String {
        self.lines.borrow().concat()
    }
}

fn has(line: &str, words: &[&str]) -> bool {
    words.iter().all(|word| line.contains(word))
}

struct Lines(Arc<watch::Sender<Vec<String>>>);

impl io::Write for Lines {
    /// The formatter writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|lines| lines.push(String::from_utf8_lossy(bytes).into_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts a relay that listens for links at `listen`.
pub fn start_relay(identity: &Identity, store: &Store, listen: SocketAddr) -> Node {
    let relay = Relay::bind(relay::Config {
        listen,
        listen_flag: "--listen".to_owned(),
        admin_listen: ANY_PORT,
        admin_listen_flag: "--admin-listen".to_owned(),
        admin_hosts: Vec::new(),
        name: identity.name().clone(),
        identity: identity.clone(),
        identities: None,
        sweep_interval: relay::SWEEP_INTERVAL,
    });
    let relay = relay.expect("its ports are free");
    let link = relay.link_address().expect("it is bound");
    let admin = relay.admin_address().expect("it is bound");
    let store = store.clone();
    let run = move |stop| async move { relay.run(store, stop).await.map_err(|error| error.to_string()) };
    Node::spawn(identity.name().as_str(), link, admin, run)
}

/// Starts an edge with a line door, which believes every name.
pub fn start_edge(name: &str, identity: Identity, relay: SocketAddr, store: &Store) -> Node {
    let edge = Edge::bind(edge::Config {
        name: node_name(name),
        listen: Address::new(ANY_PORT, "--listen"),
        tls: None,
        line_listen: Some(Address::new(ANY_PORT, "--line-listen")),
        admin_listen: Address::new(ANY_PORT, "--admin-listen"),
        relay: Some(edge::Link { relay: relay.to_string(), identity, identities: None }),
        token_hmac_secret: Some("secret".to_owned()),
        is_dev: true,
        max_clients: 500,
        origins: edge::Origins::OwnHost,
        proxies: edge::Proxies::default(),
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(8),
    });
    let edge = edge.expect("its ports are free");
    let line = edge.line_address().expect("it is bound").expect("the line door is open");
    let admin = edge.admin_address().expect("it is bound");
    let store = store.clone();
    let run = move |stop| async move { edge.run(store, stop).await.map_err(|error| error.to_string()) };
    Node::spawn(name, line, admin, run)
}

/// Another CA.
pub fn authority() -> Authority {
    Authority::new(SystemTime::now()).expect("a CA is minted")
}

/// A good identity.
pub fn identity(authority: &Authority, name: &str, role: Role) -> Identity {
    identity_of(authority, &[authority], name, role)
}

/// An identity of `authority` that trusts others too, and may be nothing but `role`.
pub fn identity_of(authority: &Authority, trusted: &[&Authority], name: &str, role: Role) -> Identity {
    let leaf = authority.issue(&node_name(name), Roles::One(role), &[], SystemTime::now());
    let leaf = leaf.expect("a leaf is minted");
    let roots: String = trusted.iter().map(|authority| authority.ca_pem()).collect();
    Identity::from_pem(&roots, &leaf.cert_pem, &leaf.key_pem, role).expect("it is good for its own side")
}

/// A node's name, which is valid.
pub fn node_name(name: &str) -> NodeName {
    NodeName::parse(name).expect("a node name")
}

async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
