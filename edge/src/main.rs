//! The `edge` binary: one edge in one process.

use edge::config::{Settings, check};
use edge::{Config, Edge};
use node::exit::Exit;
use node::memory::Place;
use node::process::{self, RunError};
use tokio::sync::watch;

fn main() -> Exit {
    process::main(|settings: &Settings| &settings.common, check, run)
}

async fn run((config, store): (Config, Place), stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let (is_closed, is_alone) = (config.token_hmac_secret.is_none(), config.relay.is_none());
    // Leases come from relays, and without a lease there are no routes.
    let is_store_unused = is_alone && matches!(store, Place::Redis(_));
    let store = if is_store_unused { Place::Memory } else { store };
    let edge = Edge::bind(config)?;
    let (http, admin) = (edge.http_address()?, edge.admin_address()?);
    tracing::info!(
        websocket = format!("ws://{http}/connection/websocket"),
        admin = format!("http://{admin}"),
        "listening"
    );
    if let Some(line) = edge.line_address()? {
        tracing::info!(%line, "line door open");
    }
    if is_closed {
        tracing::warn!("nobody gets in: give the key of your tokens with --token-hmac-secret-file");
    }
    if is_alone {
        tracing::warn!(
            "local traffic only: no --relay is given, so clients of other edges cannot be reached"
        );
    }
    if is_store_unused {
        tracing::warn!("--store is not used: without a relay nothing is shared");
    }
    edge.run(store.open()?, stop).await
}
