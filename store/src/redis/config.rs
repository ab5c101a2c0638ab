//! Where Redis is, and under which names our keys stand there.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// The prefix of all keys, where nobody chose another.
pub const PREFIX_DEFAULT: &str = "cw:";

/// A prefix stands in every key: 64 bytes hold any sensible name of a deployment.
pub const PREFIX_BYTES_MAX: usize = 64;

/// Where Redis is, who we are there, and the prefix of our keys. Shows no password.
///
/// It takes a Redis of 6.2 or later. A user with limited rights needs our keys (`~<prefix>*`), the commands that are
/// in this crate, and among them `CLIENT INFO` and `CLIENT KILL`: without these late writes could not be stopped, so
/// there is no going without.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) address: Address,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: i64,
    pub(crate) prefix: String,
}

/// What to connect to.
#[derive(Clone)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(std::path::PathBuf),
}

/// Why a text says not where Redis is, or is no prefix. Shows no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedis {
    /// The address cannot be read; in here without user and password.
    #[error(
        "{0:?} is no address of a Redis: write redis://[user:password@]host[:port][/db] or \
         redis+unix:///path, and what is special in a user or password as %XX"
    )]
    Url(String),
    /// A kind of address that we know and cannot use.
    #[error("{0}:// is not built yet: give the redis:// address of one Redis")]
    NotBuilt(&'static str),
    /// The prefix would break keys.
    #[error(
        "{0:?} is no prefix for keys: take at most 64 printable ASCII characters, none of them a space or one of \
         {{}}*?[]\\"
    )]
    Prefix(String),
}

impl RedisConfig {
    /// Checks an address and a prefix.
    ///
    /// # Errors
    /// Whoever configured it must write it differently: see [`InvalidRedis`].
    pub fn parse(url: &str, prefix: &str) -> Result<Self, InvalidRedis> {
        for scheme in ["rediss", "redis+cluster", "redis+sentinel"] {
            if url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://")) {
                return Err(InvalidRedis::NotBuilt(scheme));
            }
        }
        let invalid = || InvalidRedis::Url(without_secrets(url));
        // The crate would ignore what it does not know behind a '?' or '#'; on Unix sockets it takes the database
        // and the user from there.
        let fits = match url.split_once("://") {
            Some(("redis", rest)) => !rest.contains(['?', '#']),
            Some(("redis+unix", _)) => true,
            _ => false,
        };
        let info: ConnectionInfo =
            if fits { url.into_connection_info().map_err(|_| invalid())? } else { return Err(invalid()) };
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(invalid()),
        };
        if !is_prefix(prefix) {
            return Err(InvalidRedis::Prefix(prefix.to_owned()));
        }
        let settings = info.redis_settings();
        Ok(Self {
            address,
            user: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            database: settings.db(),
            prefix: prefix.to_owned(),
        })
    }
}

impl RedisConfig {
    /// Whether the address had a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// With a password that stands apart from the address.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        Self { password: Some(password.to_owned()), ..self }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &format_args!("{}", self.address))
            .field("user", &self.user)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Braces would decide the slots of all keys; the others are patterns to `SCAN … MATCH`, or break somebody's shell.
fn is_prefix(prefix: &str) -> bool {
    prefix.len() <= PREFIX_BYTES_MAX
        && prefix.bytes().all(|b| b.is_ascii_graphic() && !b"{}*?[]\\".contains(&b))
}

/// `url` as far as it can be shown: what stands before the last '@' or behind a '?' may be a password.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let shown = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let shown = shown.split_once('?').map_or(shown, |(path, _)| path);
    let hidden = if rest.contains('@') { "…@" } else { "" };
    if scheme.is_empty() { format!("{hidden}{shown}") } else { format!("{scheme}://{hidden}{shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> RedisConfig {
        RedisConfig::parse(url, PREFIX_DEFAULT).expect(url)
    }

    #[test]
    fn an_address_says_host_port_database_and_user() {
        let plain = parsed("redis://cache");
        assert_eq!((plain.address.to_string().as_str(), plain.database), ("cache:6379", 0));
        assert_eq!((plain.user, plain.password), (None, None));
        let full = parsed("redis://me:p%40ss@[::1]:7000/3");
        assert_eq!((full.address.to_string().as_str(), full.database), ("[::1]:7000", 3));
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(parsed("redis://:secret@cache").password.as_deref(), Some("secret"));
        assert_eq!(parsed("redis+unix:///run/redis.sock").address.to_string(), "/run/redis.sock");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_word_on_why() {
        for scheme in ["rediss", "redis+cluster", "redis+sentinel"] {
            let refused =
                RedisConfig::parse(&format!("{scheme}://me:secret@cache"), "").expect_err("not built");
            assert_eq!(refused, InvalidRedis::NotBuilt(scheme));
        }
        for url in [
            "",
            "cache",
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://cache/x",
            "redis://cache:x",
            "valkey://cache",
            "redis://cache?db=3",
            "redis://cache#x",
            "redis://0.0.0.0",
        ] {
            assert!(matches!(RedisConfig::parse(url, ""), Err(InvalidRedis::Url(_))), "{url}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "redis://me:secret@cache:x",
            "redis://:sec@secret@cache:x",
            "http://me:secret@h",
            "secret@cache",
            "redis+unix://x/run/redis.sock?pass=secret",
            "rediss://:secret@cache",
            "redis://:secret?secret@cache:x",
        ] {
            let refused = RedisConfig::parse(url, "").expect_err(url);
            assert!(!format!("{refused} {refused:?}").contains("secret"), "{refused}");
        }
        for url in ["redis://me:secret@cache", "redis+unix:///run/redis.sock?pass=secret"] {
            assert!(!format!("{:?}", parsed(url)).contains("secret"), "{url}");
        }
    }

    #[test]
    fn a_prefix_is_printable_and_decides_no_slot() {
        for prefix in ["", "cw:", "a.b-c/d_e#1:", &"p".repeat(64)] {
            assert!(RedisConfig::parse("redis://cache", prefix).is_ok(), "{prefix:?}");
        }
        for prefix in ["{cw}:", "c w", "cw*", "cw?", "cw[", "cw]", "cw\\", "cw\n", "é", &"p".repeat(65)] {
            let refused = RedisConfig::parse("redis://cache", prefix).expect_err(prefix);
            assert_eq!(refused, InvalidRedis::Prefix(prefix.to_owned()));
        }
    }
}
