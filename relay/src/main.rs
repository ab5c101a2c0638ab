//! The `relay` binary: one relay in one process.

use node::exit::Exit;
use node::memory::Place;
use node::process::{self, RunError};
use relay::config::{Settings, check};
use relay::{Config, Relay};
use tokio::sync::watch;

fn main() -> Exit {
    process::main(|settings: &Settings| &settings.common, check, run)
}

async fn run((config, store): (Config, Place), stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let relay = Relay::bind(config)?;
    let (links, admin) = (relay.link_address()?, relay.admin_address()?);
    tracing::info!(%links, admin = format!("http://{admin}"), "listening");
    relay.run(store.open()?, stop).await
}
