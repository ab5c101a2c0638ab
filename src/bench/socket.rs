//! One client's connection: TCP, the upgrade to WebSocket, and then lines of text.
//!
//! Never blocks. What has arrived is read in place: a line that is whole is handed on without being copied.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Type};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::address::Address;
use super::frame::{self, Frame, Kind};

/// Bytes of the answer to an upgrade request.
const UPGRADE_BYTES_MAX: usize = 16 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    stage: Stage,
    /// What has arrived of the next frame.
    rest: Vec<u8>,
    /// What has arrived of the next message, where it comes in several frames.
    message: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    Upgrading { accept: String },
    Open,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// The upgrade is done.
    Opened,
    Line(&'a [u8]),
    /// To be answered with a pong of the same bytes.
    Ping(&'a [u8]),
}

/// Why a connection is over, or was never one.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{}", without_number(.0))]
    Io(#[from] std::io::Error),
    #[error("it is no WebSocket server of this path: {0}")]
    Upgrade(String),
    #[error("it closed the connection with {code} {reason:?}")]
    Closed { code: u16, reason: String },
    #[error("the connection ended without a word")]
    Gone,
    #[error(transparent)]
    Malformed(#[from] frame::Malformed),
    #[error("no answer within {0} s")]
    Late(u64),
    /// It answered, but with a no.
    #[error("it refused {0}")]
    Refused(String),
}

fn without_number(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
}

impl Socket {
    /// Begins to connect; the socket becomes writable when that is done.
    ///
    /// # Errors
    /// The system does not even try, for want of ports or open files.
    pub(super) fn connect(to: SocketAddr) -> Result<Self, End> {
        let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Frames go out when they are written; batches are made above.
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            // EINPROGRESS has no kind of its own in the standard library.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { stream: socket.into(), stage: Stage::Connecting, rest: Vec::new(), message: Vec::new() })
    }

    /// Called when the socket is writable: the bytes to send first, once there is a connection.
    ///
    /// # Errors
    /// There is nobody at that address.
    pub(super) fn connected(&mut self, address: &Address) -> Result<Option<String>, End> {
        let Stage::Connecting = self.stage else { return Ok(None) };
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        let key = generate_key();
        let Address { authority, path } = address;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        self.stage = Stage::Upgrading { accept: derive_accept_key(key.as_bytes()) };
        Ok(Some(request))
    }

    /// Writes what the system takes of `bytes`, and tells how much that was.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, End> {
        match self.stream.write(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Reads once, by way of `scratch`, and hands on what is whole.
    ///
    /// # Errors
    /// The connection is over; what came before has been handed on.
    pub(super) fn read(&mut self, scratch: &mut [u8], mut hear: impl FnMut(Heard<'_>)) -> Result<(), End> {
        let arrived = match self.stream.read(scratch) {
            Ok(0) => return Err(End::Gone),
            Ok(count) => &scratch[..count],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if self.rest.is_empty() {
            let used = self.digest(arrived, &mut hear)?;
            self.rest.extend_from_slice(&arrived[used..]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(arrived);
            let used = self.digest(&bytes, &mut hear)?;
            bytes.drain(..used);
            self.rest = bytes;
        }
        Ok(())
    }

    /// Hands on what `bytes` have whole, and tells how many of them that were.
    fn digest(&mut self, bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<usize, End> {
        let mut used = 0;
        if let Stage::Upgrading { accept } = &self.stage {
            let Some(head) = upgrade_answer(bytes)? else { return Ok(0) };
            check_upgrade(head, accept)?;
            used = head.len() + 4;
            self.stage = Stage::Open;
            hear(Heard::Opened);
        }
        while let Some((frame, length)) = frame::read(&bytes[used..])? {
            self.frame(&frame, hear)?;
            used += length;
        }
        Ok(used)
    }

    fn frame(&mut self, frame: &Frame<'_>, hear: &mut impl FnMut(Heard<'_>)) -> Result<(), End> {
        match (frame.kind, frame.is_last) {
            (Kind::Message, true) => lines(frame.payload, hear),
            (Kind::Message | Kind::Continuation, is_last) => {
                if self.message.len() + frame.payload.len() > frame::PAYLOAD_BYTES_MAX {
                    return Err(frame::Malformed::Length.into());
                }
                self.message.extend_from_slice(frame.payload);
                if is_last {
                    lines(&std::mem::take(&mut self.message), hear);
                }
            }
            (Kind::Ping, _) => hear(Heard::Ping(frame.payload)),
            (Kind::Pong, _) => {}
            (Kind::Close, _) => return Err(closed(frame.payload)),
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn lines(message: &[u8], hear: &mut impl FnMut(Heard<'_>)) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', message).chain([message.len()]) {
        if start < end {
            hear(Heard::Line(&message[start..end]));
        }
        start = end + 1;
    }
}

fn closed(payload: &[u8]) -> End {
    match payload {
        [high, low, reason @ ..] => End::Closed {
            code: u16::from_be_bytes([*high, *low]),
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        // 1005: the close frame named no code.
        _ => End::Closed { code: 1005, reason: String::new() },
    }
}

/// The head of the answer, without the empty line that ends it; `None` while it is not complete.
fn upgrade_answer(bytes: &[u8]) -> Result<Option<&[u8]>, End> {
    match memchr::memmem::find(bytes, b"\r\n\r\n") {
        Some(end) => Ok(Some(&bytes[..end])),
        None if bytes.len() > UPGRADE_BYTES_MAX => Err(End::Upgrade("its answer has no end".to_owned())),
        None => Ok(None),
    }
}

fn check_upgrade(head: &[u8], accept: &str) -> Result<(), End> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        return Err(End::Upgrade(format!("it answered {status:?}")));
    }
    let is_accepted = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept);
    if is_accepted { Ok(()) } else { Err(End::Upgrade("it answered with a wrong key".to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// A socket and the server's side of it.
    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut socket = Socket::connect(address).expect("somebody listens");
        let (mut server, _) = listener.accept().expect("it connects");
        server.set_read_timeout(Some(Duration::from_secs(5))).expect("a duration");
        let asked = Address { authority: address.to_string(), path: "/x".to_owned() };
        let request = socket.connected(&asked).expect("connected").expect("a request");
        assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert_eq!(socket.write(request.as_bytes()).expect("room"), request.len());
        let mut got = vec![0; request.len()];
        server.read_exact(&mut got).expect("it was sent");
        (socket, server)
    }

    fn accept_of(socket: &Socket) -> String {
        let Stage::Upgrading { accept } = &socket.stage else { panic!("not upgrading") };
        accept.clone()
    }

    /// Sends `bytes` and gives back what the socket makes of them.
    fn hear(socket: &mut Socket, server: &mut TcpStream, bytes: &[u8]) -> Result<Vec<String>, End> {
        server.write_all(bytes).expect("it reads");
        let mut heard = Vec::new();
        // Loopback delivers before `write` returns.
        socket.read(&mut [0; 4096], |what| {
            heard.push(match what {
                Heard::Opened => "opened".to_owned(),
                Heard::Line(line) => String::from_utf8_lossy(line).into_owned(),
                Heard::Ping(payload) => format!("ping {}", String::from_utf8_lossy(payload)),
            });
        })?;
        Ok(heard)
    }

    fn opened() -> (Socket, TcpStream) {
        let (mut socket, mut server) = pair();
        let answer = format!("HTTP/1.1 101 x\r\nsec-websocket-accept: {}\r\n\r\n", accept_of(&socket));
        assert_eq!(hear(&mut socket, &mut server, answer.as_bytes()).expect("accepted"), ["opened"]);
        (socket, server)
    }

    #[test]
    fn an_upgrade_that_comes_byte_by_byte_is_understood_and_so_is_what_follows_it() {
        let (mut socket, mut server) = pair();
        let answer = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept:{}\r\n\r\n", accept_of(&socket));
        for byte in &answer.as_bytes()[..answer.len() - 1] {
            assert!(hear(&mut socket, &mut server, &[*byte]).expect("accepted").is_empty());
        }
        assert_eq!(hear(&mut socket, &mut server, b"\n\x81\x02hi").expect("accepted"), ["opened", "hi"]);
    }

    #[test]
    fn what_is_no_upgrade_is_told_with_what_it_was() {
        for (answer, told) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503 Service Unavailable"),
            ("HTTP/1.1 101 x\r\nsec-websocket-accept: nonsense\r\n\r\n", "wrong key"),
            ("220 mail.example\r\n\r\n", "220 mail.example"),
        ] {
            let (mut socket, mut server) = pair();
            let end = hear(&mut socket, &mut server, answer.as_bytes()).expect_err(answer);
            assert!(end.to_string().contains(told), "{end}");
        }
    }

    #[test]
    fn messages_are_handed_on_line_by_line_however_they_are_cut() {
        let (mut socket, mut server) = opened();
        let mut say = |bytes: &[u8]| hear(&mut socket, &mut server, bytes).expect("open");

        assert_eq!(say(b"\x81\x03a\nb\x81\x02c\n"), ["a", "b", "c"]);
        assert!(say(b"\x81\x04ab").is_empty());
        assert_eq!(say(b"cd\x89\x01p"), ["abcd", "ping p"]);
        assert!(say(b"\x01\x01a").is_empty());
        assert_eq!(say(b"\x89\x00\x80\x03b\nc"), ["ping ", "ab", "c"], "a ping may stand between the parts");
    }

    #[test]
    fn the_end_of_a_connection_says_why() {
        let (mut socket, mut server) = opened();
        let end = hear(&mut socket, &mut server, b"\x81\x01x\x88\x06\x0b\xbdslow").expect_err("closed");
        assert_eq!(end.to_string(), "it closed the connection with 3005 \"slow\"");

        let (mut socket, server) = opened();
        drop(server);
        assert!(matches!(socket.read(&mut [0; 16], |_| {}), Err(End::Gone)));
    }

    #[test]
    fn nobody_at_an_address_is_an_error_and_no_panic() {
        let unused = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let refused = Socket::connect(unused).and_then(|mut socket| {
            // On loopback the refusal is there at once.
            socket.connected(&Address { authority: String::new(), path: String::new() })
        });
        assert_eq!(refused.expect_err("nobody listens").to_string(), "connection refused");
    }
}
