//! The WebSocket door: from hyper's upgrade to the two loops of `client.rs`.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use proto::client::code::Disconnect;
use proto::limits::CLIENT_FRAME_BYTES_MAX;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Admission, Hall, Transport};
use crate::client;
use crate::core::Encoding;
use crate::metrics::Ended;

/// How long a client may take from its upgrade to its connect command (client protocol: stale).
const CONNECT_MAX_WAIT: Duration = Duration::from_secs(10);

/// Bytes that one read takes. tungstenite's 128 KiB would be the largest part of an idle client.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Bytes that may wait inside tungstenite: a batch of `client.rs` and control frames.
const WRITE_BUFFER_BYTES_MAX: usize = 512 << 10;

/// Serves an upgraded connection to its end, or until it has to make room.
pub(crate) async fn serve<S: Transport>(hall: Hall, admission: Admission, upgrade: OnUpgrade) {
    let Admission { client, place, mut stay } = admission;
    // What happens once must not make room in the future of every client for as long as that lives.
    let opened = Box::pin(async {
        let stream = take_over::<S>(upgrade.await.map_err(Gone::Upgrading)?).await;
        Ok((stream, hall.open(client, Encoding::Json, true, CONNECT_MAX_WAIT).await))
    });
    let opened = tokio::select! {
        biased;
        () = stay.ended() => Err(Gone::Ended),
        opened = opened => opened,
    };
    let (stream, (guest, drain)) = match opened {
        Ok(opened) => opened,
        Err(Gone::Upgrading(error)) => return tracing::debug!("a client went during its upgrade: {error}"),
        Err(Gone::Ended) => return hall.metrics.ended(Ended::WebSocket),
    };
    tokio::select! {
        biased;
        () = stay.ended() => {
            hall.metrics.ended(Ended::WebSocket);
            guest.closed(Disconnect::Crowded).await;
        }
        () = client::serve(stream, guest.clone(), drain) => {}
    }
    drop(place);
}

/// Why an upgraded connection is served no further.
enum Gone {
    /// It went by itself.
    Upgrading(hyper::Error),
    /// It had to make room.
    Ended,
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
