//! A relay's settings as an operator gives them, checked and turned into what [`crate::Relay`] takes.

use std::net::SocketAddr;
use std::time::Duration;

use certs::Role;
use clap::Parser;
use node::config::{Common, ConfigError, Loaded, duration};
use node::identity::IdentityFlags;
use node::memory::{Place, StoreFlags};

use crate::Config;

/// One relay: forwards messages between edges, and removes what dead edges leave behind
#[derive(Debug, Clone, Parser)]
#[command(name = "relay", version)]
pub struct Settings {
    /// Listens here for the edges' links (UDP); keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000")]
    pub listen: SocketAddr,

    /// Listens here for metrics, health, readiness and the console; keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub admin_listen: SocketAddr,

    /// Answers browsers that call the console by this name, besides localhost and addresses; repeatable
    #[arg(long, value_name = "NAME", value_parser = node::admin::host)]
    pub admin_host: Vec<String>,

    /// What the cluster remembers.
    #[command(flatten)]
    pub store: StoreFlags,

    /// Searches the whole store so often for routes of edges that are nobody any more; at least 1s
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = duration)]
    pub sweep_interval: Duration,

    /// Who this relay is.
    #[command(flatten)]
    pub identity: IdentityFlags,

    /// What every node has.
    #[command(flatten)]
    pub common: Common,
}

const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Checks what no single value shows.
///
/// # Errors
/// The operator must change a setting; the error says which and how.
pub fn check(loaded: &Loaded<Settings>) -> Result<(Config, Place), ConfigError> {
    let settings = &loaded.settings;
    let name = settings.identity.name(loaded)?;
    let (identity, identities) = settings.identity.identity(loaded, &name, Role::Relay)?;
    let store = settings.store.place(loaded, true)?;
    if settings.sweep_interval < SWEEP_INTERVAL_MIN {
        let reason = format!("{:?} is too often: each sweep reads the whole store", settings.sweep_interval);
        return Err(loaded.refuse("sweep_interval", &reason));
    }
    let config = Config {
        name,
        listen: settings.listen,
        listen_flag: "--listen".to_owned(),
        admin_listen: settings.admin_listen,
        admin_listen_flag: "--admin-listen".to_owned(),
        admin_hosts: settings.admin_host.clone(),
        identity,
        identities: Some(identities),
        sweep_interval: settings.sweep_interval,
    };
    Ok((config, store))
}
