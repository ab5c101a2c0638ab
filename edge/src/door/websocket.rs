//! The WebSocket door: from hyper's upgrade to the loop of `client.rs`.

use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use proto::client::code::Disconnect;

use super::{Admission, Guest, Hall, Wire};
use crate::client::Connection;
use crate::core::ClientKey;
use crate::metrics::{Door, Ended};

/// How long a client may take from its upgrade to its connect command (client protocol: stale).
const CONNECT_MAX_WAIT: Duration = Duration::from_secs(10);

/// Serves an upgraded connection to its end, or until it has to make room.
pub(crate) async fn serve<S: Wire>(hall: Hall, admission: Admission, upgrade: OnUpgrade) {
    let Admission { client, place, mut stay } = admission;
    let opened = tokio::select! {
        biased;
        () = stay.ended() => Err(Gone::Ended),
        // Boxed: what happens once must not make room in the future of every client for as long as that lives.
        opened = Box::pin(open::<S>(&hall, client, upgrade)) => opened.map_err(Gone::Upgrading),
    };
    let (connection, guest) = match opened {
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
        () = connection.serve() => {}
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
async fn open<S: Wire>(
    hall: &Hall,
    client: ClientKey,
    upgrade: OnUpgrade,
) -> hyper::Result<(Connection<S>, Guest)> {
    let Parts { io, read_buf, .. } =
        upgrade.await?.downcast::<TokioIo<S>>().expect("its connection was served as this");
    let (guest, drain) = hall.open(client, Door::WebSocket, CONNECT_MAX_WAIT).await;
    let connection = Connection::new(io.into_inner(), BytesMut::from(&*read_buf), guest.clone(), drain);
    Ok((connection, guest))
}
