//! The two loops of one WebSocket client: one only reads, the other only writes.
//!
//! ```text
//! frames ──▶ read_loop ──Event::Frame──▶ event loop ──▶ outbox ──▶ write_loop ──▶ frames
//! ```
//!
//! Both end together. Whoever ends the connection, its last words reach the client: the close frame is written, and what
//! the client still sends is read until it closes or 5 s have passed, since TCP would otherwise throw them away.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use node::outbox::{Drain, Taken};
use proto::client::code::Disconnect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::core::OUTBOX_AGE_MAX;
use crate::door::{Guest, Transport};

/// Bytes that go out in one WebSocket frame, unless one message has more.
const BATCH_BYTES: usize = 16 << 10;

/// How long the closing of a connection may take.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Bytes that a client may still send while its connection is closed.
const LINGER_BYTES_MAX: u64 = 1 << 20;

type Reader<S> = SplitStream<WebSocketStream<S>>;
type Writer<S> = SplitSink<WebSocketStream<S>, Message>;

/// Serves `stream` until the client or the edge ends it.
pub(crate) async fn serve<S: Transport>(
    stream: WebSocketStream<S>,
    guest: Guest,
    mut drain: Drain<Disconnect>,
) {
    let (mut writer, mut reader) = stream.split();
    let is_broken = {
        let reading = read_loop(&mut reader, &guest);
        let writing = write_loop(&mut writer, &mut drain);
        tokio::pin!(reading, writing);
        tokio::select! {
            why = &mut reading => {
                guest.closed(why).await;
                // The event loop closes the outbox, which ends the writing.
                let _ = timeout(CLOSING_MAX, writing).await;
                why != Disconnect::Closed
            }
            written = &mut writing => match written {
                Ok(()) => {
                    let _ = timeout(CLOSING_MAX, reading).await;
                    false
                }
                Err(why) => {
                    guest.closed(why).await;
                    true
                }
            }
        }
    };
    if is_broken && let Ok(stream) = reader.reunite(writer) {
        Box::pin(linger(stream)).await;
    }
}

/// Reads frames until there are no more, and answers why.
async fn read_loop<S: Transport>(reader: &mut Reader<S>, guest: &Guest) -> Disconnect {
    while let Some(message) = reader.next().await {
        let frame = match message {
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => return reason(&error),
        };
        guest.frame(frame).await;
    }
    Disconnect::Closed
}

fn reason(error: &Error) -> Disconnect {
    match error {
        Error::Capacity(_) => Disconnect::TooLarge,
        Error::Utf8(_) => Disconnect::InvalidText,
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Disconnect::Closed,
        Error::Protocol(_) => Disconnect::TransportBroken,
        // The connection is gone; nothing that we could say would arrive.
        _ => Disconnect::Closed,
    }
}

/// Writes batches until the outbox is closed, and then why.
///
/// # Errors
/// The client does not read, or is gone.
async fn write_loop<S: Transport>(
    writer: &mut Writer<S>,
    drain: &mut Drain<Disconnect>,
) -> Result<(), Disconnect> {
    let mut batch = Vec::new();
    loop {
        match drain.take(&mut batch, BATCH_BYTES).await {
            Taken::Frames => {
                let message = Message::text(joined(&mut batch));
                match timeout(OUTBOX_AGE_MAX, writer.send(message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(Disconnect::Closed),
                    Err(_) => return Err(Disconnect::Slow),
                }
            }
            Taken::Closed(why) => {
                let close = (why != Disconnect::Closed)
                    .then(|| CloseFrame { code: why.number().into(), reason: why.reason().into() });
                let _ = timeout(CLOSING_MAX, async {
                    if close.is_some() {
                        writer.send(Message::Close(close)).await
                    } else {
                        writer.close().await
                    }
                })
                .await;
                return Ok(());
            }
        }
    }
}

/// Many messages make one frame, one a line.
fn joined(batch: &mut Vec<Bytes>) -> String {
    let bytes = batch.iter().map(|frame| frame.len() + 1).sum();
    let mut text = Vec::with_capacity(bytes);
    for frame in batch.drain(..) {
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(&frame);
    }
    // Payloads of our own clients were checked when they came in; those of other edges must not hurt either.
    String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Ends our half and reads the rest, so that the last words are not lost to a reset.
async fn linger<S: Transport>(stream: WebSocketStream<S>) {
    let mut stream = stream.into_inner();
    let _ = timeout(CLOSING_MAX, async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES_MAX);
        let mut scratch = vec![0; 1024];
        while rest.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}
