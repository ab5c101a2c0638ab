//! Redis, and what a node's store does with it: commands in round trips, timeouts, a breaker, connections that are ended
//! before their successor writes.
//!
//! A [`Job`] is one call of a core's shell. It takes effect step by step, each step one round trip, as `store/src/redis/`
//! has them; what one step learns decides the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge::core::Ticket;
use proto::id::{Channel, EdgeId};
use store::{Beat, IndexPage, Leases, RouteWrite, Score, StoreError};

use super::world::{MILLISECOND, Micros, SECOND, World};

/// How long an answer may take, as in life.
const ANSWER_MAX: Micros = 250 * MILLISECOND;

/// Between the two walks of a removal, as in life.
const SECOND_WALK_AFTER: Micros = SECOND;

/// What it holds, key by key.
#[derive(Default)]
pub(crate) struct Redis {
    pub(crate) routes: BTreeMap<Channel, BTreeSet<EdgeId>>,
    pub(crate) indices: BTreeMap<EdgeId, BTreeSet<Channel>>,
    hashes: BTreeSet<EdgeId>,
    pub(crate) leases: BTreeMap<EdgeId, Score>,
    pub(crate) ended: BTreeSet<EdgeId>,
    is_settled: bool,
    pub(crate) mood: Mood,
    /// One way, at most.
    pub(crate) delay_max: Micros,
    pub(crate) emptied_at: Option<Micros>,
    /// Steps that came while it hung, in order.
    unread: Vec<Step>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// It takes everything and answers nothing.
    Hung,
    /// Nobody can connect.
    Down,
    /// It answers with errors.
    Refusing,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asker {
    Edge(usize),
    Relay(usize),
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    WriteRoutes { edge: EdgeId, writes: Vec<RouteWrite>, is_open: bool },
    ReadIndex { edge: EdgeId, cursor: u64, count: usize, page: IndexPage },
    LookUp { ticket: Ticket, channel: Channel, holders: Vec<EdgeId> },
    Grant { edge: EdgeId, score: Score },
    Beat { beat: Beat, leases: Leases },
    End { edge: EdgeId, score: Score, has_ended: bool },
    Sweep,
    Remove { edge: EdgeId, found: Vec<Channel>, removed: u64, walks: u32 },
}

/// What comes after a step.
enum Next {
    Ask,
    Wait(Micros),
    Done,
}

struct Step {
    asker: Asker,
    class: usize,
    connection: u64,
    call: u64,
    number: u32,
    job: Job,
}

/// Writes, or reads.
pub(crate) const WRITES: usize = 0;
pub(crate) const READS: usize = 1;

/// One of a node's two connections, with its breaker.
#[derive(Default)]
pub(crate) struct Breaker {
    is_live: bool,
    connection: u64,
    tries: u32,
    /// Calls that wait for an answer, since when.
    waiting: BTreeMap<u64, (Micros, Job)>,
    /// Connections that were given up. Redis ends them before their successor is used.
    abandoned: BTreeSet<u64>,
    last_arrival: Micros,
}

/// A node's store.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) breakers: [Breaker; 2],
    next_call: u64,
    /// When a call failed last.
    pub(crate) failed_at: Option<Micros>,
    /// What a relay wants done one after the other.
    orders: VecDeque<Job>,
    is_busy: bool,
}

impl Job {
    fn class(&self) -> usize {
        match self {
            Self::ReadIndex { .. } | Self::LookUp { .. } => READS,
            Self::WriteRoutes { .. }
            | Self::Grant { .. }
            | Self::Beat { .. }
            | Self::End { .. }
            | Self::Remove { .. }
            | Self::Sweep => WRITES,
        }
    }

    fn is_ordered(&self) -> bool {
        matches!(self, Self::Grant { .. } | Self::Beat { .. } | Self::End { .. })
    }

    /// Does the step `number` of this job.
    fn step(&mut self, redis: &mut Redis, number: u32) -> Next {
        match (self, number) {
            (Self::WriteRoutes { edge, writes, is_open }, 0) => {
                let joins: Vec<Channel> =
                    writes.iter().filter(|write| write.held).map(|write| write.channel.clone()).collect();
                *is_open = joins.is_empty() || redis.hashes.contains(edge);
                if *is_open && !joins.is_empty() {
                    redis.indices.entry(edge.clone()).or_default().extend(joins);
                }
                for write in writes.iter().filter(|write| !write.held) {
                    redis.remove_route(&write.channel, edge);
                }
                Next::Ask
            }
            (Self::WriteRoutes { edge, writes, is_open }, _) => {
                for write in writes {
                    if !write.held {
                        redis.remove_from_index(edge, &write.channel);
                    } else if *is_open {
                        redis.routes.entry(write.channel.clone()).or_default().insert(edge.clone());
                    }
                }
                Next::Done
            }
            (Self::ReadIndex { edge, cursor, count, page }, _) => {
                let all = redis.indices.get(edge).into_iter().flatten();
                let channels: Vec<Channel> =
                    all.clone().skip(*cursor as usize).take(*count).cloned().collect();
                let next = *cursor as usize + channels.len();
                let cursor = if next < all.count() { next as u64 } else { 0 };
                *page = IndexPage { channels, cursor };
                Next::Done
            }
            (Self::LookUp { channel, holders, .. }, 0) => {
                *holders = redis.routes.get(channel).into_iter().flatten().cloned().collect();
                if holders.is_empty() { Next::Done } else { Next::Ask }
            }
            (Self::LookUp { holders, .. }, _) => {
                holders.retain(|edge| redis.leases.contains_key(edge));
                Next::Done
            }
            (Self::Grant { edge, score }, 0) => {
                redis.leases.entry(edge.clone()).or_insert(*score);
                Next::Ask
            }
            (Self::Grant { edge, .. }, _) => {
                redis.hashes.insert(edge.clone());
                Next::Done
            }
            (Self::Beat { beat, leases }, _) => {
                for edge in &beat.renewed {
                    if let Some(score) = redis.leases.get_mut(edge) {
                        *score = beat.score;
                    }
                }
                redis.is_settled |= beat.settles;
                *leases = Leases {
                    scores: redis.leases.clone(),
                    ended: redis.ended.iter().cloned().collect(),
                    is_settled: redis.is_settled,
                };
                Next::Done
            }
            (Self::End { edge, score, has_ended }, _) => {
                *has_ended = redis.leases.get(edge) == Some(score);
                if *has_ended {
                    redis.leases.remove(edge);
                    redis.ended.insert(edge.clone());
                }
                Next::Done
            }
            (Self::Sweep, _) => {
                redis.sweep();
                Next::Done
            }
            (Self::Remove { .. }, 0) => Next::Ask,
            (Self::Remove { edge, found, removed, walks }, number) => {
                redis.walk(edge, found, removed, walks, number)
            }
        }
    }
}

impl Redis {
    pub(crate) fn new() -> Self {
        Self { delay_max: MILLISECOND, ..Self::default() }
    }

    /// A removal: the fence, then walks of three steps each: look, remove the routes, and in all but the first walk
    /// the index as well.
    fn walk(
        &mut self,
        edge: &EdgeId,
        found: &mut Vec<Channel>,
        removed: &mut u64,
        walks: &mut u32,
        number: u32,
    ) -> Next {
        match (number - 1) % 3 {
            0 => {
                self.hashes.remove(edge);
                *found = self.indices.get(edge).into_iter().flatten().cloned().collect();
                Next::Ask
            }
            1 => {
                let before = *removed;
                for channel in found.iter() {
                    *removed += u64::from(self.remove_route(channel, edge));
                }
                *walks += 1;
                if *walks == 1 {
                    return Next::Ask;
                }
                if found.is_empty() && *removed == before {
                    self.indices.remove(edge);
                    self.ended.remove(edge);
                    return Next::Done;
                }
                Next::Ask
            }
            _ => {
                if *walks == 1 {
                    return Next::Wait(SECOND_WALK_AFTER);
                }
                for channel in found.iter() {
                    self.remove_from_index(edge, channel);
                }
                Next::Ask
            }
        }
    }

    fn remove_route(&mut self, channel: &Channel, edge: &EdgeId) -> bool {
        let Some(edges) = self.routes.get_mut(channel) else { return false };
        let was_there = edges.remove(edge);
        if edges.is_empty() {
            self.routes.remove(channel);
        }
        was_there
    }

    fn remove_from_index(&mut self, edge: &EdgeId, channel: &Channel) {
        if let Some(channels) = self.indices.get_mut(edge) {
            channels.remove(channel);
            if channels.is_empty() {
                self.indices.remove(edge);
            }
        }
    }

    /// Removes routes of those who are nobody, and has the indices of such be walked.
    fn sweep(&mut self) {
        let Self { routes, indices, leases, ended, .. } = self;
        let is_nobody = |edge: &EdgeId| !leases.contains_key(edge) && !ended.contains(edge);
        let orphans: Vec<EdgeId> = indices.keys().filter(|edge| is_nobody(edge)).cloned().collect();
        for edges in routes.values_mut() {
            edges.retain(|edge| !is_nobody(edge) || indices.contains_key(edge));
        }
        routes.retain(|_, edges| !edges.is_empty());
        ended.extend(orphans);
    }

    /// Everything is forgotten.
    pub(crate) fn flush(&mut self) {
        self.routes.clear();
        self.indices.clear();
        self.hashes.clear();
        self.leases.clear();
        self.ended.clear();
        self.is_settled = false;
    }
}

impl World {
    fn client(&mut self, asker: Asker) -> &mut Client {
        match asker {
            Asker::Edge(edge) => &mut self.edges[edge].store,
            Asker::Relay(relay) => &mut self.relays[relay].store,
        }
    }

    fn life_of(&self, asker: Asker) -> u32 {
        match asker {
            Asker::Edge(edge) => self.edges[edge].life,
            Asker::Relay(relay) => self.relays[relay].life,
        }
    }

    fn is_running(&self, asker: Asker) -> bool {
        match asker {
            Asker::Edge(edge) => self.edges[edge].is_running(),
            Asker::Relay(relay) => self.relays[relay].is_running(),
        }
    }

    /// A process starts: both connections are made.
    pub(crate) fn store_starts(&mut self, asker: Asker) {
        *self.client(asker) = Client::default();
        for class in [WRITES, READS] {
            self.connect_later(asker, class);
        }
    }

    /// A core's shell calls the store.
    pub(crate) fn ask_store(&mut self, asker: Asker, job: Job) {
        if job.is_ordered() {
            let orders = &mut self.client(asker).orders;
            if matches!(job, Job::Beat { .. }) {
                orders.push_front(job);
            } else {
                orders.push_back(job);
            }
            return self.next_order(asker);
        }
        self.begin(asker, job);
    }

    fn next_order(&mut self, asker: Asker) {
        let client = self.client(asker);
        if client.is_busy {
            return;
        }
        if let Some(job) = client.orders.pop_front() {
            client.is_busy = true;
            self.begin(asker, job);
        }
    }

    fn begin(&mut self, asker: Asker, job: Job) {
        let client = self.client(asker);
        client.next_call += 1;
        let call = client.next_call;
        self.ask(asker, call, 0, job);
    }

    fn ask(&mut self, asker: Asker, call: u64, number: u32, job: Job) {
        let (class, life, now) = (job.class(), self.life_of(asker), self.now);
        let breaker = &mut self.client(asker).breakers[class];
        if !breaker.is_live {
            // The answer comes in a later turn, as in life.
            return self.after(0, move |world| {
                if world.life_of(asker) == life {
                    world.answer(asker, &job, Some(StoreError::Away));
                }
            });
        }
        breaker.waiting.insert(call, (now, job.clone()));
        let connection = breaker.connection;
        let delay = self.redis_delay();
        let breaker = &mut self.client(asker).breakers[class];
        // What is sent on one connection arrives in order.
        breaker.last_arrival = breaker.last_arrival.max(now + delay);
        let arrival = breaker.last_arrival;
        let step = Step { asker, class, connection, call, number, job };
        self.at(arrival, move |world| world.redis_reads(life, step));
        self.after(ANSWER_MAX, move |world| {
            if world.life_of(asker) == life && world.is_running(asker) {
                world.look_for_late(asker, class);
            }
        });
    }

    fn redis_delay(&mut self) -> Micros {
        let max = self.redis.delay_max;
        self.chance.between(50, max)
    }

    fn redis_reads(&mut self, life: u32, step: Step) {
        match self.redis.mood {
            Mood::Well => self.redis_does(life, step),
            Mood::Hung => self.redis.unread.push(step),
            Mood::Down | Mood::Refusing => {
                let delay = self.redis_delay();
                let error =
                    if self.redis.mood == Mood::Down { StoreError::Unanswered } else { StoreError::Away };
                let Step { asker, class, connection, .. } = step;
                self.after(delay, move |world| {
                    if world.life_of(asker) == life
                        && world.client(asker).breakers[class].connection == connection
                    {
                        world.break_off(asker, class, error);
                    }
                });
            }
        }
    }

    fn redis_does(&mut self, life: u32, mut step: Step) {
        let is_alive = self.life_of(step.asker) == life;
        let was_killed = is_alive && {
            let breaker = &self.client(step.asker).breakers[step.class];
            // Only writes are worth it.
            step.class == WRITES && breaker.is_live && breaker.abandoned.contains(&step.connection)
        };
        if was_killed {
            if !self.settings.is_redis_treacherous {
                return;
            }
            self.count("late commands");
        }
        if let Job::Beat { beat, .. } = &step.job {
            let asker = step.asker;
            self.trace(|| {
                format!(
                    "redis: {asker:?} beats, settles: {}, is settled: {}",
                    beat.settles, self.redis.is_settled
                )
            });
        }
        let leases = self.redis.leases.clone();
        let next = step.job.step(&mut self.redis, step.number);
        self.note_leases(&leases);
        if let Job::End { edge, has_ended: true, .. } = &step.job {
            self.lease_was_ended(step.asker, edge);
        }
        let delay = self.redis_delay();
        let Step { asker, class, connection, call, number, job } = step;
        self.after(delay, move |world| {
            if world.life_of(asker) != life {
                return;
            }
            let breaker = &world.client(asker).breakers[class];
            if breaker.connection != connection || !breaker.waiting.contains_key(&call) {
                return;
            }
            if !world.is_running(asker) {
                // It lies in the socket. When the process goes on, it is late.
                return;
            }
            world.client(asker).breakers[class].waiting.remove(&call);
            match next {
                Next::Ask => world.ask(asker, call, number + 1, job),
                Next::Wait(pause) => world.after(pause, move |world| {
                    if world.life_of(asker) == life {
                        world.ask(asker, call, number + 1, job);
                    }
                }),
                Next::Done => world.answer(asker, &job, None),
            }
        });
    }

    /// What was asked too long ago breaks its connection.
    fn look_for_late(&mut self, asker: Asker, class: usize) {
        let now = self.now;
        let breaker = &self.client(asker).breakers[class];
        if breaker.waiting.values().any(|&(asked, _)| now >= asked + ANSWER_MAX) {
            self.count("store timeouts");
            self.break_off(asker, class, StoreError::Unanswered);
        }
    }

    /// A process goes on after it stood still.
    pub(crate) fn store_thaws(&mut self, asker: Asker) {
        for class in [WRITES, READS] {
            let breaker = &self.client(asker).breakers[class];
            if !breaker.waiting.is_empty() {
                self.break_off(asker, class, StoreError::Unanswered);
            }
        }
    }

    fn break_off(&mut self, asker: Asker, class: usize, error: StoreError) {
        let breaker = &mut self.client(asker).breakers[class];
        breaker.is_live = false;
        breaker.abandoned.insert(breaker.connection);
        let waiting = std::mem::take(&mut breaker.waiting);
        for (_, job) in waiting.into_values() {
            self.answer(asker, &job, Some(error));
        }
        self.connect_later(asker, class);
    }

    fn connect_later(&mut self, asker: Asker, class: usize) {
        let breaker = &mut self.client(asker).breakers[class];
        let bound = ((50 * MILLISECOND) << breaker.tries.min(5)).min(SECOND);
        breaker.tries += 1;
        let life = self.life_of(asker);
        let pause = self.chance.below(bound);
        self.after(pause, move |world| {
            if world.life_of(asker) != life {
                return;
            }
            if world.redis.mood == Mood::Well && world.is_running(asker) {
                let breaker = &mut world.client(asker).breakers[class];
                breaker.is_live = true;
                breaker.connection += 1;
                breaker.tries = 0;
            } else {
                world.connect_later(asker, class);
            }
        });
    }

    fn answer(&mut self, asker: Asker, job: &Job, error: Option<StoreError>) {
        if let Some(error) = error {
            self.count(if error == StoreError::Away { "store away" } else { "store unanswered" });
            self.client(asker).failed_at = Some(self.now);
        }
        match asker {
            Asker::Edge(edge) => self.edge_store_answers(edge, job.clone(), error),
            Asker::Relay(relay) => self.relay_store_answers(relay, job.clone(), error),
        }
        if job.is_ordered() {
            self.client(asker).is_busy = false;
            self.next_order(asker);
        }
    }

    pub(crate) fn redis_becomes(&mut self, mood: Mood) {
        let before = std::mem::replace(&mut self.redis.mood, mood);
        if before != Mood::Hung {
            return;
        }
        // It goes on with what it had received: of connections that were given up, some, before anybody can end them.
        for step in std::mem::take(&mut self.redis.unread) {
            if mood != Mood::Well {
                continue;
            }
            let asker = step.asker;
            let life = self.life_of(asker);
            let is_abandoned = self.client(asker).breakers[step.class].abandoned.contains(&step.connection);
            if self.settings.is_redis_treacherous && is_abandoned {
                let pause = self.chance.below(3 * SECOND);
                self.after(pause, move |world| world.redis_does(life, step));
            } else if !is_abandoned || self.chance.one_in(2) {
                self.redis_does(life, step);
            }
        }
    }

    /// Tells the history who has a lease, and who got one.
    pub(crate) fn note_leases(&mut self, before: &BTreeMap<EdgeId, Score>) {
        if before.len() == self.redis.leases.len() && before.keys().eq(self.redis.leases.keys()) {
            return;
        }
        let granted: Vec<EdgeId> =
            self.redis.leases.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
        for id in granted {
            self.trace(|| format!("redis: lease of {id}"));
        }
        for id in before.keys().filter(|id| !self.redis.leases.contains_key(*id)) {
            self.trace(|| format!("redis: no lease of {id} any more"));
        }
        self.note_lease_holders();
    }

    pub(crate) fn note_lease_holders(&mut self) {
        for (edge, node) in self.edges.iter().enumerate() {
            let is_leased = node.is_leased
                && !node.gives_way
                && node.ids.iter().any(|id| self.redis.leases.contains_key(id));
            self.history.leased(edge, node.life, self.now, is_leased);
        }
    }
}
