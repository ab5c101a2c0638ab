//! The WebSocket door: from hyper's upgrade to the two loops of `client.rs`.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use proto::limits::CLIENT_FRAME_BYTES_MAX;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Hall, Transport};
use crate::client;
use crate::core::Encoding;
use crate::metrics::Place;

/// How long a client may take from its upgrade to its connect command (client protocol: stale).
const CONNECT_MAX_WAIT: Duration = Duration::from_secs(10);

/// Bytes that one read takes. tungstenite's 128 KiB would be the largest part of an idle client.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Bytes that may wait inside tungstenite: a batch of `client.rs` and control frames.
const WRITE_BUFFER_BYTES_MAX: usize = 512 << 10;

/// Serves an upgraded connection to its end.
pub(crate) async fn serve<S: Transport>(hall: Hall, place: Place, upgrade: OnUpgrade) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!("a client went during its upgrade: {error}"),
    };
    // What happens once must not make room in the future of every client for as long as that lives.
    let stream = Box::pin(take_over::<S>(upgraded)).await;
    let (guest, drain) = Box::pin(hall.open(Encoding::Json, true, CONNECT_MAX_WAIT)).await;
    client::serve(stream, guest, drain).await;
    drop(place);
}

/// Leaves nothing of HTTP behind: what was read too far lies in the buffer that had the headers, and is copied out of it.
async fn take_over<S: Transport>(upgraded: Upgraded) -> WebSocketStream<S> {
    let Parts { io, read_buf, .. } =
        upgraded.downcast::<TokioIo<S>>().expect("its connection was served as this");
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(CLIENT_FRAME_BYTES_MAX))
        .max_frame_size(Some(CLIENT_FRAME_BYTES_MAX));
    WebSocketStream::from_partially_read(io.into_inner(), read_buf.to_vec(), Role::Server, Some(config)).await
}
