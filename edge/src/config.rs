//! An edge's settings as an operator gives them, checked and turned into what [`crate::Edge`] takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use certs::Role;
use certs::public::{Files, Pairs};
use clap::Parser;
use node::config::{Common, ConfigError, Loaded, Secret, duration};
use node::identity::IdentityFlags;
use node::memory::{Place, StoreFlags};
use proto::id::NodeName;

use crate::door::http::{HALF_OPEN_MAX, origin_host};
use crate::{Address, Config, Link, Network, Origins, Proxies, Tls};

/// One edge: holds clients over WebSocket and WebTransport, and links to a relay for everybody who is elsewhere
#[derive(Debug, Clone, Parser)]
#[command(name = "edge", version)]
pub struct Settings {
    /// Listens here for HTTP and WebSocket, plain
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Listens here for HTTPS and WebSocket (TCP) and for WebTransport (UDP), one number for both; wants --tls-cert and
    /// --tls-key [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pub tls_listen: Option<SocketAddr>,

    /// The certificate that browsers are shown, and its chain (PEM); read again every 10 s, like its key
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Listens here for terminals (`nc`, `telnet`), one command a line [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pub line_listen: Option<SocketAddr>,

    /// Listens here for metrics, health and readiness; keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub admin_listen: SocketAddr,

    /// Links to this relay [default: none; then local traffic only]
    #[arg(long, value_name = "HOST:PORT")]
    pub relay: Option<String>,

    /// What the cluster remembers.
    #[command(flatten)]
    pub store: StoreFlags,

    /// Key of the clients' tokens (HS256) [default: none; then nobody gets in]
    #[arg(long, value_name = "SECRET")]
    pub token_hmac_secret: Option<Secret>,

    /// Lets in so many connections at once; where all of them have logged in, the next one gets 503
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_clients: u32,

    /// Lets in pages of exactly this origin, such as https://example.org; repeatable [default: any port of the host that
    /// the page asks]
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,

    /// Believes this balancer what it says of clients' addresses (X-Forwarded-For): an address, or a network such as
    /// 10.0.0.0/8; repeatable [default: nobody]
    #[arg(long, value_name = "NETWORK")]
    pub trusted_proxy: Vec<Network>,

    /// Every TCP connection of a trusted balancer to --listen and --tls-listen begins with a PROXY protocol header
    /// (version 2)
    #[arg(long)]
    pub proxy_protocol: bool,

    /// Pings clients so often: whole seconds
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub ping_interval: Duration,

    /// Lets a client go whose pong takes longer; shorter than --ping-interval
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
    pub pong_timeout: Duration,

    /// Who this edge is.
    #[command(flatten)]
    pub identity: IdentityFlags,

    /// What every node has.
    #[command(flatten)]
    pub common: Common,
}

/// Checks what no single value shows.
///
/// # Errors
/// The operator must change a setting; the error says which and how.
pub fn check(loaded: &Loaded<Settings>) -> Result<(Config, Place), ConfigError> {
    let settings = &loaded.settings;
    let name = settings.identity.name(loaded)?;
    let relay = link(loaded, &name)?;
    let store = settings.store.place(loaded, settings.relay.is_some())?;
    check_pings(loaded)?;
    check_open_files(loaded, 1, settings.max_clients)?;
    let config = Config {
        relay,
        name,
        listen: Address::new(settings.listen, "--listen"),
        tls: tls(loaded)?,
        line_listen: settings.line_listen.map(|address| Address::new(address, "--line-listen")),
        admin_listen: Address::new(settings.admin_listen, "--admin-listen"),
        token_hmac_secret: settings.token_hmac_secret.as_ref().map(|secret| secret.expose().to_owned()),
        is_dev: false,
        max_clients: settings.max_clients as usize,
        origins: origins(loaded)?,
        proxies: proxies(loaded)?,
        ping_interval: settings.ping_interval,
        pong_timeout: settings.pong_timeout,
    };
    Ok((config, store))
}

/// Checks that `max_clients` on each of the process's `edges` leave it open files enough.
///
/// # Errors
/// The operator must let in fewer, or raise the limit.
pub fn check_open_files<T>(loaded: &Loaded<T>, edges: u64, max_clients: u32) -> Result<(), ConfigError> {
    node::files::check(loaded, edges, max_clients, HALF_OPEN_MAX)
}

fn check_pings(loaded: &Loaded<Settings>) -> Result<(), ConfigError> {
    let Settings { ping_interval: ping, pong_timeout: pong, .. } = &loaded.settings;
    if ping.subsec_nanos() != 0 || ping.is_zero() {
        return Err(
            loaded.refuse("ping_interval", &format!("{ping:?} is not a whole number of seconds above 0"))
        );
    }
    if pong >= ping || pong.is_zero() {
        let reason = format!("{pong:?} is not between 0s and ping_interval, which is {ping:?}");
        return Err(loaded.refuse("pong_timeout", &reason));
    }
    Ok(())
}

fn link(loaded: &Loaded<Settings>, name: &NodeName) -> Result<Option<Link>, ConfigError> {
    let Some(relay) = &loaded.settings.relay else { return Ok(None) };
    let port = relay.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0)) {
        return Err(loaded.refuse("relay", &format!("{relay:?} is not HOST:PORT")));
    }
    let (identity, identities) = loaded.settings.identity.identity(loaded, name, Role::Edge)?;
    Ok(Some(Link { relay: relay.clone(), identity, identities: Some(identities) }))
}

fn tls(loaded: &Loaded<Settings>) -> Result<Option<Tls>, ConfigError> {
    let Settings { tls_listen, tls_cert, tls_key, .. } = &loaded.settings;
    let Some(listen) = tls_listen else {
        return match tls_cert.as_ref().map(|_| "tls_cert").or(tls_key.as_ref().map(|_| "tls_key")) {
            Some(key) => Err(loaded.refuse(key, "nobody is shown it; give --tls-listen too")),
            None => Ok(None),
        };
    };
    let (Some(cert), Some(key)) = (tls_cert, tls_key) else {
        return Err(loaded.refuse("tls_listen", "needs --tls-cert and --tls-key"));
    };
    let mut pairs = Pairs::Files(Files::new(cert.clone(), key.clone()));
    let offer = certs::source::first(&mut pairs, SystemTime::now())
        .map_err(|error| loaded.refuse("tls_cert", &error.to_string()))?;
    Ok(Some(Tls { listen: Address::new(*listen, "--tls-listen"), offer, pairs }))
}

fn proxies(loaded: &Loaded<Settings>) -> Result<Proxies, ConfigError> {
    let Settings { trusted_proxy: trusted, proxy_protocol: send_header, .. } = &loaded.settings;
    if *send_header && trusted.is_empty() {
        return Err(loaded.refuse("proxy_protocol", "of nobody; say who is believed with --trusted-proxy"));
    }
    Ok(Proxies { trusted: trusted.clone(), send_header: *send_header })
}

fn origins(loaded: &Loaded<Settings>) -> Result<Origins, ConfigError> {
    let allowed = &loaded.settings.allow_origin;
    match allowed.iter().find(|origin| origin_host(origin).is_none()) {
        Some(wrong) => {
            Err(loaded.refuse("allow_origin", &format!("{wrong:?} is not like https://example.org")))
        }
        None if allowed.is_empty() => Ok(Origins::OwnHost),
        None => Ok(Origins::Exactly(allowed.clone())),
    }
}
