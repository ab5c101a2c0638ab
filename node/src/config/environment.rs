//! The middle layer: variables that begin with `CAUSEWAY_`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::ConfigError;
use super::catalogue::{Arity, CONFIG_VARIABLE, Catalogue, PREFIX, Setting};
use super::layer::{Given, Layer, Origin, Source};

/// What the environment says.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) config: Option<PathBuf>,
    pub(super) layer: Layer,
    pub(super) warnings: Vec<String>,
}

/// Reads our variables of `variables`.
///
/// An unknown one is a warning only: others may name theirs like ours, and a node must not fall over them.
pub(super) fn read(
    catalogue: &Catalogue,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, ConfigError> {
    let mut environment = Environment::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if name == CONFIG_VARIABLE {
            environment.config = Some(value.into());
            continue;
        }
        let Some((setting, is_secret_file)) = catalogue.by_variable(name) else {
            environment.warnings.push(unknown(catalogue, name));
            continue;
        };
        let source = source(setting, is_secret_file, name, value)?;
        let origin = Origin::Environment { variable: name.to_owned() };
        let given = Given { name: name.to_owned(), origin, source };
        if let Some(other) = environment.layer.insert(setting.id.clone(), given) {
            return Err(ConfigError::Mistake(format!("{name}: {} is given too; leave one out", other.name)));
        }
    }
    environment.warnings.sort_unstable();
    Ok(environment)
}

fn unknown(catalogue: &Catalogue, name: &str) -> String {
    match catalogue.nearest_variable(name) {
        Some(near) => {
            format!("the environment variable {name} is unknown and has no effect; did you mean {near}?")
        }
        None => format!("the environment variable {name} is unknown and has no effect"),
    }
}

fn source(
    setting: &Setting,
    is_secret_file: bool,
    name: &str,
    value: OsString,
) -> Result<Source, ConfigError> {
    if is_secret_file {
        return Ok(Source::SecretFile(value.into()));
    }
    let value =
        value.into_string().map_err(|_| ConfigError::Mistake(format!("{name}: its value is not UTF-8")))?;
    match setting.arity {
        Arity::Switch | Arity::One => Ok(Source::Values(vec![value])),
        Arity::Many => {
            let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Ok(Source::Values(entries.map(str::to_owned).collect()))
        }
    }
}
