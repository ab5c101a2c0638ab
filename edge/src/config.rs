//! An edge's settings as an operator gives them, checked and turned into what [`crate::Edge`] takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::Role;
use certs::link::Identity;
use clap::Parser;
use node::config::{Common, ConfigError, Loaded, Secret, duration, host_name};
use proto::id::NodeName;

use crate::{Address, Config, Link};

/// One edge: holds clients over WebSocket and links to a relay for everybody who is elsewhere
#[derive(Debug, Clone, Parser)]
#[command(name = "edge", version)]
pub struct Settings {
    /// Listens here for HTTP and WebSocket, plain
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Listens here for terminals (`nc`, `telnet`): one command a line [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pub line_listen: Option<SocketAddr>,

    /// Listens here for metrics, health and readiness; keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub admin_listen: SocketAddr,

    /// Links to this relay [default: none; then only local traffic]
    #[arg(long, value_name = "HOST:PORT")]
    pub relay: Option<String>,

    /// Where the cluster's memory is; `memory` is this process, so it goes without a relay only
    #[arg(long, value_name = "memory", default_value = "memory")]
    pub store: String,

    /// The links' private CA (PEM), with --relay; `certs init` makes one
    #[arg(long, value_name = "FILE")]
    pub link_ca: Option<PathBuf>,

    /// This edge's certificate for the link (PEM), with --relay; `certs issue` makes one
    #[arg(long, value_name = "FILE")]
    pub link_cert: Option<PathBuf>,

    /// Its private key (PEM), with --relay
    #[arg(long, value_name = "FILE")]
    pub link_key: Option<PathBuf>,

    /// Key of the clients' tokens (HS256) [default: none; then nobody gets in]
    #[arg(long, value_name = "SECRET")]
    pub token_hmac_secret: Option<Secret>,

    /// Connections let in at most; the next one gets 503
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_clients: u32,

    /// Lets in pages of this origin (https://example.org, any port); repeatable [default: the host that the page asks]
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,

    /// This edge's name: a-z, 0-9 and - [default: the host name to its first dot]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Time between the server's pings, in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub ping_interval: Duration,

    /// How long a pong may take; shorter than --ping-interval
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
    pub pong_timeout: Duration,

    /// What every node has
    #[command(flatten)]
    pub common: Common,
}

/// Checks what no single value shows.
///
/// # Errors
/// The operator must change a setting; the error says which and how.
pub fn check(loaded: &Loaded<Settings>) -> Result<Config, ConfigError> {
    let settings = &loaded.settings;
    if settings.store != "memory" {
        let reason = format!("{:?} is no store of this version; there is `memory`", settings.store);
        return Err(loaded.refuse("store", &reason));
    }
    if settings.ping_interval.subsec_nanos() != 0 || settings.ping_interval.is_zero() {
        let reason = format!("{:?} is not a whole number of seconds, at least 1s", settings.ping_interval);
        return Err(loaded.refuse("ping_interval", &reason));
    }
    if settings.pong_timeout >= settings.ping_interval || settings.pong_timeout.is_zero() {
        let (pong, ping) = (settings.pong_timeout, settings.ping_interval);
        let reason = format!("{pong:?} must be above zero and shorter than ping_interval, which is {ping:?}");
        return Err(loaded.refuse("pong_timeout", &reason));
    }
    let name = name(loaded)?;
    Ok(Config {
        relay: link(loaded, &name)?,
        name,
        listen: Address { address: settings.listen, flag: "--listen".to_owned() },
        line_listen: settings.line_listen.map(|address| Address { address, flag: "--line-listen".to_owned() }),
        admin_listen: Address { address: settings.admin_listen, flag: "--admin-listen".to_owned() },
        token_hmac_secret: settings.token_hmac_secret.as_ref().map(|secret| secret.expose().to_owned()),
        is_dev: false,
        max_clients: settings.max_clients as usize,
        allowed_origins: origins(loaded)?,
        ping_interval: settings.ping_interval,
        pong_timeout: settings.pong_timeout,
    })
}

fn name(loaded: &Loaded<Settings>) -> Result<NodeName, ConfigError> {
    let (name, hint) = match &loaded.settings.name {
        Some(name) => (name.clone(), ""),
        None => (host_name().unwrap_or_default(), " (that is the host name); give one with --name"),
    };
    NodeName::parse(&name).map_err(|error| loaded.refuse("name", &format!("{error}{hint}")))
}

fn link(loaded: &Loaded<Settings>, name: &NodeName) -> Result<Option<Link>, ConfigError> {
    let settings = &loaded.settings;
    let Some(relay) = &settings.relay else { return Ok(None) };
    if !relay.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(loaded.refuse("relay", &format!("{relay:?} is not HOST:PORT")));
    }
    let (Some(ca), Some(cert), Some(key)) = (&settings.link_ca, &settings.link_cert, &settings.link_key) else {
        return Err(loaded.refuse("relay", &format!("a link needs --link-ca, --link-cert and --link-key; make them with\n{}", certs_commands(name, Role::Edge))));
    };
    let identity = Identity::load(ca, cert, key, Role::Edge).map_err(|error| loaded.refuse("link_cert", &error.to_string()))?;
    if identity.name() != name {
        let reason = format!("the certificate is for {}, this edge is {name}; give --name {}", identity.name(), identity.name());
        return Err(loaded.refuse("name", &reason));
    }
    Err(loaded.refuse(
        "store",
        "`memory` is one process only, and with a relay there are several: this version joins edges and relay in one process, with `causeway dev`",
    ))
}

/// What to type to get a link identity.
pub fn certs_commands(name: &NodeName, role: Role) -> String {
    format!(
        "  certs init link\n  certs issue link --name {name} --role {role}\nthen give --link-ca link/ca.pem --link-cert link/{name}.pem --link-key link/{name}.key"
    )
}

fn origins(loaded: &Loaded<Settings>) -> Result<Vec<String>, ConfigError> {
    let host = |origin: &String| {
        crate::door::http::origin_host(origin)
            .map(str::to_owned)
            .ok_or_else(|| loaded.refuse("allow_origin", &format!("{origin:?} is no origin such as https://example.org")))
    };
    loaded.settings.allow_origin.iter().map(host).collect()
}
