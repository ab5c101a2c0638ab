//! `causeway check`: whether an edge or a relay would start with a configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use node::config::{ConfigError, check_file};
use node::exit::Exit;

/// Checks a configuration file of an edge or a relay
#[derive(Debug, Parser)]
#[command(name = "causeway check", bin_name = "causeway check", version)]
struct Settings {
    /// The TOML file
    file: PathBuf,
}

pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let file = match Settings::try_parse_from(args) {
        Ok(settings) => settings.file,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let shown = file.display();
    let (edge, relay) = (as_edge(&file), as_relay(&file));
    match (&edge, &relay) {
        (Ok(()), Ok(())) => println!("{shown}: fine for an edge, and for a relay"),
        (Ok(()), Err(_)) => println!("{shown}: fine for an edge"),
        (Err(_), Ok(())) => println!("{shown}: fine for a relay"),
        (Err(edge), Err(relay)) if edge.to_string() == relay.to_string() => return edge.report(),
        (Err(edge), Err(relay)) => {
            eprintln!("error: fit neither for an edge nor for a relay\n  edge:  {edge}\n  relay: {relay}");
            return edge.exit_code();
        }
    }
    Exit::Success
}

fn as_edge(file: &Path) -> Result<(), ConfigError> {
    edge::config::check(&check_file(file)?).map(drop)
}

fn as_relay(file: &Path) -> Result<(), ConfigError> {
    relay::config::check(&check_file(file)?).map(drop)
}
