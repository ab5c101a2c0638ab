//! The console: what an operator sees of the cluster in a browser, at the admin listener.
//!
//! ```text
//! browser ─▶ node::admin ─▶ pages.rs ─Ask─▶ eventloop.rs ⟷ core::Router
//!   ▲                          │ ▲                │
//!   └──────── json.rs ◀────────┘ └──── View, Whereabouts
//! ```
//!
//! The event loop computes something only while somebody asks; what it gives is plain, and becomes JSON on the admin
//! listener's thread.

mod json;
mod pages;

use std::iter;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use proto::id::{NodeName, UserId};
use quinn::Connection;
use store::Stats;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::pages::Console;

use crate::core::{Event, LinkKey, Overview, Router, Whereabouts};
use crate::eventloop::unix;

/// Questions that wait for the event loop, and searches that are under way: as many as the admin listener has
/// connections.
pub(crate) const ASKS_MAX: usize = node::admin::CONNECTIONS_MAX;

/// What the console asks of the event loop. Whoever asks may not wait any more.
#[derive(Debug)]
pub(crate) enum Ask {
    Overview(oneshot::Sender<View>),
    WhereIs(UserId, oneshot::Sender<Result<Whereabouts, TooMany>>),
}

/// As many searches as there may be are under way.
#[derive(Debug)]
pub(crate) struct TooMany;

/// The cluster as it is shown.
#[derive(Debug)]
pub(crate) struct View {
    overview: Overview,
    about: About,
    is_store_up: bool,
    paths: HashMap<LinkKey, Path>,
}

/// Which relay this is.
#[derive(Debug, Clone)]
struct About {
    name: NodeName,
    /// When it started: time since the unix epoch.
    started: Duration,
}

/// What QUIC knows of the way to an edge.
#[derive(Debug, Clone)]
struct Path {
    address: String,
    rtt: Duration,
    /// Bytes that may be under way unacknowledged.
    congestion_window: u64,
    lost_packets: u64,
    sent_packets: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// The event loop's end.
#[derive(Debug)]
pub(crate) struct Desk {
    about: About,
    asks: mpsc::Receiver<Ask>,
    /// One that was waited for.
    waiting: Option<Ask>,
    searches: HashMap<u32, oneshot::Sender<Result<Whereabouts, TooMany>>>,
    last_query: u32,
}

impl Desk {
    /// The desk of the relay `name`, which starts now, and where the console asks it.
    pub(crate) fn new(name: NodeName) -> (Self, Console) {
        let (asking, asks) = mpsc::channel(ASKS_MAX);
        let about = About { name, started: unix() };
        (Self { about, asks, waiting: None, searches: HashMap::new(), last_query: 0 }, Console::new(asking))
    }

    /// Waits until somebody asks; for ever, where nobody can any more. [`Self::next`] has the question.
    pub(crate) async fn wait(&mut self) {
        match self.asks.recv().await {
            Some(ask) => self.waiting = Some(ask),
            None => std::future::pending().await,
        }
    }

    /// The next question whose asker still waits.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        let asks = &mut self.asks;
        self.waiting.take().into_iter().chain(iter::from_fn(|| asks.try_recv().ok())).find(Ask::is_waited_for)
    }

    /// Answers what can be answered at once.
    pub(crate) fn answer<'a>(
        &mut self,
        now: Instant,
        ask: Ask,
        router: &mut Router,
        store: &Stats,
        links: impl Iterator<Item = (LinkKey, &'a Connection)>,
    ) {
        match ask {
            Ask::Overview(asking) => {
                let view = View {
                    overview: router.overview(now),
                    about: self.about.clone(),
                    is_store_up: store.reads.is_up && store.writes.is_up,
                    paths: links.map(|(link, connection)| (link, Path::of(connection))).collect(),
                };
                // Whoever asked may have lost patience; so below.
                let _ = asking.send(view);
            }
            Ask::WhereIs(_, asking) if self.searches.len() >= ASKS_MAX => {
                let _ = asking.send(Err(TooMany));
            }
            Ask::WhereIs(user, asking) => {
                self.last_query = self.last_query.wrapping_add(1);
                let query = self.last_query;
                self.searches.insert(query, asking);
                router.handle(now, Event::WhereIs { query, user });
            }
        }
    }

    pub(crate) fn found(&mut self, query: u32, whereabouts: Whereabouts) {
        if let Some(asking) = self.searches.remove(&query) {
            let _ = asking.send(Ok(whereabouts));
        }
    }
}

impl Ask {
    fn is_waited_for(&self) -> bool {
        match self {
            Self::Overview(asking) => !asking.is_closed(),
            Self::WhereIs(_, asking) => !asking.is_closed(),
        }
    }
}

impl Path {
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            address: connection.remote_address().to_string(),
            rtt: stats.path.rtt,
            congestion_window: stats.path.cwnd,
            lost_packets: stats.path.lost_packets,
            sent_packets: stats.path.sent_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Store;

    use super::*;

    #[test]
    fn whoever_asked_and_left_is_not_answered() {
        let (asking, asks) = mpsc::channel(ASKS_MAX);
        let mut desk = desk(asks);
        let (left, _) = oneshot::channel();
        let (waits, mut answer) = oneshot::channel();
        asking.try_send(Ask::Overview(left)).expect("room");
        asking.try_send(Ask::Overview(waits)).expect("room");
        let ask = desk.next().expect("the second");
        answer_one(&mut desk, ask, &mut router());
        answer.try_recv().expect("answered");
        assert!(desk.next().is_none());
    }

    #[test]
    fn one_search_too_many_is_told_so_and_the_next_after_an_answer_is_not() {
        let (_, asks) = mpsc::channel(ASKS_MAX);
        let (mut desk, mut router) = (desk(asks), router());
        let mut look = |desk: &mut Desk| {
            let (asking, answer) = oneshot::channel();
            let user = UserId::parse("bob").expect("valid");
            answer_one(desk, Ask::WhereIs(user, asking), &mut router);
            answer
        };
        let mut searches: Vec<_> = (0..ASKS_MAX).map(|_| look(&mut desk)).collect();
        assert!(matches!(look(&mut desk).try_recv(), Ok(Err(TooMany))));
        desk.found(1, Whereabouts { is_complete: true, edges: Vec::new() });
        assert!(matches!(searches[0].try_recv(), Ok(Ok(_))));
        assert!(look(&mut desk).try_recv().is_err(), "it is under way");
    }

    fn desk(asks: mpsc::Receiver<Ask>) -> Desk {
        let about = About { name: NodeName::parse("relay-1").expect("valid"), started: unix() };
        Desk { about, asks, waiting: None, searches: HashMap::new(), last_query: 0 }
    }

    fn router() -> Router {
        Router::new(1, Instant::now(), unix())
    }

    fn answer_one(desk: &mut Desk, ask: Ask, router: &mut Router) {
        desk.answer(Instant::now(), ask, router, &Store::memory().stats(), iter::empty());
    }
}
