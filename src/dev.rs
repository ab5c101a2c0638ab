//! `causeway dev`: one relay and two edges in one process, joined by a real link, with nothing on disk.
//!
//! Each node has a thread and a runtime of its own, as it would have a process of its own; what they share is the store in
//! memory. Everything listens on loopback, since the token secret is known to everybody.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use certs::Role;
use certs::link::{Identities, Identity};
use certs::mint::Authority;
use certs::public::{Localhost, Pairs};
use clap::Parser;
use edge::{Address, Edge, Origins, Tls};
use node::admin::Readiness;
use node::config::{Common, Loaded, Origin};
use node::exit::Exit;
use proto::id::NodeName;
use relay::Relay;
use store::Store;
use tokio::sync::{mpsc, watch};

/// The key of development tokens; also what `causeway token` signs with when nothing else is said.
pub(crate) const SECRET: &str = "causeway-development-secret";

/// A whole cluster in one process: one relay, two edges, nothing on disk
#[derive(Debug, Clone, Parser)]
#[command(
    name = "causeway",
    version,
    after_help = "Other commands: causeway token --help, causeway check --help, causeway bench --help"
)]
struct Settings {
    /// Listens here for HTTP and WebSocket: one address for each edge
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',', num_args = 1, value_parser = loopback, default_value = "127.0.0.1:8001,127.0.0.1:8002")]
    listen: Vec<SocketAddr>,

    /// Listens here for HTTPS and WebSocket (TCP) and for WebTransport (UDP): one address for each edge
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',', num_args = 1, value_parser = loopback, default_value = "127.0.0.1:8441,127.0.0.1:8442")]
    tls_listen: Vec<SocketAddr>,

    /// Listens here for terminals (`nc`, `telnet`): one address for each edge
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',', num_args = 1, value_parser = loopback, default_value = "127.0.0.1:8021,127.0.0.1:8022")]
    line_listen: Vec<SocketAddr>,

    /// Listens here for metrics, health and readiness: one address for each edge
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',', num_args = 1, value_parser = loopback, default_value = "127.0.0.1:9001,127.0.0.1:9002")]
    admin_listen: Vec<SocketAddr>,

    /// The relay listens here for links (UDP)
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, default_value = "127.0.0.1:7000")]
    relay_listen: SocketAddr,

    /// The relay listens here for metrics, health, readiness and the console
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, default_value = "127.0.0.1:9000")]
    relay_admin_listen: SocketAddr,

    /// Each edge lets in so many connections at once; where all of them have logged in, the next one gets 503
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,

    #[command(flatten)]
    common: Common,
}

/// Edges in this process.
const EDGES: u64 = 2;

/// How long the nodes may take to find each other before that is worth a warning.
const READY_MAX: Duration = Duration::from_secs(10);

pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let mut loaded: Loaded<Settings> = match node::config::load(args, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    if loaded.settings.common.print_config {
        print!("{}", loaded.print_config());
        return Exit::Success;
    }
    let settings = &loaded.settings;
    let pairs = [
        ("listen", &settings.listen),
        ("tls_listen", &settings.tls_listen),
        ("line_listen", &settings.line_listen),
        ("admin_listen", &settings.admin_listen),
    ];
    for (key, addresses) in pairs {
        if addresses.len() != 2 {
            let reason =
                format!("{} addresses for two edges; give two, with a comma between them", addresses.len());
            return loaded.refuse(key, &reason).report();
        }
    }
    if let Err(error) = edge::config::check_open_files(&loaded, EDGES, settings.max_clients) {
        return error.report();
    }
    quieten(&mut loaded);
    let settings = loaded.settings.clone();
    node::process::start(&loaded.settings.common, &loaded.warnings, async move |stop| {
        cluster(&settings, stop).await
    })
}

/// Who tries it out wants to see the addresses, not the log; unless he asked for it.
fn quieten(loaded: &mut Loaded<Settings>) {
    let is_default = |key: &str| {
        loaded.shown.iter().any(|shown| shown.key == key && matches!(shown.origin, Origin::Default))
    };
    if is_default("log_level") {
        loaded.settings.common.log_level = "warn".parse().expect("a level");
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address such as 127.0.0.1:8001".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("not a loopback address; everybody knows the token secret of `causeway dev`, so it stays on this machine".to_owned())
}

async fn cluster(settings: &Settings, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let store = Store::memory();
    let authority = Arc::new(Authority::new(SystemTime::now()).context("cannot mint certificates")?);
    let (identity, identities) = identity(&authority, "relay-1", Role::Relay)?;
    let relay = Relay::bind(relay::Config {
        name: NodeName::parse("relay-1")?,
        listen: settings.relay_listen,
        listen_flag: "--relay-listen".to_owned(),
        admin_listen: settings.relay_admin_listen,
        admin_listen_flag: "--relay-admin-listen".to_owned(),
        admin_hosts: Vec::new(),
        identity,
        identities: Some(identities),
        sweep_interval: relay::SWEEP_INTERVAL,
    })?;
    let link = relay.link_address()?;
    let edges = [0, 1].map(|index| bind_edge(settings, index, &authority, link));
    let [edge_1, edge_2] = edges;
    let edges = [edge_1?, edge_2?];
    let banner = banner(&relay, &edges)?;
    let readiness = edges.each_ref().map(Edge::readiness);

    let (stop_edges, edges_stop) = watch::channel(false);
    let (stop_relay, relay_stop) = watch::channel(false);
    let (ended, mut ends) = mpsc::channel(3);
    let relay_store = store.clone();
    spawn("relay-1", ended.clone(), async move || Ok(relay.run(relay_store, relay_stop).await?));
    for (edge, name) in edges.into_iter().zip(["edge-1", "edge-2"]) {
        let (store, stop) = (store.clone(), edges_stop.clone());
        spawn(name, ended.clone(), async move || Ok(edge.run(store, stop).await?));
    }
    tokio::select! {
        () = ready(&readiness) => print!("{banner}"),
        _ = stop.wait_for(|stop| *stop) => {}
        Some((name, end)) = ends.recv() => return early(name, end),
    }
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        Some((name, end)) = ends.recv() => return early(name, end),
    }
    eprintln!("stopping");
    stop_edges.send_replace(true);
    for _ in 0..2 {
        if let Some((_, end)) = ends.recv().await {
            end?;
        }
    }
    stop_relay.send_replace(true);
    ends.recv().await.map_or(Ok(()), |(_, end)| end)
}

fn early(name: &str, end: anyhow::Result<()>) -> anyhow::Result<()> {
    match end {
        Err(error) => anyhow::bail!("{name} failed: {error}"),
        Ok(()) => anyhow::bail!("{name} ended unexpectedly"),
    }
}

fn bind_edge(
    settings: &Settings,
    index: usize,
    authority: &Arc<Authority>,
    link: SocketAddr,
) -> anyhow::Result<Edge> {
    let name = format!("edge-{}", index + 1);
    let (identity, identities) = identity(authority, &name, Role::Edge)?;
    let mut pairs = Pairs::Localhost(Localhost::default());
    let offer = certs::source::first(&mut pairs, SystemTime::now())?;
    let tls = Tls { listen: Address::new(settings.tls_listen[index], "--tls-listen"), offer, pairs };
    Ok(Edge::bind(edge::Config {
        name: NodeName::parse(&name)?,
        listen: Address::new(settings.listen[index], "--listen"),
        tls: Some(tls),
        line_listen: Some(Address::new(settings.line_listen[index], "--line-listen")),
        admin_listen: Address::new(settings.admin_listen[index], "--admin-listen"),
        relay: Some(edge::Link { relay: link.to_string(), identity, identities: Some(identities) }),
        token_hmac_secret: Some(SECRET.to_owned()),
        is_dev: true,
        max_clients: settings.max_clients as usize,
        origins: Origins::Hosts(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec()),
        proxies: edge::Proxies::default(),
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(8),
    })?)
}

fn identity(authority: &Arc<Authority>, name: &str, role: Role) -> anyhow::Result<(Identity, Identities)> {
    let mut identities = Identities::minted(Arc::clone(authority), role, NodeName::parse(name)?);
    let identity = certs::source::first(&mut identities, SystemTime::now())?;
    Ok((identity, identities))
}

type End = (&'static str, anyhow::Result<()>);

/// Runs a node on a thread and a runtime of its own, and tells when it ended, even if by a panic.
fn spawn(
    name: &'static str,
    ended: mpsc::Sender<End>,
    body: impl AsyncFnOnce() -> anyhow::Result<()> + Send + 'static,
) {
    let run = move || {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = node::process::runtime()?;
            let end = runtime.block_on(body());
            runtime.shutdown_background();
            end
        });
        let joined = thread.map(std::thread::JoinHandle::join);
        let end = match joined {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => Err(anyhow::anyhow!("it panicked")),
            Err(error) => Err(error.into()),
        };
        // It fails only while the process ends.
        let _ = ended.blocking_send((name, end));
    };
    tokio::task::spawn_blocking(run);
}

async fn ready(edges: &[Readiness; 2]) {
    let is_ready = async {
        while !edges.iter().all(Readiness::is_ready) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(READY_MAX, is_ready).await.is_err() {
        tracing::warn!("the edges have no link to the relay after 10 s; only local traffic works");
    }
}

fn banner(relay: &Relay, edges: &[Edge; 2]) -> anyhow::Result<String> {
    let mut text = format!(
        "Causeway {}: two edges and a relay in one process, nothing on disk\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut lines = Vec::new();
    for (edge, name) in edges.iter().zip(["edge-1", "edge-2"]) {
        let (http, admin) = (edge.http_address()?, edge.admin_address()?);
        let line = edge.line_address()?.context("the line door is open in dev")?;
        let tls = edge.tls_address()?.context("so is the one with TLS")?;
        text +=
            &format!("  {name}   ws://{http}/connection/websocket   line {line}   http://{admin}/metrics\n");
        text += &format!("           https://localhost:{}/connection/webtransport\n", tls.port());
        lines.push(line);
    }
    text += &format!(
        "  relay-1  links {} (UDP)   http://{}/metrics\n\n",
        relay.link_address()?,
        relay.admin_address()?
    );
    text += &format!("The cluster, live:  http://{}/console\n\n", relay.admin_address()?);
    text += "Two windows of a browser on two servers: open one each\n\n";
    for edge in edges {
        // By name, since that is what the certificate's hash is trusted for.
        text += &format!("  http://localhost:{}\n", edge.http_address()?.port());
    }
    text += "\nTwo terminals on two servers: type in one window each\n\n";
    for (line, user) in lines.iter().zip(["alice", "bob"]) {
        text += &format!("  (echo login {user}; cat) | nc {} {}\n", line.ip(), line.port());
    }
    text += "\nand then:  send bob hello\n\n";
    text +=
        &format!("A token for a program:  curl 'http://{}/dev/token?user=alice'\n", edges[0].http_address()?);
    text += "Ctrl-C stops it.\n";
    Ok(text)
}
