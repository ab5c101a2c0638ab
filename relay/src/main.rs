//! The `relay` binary: one relay in one process.

use node::config::Loaded;
use node::exit::Exit;
use relay::Relay;
use relay::config::{Settings, check};
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
        let relay = Relay::bind(config)?;
        let (links, admin) = (relay.link_address()?, relay.admin_address()?);
        tracing::info!(%links, admin = format!("http://{admin}"), "listening");
        relay.run(Store::memory(), stop).await
    })
}
