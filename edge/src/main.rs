//! The `edge` binary: one edge in one process.

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
    node::process::start(&loaded.settings.common, &loaded.warnings, async move |stop| {
        let nobody_gets_in = config.token_hmac_secret.is_none();
        let is_alone = config.relay.is_none();
        let edge = Edge::bind(config)?;
        announce(&edge)?;
        if nobody_gets_in {
            tracing::warn!("nobody gets in: give the key of your tokens with --token-hmac-secret-file");
        }
        if is_alone {
            tracing::warn!(
                "local traffic only: no --relay is given, so clients of other edges cannot be reached"
            );
        }
        edge.run(Store::memory(), stop).await
    })
}

fn announce(edge: &Edge) -> Result<(), RunError> {
    let (http, admin) = (edge.http_address()?, edge.admin_address()?);
    tracing::info!(
        websocket = format!("ws://{http}/connection/websocket"),
        admin = format!("http://{admin}"),
        "listening"
    );
    if let Some(line) = edge.line_address()? {
        tracing::info!(%line, "line door open");
    }
    Ok(())
}
