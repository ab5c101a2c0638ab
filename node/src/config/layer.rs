//! One layer: the settings it gives, how, and where exactly.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::catalogue::{Arity, Setting};

/// The settings one layer gives, by clap's name.
pub(super) type Layer = BTreeMap<String, Given>;

/// Where a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its whole name.
        variable: String,
    },
    /// A flag.
    CommandLine,
}

/// A setting as one layer gives it.
#[derive(Debug)]
pub(super) struct Given {
    /// The key, variable or flag, as the operator wrote it.
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    /// The values themselves; one, unless the setting is a list.
    Values(Vec<String>),
    /// A file that holds a secret.
    SecretFile(PathBuf),
    /// A flag: clap has read it already, and reads it again.
    Typed,
}

impl Given {
    /// Replaces the path of a secret by the secret; does nothing for others.
    ///
    /// Done for winners only: a file that a higher layer made unimportant need not be there.
    pub(super) fn read_secret_file(&mut self) -> Result<(), ConfigError> {
        let Source::SecretFile(path) = &self.source else { return Ok(()) };
        let secret = read_secret(path).map_err(|reason| self.mistake(&reason))?;
        self.source = Source::Values(vec![secret]);
        Ok(())
    }

    /// Spells it as the command line would.
    pub(super) fn as_flags(&self, setting: &Setting) -> Result<Vec<OsString>, ConfigError> {
        let Source::Values(values) = &self.source else { return Ok(Vec::new()) };
        match setting.arity {
            Arity::One | Arity::Many => {
                Ok(values.iter().map(|value| format!("--{}={value}", setting.flag).into()).collect())
            }
            Arity::Switch => match values.first().map(String::as_str) {
                Some("true" | "1") => Ok(vec![format!("--{}", setting.flag).into()]),
                Some("false" | "0") | None => Ok(Vec::new()),
                Some(other) => Err(self.mistake(&format!("{other:?} is not right; expected true or false"))),
            },
        }
    }

    /// Makes the error that names where this was given.
    pub(super) fn mistake(&self, reason: &str) -> ConfigError {
        let name = &self.name;
        match &self.origin {
            Origin::File { .. } => ConfigError::Mistake(format!("{}: {name}: {reason}", self.origin)),
            Origin::Environment { .. } | Origin::CommandLine | Origin::Default => {
                ConfigError::Mistake(format!("{name}: {reason}"))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment { variable } => formatter.write_str(variable),
            Self::CommandLine => formatter.write_str("command line"),
        }
    }
}

/// Editors and `echo` end a file with a newline, which is not of the secret; all else is.
fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), crate::bind::reason(&error)))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(secret.to_owned())
}
