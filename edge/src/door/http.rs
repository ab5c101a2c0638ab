//! The public HTTP listener: upgrades to WebSocket, development tokens, and plain answers to everything else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use node::newcomers::Lobby;
use proto::id::UserId;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::{Hall, websocket};
use crate::Origins;
use crate::metrics::{Door, Ended, Refusal};
use crate::token;
use crate::uplink::chance;

/// How long a client may take to send its request's headers.
const HEADERS_MAX_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Connections that are still in HTTP at once; for one more, one of them has to go.
pub(crate) const HALF_OPEN_MAX: usize = 1024;

/// Seconds after which a refused client may come again: by chance, so that they do not come all at once.
const RETRY_SECONDS: (f64, f64) = (2.0, 10.0);

/// The public HTTP listener.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) hall: Hall,
    origins: Arc<Origins>,
    half_open: Lobby,
}

type Answer = Response<Full<Bytes>>;

impl Http {
    pub(crate) fn new(hall: Hall, origins: Origins) -> Self {
        Self { hall, origins: Arc::new(origins), half_open: Lobby::new(HALF_OPEN_MAX) }
    }

    /// Serves one connection from `address` in a task of its own.
    pub(crate) fn serve(&self, stream: TcpStream, address: IpAddr) {
        let mut stay = self.half_open.enter(self.hall.number(), address);
        let http = self.clone();
        tokio::spawn(async move {
            let metrics = Arc::clone(&http.hall.metrics);
            let service = service_fn(move |request| {
                let answer = http.answer(request, address);
                async { Ok::<_, std::convert::Infallible>(answer) }
            });
            // One request a connection: nothing is gained by more, and an idle connection costs.
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_MAX_WAIT)
                .max_buf_size(HEADER_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::select! {
                biased;
                () = stay.ended() => metrics.ended(Ended::Http),
                served = serving => if let Err(error) = served {
                    tracing::debug!("a connection ended in HTTP: {error}");
                }
            }
        });
    }

    fn answer(&self, request: Request<Incoming>, address: IpAddr) -> Answer {
        match (request.method(), request.uri().path()) {
            (_, "/connection/websocket") => self.upgrade(request, address),
            (&Method::GET, "/dev/token") if self.hall.dev_secret.is_some() => self.dev_token(&request),
            (_, "/dev/token") if self.hall.dev_secret.is_some() => {
                text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
            }
            _ => text(StatusCode::NOT_FOUND, "nothing here; clients connect at /connection/websocket\n"),
        }
    }

    fn upgrade(&self, request: Request<Incoming>, address: IpAddr) -> Answer {
        if !self.origin_is_allowed(&request) {
            self.hall.metrics.refused(Refusal::Origin);
            return text(StatusCode::FORBIDDEN, "this origin is not allowed; see --allow-origin\n");
        }
        let Ok(mut answer) = create_response_with_body(&request, Full::default) else {
            self.hall.metrics.refused(Refusal::Handshake);
            let mut answer = text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint (RFC 6455)\n");
            answer.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
            answer.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
            return answer;
        };
        let Some(admission) = self.hall.admit(address, Door::WebSocket) else { return full() };
        if offers_json(&request) {
            let protocol = HeaderValue::from_static(SUBPROTOCOL_JSON);
            answer.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        tokio::spawn(websocket::serve(self.hall.clone(), admission, hyper::upgrade::on(request)));
        answer
    }

    /// Requests without `Origin` come from no page, and pass.
    fn origin_is_allowed(&self, request: &Request<Incoming>) -> bool {
        let Some(origin) = request.headers().get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let asked = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        self.origins.allow(origin, asked)
    }

    fn dev_token(&self, request: &Request<Incoming>) -> Answer {
        let user = request.uri().query().and_then(|query| query_value(query, "user")).unwrap_or_default();
        let (Ok(user), Some(secret)) = (UserId::parse(&user), &self.hall.dev_secret) else {
            return text(
                StatusCode::BAD_REQUEST,
                "say for whom: /dev/token?user=NAME (1 to 200 bytes, no , and #)\n",
            );
        };
        text(StatusCode::OK, token::mint(secret, &user, None))
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
    fn allow(&self, origin: &str, asked: Option<&str>) -> bool {
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

/// The value of `name` in a query, percent-decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
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

    #[test]
    fn a_query_names_its_user() {
        assert_eq!(query_value("user=alice", "user").as_deref(), Some("alice"));
        assert_eq!(query_value("x=1&user=j%C3%BCrgen+x", "user").as_deref(), Some("jürgen x"));
        for query in ["", "user", "users=a", "user=%f", "user=%zz", "user=%ff"] {
            assert_eq!(query_value(query, "user"), None, "{query}");
        }
    }
}
