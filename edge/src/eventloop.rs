//! The one task that owns the Hub. It waits in one place, acts in another, and is the only reader of clocks.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::id::NodeName;
use proto::limits::CLIENT_FRAME_BYTES_MAX;
use quinn::{Connection, ConnectionStats};
use store::{Beat, Leases, Score, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{sleep, sleep_until};

use node::admin::{Pulse, Readiness, State};
use node::freeze::{TICK, frozen_for};
use node::link::{Seen, close};
use node::memory::Operation;
use node::metrics::{LoopMetrics, Sampler};
use node::newcomers::Lobby;
use node::outbox::Queued;

use crate::client::READ_BYTES;
use crate::core::{Action, Event, Generation, Hub, LinkOutboxes};
use crate::freeze::departures_first;
use crate::isolation::{Isolation, Standing};
use crate::metrics::{Capacity, Metrics, Stage};

/// What the loop is told: events of the Hub, and handles that only the shell needs.
#[derive(Debug)]
pub(crate) enum Input {
    Event(Event),
    /// One of those whose way through this edge is timed.
    Timed {
        event: Box<Event>,
        stage: Stage,
        since: Instant,
    },
    /// The end of a large frame, of which only so many may wait.
    Large {
        event: Box<Event>,
        permit: OwnedSemaphorePermit,
    },
    LinkOpened {
        generation: Generation,
        outboxes: Box<LinkOutboxes>,
        connection: Connection,
    },
    LeasesRead(Result<Leases, StoreError>),
}

impl Input {
    /// `event`, timed on its way where `sampler` picks it.
    pub(crate) fn sampled(sampler: &Sampler, stage: Stage, event: Event) -> Self {
        if sampler.picks() {
            return Self::Timed { event: Box::new(event), stage, since: Instant::now() };
        }
        Self::Event(event)
    }
}

/// A client's frame is moved three times on its way into the Hub.
const _: () = assert!(size_of::<Input>() <= 80);

/// Events that wait; readers wait when it is full, and TCP's and QUIC's flow control hold back whoever sends to them.
pub(crate) const INPUTS_MAX: usize = 1024;

/// A frame of a client that is larger may wait only together with [`LARGE_FRAMES_MAX`] others, so that all that waits is
/// below 20 MiB: 4 in large frames, and 16 where of each whole read one small frame is left.
pub(crate) const LARGE_FRAME_BYTES: usize = 4 << 10;

/// See [`LARGE_FRAME_BYTES`].
pub(crate) const LARGE_FRAMES_MAX: usize = 64;

const _: () = assert!(LARGE_FRAMES_MAX * CLIENT_FRAME_BYTES_MAX <= 4 << 20);
const _: () = assert!(INPUTS_MAX * READ_BYTES <= 16 << 20);

/// Inputs that one turn takes.
const BATCH: usize = 256;

/// How long an edge that stops waits for its clients to close and for the relay to hear its goodbye.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// After a freeze, how long readers may run before anything is sent: each of them once, which takes microseconds, and
/// the kernel's timers come late on a machine that starves.
const THAW: Duration = Duration::from_millis(50);

/// An edge whose lease the store never knows is told of once a minute.
const FENCE_WARN_EVERY: Duration = Duration::from_secs(60);

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
    pub(crate) loop_metrics: LoopMetrics,
    pub(crate) capacity: Capacity,
    /// Who has not logged in.
    pub(crate) newcomers: Lobby,
    pub(crate) pulse: Pulse,
    pub(crate) readiness: Readiness,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) link: Option<LinkHandles>,
    pub(crate) isolation: Isolation,
    pub(crate) fence_warned: Option<Instant>,
}

/// What the shell needs of the link.
pub(crate) struct LinkHandles {
    generation: Generation,
    connection: Connection,
    outboxes: LinkOutboxes,
    seen: Seen,
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
            let mut now = Instant::now();
            let inputs = batch.len() + usize::from(echo.is_some());
            if let Some(late) = frozen_for(now, next_tick) {
                self.thaw(now, late, &mut batch).await;
                now = Instant::now();
            } else {
                self.take(now, echo, batch.drain(..));
            }
            if is_stopping {
                stop_by = Some(now + FAREWELL_MAX);
                self.hub.handle(now, Event::Stop);
            }
            self.turn(now, &mut next_tick, stop_by.is_some());
            self.loop_metrics.turned(now, inputs);
            if stop_by.is_some_and(|stop_by| now >= stop_by || self.is_finished()) {
                return;
            }
        }
    }

    fn take(&mut self, now: Instant, echo: Option<Event>, inputs: impl Iterator<Item = Input>) {
        if let Some(echo) = echo {
            self.hub.handle(now, echo);
            // Zero: the echo of a link that has ended.
            if let nanos @ 1.. = self.hub.tally().rtt_nanos {
                self.metrics.rtt(Duration::from_nanos(nanos));
            }
        }
        for input in inputs {
            self.input(now, input);
        }
    }

    /// This loop stood still for `late`. Links are dropped with everything read from them, and client sockets are read
    /// once before anything is sent: whoever went meanwhile must not count as reached.
    async fn thaw(&mut self, now: Instant, late: Duration, inputs: &mut Vec<Input>) {
        tracing::warn!(edge = %self.name, seconds = late.as_secs_f64(), "stood still");
        self.hub.handle(now, Event::Froze { late });
        self.hub.handle(now, Event::Clock { unix: unix() });
        self.act();
        sleep(THAW).await;
        // As many as can wait, so that a flood of new ones cannot hold up the turn.
        let waiting = std::iter::from_fn(|| self.inputs.try_recv().ok()).take(INPUTS_MAX);
        inputs.extend(waiting);
        let now = Instant::now();
        for input in departures_first(std::mem::take(inputs)) {
            self.input(now, input);
        }
    }

    fn turn(&mut self, now: Instant, next_tick: &mut Instant, is_stopping: bool) {
        if now >= *next_tick {
            *next_tick = now + if is_stopping { TICK / 10 } else { TICK };
            self.hub.handle(now, Event::Clock { unix: unix() });
            self.watch_leases(now);
            self.metrics.store.record(&self.store.stats());
            self.loop_metrics.waiting(self.inputs.len());
            self.look_at_link();
            let is_ready = self.report_readiness(now, is_stopping);
            self.hub.handle(now, Event::Ready { is_ready });
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
        self.isolation.see(now, is_linked, self.hub.carries());
        self.metrics.record(self.hub.tally(), is_linked);
        self.pulse.beat_at(now);
    }

    fn input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Event(event) => {
                if let Event::RoutesWritten { result: Ok(false), .. } = &event {
                    self.warn_of_fence(now);
                }
                self.hub.handle(now, event);
            }
            Input::Timed { event, stage, since } => {
                self.hub.handle(now, *event);
                self.metrics.passed(stage, since.elapsed());
            }
            Input::Large { event, permit } => {
                self.hub.handle(now, *event);
                drop(permit);
            }
            Input::LinkOpened { generation, outboxes, connection } => {
                self.count_link();
                let link = outboxes.clone();
                self.link =
                    Some(LinkHandles { generation, connection, outboxes: *outboxes, seen: Seen::default() });
                self.hub.handle(now, Event::LinkOpened { generation, link });
            }
            Input::LeasesRead(leases) => self.isolation.leases_read(now, leases),
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.hub.poll_action() {
            match action {
                Action::CloseLink { generation, code, reason } => {
                    tracing::warn!(edge = %self.name, link = generation.0, ?code, reason, "closing the link");
                    self.count_link();
                    if let Some(linked) = self.link.take_if(|linked| linked.generation == generation) {
                        close(&linked.connection, code, &reason);
                    }
                }
                Action::LoggedIn { client } => self.newcomers.leave(client.0),
                Action::WriteRoutes { edge, clients, writes } => self.ask(async move |store, metrics| {
                    let writing = store.write_routes(&edge, clients, &writes);
                    let result = metrics.store.timed(Operation::WriteRoutes, writing).await;
                    Input::Event(Event::RoutesWritten { edge, writes, result })
                }),
                Action::ReadIndex { edge, cursor, count } => self.ask(async move |store, metrics| {
                    let reading = store.index(&edge, cursor, count);
                    let page = metrics.store.timed(Operation::Index, reading).await;
                    Input::Event(Event::IndexRead { edge, page })
                }),
                Action::LookUp { ticket, channel } => self.ask(async move |store, metrics| {
                    let holders = metrics.store.timed(Operation::Holders, store.holders(&channel)).await;
                    Input::Event(Event::LookedUp { ticket, holders })
                }),
            }
        }
    }

    /// Asks the store, which may be slow, in a task of its own. There is one of them for writes, one for the index, one
    /// for leases, and one for each directed message that is looked up.
    fn ask<F: Future<Output = Input> + Send + 'static>(
        &self,
        question: impl FnOnce(Store, Arc<Metrics>) -> F,
    ) {
        let answers = self.answers.clone();
        let asked = question(self.store.clone(), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            // It fails only while the process ends.
            let _ = answers.send(asked.await).await;
        });
    }

    fn look_at_link(&mut self) {
        let stats = self.count_link();
        // A link that has ended is kept until the next one; it has nothing to show.
        let living = self.link.as_ref().filter(|linked| linked.connection.close_reason().is_none());
        let mut queued = Queued::default();
        if let Some(linked) = living {
            queued.add(&linked.outboxes);
        }
        self.metrics.path(living.and(stats.as_ref()).map(|stats| &stats.path));
        self.metrics.link.queued(queued);
    }

    /// Counts what the link has done since this was last called, and answers what QUIC says of it.
    fn count_link(&mut self) -> Option<ConnectionStats> {
        let LinkHandles { connection, seen, .. } = self.link.as_mut()?;
        let stats = connection.stats();
        self.metrics.link.count(seen, &stats);
        Some(stats)
    }

    /// A beat that renews nothing only reads.
    fn watch_leases(&mut self, now: Instant) {
        if self.has_relay && self.isolation.begin_read(now) {
            self.ask(async |store, metrics| {
                let beat = Beat { renewed: Vec::new(), score: Score(0), settles: false };
                Input::LeasesRead(metrics.store.timed(Operation::Beat, store.beat(&beat)).await)
            });
        }
    }

    /// It happens once when the store was emptied, and again and again where nothing helps but the operator.
    fn warn_of_fence(&mut self, now: Instant) {
        if self.fence_warned.is_none_or(|warned| now >= warned + FENCE_WARN_EVERY) {
            self.fence_warned = Some(now);
            tracing::warn!(
                edge = %self.name,
                "the store knows no lease of this edge: was it emptied, or are --store and --store-prefix not the relay's?"
            );
        }
    }

    /// Whether clients should be sent here.
    fn report_readiness(&self, now: Instant, is_stopping: bool) -> bool {
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        if is_stopping {
            reasons.push("stopping".into());
        }
        // Who has not logged in makes room.
        if self.capacity.is_full() && self.newcomers.is_empty() {
            reasons.push("full: as many clients as --max-clients allows".into());
        }
        let mut missing: Vec<Cow<'static, str>> = Vec::new();
        if self.has_relay {
            match self.isolation.standing(now) {
                Standing::Well => {}
                Standing::Alone(reason) => reasons.push(reason.into()),
                Standing::LikeAll(what) => missing.push(what.into()),
            }
        }
        let is_ready = reasons.is_empty();
        if self.readiness.set(State { reasons, missing }) {
            let state = self.readiness.state();
            let [reasons, missing] = [&state.reasons, &state.missing].map(|list| list.join("; "));
            tracing::info!(edge = %self.name, is_ready, reasons, missing, "readiness changed");
        }
        is_ready
    }

    /// Whether all clients are gone and the relay has heard the goodbye.
    fn is_finished(&self) -> bool {
        self.capacity.used() == 0 && !self.hub.is_linked()
    }
}

pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
