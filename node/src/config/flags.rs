//! The highest layer: the command line.
//!
//! Read twice. Here, alone, to learn which settings it gives, and so that its own mistakes come first and look
//! like every other program's; later by [`super::load`], together with what the lower layers give.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use super::ConfigError;
use super::catalogue::Catalogue;
use super::layer::{Given, Layer, Origin, Source};
use super::shown::has_password;

/// What the command line says.
pub(super) struct Flags {
    pub(super) program: OsString,
    /// All after the program's name.
    pub(super) rest: Vec<OsString>,
    pub(super) config: Option<PathBuf>,
    pub(super) layer: Layer,
    /// It needs no other layer: what fails with one is the other's mistake.
    pub(super) is_complete: bool,
}

pub(super) fn read(
    catalogue: &Catalogue,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Flags, ConfigError> {
    let mut rest = args.into_iter();
    let program = rest.next().unwrap_or_else(|| catalogue.command().get_name().into());
    let rest: Vec<_> = rest.collect();
    let line = || std::iter::once(&program).chain(&rest);

    let is_complete = match catalogue.command().try_get_matches_from(line()) {
        Ok(_) => true,
        // What is missing may come from a lower layer.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => false,
        Err(error) => return Err(ConfigError::Usage(error)),
    };

    let mut command = catalogue.command().ignore_errors(true);
    let matches = command.try_get_matches_from_mut(line()).map_err(ConfigError::Usage)?;
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut layer = Layer::new();
    for setting in catalogue.settings() {
        let is_bare = is_typed(&setting.id);
        let is_file = setting.is_secret && is_typed(&setting.file_id());
        let (flag, source) = match (is_bare, is_file) {
            (false, false) => continue,
            (true, false) => (setting.flag.clone(), Source::Typed),
            (false, true) => {
                let path =
                    matches.get_one::<PathBuf>(&setting.file_id()).expect("it was typed, and has a value");
                (format!("{}-file", setting.flag), Source::SecretFile(path.clone()))
            }
            (true, true) => {
                let both =
                    format!("--{0} and --{0}-file are the same setting; leave one out\n", setting.flag);
                return Err(ConfigError::Usage(command.error(ErrorKind::ArgumentConflict, both)));
            }
        };
        let given = Given { name: format!("--{flag}"), origin: Origin::CommandLine, source };
        layer.insert(setting.id.clone(), given);
    }
    // A struct without `Common` has no such flag.
    let config = matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
    Ok(Flags { program, rest, config, layer, is_complete })
}

/// Warns of each secret that any user of the machine can read in the list of processes.
pub(super) fn bare_secrets(catalogue: &Catalogue, matches: &ArgMatches, winners: &Layer) -> Vec<String> {
    let typed = winners.iter().filter(|(_, given)| matches!(given.source, Source::Typed));
    typed
        .filter_map(|(id, given)| {
            let flag = &given.name;
            if catalogue.setting(id).is_secret {
                return Some(format!(
                    "{flag} shows its secret to all users of this machine; use {flag}-file"
                ));
            }
            let mut values = matches.get_raw(id)?;
            values.any(|value| has_password(&value.to_string_lossy())).then(|| {
                format!("{flag} shows its password to all users of this machine; give it in another way")
            })
        })
        .collect()
}
