//! What both ends of a link do alike: QUIC's settings, writing queues into streams, cutting streams into frames.
//!
//! Readers only read and writers only write; whatever goes wrong with one stream ends the whole link.

use std::time::Duration;

use bytes::Bytes;
use proto::limits::LANES;
use proto::link::CloseCode;
use proto::link::codec::{DecodeError, Frames};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TransportConfig, VarInt};

use crate::outbox::{Drain, Taken};

/// After so long without a packet a link is dead, for QUIC too.
pub const IDLE_MAX: Duration = Duration::from_secs(3);

/// How long a handshake and the opening of a link's streams may take, each.
pub const OPENING_MAX: Duration = Duration::from_secs(5);

/// Priority of the heartbeat's stream among a link's streams; lanes have 0.
pub const PRIORITY_HEARTBEAT: i32 = 2;

/// Priority of the control stream.
pub const PRIORITY_CONTROL: i32 = 1;

/// Bytes that one write takes out of a queue, and one read out of a stream.
const BATCH_BYTES: usize = 64 << 10;

/// Bytes that the other side may send ahead of our reading, per stream: a lane's queue once more.
const STREAM_WINDOW: u32 = 1 << 20;

/// QUIC's settings for a link, the same at both ends: no stream is allowed that is not used, since quinn allocates for
/// every stream that the peer may open.
pub fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("3 s fit QUIC's milliseconds")))
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES as u32))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_receive_buffer_size(None);
    transport
}

/// Writes what `drain` brings until it is closed or the stream is.
pub async fn write_frames(mut stream: SendStream, mut drain: Drain<CloseCode>) {
    let mut batch = Vec::new();
    while drain.take(&mut batch, BATCH_BYTES).await == Taken::Frames {
        if stream.write_all_chunks(&mut batch).await.is_err() {
            return;
        }
        batch.clear();
    }
    // An error means that the link is gone, and with it whoever would read the end.
    let _ = stream.finish();
}

/// A stream of frames, read in batches.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    frames: Frames,
}

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream or its link ended.
    #[error("the stream ended")]
    Ended,
    /// What came is no frame: the link must be closed with this reason.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl FrameReader {
    /// Reads frames from `stream`.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, frames: Frames::default() }
    }

    /// The next whole frames, at least one, in order.
    ///
    /// # Errors
    /// The stream is of no more use.
    pub async fn next(&mut self) -> Result<Vec<Bytes>, FrameError> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            let chunk = self.stream.read_chunk(BATCH_BYTES, true).await;
            let Ok(Some(chunk)) = chunk else { return Err(FrameError::Ended) };
            self.frames.push(chunk.bytes);
            while let Some(frame) = self.frames.next_frame()? {
                batch.push(frame);
            }
        }
        Ok(batch)
    }
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
