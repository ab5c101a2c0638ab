//! The WebTransport door: QUIC handshake, HTTP/3's CONNECT, one bidirectional stream, and its two loops.
//!
//! ```text
//! stream ─▶ read_loop ──Event::Frame──▶ event loop ──▶ outbox ──▶ write_loop ─▶ stream
//! ```
//!
//! It does what `client.rs` does for WebSocket. What differs: the stream has no frames, so that lines are cut out of it;
//! and the code that ends a session reaches no browser reliably, so that a push says it first.
//!
//! A client holds one connection, one session and one stream; whatever else HTTP/3 knows is not there. QUIC keeps what a
//! client may send ahead of our reading, and what it has not yet acknowledged of our writing; both are small.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use certs::public::Shown;
use hyper::StatusCode;
use node::newcomers::Lobby;
use node::outbox::{Drain, Taken};
use node::process::RunError;
use node::udp::UdpSockets;
use proto::client::code::Disconnect;
use proto::client::json::{self, Slices};
use proto::client::stream::LineFrames;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig, TransportConfig, VarInt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use web_transport_quinn::{RecvStream, Request, SendStream, ServerError, Session};

use super::{Admission, Guest, Hall};
use crate::Origins;
use crate::core::{ClientKey, Event, OUTBOX_AGE_MAX};
use crate::eventloop::{Input, LARGE_FRAME_BYTES};
use crate::metrics::{Door, Ended, Refusal, Traffic};

/// How long a client may take from its first packet to its CONNECT request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long it may take to open its stream (client protocol).
const STREAM_MAX_WAIT: Duration = Duration::from_secs(10);

/// How long it may take from its stream to its connect command (client protocol: stale).
const CONNECT_MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a client may take to read our last words and to go by itself. In browsers the end of a session overtakes what
/// the page has not read yet.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// How long the closing of a session may take, a refused one's too.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Clients that may be in their handshake at once: as at the HTTP door. For one more, one of them has to go.
const HALF_OPEN_MAX: usize = 1024;

/// From so many on, who comes must first prove that he is where he says (QUIC's Retry): a round trip more for an honest
/// client, while one that forges its address costs nothing beyond one packet.
const HALF_OPEN_UNPROVED_MAX: usize = 64;

/// After so long without a packet a client is dead.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Keeps the way open through whatever forgets silent connections, the browser included.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The request's stream and the client's. quinn allocates for every stream that a client may open.
const BIDIRECTIONAL_STREAMS: u32 = 2;

/// HTTP/3's control stream, and QPACK's two.
const UNIDIRECTIONAL_STREAMS: u32 = 3;

/// Bytes that a client may send ahead of our reading on one stream: one largest command.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all of its streams together; only one has a reason to be full.
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// Bytes that wait in QUIC for the client's acknowledgement, beside those in its outbox: what is written into it does not
/// count as read. 64 KiB per round trip are 640 KB a second for somebody who is 100 ms away.
const SEND_WINDOW: u64 = 64 << 10;

/// Browsers insist on datagrams; nobody reads any, so that the oldest goes when the next comes.
const DATAGRAM_BYTES: usize = 2 << 10;

/// Bytes that one read takes.
const READ_BYTES: usize = 64 << 10;

/// Bytes that one write takes out of the outbox, unless one message has more.
const BATCH_BYTES: usize = 16 << 10;

/// The door; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WebTransport {
    hall: Hall,
    origins: Arc<Origins>,
    half_open: Lobby,
}

/// Opens the door's side of UDP.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn endpoint(
    socket: UdpSocket,
    shown: &Arc<Shown>,
    sockets: &UdpSockets,
) -> std::io::Result<Endpoint> {
    let tls = QuicServerConfig::try_from(shown.server_config(&[web_transport_quinn::ALPN.as_bytes()]))
        .expect("ring has the cipher suite of QUIC's first packets");
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server.transport_config(Arc::new(transport())).max_incoming(HALF_OPEN_MAX);
    node::udp::endpoint(quinn::EndpointConfig::default(), Some(server), socket, sockets)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("30 s fit QUIC's milliseconds")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDIRECTIONAL_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(0);
    transport
}

/// Accepts clients until `stop` becomes true.
///
/// # Errors
/// Never; it is a task like the other doors'.
pub(crate) async fn accept(
    endpoint: Endpoint,
    mut stop: watch::Receiver<bool>,
    door: WebTransport,
) -> Result<(), RunError> {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        match incoming {
            Some(incoming) => door.serve(incoming),
            None => {
                // Clients that are here are told by the event loop; nobody else comes in.
                endpoint.set_server_config(None);
                return Ok(());
            }
        }
    }
}

impl WebTransport {
    pub(crate) fn new(hall: Hall, origins: Arc<Origins>) -> Self {
        Self { hall, origins, half_open: Lobby::new(HALF_OPEN_MAX) }
    }

    /// Serves one connection in a task of its own.
    fn serve(&self, incoming: Incoming) {
        if self.half_open.len() >= HALF_OPEN_UNPROVED_MAX && incoming.may_retry() {
            incoming.retry().expect("it may be");
            return;
        }
        self.hall.metrics.accepted(Door::WebTransport);
        let mut stay = self.half_open.enter(self.hall.number(), incoming.remote_address().ip());
        let door = self.clone();
        tokio::spawn(async move {
            // What happens once makes no room in the future of every client.
            let entered = tokio::select! {
                biased;
                () = stay.ended() => return door.hall.metrics.ended(Ended::WebTransport),
                entered = Box::pin(door.enter(incoming)) => entered,
            };
            drop(stay);
            if let Some((admission, session)) = entered {
                Box::pin(stay_or_go(&door.hall, admission, session)).await;
            }
        });
    }

    /// From the first packet to a session, or none.
    async fn enter(&self, incoming: Incoming) -> Option<(Admission, Session)> {
        let begun = Instant::now();
        let deadline = begun + HANDSHAKE_MAX;
        let asked = timeout_at(deadline, async {
            let connection = incoming.await.map_err(|error| error.to_string())?;
            Request::accept(connection).await.map_err(|error| error.to_string())
        });
        let request = match asked.await.unwrap_or_else(|_| Err("it took too long".to_owned())) {
            Ok(request) => request,
            Err(reason) => {
                self.hall.metrics.refused(Door::WebTransport, Refusal::Handshake);
                tracing::debug!(reason, "no WebTransport handshake");
                return None;
            }
        };
        match self.admit(&request) {
            Ok(admission) => match timeout_at(deadline, self.let_in(request)).await {
                Ok(Ok(session)) => {
                    self.hall.metrics.let_in(Door::WebTransport, begun.elapsed());
                    Some((admission, session))
                }
                Ok(Err(_)) | Err(_) => {
                    self.hall.metrics.refused(Door::WebTransport, Refusal::Handshake);
                    None
                }
            },
            Err(status) => {
                // The answer must have arrived before the connection goes; browsers close it when they have read it.
                if let Ok(Ok(session)) = timeout_at(deadline, request.respond(status)).await {
                    let _ = timeout(CLOSING_MAX, session.closed()).await;
                }
                None
            }
        }
    }

    async fn let_in(&self, request: Request) -> Result<Session, ServerError> {
        let address = request.conn().remote_address().ip().to_canonical();
        tracing::debug!(%address, "a client comes in over WebTransport");
        request.ok().await
    }

    fn admit(&self, request: &Request) -> Result<Admission, StatusCode> {
        if request.url.path() != "/connection/webtransport" {
            self.hall.metrics.refused(Door::WebTransport, Refusal::Handshake);
            return Err(StatusCode::NOT_FOUND);
        }
        if !self.origin_is_allowed(request) {
            self.hall.metrics.refused(Door::WebTransport, Refusal::Origin);
            return Err(StatusCode::FORBIDDEN);
        }
        let address = request.conn().remote_address().ip().to_canonical();
        self.hall.admit(address, Door::WebTransport).ok_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// As at the HTTP door: who names no origin comes from no page.
    fn origin_is_allowed(&self, request: &Request) -> bool {
        let Some(origin) = request.headers.get("origin") else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        self.origins.allow(origin, Some(request.url.authority()))
    }
}

/// Serves a session to its end, or until it has to make room.
async fn stay_or_go(hall: &Hall, admission: Admission, session: Session) {
    let Admission { client, place, mut stay } = admission;
    tokio::select! {
        biased;
        () = stay.ended() => {
            hall.metrics.ended(Ended::WebTransport);
            let why = Disconnect::Crowded;
            // It fails only while the process ends. A client that the Hub never heard of is no matter to it.
            let _ = hall.inputs.send(Input::Event(Event::Closed { client, why })).await;
            // Without another word: those take time, and somebody waits.
            session.close(why.number().into(), why.reason().as_bytes());
        }
        () = converse(hall, client, &session) => {}
    }
    drop(place);
}

async fn converse(hall: &Hall, client: ClientKey, session: &Session) {
    let Ok(Ok((mut send, receive))) = timeout(STREAM_MAX_WAIT, session.accept_bi()).await else {
        return close(session, Disconnect::Stale).await;
    };
    let (guest, mut drain) = Box::pin(hall.open(client, Door::WebTransport, CONNECT_MAX_WAIT)).await;
    let why = {
        let reading = read_loop(receive, &guest);
        let writing = write_loop(&mut send, &mut drain, &guest.traffic);
        tokio::pin!(reading, writing);
        tokio::select! {
            why = &mut reading => {
                guest.closed(why).await;
                // The event loop closes the outbox, which ends the writing.
                timeout(CLOSING_MAX, writing).await.unwrap_or(Err(why))
            }
            written = &mut writing => {
                if let Err(why) = written {
                    guest.closed(why).await;
                }
                written
            }
        }
    };
    // Behind a line that was written in part a word would be none.
    if let Ok(why) = why
        && why != Disconnect::Closed
    {
        let _ = timeout(DELIVERY_MAX, say_goodbye(session, &mut send, why)).await;
    }
    let (Ok(why) | Err(why)) = why;
    close(session, why).await;
}

/// Reads lines until there are no more, and answers why.
async fn read_loop(mut stream: RecvStream, guest: &Guest) -> Disconnect {
    let mut frames = LineFrames::default();
    while let Ok(Some(chunk)) = stream.read_chunk(READ_BYTES, true).await {
        guest.traffic.read(chunk.bytes.len());
        // A slice of all that came at once, of which a small frame should not keep the rest in memory.
        let is_small = chunk.bytes.len() <= LARGE_FRAME_BYTES;
        frames.push(if is_small { Bytes::copy_from_slice(&chunk.bytes) } else { chunk.bytes });
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    guest.traffic.frame_came();
                    hand_over(guest, frame).await;
                }
                Ok(None) => break,
                Err(_) => return Disconnect::BadRequest,
            }
        }
    }
    Disconnect::Closed
}

/// Hands over a frame, and waits where the event loop has no room: QUIC then holds the client back.
async fn hand_over(guest: &Guest, frame: Bytes) {
    let mut rest = Slices::default();
    let mut slice = Some(guest.frame(frame, &mut rest));
    while let Some(handing_over) = slice {
        if let Some(handing_over) = handing_over {
            handing_over.await;
        }
        slice = guest.rest(&mut rest);
    }
}

/// Writes batches until the outbox is closed, and answers why it was.
///
/// # Errors
/// The client does not read, or is gone.
async fn write_loop(
    stream: &mut SendStream,
    drain: &mut Drain<Disconnect>,
    traffic: &Traffic,
) -> Result<Disconnect, Disconnect> {
    let mut batch = Vec::new();
    loop {
        match drain.take(&mut batch, BATCH_BYTES).await {
            Taken::Frames => {
                let text = lines(&mut batch);
                let bytes = text.len();
                match timeout(OUTBOX_AGE_MAX, stream.write_chunk(text)).await {
                    Ok(Ok(())) => traffic.wrote(bytes),
                    Ok(Err(_)) => return Err(Disconnect::Closed),
                    Err(_) => return Err(Disconnect::Slow),
                }
            }
            Taken::Closed(why) => return Ok(why),
        }
    }
}

/// Each message is a line.
fn lines(batch: &mut Vec<Bytes>) -> Bytes {
    let bytes = batch.iter().map(|frame| frame.len() + 1).sum();
    let mut text = BytesMut::with_capacity(bytes);
    for frame in batch.drain(..) {
        text.extend_from_slice(&frame);
        text.put_u8(b'\n');
    }
    text.freeze()
}

/// Says why, and waits until it has arrived and the client has gone.
async fn say_goodbye(session: &Session, stream: &mut SendStream, why: Disconnect) -> Option<()> {
    stream.write_chunk(lines(&mut vec![json::disconnect(why)])).await.ok()?;
    stream.finish().ok()?;
    stream.stopped().await.ok()?;
    session.closed().await;
    Some(())
}

async fn close(session: &Session, why: Disconnect) {
    session.close(why.number().into(), why.reason().as_bytes());
    let _ = timeout(CLOSING_MAX, session.closed()).await;
}
