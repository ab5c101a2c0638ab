//! Types and parsers of values that several binaries have.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that no log, error or print-out may show.
#[derive(Clone)]
pub struct Secret(String);

/// A secret was empty, which is a variable somebody forgot to fill rather than a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be empty")]
pub struct EmptySecret;

impl Secret {
    /// Returns the text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = EmptySecret;

    fn from_str(text: &str) -> Result<Self, EmptySecret> {
        if text.is_empty() { Err(EmptySecret) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// Parses a duration such as `25s`, `1h` or `1m 30s`; for clap's `value_parser`.
///
/// # Errors
///
/// Not a duration; says what is missing.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Returns the host name to its first dot, in lower case, where the system tells it.
pub fn host_name() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| first_label(&text))
}

fn first_label(host: &str) -> Option<String> {
    let label = host.trim().split('.').next().unwrap_or_default();
    (!label.is_empty()).then(|| label.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_only_when_exposed() {
        let secret: Secret = "hunter2".parse().expect("not empty");

        assert_eq!(format!("{secret} {secret:?}"), "<redacted> <redacted>");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn an_empty_secret_is_refused() {
        assert_eq!("".parse::<Secret>().err(), Some(EmptySecret));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("25").expect_err("no unit").contains("unit"));
        for wrong in ["", "fast", "-1s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_host_name_ends_at_its_first_dot() {
        assert_eq!(first_label("Edge-3.example.org\n").as_deref(), Some("edge-3"));
        assert_eq!(first_label("edge-3").as_deref(), Some("edge-3"));
        assert_eq!(first_label("\n"), None);
        assert_eq!(first_label(".example.org"), None);
    }

    #[test]
    fn this_machine_has_a_name() {
        let name = host_name().expect("Linux tells it");

        assert!(!name.contains(['.', '\n']));
    }
}
