//! The one task that owns the Hub. It waits in one place, acts in another, and is the only reader of clocks.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::id::NodeName;
use quinn::Connection;
use store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use node::admin::{Pulse, Readiness};
use node::link::close;

use crate::core::{Action, Event, Generation, Hub, LinkOutboxes};
use crate::metrics::{Capacity, Metrics};

/// What the loop is told: events of the Hub, and handles that only the shell needs.
#[derive(Debug)]
pub(crate) enum Input {
    Event(Event),
    LinkOpened { generation: Generation, outboxes: LinkOutboxes, connection: Connection },
}

/// Events that wait; readers wait when it is full, and TCP's and QUIC's flow control hold back whoever sends to them.
pub(crate) const INPUTS_MAX: usize = 1024;

/// Inputs that one turn takes.
const BATCH: usize = 256;

/// The loop turns at least so often; an edge that does not is frozen.
const TICK: Duration = Duration::from_millis(500);

/// How long an edge that stops waits for its clients to close and for the relay to hear its goodbye.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// A lost link makes an edge not ready after so long: clients are served meanwhile, and links come back in a second.
const LINK_LOST_MAX: Duration = Duration::from_secs(10);

pub(crate) struct EventLoop {
    pub(crate) hub: Hub,
    pub(crate) name: NodeName,
    pub(crate) has_relay: bool,
    pub(crate) was_linked: bool,
    pub(crate) store: Store,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) echoes: mpsc::Receiver<Event>,
    /// For answers of the store.
    pub(crate) answers: mpsc::Sender<Input>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) capacity: Capacity,
    pub(crate) pulse: Pulse,
    pub(crate) readiness: Readiness,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) link: Option<(Generation, Connection)>,
    /// Until when a link that is away does not count; none until the first one.
    pub(crate) link_excused_until: Option<Instant>,
}

impl EventLoop {
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut next_tick = Instant::now();
        let mut stop_by = None;
        loop {
            let wake = self.hub.poll_timeout().map_or(next_tick, |due| due.min(next_tick));
            let mut echo = None;
            let mut is_stopping = false;
            tokio::select! {
                biased;
                Some(event) = self.echoes.recv() => echo = Some(event),
                _ = self.inputs.recv_many(&mut batch, BATCH) => {}
                () = sleep_until(wake.into()) => {}
                _ = self.stop.wait_for(|stop| *stop), if stop_by.is_none() => is_stopping = true,
            }
            let now = Instant::now();
            if let Some(echo) = echo {
                self.hub.handle(now, echo);
                // Zero: the echo of a link that has ended.
                if let nanos @ 1.. = self.hub.tally().rtt_nanos {
                    self.metrics.rtt(Duration::from_nanos(nanos).as_secs_f64());
                }
            }
            for input in batch.drain(..) {
                self.input(now, input);
            }
            if is_stopping {
                stop_by = Some(now + FAREWELL_MAX);
                self.hub.handle(now, Event::Stop);
            }
            self.turn(now, &mut next_tick, stop_by.is_some());
            if stop_by.is_some_and(|stop_by| now >= stop_by || self.is_finished()) {
                return;
            }
        }
    }

    fn turn(&mut self, now: Instant, next_tick: &mut Instant, is_stopping: bool) {
        if now >= *next_tick {
            *next_tick = now + if is_stopping { TICK / 10 } else { TICK };
            self.hub.handle(now, Event::Clock { unix: unix() });
            self.report_readiness(now, is_stopping);
        }
        if self.hub.poll_timeout().is_some_and(|due| due <= now) {
            self.hub.handle_timeout(now);
        }
        self.act();
        let is_linked = self.hub.is_linked();
        if is_linked != self.was_linked {
            self.was_linked = is_linked;
            tracing::info!(edge = %self.name, is_linked, "link to the relay changed");
        }
        if is_linked {
            self.link_excused_until = Some(now + LINK_LOST_MAX);
        }
        self.metrics.record(self.hub.tally(), is_linked);
        self.pulse.beat_at(now);
    }

    fn input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Event(event) => self.hub.handle(now, event),
            Input::LinkOpened { generation, outboxes, connection } => {
                self.link = Some((generation, connection));
                self.hub.handle(now, Event::LinkOpened { generation, link: outboxes });
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.hub.poll_action() {
            match action {
                Action::CloseLink { generation, code, reason } => {
                    tracing::warn!(edge = %self.name, link = generation.0, ?code, reason, "closing the link");
                    if let Some((_, connection)) = self.link.take_if(|(current, _)| *current == generation) {
                        close(&connection, code, &reason);
                    }
                }
                Action::WriteRoute { edge, channel, held } => {
                    let (store, answers) = (self.store.clone(), self.answers.clone());
                    tokio::spawn(async move {
                        store.write_route(&edge, &channel, held).await;
                        let _ = answers.send(Input::Event(Event::RouteWritten { edge, channel, held })).await;
                    });
                }
                Action::LookUp { ticket, channel } => {
                    let (store, answers) = (self.store.clone(), self.answers.clone());
                    tokio::spawn(async move {
                        let holders = Ok(store.holders(&channel).await);
                        let _ = answers.send(Input::Event(Event::LookedUp { ticket, holders })).await;
                    });
                }
            }
        }
    }

    fn report_readiness(&self, now: Instant, is_stopping: bool) {
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        if is_stopping {
            reasons.push("stopping".into());
        }
        if self.capacity.is_full() {
            reasons.push("full: as many clients as --max-clients allows".into());
        }
        if self.has_relay && !self.hub.is_linked() {
            match self.link_excused_until {
                None => reasons.push("not linked to the relay yet".into()),
                Some(until) if now >= until => reasons.push("no link to the relay for 10 s".into()),
                Some(_) => {}
            }
        }
        self.readiness.set(reasons);
    }

    /// Whether all clients are gone and the relay has heard the goodbye.
    fn is_finished(&self) -> bool {
        self.capacity.used() == 0 && !self.hub.is_linked()
    }
}

pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
