//! The admin listener over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use super::*;
use crate::metrics::Registry;

#[test]
fn health_follows_the_pulse() {
    let node = Node::with_pulse(Pulse::since(Instant::now() - PULSE_AGE_MAX - Duration::from_millis(50)));
    let stalled = node.get("/health");
    assert_eq!(stalled.status(), "503 Service Unavailable");
    assert!(stalled.body().starts_with("the event loop has not turned for 2."), "{}", stalled.body());

    node.pulse.beat();

    let alive = node.get("/health");
    assert_eq!((alive.status(), alive.body()), ("200 OK", "ok\n"));
    assert_eq!(alive.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn a_loop_that_has_not_begun_has_two_seconds() {
    let node = Node::new();

    assert_eq!(node.get("/health").status(), "200 OK");
}

#[test]
fn readiness_tells_its_reasons_as_json() {
    let node = Node::new();
    let starting = node.get("/ready");
    assert_eq!(starting.status(), "503 Service Unavailable");
    assert_eq!(starting.header("content-type"), Some("application/json"));
    assert_eq!(starting.body(), r#"{"ready":false,"reasons":["starting"]}"#);

    let state = |reasons: &[&'static str], missing: &[&'static str]| State {
        reasons: reasons.iter().map(|&reason| reason.into()).collect(),
        missing: missing.iter().map(|&what| what.into()).collect(),
    };
    node.readiness.set(state(&["full", "no \"relay\""], &[]));
    assert_eq!(node.get("/ready").body(), r#"{"ready":false,"reasons":["full","no \"relay\""]}"#);

    node.readiness.set(state(&[], &[]));
    let ready = node.get("/ready");
    assert_eq!((ready.status(), ready.body()), ("200 OK", r#"{"ready":true}"#));

    node.readiness.set(state(&[], &["no link to the relay"]));
    let ready = node.get("/ready");
    let said = r#"{"missing":["no link to the relay"],"ready":true}"#;
    assert_eq!((ready.status(), ready.body()), ("200 OK", said));
}

#[test]
fn metrics_are_prometheus_text() {
    let node = Node::new();
    node.registry.counter("edge_pushes_total", "Grows with each push.", &[]).increment(7);

    let metrics = node.get("/metrics?ignored=1");

    assert_eq!(metrics.status(), "200 OK");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.body().contains("\nedge_pushes_total 7\n"), "{}", metrics.body());
}

#[test]
fn head_has_the_length_and_no_body() {
    let node = Node::new();

    let head = node.ask("HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n");

    assert_eq!((head.status(), head.header("content-length"), head.body()), ("200 OK", Some("3"), ""));
}

#[test]
fn other_paths_are_404_and_other_methods_405() {
    let node = Node::new();

    for path in ["/", "/metrics/", "/Health", "//ready"] {
        let missing = node.get(path);
        assert_eq!(missing.status(), "404 Not Found", "{path}");
        assert_eq!(missing.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    for path in ["/metrics", "/health", "/ready"] {
        let refused = node.ask(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(refused.status(), "405 Method Not Allowed", "{path}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
}

#[test]
fn whoever_calls_by_another_name_gets_no_further_page() {
    let node = Node::with_further(Three);
    let ask = |path, host| node.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));

    let refused = ask("/page", "evil.example:9000");
    assert_eq!(refused.status(), "421 Misdirected Request");
    assert!(refused.body().contains("--admin-host"), "{}", refused.body());
    assert_eq!(ask("/page", "localhost:9000").status(), "200 OK");
    for path in ["/health", "/metrics"] {
        assert_eq!(ask(path, "evil.example").status(), "200 OK", "{path}");
    }
    assert_eq!(node.get("/page").header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn further_pages_are_read_and_nothing_else() {
    let node = Node::with_further(Three);

    assert_eq!(node.get("/page?ignored").body(), "made\n");
    assert_eq!(node.ask("POST /page HTTP/1.1\r\nHost: localhost\r\n\r\n").status(), "405 Method Not Allowed");
    assert_eq!(node.get("/health").status(), "200 OK");
    let missing = node.get("/none");
    assert_eq!(missing.status(), "404 Not Found");
    assert_eq!(missing.body(), "not found: try /metrics, /health, /ready, /page\n");
}

#[test]
fn a_page_whose_event_loop_does_not_answer_is_503_at_the_latest_after_two_seconds() {
    let node = Node::with_further(Three);

    for path in ["/never", "/gone"] {
        let begun = Instant::now();
        let answer = node.get(path);
        let expected = ("503 Service Unavailable", "the event loop does not answer\n");
        assert_eq!((answer.status(), answer.body()), expected, "{path}");
        assert!(begun.elapsed() >= PAGE_MAX || path == "/gone", "{path}: nobody waited");
    }
}

/// A page, one that is never made, and one whose maker has ended.
struct Three;

impl Further for Three {
    fn paths(&self) -> &'static str {
        ", /page"
    }

    fn find(&self, path: &str, _: &HeaderMap) -> Option<Making> {
        match path {
            "/page" => Some(Box::pin(async { Some(response(StatusCode::OK, TEXT_TYPE, "made\n")) })),
            "/never" => Some(Box::pin(std::future::pending())),
            "/gone" => Some(Box::pin(async { None })),
            _ => None,
        }
    }
}

#[test]
fn a_head_above_the_cap_is_refused_and_one_below_is_not() {
    let node = Node::new();
    let request = |padding| format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(padding));
    let frame = request(0).len();

    let largest = node.ask(&request(HEAD_BYTES_MAX - frame));
    let too_large = node.ask(&request(HEAD_BYTES_MAX - frame + 1));

    assert_eq!(largest.status(), "200 OK");
    assert_eq!(too_large.status(), "431 Request Header Fields Too Large");
}

#[test]
fn noise_is_refused_and_harms_nobody() {
    let node = Node::new();

    let noise = node.ask("\x16\x03\x01 hello\r\n\r\n");

    assert_eq!(noise.status(), "400 Bad Request");
    assert_eq!(node.get("/health").status(), "200 OK");
}

#[test]
fn silent_connections_take_all_places_and_lose_them_again() {
    let node = Node::new();
    let silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| node.connect()).collect();

    let mut one_more = node.connect();
    assert_eq!(read_all(&mut one_more), "", "closed without an answer");

    let begun = Instant::now();
    for mut stream in silent {
        read_all(&mut stream); // ends when the server has lost patience
    }
    let waited = begun.elapsed();
    assert!(waited > HEAD_READ_TIMEOUT / 2 && waited < HEAD_READ_TIMEOUT * 2, "{waited:?}");
    node.pulse.beat();
    assert_eq!(node.get("/health").status(), "200 OK");
}

#[test]
fn stopping_frees_the_port_and_cuts_connections() {
    let node = Node::new();
    let address = node.admin.address();
    let mut waiting = node.connect();
    waiting.write_all(b"GET /heal").expect("connected");

    node.admin.stop();

    assert_eq!(read_all(&mut waiting), "");
    let refused = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// A node without a data path.
struct Node {
    admin: Admin,
    registry: Registry,
    pulse: Pulse,
    readiness: Readiness,
}

impl Node {
    fn new() -> Self {
        Self::with_pulse(Pulse::new())
    }

    fn with_pulse(pulse: Pulse) -> Self {
        Self::start(pulse, None)
    }

    fn with_further(further: impl Further) -> Self {
        Self::start(Pulse::new(), Some((Box::new(further), Hosts::default())))
    }

    fn start(pulse: Pulse, further: Option<(Box<dyn Further>, Hosts)>) -> Self {
        let listener =
            crate::bind::tcp((Ipv4Addr::LOCALHOST, 0).into(), "--admin-listen", "metrics").expect("a port");
        let registry = Registry::new("edge", "0.0.0");
        let readiness = Readiness::new();
        let admin = Admin::spawn(listener, registry.page(), pulse.clone(), readiness.clone(), further);
        Self { admin: admin.expect("a thread"), registry, pulse, readiness }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("connected");
        Answer(read_all(&mut stream))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream
    }
}

/// Reads until the server closes; a reset counts as that.
fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(bytes).expect("text")
}

struct Answer(String);

impl Answer {
    fn status(&self) -> &str {
        self.0.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap_or(&self.0)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        head.lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}
