//! `causeway bench floor`: the yardstick, and the least that a WebSocket server in Rust can do.
//!
//! A client's first message is a name; two clients of one name are a pair and are told `paired`. From then on each
//! message of the one goes to the other as it came, and nothing else happens: no JSON, no users, no second process. One
//! thread, a read buffer of 4 KiB, and one `flush` for all that one read brought.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use node::exit::Exit;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::entry::FLOOR_PAIRED;

/// Bytes that one read takes, as at the edges.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Bytes of the largest message, as at the edges.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes that may wait for a client that does not read, whose partner is not read from meanwhile.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// How long a client may take to name its pair, and its partner to come.
const PAIRING_MAX: Duration = Duration::from_secs(10);

type Client = WebSocketStream<TcpStream>;

/// Those who wait for their partner.
type Waiting = Arc<Mutex<HashMap<Utf8Bytes, Client>>>;

/// Serves until it is stopped.
pub(super) fn run(listen: SocketAddr) -> Exit {
    let served =
        node::process::runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(serve(listen)));
    match served {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed
        }
    }
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(node::process::obey_signals(stop));
    let listener = TcpListener::from_std(node::bind::tcp(listen, "--listen", "WebSocket clients")?)?;
    println!("the floor listens on ws://{}", listener.local_addr()?);
    let waiting = Waiting::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        };
        let (stream, _) = accepted.context("cannot accept a connection")?;
        let waiting = Arc::clone(&waiting);
        // One that is gone, or finds no partner, concerns nobody.
        tokio::spawn(async move { drop(welcome(stream, &waiting).await) });
    }
}

/// Opens a connection and joins it with its partner, or leaves it to him who comes second.
async fn welcome(stream: TcpStream, waiting: &Waiting) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let opened = tokio_tungstenite::accept_async_with_config(stream, Some(config));
    let mut client = timeout(PAIRING_MAX, opened).await??;
    let name = timeout(PAIRING_MAX, client.next()).await?.context("gone")??.into_text()?;
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let partner = lock().remove(&name);
    if let Some(partner) = partner {
        return join(client, partner).await;
    }
    lock().insert(name.clone(), client);
    sleep(PAIRING_MAX).await;
    // If it still waits, nobody came.
    lock().remove(&name);
    Ok(())
}

async fn join(mut one: Client, mut other: Client) -> anyhow::Result<()> {
    let paired = std::str::from_utf8(FLOOR_PAIRED).expect("ASCII");
    one.send(Message::text(paired)).await?;
    other.send(Message::text(paired)).await?;
    let ((to_one, from_one), (to_other, from_other)) = (one.split(), other.split());
    tokio::spawn(pass(from_one, to_other));
    tokio::spawn(pass(from_other, to_one));
    Ok(())
}

/// Passes on until one of both is gone, and then lets the other go.
async fn pass(mut from: SplitStream<Client>, mut to: SplitSink<Client, Message>) {
    let _ = pass_all(&mut from, &mut to).await;
    let _ = timeout(PAIRING_MAX, to.close()).await;
}

async fn pass_all(from: &mut SplitStream<Client>, to: &mut SplitSink<Client, Message>) -> Result<(), Error> {
    while let Some(message) = from.next().await {
        to.feed(message?).await?;
        while let Some(Some(message)) = from.next().now_or_never() {
            to.feed(message?).await?;
        }
        to.flush().await?;
    }
    Ok(())
}
