//! Layered configuration: TOML file < environment < flags.
//!
//! `main` calls [`load`] once with a struct that derives [`clap::Parser`]; `causeway check` calls [`check_file`].
//! The struct is the only list of settings. Each layer is read by the names in it (`Catalogue`), the highest
//! layer that gives a setting wins it whole, and clap then parses one command line made of the winners. So every
//! value meets the same parser wherever it came from, and a mistake is traced back to the layer that made it.
//!
//! What must stay true: a secret's value appears in no warning, error or print-out; a mistake on the command line
//! is clap's own usage error (exit 2), any other names its file and line or its variable (exit 78).

mod catalogue;
mod environment;
mod error;
mod file;
mod flags;
mod layer;
mod shown;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Parser};

use catalogue::Catalogue;
use layer::Layer;

pub use error::ConfigError;
pub use layer::Origin;
pub use shown::Shown;
pub use values::{Secret, duration, host_name};

/// The settings of a process and where they came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings, parsed.
    pub settings: T,
    /// What the operator should know and can start without; to be logged at `warn`.
    pub warnings: Vec<String>,
    /// Every setting as it is in force, in the order of `--help`.
    pub shown: Vec<Shown>,
}

/// The flags every binary has; for `#[command(flatten)]`.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Reads settings from this TOML file; keys are flags with _ for -
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,

    /// Logs events of this level and above; per module: info,edge::door=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: crate::log::Filter,

    /// Writes the log in this shape
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    pub log_format: crate::log::Format,

    /// Prints the settings in force and where each comes from, and ends
    #[arg(long)]
    pub print_config: bool,
}

/// Reads the settings of a process from its arguments (the first is its own name), its environment, and the file
/// which `--config` or `CAUSEWAY_CONFIG` names.
///
/// A setting is a secret when its type is [`Secret`]; it then has a `--…-file` form in all layers too.
///
/// # Errors
///
/// The operator should act; [`ConfigError::report`] tells him. `--help` and `--version` come out here as well.
///
/// # Panics
///
/// `T` has a subcommand or an argument without a long flag.
pub fn load<T: Parser>(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded<T>, ConfigError> {
    let catalogue = Catalogue::new(T::command());
    let flags = flags::read(&catalogue, args)?;
    let environment = environment::read(&catalogue, environment)?;
    let file = match flags.config.as_ref().or(environment.config.as_ref()) {
        Some(path) => file::read(&catalogue, path)?,
        None => Layer::default(),
    };
    let mut loaded = settle(&catalogue, flags, environment.layer, file)?;
    loaded.warnings.extend(environment.warnings);
    Ok(loaded)
}

/// Reads the settings from the file at `path` alone, as `causeway check` does.
///
/// # Errors
///
/// The file cannot be read, or has a mistake: file and line are named.
///
/// # Panics
///
/// As [`load`].
pub fn check_file<T: Parser>(path: &Path) -> Result<Loaded<T>, ConfigError> {
    let catalogue = Catalogue::new(T::command());
    let flags = flags::read(&catalogue, [])?;
    let file = file::read(&catalogue, path)?;
    settle(&catalogue, flags, Layer::default(), file)
}

/// Picks each setting's winner and has clap parse them all.
fn settle<T: Parser>(
    catalogue: &Catalogue,
    flags: flags::Flags,
    environment: Layer,
    file: Layer,
) -> Result<Loaded<T>, ConfigError> {
    let mut winners = file;
    winners.extend(environment);
    winners.extend(flags.layer);

    let mut line = vec![flags.program];
    for (id, given) in &mut winners {
        let setting = catalogue.setting(id);
        given.read_secret_file()?;
        line.extend(given.as_flags(setting)?);
    }
    line.extend(flags.rest);

    let mut command = catalogue.command();
    let explain = |error| error::explain(error, catalogue, &winners, flags.is_complete);
    let mut matches = command.try_get_matches_from_mut(line).map_err(explain)?;
    let warnings = flags::bare_secrets(catalogue, &matches, &winners);
    let shown = shown::list(catalogue, &matches, &winners);
    let settings = parsed(&mut matches, &mut command)?;
    Ok(Loaded { settings, warnings, shown })
}

fn parsed<T: Parser>(matches: &mut ArgMatches, command: &mut clap::Command) -> Result<T, ConfigError> {
    T::from_arg_matches_mut(matches).map_err(|error| ConfigError::Usage(error.format(command)))
}

impl<T> Loaded<T> {
    /// Returns the settings in force as TOML, each with its origin; for `--print-config`.
    pub fn print_config(&self) -> String {
        shown::print(&self.shown)
    }

    /// Makes the error for a setting whose value parses but cannot be used, such as one that needs another.
    ///
    /// It names the file and line, the variable or the flag that gave `key` ("tls_listen"), or the key alone.
    pub fn refuse(&self, key: &str, reason: &str) -> ConfigError {
        let shown = self.shown.iter().find(|shown| shown.key == key);
        match shown.map(|shown| &shown.origin) {
            Some(origin @ Origin::File { .. }) => ConfigError::Mistake(format!("{origin}: {key}: {reason}")),
            Some(Origin::Environment { variable }) => ConfigError::Mistake(format!("{variable}: {reason}")),
            Some(Origin::CommandLine | Origin::Default) | None => {
                ConfigError::Mistake(format!("--{}: {reason}", key.replace('_', "-")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
