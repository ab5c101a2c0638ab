//! A relay's settings as an operator gives them, checked and turned into what [`crate::Relay`] takes.

use std::net::SocketAddr;

use certs::Role;
use clap::Parser;
use node::config::{Common, ConfigError, Loaded};
use node::identity::IdentityFlags;

use crate::Config;

/// One relay: forwards messages between edges, and removes what dead edges leave behind
#[derive(Debug, Clone, Parser)]
#[command(name = "relay", version)]
pub struct Settings {
    /// Listens here for the edges' links (UDP); keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000")]
    pub listen: SocketAddr,

    /// Listens here for metrics, health and readiness; keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub admin_listen: SocketAddr,

    /// Where the cluster's memory is: `memory` is one process, where no edge could share it
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub store: String,

    /// Who this relay is.
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
pub fn check(loaded: &Loaded<Settings>) -> Result<Config, ConfigError> {
    let settings = &loaded.settings;
    let name = settings.identity.name(loaded)?;
    let identity = settings.identity.identity(loaded, &name, Role::Relay)?;
    check_store(loaded)?;
    Ok(Config {
        name,
        listen: settings.listen,
        listen_flag: "--listen".to_owned(),
        admin_listen: settings.admin_listen,
        admin_listen_flag: "--admin-listen".to_owned(),
        identity,
    })
}

fn check_store(loaded: &Loaded<Settings>) -> Result<(), ConfigError> {
    let reason = match loaded.settings.store.as_str() {
        "memory" => "\"memory\" is one process only, and no edge of another could share it; \
                     this version joins edges and relay in one process: run `causeway dev`"
            .to_owned(),
        other => {
            format!("{other:?} is no store; this version has \"memory\", and that only in `causeway dev`")
        }
    };
    Err(loaded.refuse("store", &reason))
}
