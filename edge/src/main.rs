//! The `edge` binary: one edge in one process.

use clap as _;
use edge::config::{Settings, check};
use edge::{Edge, RunError};
use node::config::Loaded;
use node::exit::Exit;
use store::Store;

fn main() -> Exit {
    let loaded: Loaded<Settings> = match node::config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    if loaded.settings.common.print_config {
        print!("{}", loaded.print_config());
        return Exit::Success;
    }
    let config = match check(&loaded) {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    node::process::start("edge", &loaded.settings.common, &loaded.warnings, async move |stop| {
        let edge = Edge::bind(config)?;
        announce(&edge)?;
        edge.run(Store::memory(), stop).await
    })
}

fn announce(edge: &Edge) -> Result<(), RunError> {
    let (http, admin) = (edge.http_address()?, edge.admin_address()?);
    tracing::info!(name = %edge.name(), websocket = format!("ws://{http}/connection/websocket"), admin = format!("http://{admin}"), "edge listening");
    if let Some(line) = edge.line_address()? {
        tracing::info!(line = %line, "line door open");
    }
    for hint in edge.hints() {
        tracing::warn!("{hint}");
    }
    Ok(())
}
