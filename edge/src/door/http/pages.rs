//! What the HTTP door answers to a GET: files for browsers, and in development a token, and how to trust this machine.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use certs::public::Shown;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use proto::id::UserId;
use serde_json::json;

use super::files::Files;
use super::{Answer, text, without_port};
use crate::token;

/// What is there for browsers.
#[derive(Debug)]
pub(crate) struct Pages {
    files: Files,
    dev: Option<Dev>,
}

/// What is there in development only.
#[derive(Debug)]
pub(crate) struct Dev {
    /// With which tokens are signed.
    pub(crate) secret: Arc<str>,
    /// The certificate that browsers trust by its hash, and the port where it is shown.
    pub(crate) tls: Option<(Arc<Shown>, u16)>,
}

impl Pages {
    pub(crate) fn new(dev: Option<Dev>) -> Self {
        Self { files: Files::new(dev.is_some()), dev }
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        let answer: &dyn Fn() -> Answer = match (&self.dev, path) {
            (Some(dev), "/dev/token") => &|| dev_token(dev, request),
            (Some(Dev { tls: Some((shown, port)), .. }), "/certificate-hash") => {
                &|| certificate_hash(shown, *port, request)
            }
            _ => match self.files.find(path) {
                Some(file) => &|| file.answer(request.headers()),
                None => {
                    return text(
                        StatusCode::NOT_FOUND,
                        "nothing here; clients connect at /connection/websocket\n",
                    );
                }
            },
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer();
        }
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        answer
    }
}

fn dev_token<B>(dev: &Dev, request: &Request<B>) -> Answer {
    let user = request.uri().query().and_then(|query| query_value(query, "user")).unwrap_or_default();
    let Ok(user) = UserId::parse(&user) else {
        return text(
            StatusCode::BAD_REQUEST,
            "say for whom: /dev/token?user=NAME (1 to 200 bytes, no , and #)\n",
        );
    };
    text(StatusCode::OK, token::mint(&dev.secret, &user, None))
}

/// How a page reaches this edge's WebTransport by the host name that it has used just now.
fn certificate_hash<B>(shown: &Shown, port: u16, request: &Request<B>) -> Answer {
    let asked = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(without_port);
    let host = LOCAL_HOSTS.into_iter().find(|host| asked == Some(host)).unwrap_or(LOCAL_HOSTS[0]);
    let hashes: Vec<_> = shown.offer().hashes.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect();
    let body = json!({
        "algorithm": "sha-256",
        "hashes": hashes,
        "url": format!("https://{host}:{port}/connection/webtransport"),
    });
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    let headers: [(HeaderName, _); 3] = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        // It tells nobody more than a TLS handshake does.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// What the minted certificate is for, as addresses name it.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

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
    use certs::public::Localhost;
    use certs::source::first;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_page_learns_how_to_trust_this_machine_by_the_name_it_used() {
        let offer = first(&mut Localhost::default(), std::time::SystemTime::now()).expect("minted");
        let tls = Some((Shown::new(offer.clone()), 8441));
        let pages = Pages::new(Some(Dev { secret: "secret".into(), tls }));
        for (host, named) in [
            ("localhost:8001", "localhost"),
            ("127.0.0.1:8001", "127.0.0.1"),
            ("[::1]:8001", "[::1]"),
            ("evil.org", "localhost"),
        ] {
            let answer = pages.answer(&get("/certificate-hash", host));
            assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
            let body = answer.into_body().collect().await.expect("bytes").to_bytes();
            let told: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(told["algorithm"], "sha-256");
            assert_eq!(told["url"], format!("https://{named}:8441/connection/webtransport"));
            let hashes = told["hashes"].as_array().expect("a list");
            assert_eq!(hashes.len(), 2, "what is shown and its successor");
            assert_eq!(hashes[0], BASE64_STANDARD.encode(offer.shown.hash()));
        }
    }

    #[test]
    fn outside_development_there_is_neither_token_nor_hash() {
        let pages = Pages::new(None);
        for path in ["/dev/token?user=alice", "/certificate-hash"] {
            assert_eq!(pages.answer(&get(path, "localhost")).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn pages_are_read_and_nothing_else() {
        let pages = Pages::new(Some(Dev { secret: "secret".into(), tls: None }));
        let mut request = get("/dev/token?user=alice", "localhost");
        assert_eq!(pages.answer(&request).status(), StatusCode::OK);
        *request.method_mut() = Method::POST;
        let answer = pages.answer(&request);
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
    }

    fn get(path: &str, host: &str) -> Request<()> {
        Request::builder().uri(path).header(HOST, host).body(()).expect("a request")
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
