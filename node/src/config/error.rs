//! What is wrong with a configuration, and who is told how.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::catalogue::Catalogue;
use super::layer::{Given, Layer, Source};
use crate::exit::Exit;

/// Why a process cannot start with the settings it was given.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is wrong, or asks for `--help` or `--version`: clap's own answer.
    #[error("{}", .0.render())]
    Usage(clap::Error),
    /// The file, the environment, or a file they name is wrong. Says where.
    #[error("{0}")]
    Mistake(String),
}

impl ConfigError {
    /// Returns how the process should end.
    pub fn exit_code(&self) -> Exit {
        match self {
            Self::Usage(error) if !error.use_stderr() => Exit::Success,
            Self::Usage(_) => Exit::Usage,
            Self::Mistake(_) => Exit::Configuration,
        }
    }

    /// Tells the operator, before there is a log, and returns how the process should end.
    pub fn report(&self) -> Exit {
        match self {
            // A closed stderr leaves nobody to tell.
            Self::Usage(error) => drop(error.print()),
            Self::Mistake(mistake) => eprintln!("error: {mistake}"),
        }
        self.exit_code()
    }
}

/// Finds who gave what clap refuses.
pub(super) fn explain(
    error: clap::Error,
    catalogue: &Catalogue,
    winners: &Layer,
    flags_are_complete: bool,
) -> ConfigError {
    let blamed = [ContextKind::InvalidArg, ContextKind::PriorArg];
    let blamed = blamed.into_iter().flat_map(|kind| strings(&error, kind)).find_map(|arg| {
        let flag = flag(&arg);
        let setting = catalogue.settings().iter().find(|setting| setting.flag == flag)?;
        let given = winners.get(&setting.id).filter(|given| is_layered(given))?;
        Some((setting, given))
    });
    match blamed {
        Some((setting, given)) => {
            let value = strings(&error, ContextKind::InvalidValue).into_iter().next().unwrap_or_default();
            given.mistake(&reason(&error, &setting.quoted(&value), &setting.expected))
        }
        None if flags_are_complete => {
            // clap does not tell which setting demanded another, only that a lower layer's must have.
            ConfigError::Mistake(format!("in what the file and the environment give: {}", gist(&error)))
        }
        None => ConfigError::Usage(error),
    }
}

fn is_layered(given: &Given) -> bool {
    !matches!(given.source, Source::Typed)
}

fn reason(error: &clap::Error, value: &str, expected: &str) -> String {
    let source = std::error::Error::source(error).map(|source| format!(" ({source})")).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("{value} is not right{source}; expected {expected}")
        }
        _ => gist(error),
    }
}

/// clap's message without its heading and its usage.
fn gist(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.split("\n\n").next().unwrap_or(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `max-clients` of `--max-clients <COUNT>`.
fn flag(arg: &str) -> &str {
    let arg = arg.trim_start_matches("--");
    arg.split([' ', '=', '[']).next().unwrap_or(arg)
}

fn strings(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(many)) => many.clone(),
        Some(_) | None => Vec::new(),
    }
}
