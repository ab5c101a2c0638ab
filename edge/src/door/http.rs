//! The public HTTP listener: upgrades to WebSocket; `http/pages.rs` answers everything else.

mod files;
pub(crate) mod pages;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use node::newcomers::{Lobby, Stay};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use self::pages::Pages;
use super::proxies::Proxies;
use super::{Hall, Wire, websocket};
use crate::Origins;
use crate::metrics::{Door, Ended, Metrics, Refusal};
use crate::uplink::chance;

/// How long a client may take to send its request's headers, a TLS handshake before them included.
const HEADERS_MAX_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Connections that are still in TLS or HTTP at once; for one more, one of them has to go.
pub(crate) const HALF_OPEN_MAX: usize = 1024;

/// Seconds after which a refused client may come again: by chance, so that they do not come all at once.
const RETRY_SECONDS: (f64, f64) = (2.0, 10.0);

/// The public HTTP listener; plain and behind TLS the same, with the same bounds for both together.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    hall: Hall,
    origins: Arc<Origins>,
    half_open: Lobby,
    pages: Arc<Pages>,
    proxies: Arc<Proxies>,
}

/// A connection that is no client yet.
pub(crate) struct Newcomer {
    stay: Stay,
    metrics: Arc<Metrics>,
    /// When it came.
    begun: Instant,
    /// By when its request must be there.
    pub(crate) deadline: Instant,
    /// Who is there: at first whoever has opened the connection, and then who is known to be behind that.
    address: IpAddr,
}

type Answer = Response<Full<Bytes>>;

impl Newcomer {
    /// Counts it among those that did not get as far as a request.
    pub(crate) fn failed(&self) {
        self.metrics.refused(Door::WebSocket, Refusal::Handshake);
    }

    /// What `body` comes to, unless this newcomer has to make room first.
    pub(crate) async fn meanwhile<T>(&mut self, body: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stay.ended() => {
                self.metrics.ended(Ended::Http);
                None
            }
            outcome = body => Some(outcome),
        }
    }
}

impl Http {
    pub(crate) fn new(hall: Hall, origins: Arc<Origins>, pages: Pages, proxies: Proxies) -> Self {
        Self {
            hall,
            origins,
            half_open: Lobby::new(HALF_OPEN_MAX),
            pages: Arc::new(pages),
            proxies: Arc::new(proxies),
        }
    }

    /// Lets one more connection in.
    pub(crate) fn let_in(&self, peer: IpAddr) -> Newcomer {
        let stay = self.half_open.enter(self.hall.number(), peer);
        let (metrics, begun) = (Arc::clone(&self.hall.metrics), Instant::now());
        metrics.accepted(Door::WebSocket);
        Newcomer { stay, metrics, begun, deadline: begun + HEADERS_MAX_WAIT, address: peer }
    }

    /// Serves one connection in a task of its own.
    pub(crate) fn serve(&self, mut stream: TcpStream, peer: IpAddr) {
        let mut newcomer = self.let_in(peer);
        let http = self.clone();
        tokio::spawn(async move {
            if http.is_introduced(&mut stream, &mut newcomer).await {
                http.converse(stream, newcomer).await;
            }
        });
    }

    /// Whether a balancer has said in time whom it speaks for. Who is no balancer need not.
    pub(crate) async fn is_introduced(&self, stream: &mut TcpStream, newcomer: &mut Newcomer) -> bool {
        let read = timeout_at(newcomer.deadline, self.proxies.read_header(stream, newcomer.address));
        match newcomer.meanwhile(read).await {
            Some(Ok(Ok(address))) => {
                if address != newcomer.address {
                    newcomer.stay = self.half_open.enter(self.hall.number(), address);
                    newcomer.address = address;
                }
                return true;
            }
            Some(Ok(Err(error))) => {
                tracing::debug!(balancer = %newcomer.address, "a connection of no use: {error}");
            }
            Some(Err(_)) => tracing::debug!(balancer = %newcomer.address, "no PROXY protocol header in time"),
            None => return false,
        }
        newcomer.failed();
        false
    }

    /// Answers one request, until its answer is out or its connection is somebody else's.
    pub(crate) async fn converse<S: Wire>(self, stream: S, mut newcomer: Newcomer) {
        let (peer, begun) = (newcomer.address, newcomer.begun);
        // Once there is a request, its answer says what became of it.
        let is_asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            is_asked.store(true, Ordering::Relaxed);
            let answer = self.answer::<S>(request, peer, begun);
            async { Ok::<_, std::convert::Infallible>(answer) }
        });
        // One request a connection: nothing is gained by more, and an idle connection costs.
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(newcomer.deadline.saturating_duration_since(Instant::now()))
            .max_buf_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Some(Err(error)) = newcomer.meanwhile(serving).await {
            if !is_asked.load(Ordering::Relaxed) {
                newcomer.failed();
            }
            tracing::debug!("a connection ended in HTTP: {error}");
        }
    }

    fn answer<S: Wire>(&self, request: Request<Incoming>, peer: IpAddr, begun: Instant) -> Answer {
        match request.uri().path() {
            "/connection/websocket" => self.upgrade::<S>(request, peer, begun),
            _ => self.pages.answer(&request),
        }
    }

    fn upgrade<S: Wire>(&self, request: Request<Incoming>, peer: IpAddr, begun: Instant) -> Answer {
        if !self.origin_is_allowed(&request) {
            self.hall.metrics.refused(Door::WebSocket, Refusal::Origin);
            return text(StatusCode::FORBIDDEN, "this origin is not allowed; see --allow-origin\n");
        }
        let Ok(mut answer) = create_response_with_body(&request, Full::default) else {
            self.hall.metrics.refused(Door::WebSocket, Refusal::Handshake);
            let mut answer = text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint (RFC 6455)\n");
            answer.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
            answer.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
            return answer;
        };
        let address = self.proxies.client(peer, request.headers());
        let Some(admission) = self.hall.admit(address, Door::WebSocket) else { return full() };
        self.hall.metrics.let_in(Door::WebSocket, begun.elapsed());
        tracing::debug!(%address, "a client comes in over WebSocket");
        if offers_json(&request) {
            let protocol = HeaderValue::from_static(SUBPROTOCOL_JSON);
            answer.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        tokio::spawn(websocket::serve::<S>(self.hall.clone(), admission, hyper::upgrade::on(request)));
        answer
    }

    /// Requests without `Origin` come from no page, and pass.
    fn origin_is_allowed(&self, request: &Request<Incoming>) -> bool {
        let Some(origin) = request.headers().get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let asked = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        self.origins.allow(origin, asked)
    }
}

const SUBPROTOCOL_JSON: &str = "centrifuge-json";

fn offers_json(request: &Request<Incoming>) -> bool {
    let offered = request.headers().get_all("sec-websocket-protocol");
    offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == SUBPROTOCOL_JSON)
}

fn full() -> Answer {
    let (least, most) = RETRY_SECONDS;
    let seconds = (least + (most - least) * chance()) as u32;
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "this edge is full; come again, or try another\n");
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

impl Origins {
    /// Whether a page of `origin` may connect that asked the host `asked`.
    pub(crate) fn allow(&self, origin: &str, asked: Option<&str>) -> bool {
        let Some(host) = origin_host(origin) else { return false };
        match self {
            Self::OwnHost => asked.is_some_and(|asked| without_port(asked).eq_ignore_ascii_case(host)),
            Self::Hosts(hosts) => hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)),
            Self::Exactly(origins) => origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

/// The host in an origin such as `https://example.org:8443`; `null` has none.
pub(crate) fn origin_host(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let is_plain = !authority.is_empty() && !authority.contains(['/', '@', '?', '#']);
    (matches!(scheme, "http" | "https") && is_plain).then(|| without_port(authority))
}

/// `example.org:80` → `example.org`, `[::1]:80` → `[::1]`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !authority.ends_with(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_its_host() {
        assert_eq!(origin_host("http://localhost:8001"), Some("localhost"));
        assert_eq!(origin_host("https://[::1]:8001"), Some("[::1]"));
        assert_eq!(origin_host("https://[::1]"), Some("[::1]"));
        assert_eq!(origin_host("https://example.org"), Some("example.org"));
        for origin in ["null", "", "file://", "ftp://example.org", "http://a@b", "http://a/b"] {
            assert_eq!(origin_host(origin), None, "{origin}");
        }
    }

    #[test]
    fn an_origin_is_allowed_by_what_the_operator_said() {
        let own = Origins::OwnHost;
        assert!(own.allow("https://example.org:8443", Some("EXAMPLE.org:8000")));
        assert!(!own.allow("https://evil.org", Some("example.org")));
        assert!(!own.allow("https://example.org", None));
        let exactly = Origins::Exactly(vec!["https://example.org".to_owned()]);
        assert!(exactly.allow("https://example.org", None));
        for origin in ["http://example.org", "https://example.org:8443", "https://www.example.org", "null"] {
            assert!(!exactly.allow(origin, Some("example.org")), "{origin}");
        }
        let hosts = Origins::Hosts(vec!["localhost".to_owned()]);
        assert!(hosts.allow("http://localhost:5173", None));
        assert!(!hosts.allow("http://localhost.evil.org", None));
    }
}
