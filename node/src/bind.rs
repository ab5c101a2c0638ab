//! Opens the listening sockets of a node.
//!
//! Called once per door at start, before anything else runs, so that a taken port stops the process with a
//! sentence the operator can act on. Sockets leave here bound, non-blocking and ready for tokio's `from_std`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

/// Connections the kernel completes and holds until we accept them: all clients of a full edge (500) may come
/// back within one turn of the loop, and twice that still fits. Linux cuts it to `net.core.somaxconn` (4096).
const BACKLOG: i32 = 1024;

/// Bytes the kernel may hold for a UDP socket in each direction: a link carries up to 300 MB/s (two million
/// messages of 150 bytes), and a reader that is off the processor for 25 ms must not lose packets.
const UDP_BUFFER_BYTES: usize = 8 << 20;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {}; give another address with {flag}", reason(source))]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// Whom the socket was to serve.
    pub what: String,
    /// The flag that changes the address.
    pub flag: String,
    /// What the operating system said.
    pub source: io::Error,
}

/// Listens on `address` for `what` ("WebSocket clients"); `flag` ("--listen") is the one that changes the address.
///
/// # Errors
///
/// The operator should act: the address is taken, not ours, or not allowed.
pub fn tcp(address: SocketAddr, flag: &str, what: &str) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted node must not wait until its predecessor's connections have left TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|source| refused(address, flag, what, source))
}

/// Opens a datagram socket on `address` for `what`, with buffers as large as the system grants.
///
/// Not SO_REUSEADDR: with it a second process would take the first one's packets without an error.
///
/// # Errors
///
/// As [`tcp`].
pub fn udp(address: SocketAddr, flag: &str, what: &str) -> Result<UdpSocket, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        open_udp(socket, address)
    };
    open().map_err(|source| refused(address, flag, what, source))
}

/// Opens a datagram socket that reaches addresses of both families, where the system has both, from any free port.
///
/// # Errors
/// There is no free port, or no network at all.
pub fn udp_client() -> io::Result<UdpSocket> {
    let both = || {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        open_udp(socket, (Ipv6Addr::UNSPECIFIED, 0).into())
    };
    both().or_else(|_| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        open_udp(socket, (Ipv4Addr::UNSPECIFIED, 0).into())
    })
}

fn open_udp(socket: Socket, address: SocketAddr) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    enlarge_buffers(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A refusal costs throughput only, so it is logged; Linux grants silently what `net.core.rmem_max` allows.
fn enlarge_buffers(socket: &Socket) {
    let receive = socket.set_recv_buffer_size(UDP_BUFFER_BYTES).and_then(|()| socket.recv_buffer_size());
    let send = socket.set_send_buffer_size(UDP_BUFFER_BYTES).and_then(|()| socket.send_buffer_size());
    debug!(wanted_bytes = UDP_BUFFER_BYTES, ?receive, ?send, "socket buffers granted");
}

fn refused(address: SocketAddr, flag: &str, what: &str, source: io::Error) -> BindError {
    BindError { address, what: what.to_owned(), flag: flag.to_owned(), source }
}

/// Puts what the system said into the middle of a sentence: small first letter, without the error's number.
pub(crate) fn reason(error: &io::Error) -> impl fmt::Display {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        // "I/O error" keeps its capital.
        Some(first) if letters.as_str().starts_with(char::is_lowercase) => {
            format!("{}{}", first.to_lowercase(), letters.as_str())
        }
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_taken_tcp_port_names_address_purpose_reason_and_flag() {
        let first = tcp(ANY_PORT, "--listen", "WebSocket clients").expect("a free port");
        let address = first.local_addr().expect("bound");

        let error = tcp(address, "--listen", "WebSocket clients").expect_err("the port is taken");

        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {address} for WebSocket clients: address already in use; \
                 give another address with --listen"
            )
        );
    }

    #[test]
    fn a_taken_udp_port_is_refused_not_shared() {
        let first = udp(ANY_PORT, "--listen", "links").expect("a free port");
        let address = first.local_addr().expect("bound");

        let error = udp(address, "--listen", "links").expect_err("the port is taken");

        assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
        assert!(
            error.to_string().starts_with(&format!("cannot listen on {address} for links: address already"))
        );
    }

    #[test]
    fn an_address_of_somebody_else_is_refused_with_the_flag() {
        // 192.0.2.0/24 is reserved for documentation, so no machine has it.
        let foreign = "192.0.2.1:8000".parse().expect("an address");

        let error = tcp(foreign, "--admin-listen", "metrics").expect_err("not our address");

        assert_eq!(error.source.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().ends_with("; give another address with --admin-listen"), "{error}");
    }

    #[test]
    fn sockets_do_not_block() {
        let listener = tcp(ANY_PORT, "--listen", "clients").expect("a free port");
        let socket = udp(ANY_PORT, "--listen", "links").expect("a free port");

        let accepted = listener.accept().expect_err("nobody has connected");
        let received = socket.recv_from(&mut [0; 1]).expect_err("nobody has sent");

        assert_eq!(accepted.kind(), ErrorKind::WouldBlock);
        assert_eq!(received.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_port_can_be_taken_again_while_old_connections_linger() {
        let first = tcp(ANY_PORT, "--listen", "clients").expect("a free port");
        let address = first.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("it listens");
        // Closing the server's side first leaves that side in TIME_WAIT.
        first.set_nonblocking(false).expect("a socket");
        drop(first.accept().expect("a connection"));
        drop((first, client));

        tcp(address, "--listen", "clients").expect("free again at once");
    }

    #[test]
    fn both_families_are_served() {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        if TcpListener::bind(address).is_err() {
            return; // a machine without IPv6
        }

        tcp(address, "--listen", "clients").expect("a free port");
        udp(address, "--listen", "links").expect("a free port");
    }

    #[test]
    fn the_systems_words_fit_into_a_sentence() {
        let reason = |text: &str| reason(&io::Error::other(text.to_owned())).to_string();

        assert_eq!(reason("Permission denied (os error 13)"), "permission denied");
        assert_eq!(reason("I/O error"), "I/O error");
        assert_eq!(reason(""), "");
    }
}
