//! A way to Redis that can keep what a client has sent, and deliver it long after the client has gone: what a network
//! does with packets that it lost and sends again.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    port: u16,
    holds: Arc<Mutex<Vec<watch::Sender<bool>>>>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own_port = listener.local_addr().expect("it is bound").port();
        let holds: Arc<Mutex<Vec<_>>> = Arc::default();
        tokio::spawn({
            let holds = Arc::clone(&holds);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (hold, held) = watch::channel(false);
                    holds.lock().expect("not poisoned").push(hold);
                    tokio::spawn(forward(client, port, held));
                }
            }
        });
        Self { port: own_port, holds }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Keeps what comes from now on over the connections that there are.
    pub(crate) fn hold(&self) {
        self.set_held(true);
    }

    /// Delivers what was kept.
    pub(crate) fn release(&self) {
        self.set_held(false);
    }

    fn set_held(&self, is_held: bool) {
        for hold in self.holds.lock().expect("not poisoned").iter() {
            hold.send_replace(is_held);
        }
    }
}

async fn forward(client: TcpStream, port: u16, mut held: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let server = TcpStream::connect(("127.0.0.1", port)).await.expect("redis is there");
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let _ = held.wait_for(|is_held| !is_held).await;
        if to_server.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = held.wait_for(|is_held| !is_held).await;
    drop(to_server);
    let _ = answers.await;
}
