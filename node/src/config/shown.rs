//! The settings in force, as `--print-config` prints them.

use std::borrow::Cow;
use std::fmt::Write;

use clap::ArgMatches;
use toml_edit::Value;

use super::catalogue::{Arity, Catalogue, Setting, Shape};
use super::layer::{Layer, Origin};

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its key in a file.
    pub key: String,
    /// Its value in TOML; `"<redacted>"` for a secret, none where it is not set.
    pub value: Option<String>,
    /// Whether it is a secret.
    pub is_secret: bool,
    /// Who gave it.
    pub origin: Origin,
}

pub(super) fn list(catalogue: &Catalogue, matches: &ArgMatches, winners: &Layer) -> Vec<Shown> {
    let show = |setting: &Setting| Shown {
        key: setting.key.clone(),
        value: value(setting, matches),
        is_secret: setting.is_secret,
        origin: winners.get(&setting.id).map_or(Origin::Default, |given| given.origin.clone()),
    };
    catalogue.settings().iter().map(show).collect()
}

/// Secrets are printed as comments: a print-out that is kept as a file must not make `<redacted>` the secret.
pub(super) fn print(shown: &[Shown]) -> String {
    let mut text = String::new();
    for Shown { key, value, is_secret, origin } in shown {
        let line = match value {
            Some(value) if *is_secret => writeln!(text, "# {key} = {value}  # {origin}"),
            Some(value) => writeln!(text, "{key} = {value}  # {origin}"),
            None => writeln!(text, "# {key} is not set"),
        };
        line.expect("a String takes everything");
    }
    text
}

fn value(setting: &Setting, matches: &ArgMatches) -> Option<String> {
    let values: Vec<_> = matches.get_raw(&setting.id)?.map(|value| value.to_string_lossy()).collect();
    if setting.is_secret {
        return (!values.is_empty()).then(|| r#""<redacted>""#.to_owned());
    }
    let mut values = values.iter().map(|value| spelt(setting.shape, value));
    match setting.arity {
        Arity::Switch | Arity::One => values.next(),
        Arity::Many => Some(format!("[{}]", values.collect::<Vec<_>>().join(", "))),
    }
}

fn spelt(shape: Shape, value: &str) -> String {
    match shape {
        Shape::Number | Shape::Boolean => value.to_owned(),
        Shape::Text | Shape::Any => Value::from(without_password(value).into_owned()).to_string(),
    }
}

/// Hides the password of an address such as `redis://user:password@host`.
pub(super) fn without_password(value: &str) -> Cow<'_, str> {
    let hidden = || {
        let (scheme, rest) = value.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        // The last @: a password may hold one, a host may not.
        let (user_info, _) = authority.rsplit_once('@')?;
        let (user, _) = user_info.split_once(':')?;
        Some(format!("{scheme}://{user}:<redacted>{}", &rest[user_info.len()..]))
    };
    hidden().map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Whether a value is an address with a password in it.
pub(super) fn has_password(value: &str) -> bool {
    matches!(without_password(value), Cow::Owned(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_password_and_nothing_else() {
        for (value, shown) in [
            ("redis://user:secret@host:6379/0", "redis://user:<redacted>@host:6379/0"),
            ("rediss://:p@ss@host", "rediss://:<redacted>@host"),
            ("redis+cluster://:secret@a:1,b:2/?x=@", "redis+cluster://:<redacted>@a:1,b:2/?x=@"),
            ("redis://user@host", "redis://user@host"),
            ("redis://host:6379/a:b@c", "redis://host:6379/a:b@c"),
            ("https://example.org:8443", "https://example.org:8443"),
            ("memory", "memory"),
        ] {
            assert_eq!(without_password(value), shown);
        }
    }
}
