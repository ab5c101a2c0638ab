//! The sockets of an edge, all opened before anything runs.
//!
//! In development `localhost` must be this edge for whoever asks: browsers try ::1 as well as 127.0.0.1, and for QUIC one
//! that is not there fails at once. So a door on 127.0.0.1 has a twin on [::1], with the same port, where there is IPv6.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use node::bind::{self, BindError};

use crate::{Address, Config};

/// The open sockets.
pub(crate) struct Listeners {
    /// Plain HTTP; the first is the one asked for, the second its twin.
    pub(crate) http: Vec<TcpListener>,
    /// TCP and UDP of one number, as above.
    pub(crate) tls: Vec<Pair>,
    pub(crate) line: Option<TcpListener>,
    pub(crate) admin: TcpListener,
}

/// HTTPS on TCP, WebTransport on UDP.
pub(crate) struct Pair {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: UdpSocket,
}

impl Listeners {
    /// Opens all of them.
    ///
    /// # Errors
    /// The operator must choose another address.
    pub(crate) fn open(config: &Config) -> Result<Self, BindError> {
        let open = |address: &Address, what| bind::tcp(address.address, &address.flag, what);
        let http = with_twin(&config.listen, config.is_dev, |address| open(address, "WebSocket clients"))?;
        let tls = match &config.tls {
            Some(tls) => with_twin(&tls.listen, config.is_dev, pair)?,
            None => Vec::new(),
        };
        let line = config.line_listen.as_ref().map(|line| open(line, "the line door")).transpose()?;
        let admin = open(&config.admin_listen, "metrics and health")?;
        Ok(Self { http, tls, line, admin })
    }
}

/// Something bound to an address.
trait Bound {
    fn port(&self) -> Option<u16>;
}

impl Bound for TcpListener {
    fn port(&self) -> Option<u16> {
        self.local_addr().ok().map(|address| address.port())
    }
}

impl Bound for Pair {
    fn port(&self) -> Option<u16> {
        self.tcp.port()
    }
}

fn with_twin<T: Bound>(
    address: &Address,
    is_dev: bool,
    open: impl Fn(&Address) -> Result<T, BindError>,
) -> Result<Vec<T>, BindError> {
    let first = open(address)?;
    let port = first.port().filter(|_| is_dev && address.address.ip() == Ipv4Addr::LOCALHOST);
    let mut all = vec![first];
    let Some(port) = port else { return Ok(all) };
    match open(&Address::new(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), &address.flag)) {
        Ok(twin) => all.push(twin),
        // Nobody asked for this very number, or there is no IPv6 here.
        Err(error) if address.address.port() == 0 || is_without_ipv6(&error) => {
            tracing::debug!("no twin on ::1: {error}");
        }
        Err(error) => return Err(error),
    }
    Ok(all)
}

fn is_without_ipv6(error: &BindError) -> bool {
    matches!(error.source.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
        || error.source.raw_os_error() == Some(ADDRESS_FAMILY_UNKNOWN)
}

/// Linux's EAFNOSUPPORT, for which std has no kind.
const ADDRESS_FAMILY_UNKNOWN: i32 = 97;

/// Where the system chooses the number for TCP, UDP may have given it to somebody else; then it chooses again.
const TRIES: usize = 32;

fn pair(address: &Address) -> Result<Pair, BindError> {
    let mut left = TRIES;
    loop {
        left -= 1;
        let tcp = bind::tcp(address.address, &address.flag, "HTTPS and WebSocket clients")?;
        let port = tcp.port().unwrap_or(address.address.port());
        let same = SocketAddr::new(address.address.ip(), port);
        match bind::udp(same, &address.flag, "WebTransport clients") {
            Ok(udp) => return Ok(Pair { tcp, udp }),
            Err(_) if address.address.port() == 0 && left > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_have_one_number_and_in_development_a_twin_with_the_same() {
        let any = Address::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "--tls-listen");
        let pairs = with_twin(&any, true, pair).expect("free numbers");
        let port = pairs[0].port().expect("bound");
        assert_ne!(port, 0);
        for pair in &pairs {
            assert_eq!(pair.udp.local_addr().expect("bound").port(), port);
            assert_eq!(pair.tcp.local_addr().expect("bound").port(), port);
        }
        assert_eq!(pairs[0].udp.local_addr().expect("bound").ip(), Ipv4Addr::LOCALHOST);
        if let Some(twin) = pairs.get(1) {
            assert_eq!(twin.udp.local_addr().expect("bound").ip(), Ipv6Addr::LOCALHOST);
        }
        assert_eq!(with_twin(&any, false, pair).expect("free numbers").len(), 1);
    }

    #[test]
    fn a_number_that_udp_has_given_away_is_refused_with_the_flag() {
        // A number that UDP gives may be somebody's on TCP, who is asked first; then another is drawn.
        let error = (0..TRIES).find_map(|_| {
            let taken =
                bind::udp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "--x", "somebody").expect("free");
            let address = Address::new(taken.local_addr().expect("bound"), "--tls-listen");
            pair(&address).err().filter(|error| error.to_string().contains("for WebTransport clients"))
        });
        let error = error.expect("it is taken");
        assert!(error.to_string().ends_with("give another address with --tls-listen"), "{error}");
    }
}
