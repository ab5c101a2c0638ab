//! By which names an admin listener is called.
//!
//! A page from anywhere can let its own name mean 127.0.0.1, and then read what is there as if it were its own ("DNS
//! rebinding"). Its name is what gives it away: it stands in `Host`, and no page chooses another.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;

/// What whoever calls by another name is told.
pub(super) const NOT_KNOWN: &str = "this listener does not know the name that it was called by: \
    call it by its address, or start the node with --admin-host NAME\n";

/// Names that are known besides addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These names, in any case.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request calls by a name that is known, or by none, as no browser does.
    pub(super) fn know(&self, headers: &HeaderMap) -> bool {
        headers.get_all(HOST).iter().all(|host| self.knows(host))
    }

    fn knows(&self, host: &HeaderValue) -> bool {
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
        let host = authority.host().to_ascii_lowercase();
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()) || host.parse::<Ipv4Addr>().is_ok()
        {
            return true;
        }
        let name = host.strip_suffix('.').unwrap_or(&host);
        name == "localhost" || name.ends_with(".localhost") || self.0.iter().any(|known| known == name)
    }
}

/// Checks a name for [`Hosts`]; for clap's `value_parser`.
///
/// # Errors
/// Not a name as it stands in an address, without a port.
pub fn host(name: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.ends_with('.') || !name.chars().all(is_name) {
        return Err("not a host name, such as console.example.org, without scheme and port".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_names_that_were_given_are_known() {
        let hosts = Hosts::new(&["Console.example".to_owned()]);
        for known in [
            "127.0.0.1",
            "127.0.0.1:9000",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9000",
            "localhost",
            "LOCALHOST:9000",
            "localhost.:9000",
            "relay.localhost:9000",
            "console.example",
            "CONSOLE.example:9000",
        ] {
            assert!(hosts.know(&headers(&[known])), "{known}");
        }
        assert!(hosts.know(&headers(&[])));
    }

    #[test]
    fn other_names_are_not() {
        let hosts = Hosts::new(&["console.example".to_owned()]);
        for other in [
            "",
            "evil.example",
            "evil.example:9000",
            "notlocalhost",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "sub.console.example",
            "[evil]",
            "a b",
        ] {
            assert!(!hosts.know(&headers(&[other])), "{other}");
        }
        assert!(!hosts.know(&headers(&["localhost", "evil.example"])), "one of two");
        assert!(!Hosts::default().know(&headers(&["console.example"])));
    }

    #[test]
    fn names_have_neither_scheme_nor_port() {
        assert_eq!(host("console.example.org"), Ok("console.example.org".to_owned()));
        for wrong in ["", "http://a.example", "a.example:80", "a.example.", "a/b", "*.example"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (HOST, host.parse().expect("a value"))).collect()
    }
}
