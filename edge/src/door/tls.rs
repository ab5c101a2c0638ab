//! HTTPS and WebSocket over TLS: a handshake in front of the HTTP door, and no difference behind it.

use std::net::IpAddr;
use std::sync::Arc;

use certs::public::Shown;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;

use super::http::Http;

/// What ALPN may choose: browsers would like HTTP/2 as well, which has no upgrade.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The HTTP door behind TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    http: Http,
}

impl Tls {
    pub(crate) fn new(shown: &Arc<Shown>, http: Http) -> Self {
        Self { acceptor: Arc::new(shown.server_config(&PROTOCOLS)).into(), http }
    }

    /// Serves one connection in a task of its own. Handshake and request head have one deadline together.
    pub(crate) fn serve(&self, mut stream: TcpStream, peer: IpAddr) {
        let mut newcomer = self.http.let_in(peer);
        let Self { acceptor, http } = self.clone();
        tokio::spawn(async move {
            if !http.is_introduced(&mut stream, &mut newcomer).await {
                return;
            }
            let handshake = timeout_at(newcomer.deadline, acceptor.accept(stream));
            match newcomer.meanwhile(handshake).await {
                Some(Ok(Ok(stream))) => http.converse(stream, newcomer).await,
                Some(Ok(Err(error))) => {
                    newcomer.failed();
                    tracing::debug!("a TLS handshake failed: {error}");
                }
                Some(Err(_)) => {
                    newcomer.failed();
                    tracing::debug!("a TLS handshake took too long");
                }
                None => {}
            }
        });
    }
}
