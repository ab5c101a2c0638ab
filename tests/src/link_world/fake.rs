//! Peers that speak the link protocol as badly as a test likes, over real QUIC with real certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use certs::link::Identity;
use proto::id::{Channel, Epoch};
use proto::link::{
    ALPN, CloseCode, HEARTBEAT_BYTES, Member, STREAM_CONTROL, STREAM_HEARTBEAT, ToEdge, ToRelay,
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, ServerConfig,
    TransportConfig,
};

use super::{ANY_PORT, node_name, within};

/// Opens a connection, and no stream.
///
/// # Errors
/// The relay did not like it.
pub async fn dial(
    identity: &Identity,
    alpn: &[u8],
    relay: SocketAddr,
) -> Result<Connection, ConnectionError> {
    let endpoint = Endpoint::client(ANY_PORT).expect("a port is free");
    let tls = QuicClientConfig::try_from(identity.client_config(alpn)).expect("TLS 1.3");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    let connecting = endpoint.connect_with(config, relay, "relay").expect("the address is one");
    within("an answer to the handshake", connecting).await
}

/// QUIC itself must not notice the silence that a test is about.
fn transport() -> TransportConfig {
    let mut transport = node::link::transport();
    transport.keep_alive_interval(Some(Duration::from_millis(500)));
    transport
}

/// One end of a link, all of whose words the test writes.
pub struct FakeLink {
    /// For whatever else a test does with it.
    pub connection: Connection,
    heartbeat: Option<Stream>,
    control: Stream,
    /// Open lanes; dropping one would end it.
    lanes: Vec<SendStream>,
}

type Stream = (SendStream, RecvStream);

impl FakeLink {
    /// Links to a relay and says nothing.
    pub async fn to_relay(identity: &Identity, relay: SocketAddr) -> Self {
        let connection = dial(identity, ALPN, relay).await.expect("the certificate is good");
        let heartbeat = open(&connection, STREAM_HEARTBEAT).await;
        let control = open(&connection, STREAM_CONTROL).await;
        Self { connection, heartbeat: Some(heartbeat), control, lanes: Vec::new() }
    }

    /// Links to a relay, says hello as `identity` and is welcomed.
    pub async fn welcomed(identity: &Identity, relay: SocketAddr) -> (Self, Member) {
        let mut link = Self::to_relay(identity, relay).await;
        link.write(&hello(identity.name().as_str())).await;
        let welcome = ToEdge::decode(&link.read().await).expect("a control frame");
        let ToEdge::Welcome { member, .. } = welcome else { panic!("not a welcome: {welcome:?}") };
        (link, member)
    }

    /// Answers an edge's hello, with whatever number.
    pub async fn welcome(&mut self) {
        let hello = ToRelay::decode(&self.read().await).expect("a control frame");
        assert!(matches!(hello, ToRelay::Hello { .. }), "{hello:?}");
        self.write(&ToEdge::Welcome { epoch: Epoch(1), member: Member(1) }.encode()).await;
        self.write(&ToEdge::Leased { epoch: Epoch(1) }.encode()).await;
    }

    /// Echoes an edge's pings for as long as they come.
    pub fn echo(&mut self) {
        let (mut send, mut receive) = self.heartbeat.take().expect("nobody echoes it yet");
        tokio::spawn(async move {
            let mut ping = [0; HEARTBEAT_BYTES];
            while receive.read_exact(&mut ping).await.is_ok() {
                if send.write_all(&ping).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Pings, and waits for the echo: what was sent before has arrived.
    pub async fn ping(&mut self) {
        let (send, receive) = self.heartbeat.as_mut().expect("nobody echoes on it");
        let mut echo = [0; HEARTBEAT_BYTES];
        let round_trip = async {
            send.write_all(&[7; HEARTBEAT_BYTES]).await.expect("the other side has not hung up");
            receive.read_exact(&mut echo).await
        };
        within("an echo", round_trip).await.expect("the other side has not hung up");
        assert_eq!(echo, [7; HEARTBEAT_BYTES]);
    }

    /// Writes to the control stream.
    pub async fn write(&mut self, bytes: &[u8]) {
        // The other side may have hung up already; what it said then is what the test looks at.
        let _ = self.control.0.write_all(bytes).await;
    }

    /// The next frame of the control stream, its length included.
    pub async fn read(&mut self) -> Bytes {
        let receive = &mut self.control.1;
        let frame = async {
            let mut frame = vec![0; 4];
            receive.read_exact(&mut frame).await?;
            let length = u32::from_be_bytes(frame[..4].try_into().expect("4 bytes")) as usize;
            frame.resize(4 + length, 0);
            receive.read_exact(&mut frame[4..]).await?;
            Ok::<_, quinn::ReadExactError>(frame.into())
        };
        within("a control frame", frame).await.expect("the other side has not hung up")
    }

    /// Opens a lane and writes `bytes`, the first of which should be its number.
    pub async fn lane(&mut self, bytes: &[u8]) {
        let stream = within("a lane", self.connection.open_uni()).await;
        let Ok(mut stream) = stream else { return };
        let _ = stream.write_all(bytes).await;
        self.lanes.push(stream);
    }

    /// Cuts the control stream off.
    pub fn reset_control(&mut self) {
        self.control.0.reset(7_u32.into()).expect("it is open");
    }

    /// Waits until the other side closes the link, and answers why.
    pub async fn closed(&self) -> (CloseCode, String) {
        closed(&self.connection).await
    }
}

/// Waits until the other side closes a connection, and answers why.
pub async fn closed(connection: &Connection) -> (CloseCode, String) {
    match within("the other side closes the link", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_number(close.error_code.into_inner()).expect("one of ours");
            (code, String::from_utf8(close.reason.to_vec()).expect("text"))
        }
        other => panic!("not closed by the other side: {other}"),
    }
}

/// A relay that accepts edges and then does what a test likes.
pub struct FakeRelay {
    /// Where.
    pub address: SocketAddr,
    endpoint: Endpoint,
}

impl FakeRelay {
    /// Listens.
    pub fn new(identity: &Identity, alpn: &[u8]) -> Self {
        let tls = QuicServerConfig::try_from(identity.server_config(alpn)).expect("TLS 1.3");
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(transport()));
        let endpoint = Endpoint::server(config, ANY_PORT).expect("a port is free");
        Self { address: endpoint.local_addr().expect("it is bound"), endpoint }
    }

    /// The next connection.
    ///
    /// # Errors
    /// One of the two did not like it.
    pub async fn connection(&self) -> Result<Connection, ConnectionError> {
        let incoming = within("an edge comes", self.endpoint.accept()).await.expect("the endpoint is open");
        within("the handshake ends", incoming.into_future()).await
    }

    /// The next link, without a welcome.
    pub async fn accept(&self) -> FakeLink {
        let connection = self.connection().await.expect("a good edge");
        let (mut heartbeat, mut control) = (None, None);
        while heartbeat.is_none() || control.is_none() {
            let (send, mut receive) =
                within("a stream", connection.accept_bi()).await.expect("the edge has not hung up");
            let mut kind = [0];
            receive.read_exact(&mut kind).await.expect("a kind");
            let slot = if kind[0] == STREAM_CONTROL { &mut control } else { &mut heartbeat };
            *slot = Some((send, receive));
        }
        FakeLink { connection, heartbeat, control: control.expect("both are there"), lanes: Vec::new() }
    }

    /// The next link, welcomed and echoed: to the edge all is well.
    pub async fn linked(&self) -> FakeLink {
        let mut link = self.accept().await;
        link.welcome().await;
        link.echo();
        link
    }
}

async fn open(connection: &Connection, kind: u8) -> Stream {
    let (mut send, receive) = connection.open_bi().await.expect("the relay has not hung up");
    send.write_all(&[kind]).await.expect("the relay has not hung up");
    (send, receive)
}

/// A hello of an edge called `name`.
pub fn hello(name: &str) -> Bytes {
    let version = "fake".to_owned();
    ToRelay::Hello { name: node_name(name), epoch: None, capacity: 1, version }.encode()
}

/// A join.
pub fn join(channel: &str, number: u32) -> Bytes {
    ToRelay::Join { channel: Channel::parse(channel).expect("valid"), number }.encode()
}
