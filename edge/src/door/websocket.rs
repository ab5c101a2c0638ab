//! The WebSocket door: from hyper's upgrade to the loop of `client.rs`.

use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Hall;
use crate::client::Connection;
use crate::core::Encoding;
use crate::metrics::Place;

/// How long a client may take from its upgrade to its connect command (client protocol: stale).
const CONNECT_MAX_WAIT: Duration = Duration::from_secs(10);

/// Serves an upgraded connection to its end.
pub(crate) async fn serve(hall: Hall, place: Place, upgrade: OnUpgrade) {
    // What happens once must not make room in the future of every client for as long as that lives.
    if let Some(connection) = Box::pin(open(hall, upgrade)).await {
        connection.serve().await;
    }
    drop(place);
}

/// Leaves nothing of HTTP behind: what was read too far lies in the buffer that had the headers, and is copied out of it.
async fn open(hall: Hall, upgrade: OnUpgrade) -> Option<Connection<TcpStream>> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!("a client went during its upgrade: {error}");
            return None;
        }
    };
    let Parts { io, read_buf, .. } =
        upgraded.downcast::<TokioIo<TcpStream>>().expect("every connection is accepted as TCP");
    let (guest, drain) = hall.open(Encoding::Json, true, CONNECT_MAX_WAIT).await;
    Some(Connection::new(io.into_inner(), BytesMut::from(&*read_buf), guest, drain))
}
