//! What an error of Redis, or of the way to it, means.

use redis::{RedisError, ServerError, Value};

use crate::ErrorKind;

/// A kind and the words that came with it, for the log.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether Redis itself said so, instead of nothing.
    pub(crate) fn is_an_answer(&self) -> bool {
        !matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Timeout)
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let kind = match error.code() {
            Some(code) => kind_of(code, error.detail().unwrap_or_default()),
            None if error.is_timeout() => ErrorKind::Timeout,
            None if error.is_io_error() => ErrorKind::Unreachable,
            None => ErrorKind::Other,
        };
        let message = match error.code() {
            Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
            None => error.to_string(),
        };
        Self { kind, message: without_arguments(&message).to_owned() }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        let is_timeout = error.kind() == std::io::ErrorKind::TimedOut;
        let kind = if is_timeout { ErrorKind::Timeout } else { ErrorKind::Unreachable };
        Self::new(kind, error.to_string())
    }
}

/// The first error in an answer, or in its parts: a transaction's answer has them inside.
pub(crate) fn error_in(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        Value::Array(items) => items.iter().find_map(error_in),
        _ => None,
    }
}

fn kind_of(code: &str, detail: &str) -> ErrorKind {
    match code {
        "WRONGTYPE" => ErrorKind::WrongType,
        "READONLY" => ErrorKind::ReadOnly,
        "OOM" => ErrorKind::OutOfMemory,
        "LOADING" => ErrorKind::Loading,
        "WRONGPASS" | "NOAUTH" => ErrorKind::Auth,
        "NOPERM" => ErrorKind::NoPermission,
        "MISCONF" => ErrorKind::MisConf,
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" | "MASTERDOWN" => ErrorKind::Cluster,
        // Before Redis 7 the error of a command in a script is told as one of the script, with its own code inside.
        "ERR" if detail.starts_with("Error running script") => detail
            .split_ascii_whitespace()
            .map(|word| kind_of(word.trim_start_matches('-'), ""))
            .find(|kind| *kind != ErrorKind::Other)
            .unwrap_or(ErrorKind::Other),
        _ => ErrorKind::Other,
    }
}

/// An unknown command is answered with what it was asked about: names that came from clients.
fn without_arguments(message: &str) -> &str {
    message.split_once(", with args").map_or(message, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str, detail: &str) -> Fault {
        redis::make_extension_error(code.to_owned(), Some(detail.to_owned())).into()
    }

    #[test]
    fn codes_say_what_is_wrong() {
        for (code, kind) in [
            ("WRONGTYPE", ErrorKind::WrongType),
            ("MISCONF", ErrorKind::MisConf),
            ("NOAUTH", ErrorKind::Auth),
            ("CROSSSLOT", ErrorKind::Cluster),
            ("NOREPLICAS", ErrorKind::Other),
        ] {
            assert_eq!(fault(code, "words").kind, kind, "{code}");
        }
    }

    #[test]
    fn an_old_redis_hides_the_code_in_the_words_on_its_script() {
        let words = "Error running script (call to f_1): @user_script:2: WRONGTYPE Operation against a key";
        assert_eq!(fault("ERR", words).kind, ErrorKind::WrongType);
        assert_eq!(fault("ERR", "no OOM here").kind, ErrorKind::Other);
    }

    #[test]
    fn what_a_client_named_is_not_repeated() {
        let words = "unknown command 'SREM', with args beginning with: 'cw:route:{#bob}' ";
        assert_eq!(fault("ERR", words).message, "ERR unknown command 'SREM'");
    }
}
