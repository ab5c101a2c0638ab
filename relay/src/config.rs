//! A relay's settings as an operator gives them, checked and turned into what [`crate::Relay`] takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use certs::Role;
use certs::link::Identity;
use clap::Parser;
use node::config::{Common, ConfigError, Loaded, host_name};
use proto::id::NodeName;

use crate::Config;

/// One relay: forwards messages between edges and removes what dead edges leave behind
#[derive(Debug, Clone, Parser)]
#[command(name = "relay", version)]
pub struct Settings {
    /// Listens here for the edges' links (UDP); keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000")]
    pub listen: SocketAddr,

    /// Listens here for metrics, health and readiness; keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub admin_listen: SocketAddr,

    /// Where the cluster's memory is; `memory` is one process, where no edge could share it
    #[arg(long, value_name = "memory", default_value = "memory")]
    pub store: String,

    /// The links' private CA (PEM); `certs init` makes one
    #[arg(long, value_name = "FILE")]
    pub link_ca: Option<PathBuf>,

    /// This relay's certificate (PEM); `certs issue` makes one
    #[arg(long, value_name = "FILE")]
    pub link_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub link_key: Option<PathBuf>,

    /// This relay's name: a-z, 0-9 and - [default: the host name to its first dot]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

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
    let name = name(loaded)?;
    let (Some(ca), Some(cert), Some(key)) = (&settings.link_ca, &settings.link_cert, &settings.link_key) else {
        let commands = certs::link::commands(&name, Role::Relay);
        return Err(loaded.refuse("link_ca", &format!("a relay needs --link-ca, --link-cert and --link-key; make them with\n{commands}")));
    };
    let identity = Identity::load(ca, cert, key, Role::Relay).map_err(|error| loaded.refuse("link_cert", &error.to_string()))?;
    if identity.name() != &name {
        let reason = format!("the certificate is for {}, this relay is {name}; give --name {}", identity.name(), identity.name());
        return Err(loaded.refuse("name", &reason));
    }
    if settings.store != "memory" {
        return Err(loaded.refuse("store", &format!("{:?} is no store of this version; there is `memory`", settings.store)));
    }
    Err(loaded.refuse(
        "store",
        "`memory` is one process only, and no edge of another could share it: this version joins edges and relay in one process, with `causeway dev`",
    ))
}

fn name(loaded: &Loaded<Settings>) -> Result<NodeName, ConfigError> {
    let (name, hint) = match &loaded.settings.name {
        Some(name) => (name.clone(), ""),
        None => (host_name().unwrap_or_default(), " (that is the host name); give one with --name"),
    };
    NodeName::parse(&name).map_err(|error| loaded.refuse("name", &format!("{error}{hint}")))
}
