//! The one task that owns the Router. It waits in one place, acts in another, and is the only reader of clocks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;
use proto::id::NodeName;
use proto::link::CloseCode;
use quinn::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use node::admin::{Pulse, Readiness, State};
use node::freeze::{TICK, frozen_for};
use node::link::{Seen, close};
use node::metrics::LoopMetrics;
use node::outbox::Queued;

use crate::console::Desk;
use crate::core::{Action, Event, LinkKey, LinkOutboxes, Router, Tally};
use crate::heartbeat::Heartbeat;
use crate::metrics::Metrics;

/// What the loop is told: events of the Router, and handles that only the shell needs.
#[derive(Debug)]
pub(crate) enum Input {
    Event(Event),
    /// One of those whose way through this relay is timed.
    Timed {
        event: Event,
        since: Instant,
    },
    LinkOpened {
        link: LinkKey,
        certificate: NodeName,
        outboxes: LinkOutboxes,
        connection: Connection,
        /// Lets the lanes be read.
        admit: oneshot::Sender<()>,
    },
}

/// Events that wait; readers wait when it is full, and QUIC's flow control holds back whoever sends to them.
pub(crate) const INPUTS_MAX: usize = 1024;

/// Inputs that one turn takes.
const BATCH: usize = 256;

/// How long the last words of a stopping relay may take.
const FAREWELL: Duration = Duration::from_millis(200);

pub(crate) struct EventLoop {
    pub(crate) router: Router,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// New links and their pings, and what the store answers: taken before everything else.
    pub(crate) pings: mpsc::Receiver<Input>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) loop_metrics: LoopMetrics,
    pub(crate) pulse: Pulse,
    pub(crate) readiness: Readiness,
    pub(crate) stop: watch::Receiver<bool>,
    /// Where operators ask.
    pub(crate) desk: Desk,
    pub(crate) links: HashMap<LinkKey, LinkHandles>,
    pub(crate) was_complete: bool,
}

/// What the shell needs of a link.
pub(crate) struct LinkHandles {
    connection: Connection,
    outboxes: LinkOutboxes,
    admit: Option<oneshot::Sender<()>>,
    seen: Seen,
}

impl EventLoop {
    pub(crate) async fn run(mut self) {
        self.readiness.set(State::default());
        let mut batch = Vec::with_capacity(BATCH);
        let mut next_tick = Instant::now();
        loop {
            let wake = self.router.poll_timeout().map_or(next_tick, |due| due.min(next_tick));
            tokio::select! {
                biased;
                Some(input) = self.pings.recv() => batch.push(input),
                _ = self.inputs.recv_many(&mut batch, BATCH) => {}
                () = self.desk.wait() => {}
                () = sleep_until(wake.into()) => {}
                _ = self.stop.wait_for(|stop| *stop) => break,
            }
            let now = Instant::now();
            if let Some(late) = frozen_for(now, next_tick) {
                self.thaw(now, late, &mut batch);
            }
            let inputs = batch.len();
            for input in batch.drain(..) {
                self.input(now, input);
            }
            // One a turn, after the inputs: operators neither hold messages up, nor wait for a turn without any.
            if let Some(ask) = self.desk.next() {
                let links = self.links.iter().map(|(&link, linked)| (link, &linked.connection));
                self.desk.answer(now, ask, &mut self.router, &self.heartbeat.store_stats(), links);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.router.handle(now, Event::Clock { unix: unix() });
                self.metrics.store.record(&self.heartbeat.store_stats());
                self.loop_metrics.waiting(self.inputs.len());
                self.look_at_links();
            }
            if self.router.poll_timeout().is_some_and(|due| due <= now) {
                self.router.handle_timeout(now);
            }
            self.act();
            let tally = self.router.tally(now);
            if tally.is_complete != self.was_complete {
                self.was_complete = tally.is_complete;
                let Tally { is_complete, edges, leases, lost, .. } = *tally;
                tracing::info!(is_complete, edges, leases, lost, "completeness changed");
            }
            self.metrics.record(tally);
            self.pulse.beat_at(now);
            self.loop_metrics.turned(now, inputs);
        }
        self.farewell().await;
    }

    fn input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Event(event) => {
                if let Event::LinkClosed { link } = &event {
                    self.remove(*link);
                }
                self.router.handle(now, event);
            }
            Input::Timed { event, since } => {
                self.router.handle(now, event);
                self.metrics.stage.record(since.elapsed());
            }
            Input::LinkOpened { link, certificate, outboxes, connection, admit } => {
                let admit = Some(admit);
                let linked =
                    LinkHandles { connection, outboxes: outboxes.clone(), admit, seen: Seen::default() };
                self.links.insert(link, linked);
                self.router.handle(now, Event::LinkOpened { link, certificate, outboxes });
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::Admit { link, edge } => self.admit(link, &edge.to_string()),
                Action::Close { link, code, reason } => {
                    tracing::info!(link = link.0, ?code, reason, "closing a link");
                    if let Some(connection) = self.remove(link) {
                        close(&connection, code, &reason);
                    }
                }
                Action::Found { query, whereabouts } => self.desk.found(query, whereabouts),
                Action::GrantLease { .. }
                | Action::Beat(_)
                | Action::EndLease { .. }
                | Action::RemoveRoutes { .. }
                | Action::Sweep => {
                    let address = |link| self.address(link);
                    self.heartbeat.act(action, address);
                }
            }
        }
    }

    fn address(&self, link: LinkKey) -> String {
        self.links.get(&link).map(|linked| linked.connection.remote_address().to_string()).unwrap_or_default()
    }

    fn remove(&mut self, link: LinkKey) -> Option<Connection> {
        let LinkHandles { connection, mut seen, .. } = self.links.remove(&link)?;
        self.metrics.links.count(&mut seen, &connection.stats());
        Some(connection)
    }

    fn look_at_links(&mut self) {
        let (mut queued, mut rtt_max) = (Queued::default(), Duration::ZERO);
        for LinkHandles { connection, outboxes, seen, .. } in self.links.values_mut() {
            let stats = connection.stats();
            rtt_max = rtt_max.max(stats.path.rtt);
            self.metrics.links.count(seen, &stats);
            queued.add(outboxes);
        }
        self.metrics.links.queued(queued);
        self.metrics.rtt_max.set(rtt_max.as_secs_f64());
    }

    /// Nothing that was read before a freeze counts: links end, and so do those that wait to be begun.
    fn thaw(&mut self, now: Instant, late: Duration, batch: &mut Vec<Input>) {
        tracing::warn!(seconds = late.as_secs_f64(), "stood still; all edges have to link again");
        self.router.handle(now, Event::Froze);
        self.act();
        batch.extend(std::iter::from_fn(|| self.pings.try_recv().ok()));
        batch.extend(std::iter::from_fn(|| self.inputs.try_recv().ok()));
        batch.retain(|input| match input {
            Input::LinkOpened { connection, .. } => {
                close(connection, CloseCode::Froze, "the relay stood still");
                false
            }
            Input::Event(_) | Input::Timed { .. } => true,
        });
    }

    fn admit(&mut self, link: LinkKey, edge: &str) {
        tracing::info!(link = link.0, edge, "edge linked");
        if let Some(admit) = self.links.get_mut(&link).and_then(|linked| linked.admit.take()) {
            // The link may have ended meanwhile.
            let _ = admit.send(());
        }
    }

    async fn farewell(mut self) {
        self.readiness.set(State { reasons: vec!["stopping".into()], missing: Vec::new() });
        self.router.handle(Instant::now(), Event::Stop);
        self.act();
        tokio::time::sleep(FAREWELL).await;
    }
}

pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
