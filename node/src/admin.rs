//! The admin listener: metrics, health and readiness of one node over HTTP/1.1, and what its kind has besides
//! ([`Further`]).
//!
//! Each node of a process spawns one [`Admin`]. It runs on a thread and a runtime of its own, so that a scrape
//! does not disturb the data path and is still answered when the data path is wedged. The data path reaches it
//! through two handles only: [`Pulse`], which the event loop beats, and [`Readiness`], which it sets.
//!
//! What must stay true: nothing here waits for a client without a deadline, and no client costs more than one of
//! `CONNECTIONS_MAX` places for `CONNECTION_LIFETIME`.

mod hosts;
mod pulse;
mod readiness;

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::metrics::Page;

pub use hosts::{Hosts, host};
pub use pulse::Pulse;
pub use readiness::{Readiness, State};

/// Connections at the same time; a further one is closed. A scraper, a balancer and an operator need three.
pub const CONNECTIONS_MAX: usize = 64;

/// The largest request head; ours are under 1 KiB, and a proxy's cookies are not for us.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// How long a client may take to send its request.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live. It carries one request, so this is the head's time and as much for the answer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// How long to leave a failing `accept` alone. Out of file descriptors it fails at once, and would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The event loop ticks every 500 ms; three missed ticks may be a burst, a fourth is a stall.
const PULSE_AGE_MAX: Duration = Duration::from_secs(2);

/// How long a page may wait for the event loop. A turn takes milliseconds, and a search for a user a second.
const PAGE_MAX: Duration = Duration::from_secs(2);

/// What `/metrics` is, in the words of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json";

/// What is answered.
pub type Answer = Response<Full<Bytes>>;

/// A page that is being made; `None`: the event loop does not answer. It is waited for, and dropped, after 2 s.
pub type Making = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// Pages that one kind of node has besides those of all nodes. They are read, and change nothing.
pub trait Further: Send + Sync + 'static {
    /// Where they are, for whoever asks for what is not there.
    fn paths(&self) -> &'static str;

    /// The page at `path`, if there is one; nothing is done for it before it is awaited.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<Making>;
}

/// A running admin listener; dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves `listener` until stopped; see [`crate::bind::tcp`]. What is `further` is for whoever calls the listener by one
    /// of the hosts.
    ///
    /// # Errors
    ///
    /// The system has no thread or no file descriptor left.
    pub fn spawn(
        listener: TcpListener,
        metrics: Page,
        pulse: Pulse,
        readiness: Readiness,
        further: Option<(Box<dyn Further>, Hosts)>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let pages = Arc::new(Pages { metrics, pulse, readiness, further });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serve(listener, pages, stopped)))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address it listens on, with the port the system chose where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, cuts the connections and waits for the thread, which waits for nobody.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the admin listener had panicked");
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, pages: Arc<Pages>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    warn!(%error, "an admin request panicked");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(answer_one(stream, Arc::clone(&pages)));
                }
                Ok((_, peer)) => debug!(%peer, connections_max = CONNECTIONS_MAX, "admin listener is full"),
                Err(error) => {
                    warn!(%error, "the admin listener cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Without keep-alive: scrapes are seconds apart, and an idle connection would hold a place for nothing.
async fn answer_one(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(|request| {
        let asked = pages.answer(&request);
        async { Ok::<_, Infallible>(asked.answer().await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection failed"),
        Err(_) => debug!("an admin connection was cut: its time was over"),
    }
}

struct Pages {
    metrics: Page,
    pulse: Pulse,
    readiness: Readiness,
    further: Option<(Box<dyn Further>, Hosts)>,
}

/// A request that was looked at.
enum Asked {
    Answered(Answer),
    Making(Making),
}

impl Asked {
    async fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) => answer,
            Self::Making(page) => timeout(PAGE_MAX, page).await.ok().flatten().unwrap_or_else(|| {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, "the event loop does not answer\n")
            }),
        }
    }
}

impl Pages {
    /// Hyper leaves the body out where the method is HEAD.
    fn answer(&self, request: &Request<Incoming>) -> Asked {
        let path = request.uri().path();
        let found = self
            .further
            .as_ref()
            .and_then(|(further, hosts)| Some((further.find(path, request.headers())?, hosts)));
        let Some((page, hosts)) = found else { return Asked::Answered(self.own(path, request)) };
        if !hosts.know(request.headers()) {
            return Asked::Answered(text(StatusCode::MISDIRECTED_REQUEST, hosts::NOT_KNOWN));
        }
        match refuse_to_write(request) {
            Some(refusal) => Asked::Answered(refusal),
            None => Asked::Making(page),
        }
    }

    fn own(&self, path: &str, request: &Request<Incoming>) -> Answer {
        let page = match path {
            "/metrics" => Self::metrics,
            "/health" => Self::health,
            "/ready" => Self::ready,
            _ => {
                let more = self.further.as_ref().map_or("", |(further, _)| further.paths());
                let known = format!("not found: try /metrics, /health, /ready{more}\n");
                return response(StatusCode::NOT_FOUND, TEXT_TYPE, known);
            }
        };
        refuse_to_write(request).unwrap_or_else(|| page(self))
    }

    fn metrics(&self) -> Answer {
        response(StatusCode::OK, METRICS_TYPE, self.metrics.render())
    }

    fn health(&self) -> Answer {
        let age = self.pulse.age();
        if age <= PULSE_AGE_MAX {
            return response(StatusCode::OK, TEXT_TYPE, "ok\n");
        }
        let stalled = format!("the event loop has not turned for {:.1} s\n", age.as_secs_f64());
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, stalled)
    }

    fn ready(&self) -> Answer {
        let state = self.readiness.state();
        let mut body = serde_json::json!({ "ready": state.reasons.is_empty() });
        for (key, list) in [("reasons", &state.reasons), ("missing", &state.missing)] {
            if !list.is_empty() {
                body[key] = serde_json::json!(list);
            }
        }
        let status = if state.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &body)
    }
}

fn refuse_to_write(request: &Request<Incoming>) -> Option<Answer> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "only GET and HEAD\n");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(refusal)
}

/// A few words, for people.
pub fn text(status: StatusCode, words: &'static str) -> Answer {
    response(status, TEXT_TYPE, words)
}

/// For programs.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    response(status, JSON_TYPE, value.to_string())
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Answer {
    let body = match body.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
