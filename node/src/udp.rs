//! The UDP socket under a QUIC endpoint.
//!
//! quinn's own is registered for reading and for writing at once. The kernel says *writable* for every datagram that has
//! left, so that a node was woken once more for each packet that it had sent: at 5,000 messages a second, for nothing every
//! other time. Here a socket is registered for reading, and for writing only while the kernel refuses a packet.

mod metrics;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use metrics::UdpSockets;

/// An endpoint on `socket`, which is bound and does not block, and from now on one of `sockets`; one with `server` accepts
/// connections too.
///
/// # Errors
/// The system does not let us watch the socket.
pub fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
    sockets: &UdpSockets,
) -> io::Result<Endpoint> {
    let socket = Arc::new(Socket::new(socket)?);
    sockets.add(&socket);
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}

#[derive(Debug)]
struct Socket {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// Whether the kernel refused a packet, and has not said since that it takes more.
    is_full: AtomicBool,
}

impl Socket {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            socket: watch(socket, Interest::READABLE)?,
            is_full: AtomicBool::new(false),
        })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(context))?;
            match self.state.recv(self.socket.get_ref().into(), buffers, metas) {
                Ok(datagrams) => {
                    // One call takes all there are, as far as there are buffers; what comes later is told anew.
                    if datagrams < buffers.len() {
                        readable.clear_ready();
                    }
                    return Poll::Ready(Ok(datagrams));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

#[expect(
    deprecated,
    reason = "a UdpSocket keeps its descriptor for as long as it lives; what replaces this is unsafe"
)]
fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

/// Waits for room in the kernel, for one connection.
struct Room {
    socket: Arc<Socket>,
    /// The same socket, registered for writing for as long as there is no room.
    waiting: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.is_full.load(Ordering::Relaxed) {
            self.waiting = None;
            return Poll::Ready(Ok(()));
        }
        if self.waiting.is_none() {
            let twin = self.socket.socket.get_ref().try_clone()?;
            self.waiting = Some(watch(twin, Interest::WRITABLE)?);
        }
        if let Some(waiting) = &self.waiting {
            ready!(waiting.poll_write_ready(context))?.retain_ready();
        }
        self.waiting = None;
        self.socket.is_full.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Room").field("is_waiting", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn sockets() -> (Arc<Socket>, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        sender.set_nonblocking(true).expect("a socket can");
        (Arc::new(Socket::new(sender).expect("a runtime is here")), receiver)
    }

    fn send(from: &Socket, to: &UdpSocket) -> io::Result<()> {
        let destination = to.local_addr().expect("it is bound");
        from.try_send(&Transmit {
            destination,
            ecn: None,
            contents: &[7; 1000],
            segment_size: None,
            src_ip: None,
        })
    }

    /// Loopback takes any number of packets, so that the refusal is made up here; what follows it is real.
    #[tokio::test]
    async fn who_was_refused_is_told_when_the_kernel_takes_more() {
        let (sender, receiver) = sockets();
        let mut room = Arc::clone(&sender).create_io_poller();
        poll_fn(|context| room.as_mut().poll_writable(context)).await.expect("there is room at first");
        sender.is_full.store(true, Ordering::Relaxed);
        poll_fn(|context| {
            assert!(room.as_mut().poll_writable(context).is_pending(), "the kernel is asked anew");
            Poll::Ready(())
        })
        .await;

        let waiting = poll_fn(|context| room.as_mut().poll_writable(context));
        timeout(Duration::from_secs(60), waiting).await.expect("woken").expect("a socket can");

        assert!(!sender.is_full.load(Ordering::Relaxed));
        send(&sender, &receiver).expect("there is room again");
    }

    #[tokio::test]
    async fn everything_that_comes_is_received() {
        let (sender, receiver) = sockets();
        receiver.set_nonblocking(true).expect("a socket can");
        let receiver = Socket::new(receiver).expect("a runtime is here");
        for round in 0..100 {
            send(&sender, receiver.socket.get_ref()).expect("room for one");
            let mut buffer = vec![0; 65_536];
            let mut metas = [RecvMeta::default()];
            let receiving = poll_fn(|context| {
                receiver.poll_recv(context, &mut [IoSliceMut::new(&mut buffer)], &mut metas)
            });
            let received = timeout(Duration::from_secs(60), receiving).await.expect("told of it");
            assert_eq!((received.expect("a socket can"), metas[0].len), (1, 1000), "round {round}");
        }
    }
}
