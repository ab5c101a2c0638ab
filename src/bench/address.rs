//! Where clients connect: a `ws://` address, as the user gave it and as sockets need it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, anyhow};
use tokio_tungstenite::tungstenite::http::Uri;

/// A checked `ws://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// As in `Host:`, with its port.
    pub(super) authority: String,
    pub(super) path: String,
}

const PATH_DEFAULT: &str = "/connection/websocket";

impl Address {
    /// Parses an address, for clap's `value_parser`. Where the path is missing, it is `/connection/websocket`.
    ///
    /// # Errors
    /// Not an address that can be connected to; says why.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {EXAMPLE}"))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => {
                return Err(format!("TLS would be measured along with it, and is not built; {EXAMPLE}"));
            }
            Some(_) | None => return Err(format!("it does not begin with ws://; {EXAMPLE}")),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(EXAMPLE)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { PATH_DEFAULT } else { path };
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { authority: format!("{host}:{port}"), path: path.to_owned() })
    }

    /// Asks the system which addresses of the network that is, and takes the first.
    ///
    /// # Errors
    /// The name is not known.
    pub(super) fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let mut found = self.authority.to_socket_addrs().with_context(|| format!("cannot find {self}"))?;
        found.next().ok_or_else(|| anyhow!("cannot find {self}: it has no address"))
    }
}

const EXAMPLE: &str = "an address is such as ws://127.0.0.1:8001/connection/websocket";

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ws://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_what_they_leave_out() {
        for (text, shown) in [
            ("ws://127.0.0.1:8001/connection/websocket", "ws://127.0.0.1:8001/connection/websocket"),
            ("ws://127.0.0.1:8001", "ws://127.0.0.1:8001/connection/websocket"),
            ("ws://edge.example/ws?cf_protocol=json", "ws://edge.example:80/ws?cf_protocol=json"),
            ("ws://[::1]:8001/", "ws://[::1]:8001/connection/websocket"),
        ] {
            assert_eq!(Address::parse(text).expect("valid").to_string(), shown);
        }
        let v6 = Address::parse("ws://[::1]:8001").expect("valid").resolve().expect("no name to look up");
        assert_eq!(v6, "[::1]:8001".parse().expect("an address"));
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_with_an_example() {
        for text in
            ["", "127.0.0.1:8001", "http://127.0.0.1", "wss://edge.example", "ws://", "ws:// x", "ws:///p"]
        {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains("ws://127.0.0.1:8001/connection/websocket"), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_named() {
        let address = Address::parse("ws://nobody.invalid:1").expect("well formed");
        assert!(address.resolve().expect_err("reserved").to_string().contains("nobody.invalid"));
    }
}
