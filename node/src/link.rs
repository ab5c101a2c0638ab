//! What both ends of a link do alike: QUIC's settings, writing queues into streams, cutting streams into frames.
//!
//! Readers only read and writers only write; whatever goes wrong with one stream ends the whole link.

mod metrics;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::limits::{CONTROL_BYTES_MAX, LANE_BYTES_MAX, LANES};
use proto::link::codec::{DecodeError, Frames};
use proto::link::{CloseCode, HEARTBEAT_BYTES, Lane};
use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, Connection, ConnectionError, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    RecvStream, SendStream, ServerConfig, TransportConfig, VarInt, WriteError,
};
use tokio::task::JoinSet;

use crate::outbox::{Drain, LinkOutboxes, Taken, outbox};
use crate::udp::{self, UdpSockets};

pub use metrics::{LinkMetrics, Seen};

/// After so long without a packet a link is dead, for QUIC too.
pub const IDLE_MAX: Duration = Duration::from_secs(3);

/// How long a handshake and the opening of a link's streams may take, each.
pub const OPENING_MAX: Duration = Duration::from_secs(5);

/// What QUIC takes the round trip for until it has measured one. It repeats a handshake's first packet after three times
/// this, and each time twice as late: with its own 333 ms, an edge that began while its relay was away had to wait for
/// up to 2 s after the relay's return.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Priority of the heartbeat's stream among a link's streams; lanes have 0.
pub const PRIORITY_HEARTBEAT: i32 = 2;

/// Priority of the control stream.
pub const PRIORITY_CONTROL: i32 = 1;

/// Bytes that one write takes out of a queue, and one read out of a stream.
const BATCH_BYTES: usize = 64 << 10;

/// Bytes that the other side may send ahead of our reading, per stream: a lane's queue once more.
const STREAM_WINDOW: u32 = 1 << 20;

/// The largest UDP payload that a link tries. A packet costs about the same whatever it carries, so where the path takes
/// jumbo frames, as in most data centres and on loopback, a batch needs a quarter of them. Not more, since quinn hands
/// the kernel ten packets in one call, which takes 65,507 bytes at most and drops in silence what is larger.
const UDP_PAYLOAD_MAX: u16 = 6_500;

const _: () = assert!(10 * UDP_PAYLOAD_MAX as u32 <= 65_507);

/// Bytes that may be under way before anything is acknowledged: what a full edge joins at once goes out in one round
/// trip. Links are private, so that they need not creep up from the internet's ten packets.
const INITIAL_WINDOW: u64 = 32 * UDP_PAYLOAD_MAX as u64;

/// A link acknowledges at once when it has so many packets, and one more; every second one is QUIC's habit, and a packet
/// that says nothing else wakes its receiver like one with messages. What goes the other way says it for nothing.
const UNACKNOWLEDGED_MAX: u32 = 8;

/// It acknowledges fewer after so long; whatever was lost last is sent again that much later.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(5);

/// An endpoint for links on `socket`; a relay's has a `server`.
///
/// # Errors
/// The system does not let us watch the socket.
pub fn endpoint(
    mut config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
    sockets: &UdpSockets,
) -> std::io::Result<Endpoint> {
    config.max_udp_payload_size(UDP_PAYLOAD_MAX).expect("more than QUIC's least, 1,200");
    udp::endpoint(config, server, socket, sockets)
}

/// QUIC's settings for a link, the same at both ends: no stream is allowed that is not used, since quinn allocates for
/// every stream that the peer may open.
pub fn transport() -> TransportConfig {
    let mut sizes = MtuDiscoveryConfig::default();
    sizes.upper_bound(UDP_PAYLOAD_MAX);
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_MAX))
        .max_ack_delay(Some(ACKNOWLEDGE_AFTER));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledgements))
        .congestion_controller_factory(Arc::new(congestion))
        .mtu_discovery_config(Some(sizes))
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("3 s fit QUIC's milliseconds")))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES as u32))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_receive_buffer_size(None);
    transport
}

/// Opens the lanes of `connection` and gives every stream a queue and a task that writes it.
///
/// # Errors
/// The connection is gone.
pub async fn write_link(
    connection: &Connection,
    heartbeat: SendStream,
    control: SendStream,
    tasks: &mut JoinSet<()>,
) -> Result<LinkOutboxes, WriteError> {
    let mut lanes = Vec::with_capacity(LANES);
    for lane in Lane::all() {
        let mut stream = connection.open_uni().await?;
        // The other side learns of a stream by its first byte.
        stream.write_all(&[lane.0]).await?;
        let (lane_outbox, drain) = outbox(LANE_BYTES_MAX);
        tasks.spawn(write_frames(connection.clone(), stream, drain));
        lanes.push(lane_outbox);
    }
    let (heartbeat_outbox, heartbeat_drain) = outbox(HEARTBEAT_QUEUE_BYTES);
    let (control_outbox, control_drain) = outbox(CONTROL_BYTES_MAX);
    tasks.spawn(write_frames(connection.clone(), heartbeat, heartbeat_drain));
    tasks.spawn(write_frames(connection.clone(), control, control_drain));
    let lanes = lanes.try_into().expect("one for each lane");
    Ok(LinkOutboxes { control: control_outbox, heartbeat: heartbeat_outbox, lanes })
}

/// Bytes of pings that may wait; there is one a second.
const HEARTBEAT_QUEUE_BYTES: usize = 64 * HEARTBEAT_BYTES;

async fn write_frames(connection: Connection, mut stream: SendStream, mut drain: Drain<CloseCode>) {
    let mut batch = Vec::new();
    while drain.take(&mut batch, BATCH_BYTES).await == Taken::Frames {
        if let Err(error) = stream.write_all_chunks(&mut batch).await {
            // Nobody reads it any more, while the link lives: that is no link.
            if connection.close_reason().is_none() {
                close_for(&connection, CloseCode::BadFrame, &format!("a stream cannot be written: {error}"));
            }
            return;
        }
        batch.clear();
    }
    // An error means that the link is gone, and with it whoever would read the end.
    let _ = stream.finish();
}

/// Reads heartbeats until the stream ends.
pub async fn read_heartbeat(mut stream: RecvStream, take: impl AsyncFn([u8; HEARTBEAT_BYTES])) {
    let mut ping = [0; HEARTBEAT_BYTES];
    while stream.read_exact(&mut ping).await.is_ok() {
        take(ping).await;
    }
}

/// Reads control frames until the stream ends; what is none closes the link.
pub async fn read_control<T>(
    connection: Connection,
    stream: RecvStream,
    decode: fn(&[u8]) -> Result<T, DecodeError>,
    take: impl AsyncFn(T),
) {
    let mut reader = FrameReader { stream, frames: Frames::default() };
    loop {
        let decoded = reader.next().await.and_then(|batch| {
            batch.iter().map(|frame| decode(frame).map_err(FrameError::Decode)).collect::<Result<Vec<T>, _>>()
        });
        match decoded {
            Ok(frames) => {
                for frame in frames {
                    take(frame).await;
                }
            }
            Err(error) => return ended(&connection, &error, "control"),
        }
    }
}

/// Reads all lanes until the link ends; each batch of whole frames goes to `take`, in the order of its lane. What is no
/// frame, or no lane, closes the link.
pub async fn read_lanes<F>(
    connection: Connection,
    take: impl Fn(Lane, Vec<Bytes>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut lanes = JoinSet::new();
    let mut seen = [false; LANES];
    while let Ok(mut stream) = connection.accept_uni().await {
        let mut number = [0];
        if stream.read_exact(&mut number).await.is_err() {
            continue;
        }
        let lane = Lane(number[0]);
        match seen.get_mut(lane.index()) {
            Some(seen) if !*seen => *seen = true,
            Some(_) | None => {
                return close_for(&connection, CloseCode::BadFrame, &format!("no lane {}, or twice", lane.0));
            }
        }
        lanes.spawn(read_lane(connection.clone(), lane, stream, take.clone()));
    }
}

async fn read_lane<F: Future<Output = ()>>(
    connection: Connection,
    lane: Lane,
    stream: RecvStream,
    take: impl Fn(Lane, Vec<Bytes>) -> F,
) {
    let mut reader = FrameReader { stream, frames: Frames::default() };
    loop {
        match reader.next().await {
            Ok(frames) => take(lane, frames).await,
            Err(error) => return ended(&connection, &error, "a lane"),
        }
    }
}

/// A stream of a link lives as long as the link: one that ends before is as wrong as a frame that is none.
fn ended(connection: &Connection, error: &FrameError, stream: &str) {
    if connection.close_reason().is_none() {
        close_for(connection, CloseCode::BadFrame, &format!("{stream}: {error}"));
    }
}

fn close_for(connection: &Connection, code: CloseCode, reason: &str) {
    tracing::warn!(?code, reason, "closing the link");
    close(connection, code, reason);
}

/// A stream of frames, read in batches.
struct FrameReader {
    stream: RecvStream,
    frames: Frames,
}

#[derive(Debug, thiserror::Error)]
enum FrameError {
    /// The stream or its link ended.
    #[error("the stream ended")]
    Ended,
    /// What came is no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl FrameReader {
    /// The next whole frames, at least one, in order.
    async fn next(&mut self) -> Result<Vec<Bytes>, FrameError> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            let chunk = self.stream.read_chunk(BATCH_BYTES, true).await;
            let Ok(Some(chunk)) = chunk else { return Err(FrameError::Ended) };
            self.frames.push(chunk.bytes);
            while let Some(frame) = self.frames.next_frame().map_err(FrameError::Decode)? {
                batch.push(frame);
            }
        }
        Ok(batch)
    }
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The relay's name has no address.
    #[error("cannot resolve {0}: {1}")]
    Unresolved(String, std::io::Error),
    /// QUIC refuses to try.
    #[error("cannot connect: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The other side refused, or is not there.
    #[error("{}", describe(.0))]
    Connection(#[from] ConnectionError),
    /// Five seconds passed.
    #[error("{0} took longer than 5 s")]
    Slow(&'static str),
    /// The certificate names nobody.
    #[error("the certificate is of no use: {0}")]
    Certificate(#[from] certs::link::PeerNameError),
    /// A stream ended before it said what it is.
    #[error("a stream ended before it said what it is")]
    SilentStream,
    /// A stream said what no stream is.
    #[error("a stream of unknown kind {0}")]
    UnknownStream(u8),
    /// There is one stream of each kind.
    #[error("a second stream of kind {0}")]
    SecondStream(u8),
    /// A stream could not be written.
    #[error("a stream broke: {0}")]
    Write(#[from] WriteError),
    /// A stream was closed.
    #[error("a stream is closed")]
    Closed(#[from] quinn::ClosedStream),
    /// The process ends.
    #[error("this node stops")]
    Stopping,
}

/// Says why a connection ended, in words for a log.
pub fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_number(close.error_code.into_inner());
            let name = code.map_or_else(|| format!("code {}", close.error_code), |code| format!("{code:?}"));
            format!("closed by the other side: {name}: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            format!(
                "refused by the other side: {}",
                handshake(u64::from(close.error_code), &close.to_string())
            )
        }
        ConnectionError::TransportError(error) => handshake(u64::from(error.code), &error.to_string()),
        ConnectionError::TimedOut => "nothing was heard for 3 s".to_owned(),
        ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// TLS alerts come as QUIC's codes 0x100 + alert (RFC 9001, section 4.8); alert 120 is "no application protocol".
fn handshake(code: u64, text: &str) -> String {
    match code {
        0x178 => format!(
            "the other side speaks another version of the link protocol, this one {}",
            String::from_utf8_lossy(proto::link::ALPN)
        ),
        _ => text.to_owned(),
    }
}

/// Ends a link for a reason that the other side is told.
pub fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code.number()), reason.as_bytes());
}
