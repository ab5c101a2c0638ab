//! Time, chance, and what is still to happen: everything in a run happens in here, one thing after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::client::{Device, Wire};
use super::edge::EdgeNode;
use super::history::History;
use super::network::Link;
use super::redis::Redis;
use super::relay::RelayNode;

/// Since the run began.
pub(crate) type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// What the wall clocks show when a run begins, before each node's own error.
const UNIX: Duration = Duration::from_secs(1_800_000_000);

type Deed = Box<dyn FnOnce(&mut World)>;

/// See the file.
pub(crate) struct World {
    pub(crate) now: Micros,
    /// What the cores see as 0.
    base: Instant,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    deeds: BTreeMap<u64, Deed>,
    next_deed: u64,
    pub(crate) chance: Chance,
    pub(crate) edges: Vec<EdgeNode>,
    pub(crate) relays: Vec<RelayNode>,
    pub(crate) links: Vec<Link>,
    pub(crate) redis: Redis,
    pub(crate) devices: Vec<Device>,
    pub(crate) wires: Vec<Wire>,
    /// How many users there are, those included who never come.
    pub(crate) users: usize,
    /// Publications in rooms so far.
    pub(crate) published: u64,
    pub(crate) history: History,
    /// How often what happened.
    pub(crate) coverage: BTreeMap<&'static str, u64>,
    /// No more faults, no more moving about.
    pub(crate) is_quiet: bool,
    /// Nobody comes any more.
    pub(crate) is_over: bool,
    pub(crate) settings: Settings,
    traces: bool,
}

/// What a seed decides once and for all.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// One way over the network, at most.
    pub(crate) delay_max: Micros,
    /// Bytes that may wait in a lane.
    pub(crate) lane_bytes_max: usize,
    /// Redis goes on with commands of connections that were to be killed, even after their successors'.
    pub(crate) is_redis_treacherous: bool,
    pub(crate) rooms: usize,
}

impl World {
    pub(crate) fn new(seed: u64, settings: Settings, traces: bool) -> Self {
        Self {
            now: 0,
            base: Instant::now(),
            queue: BinaryHeap::new(),
            deeds: BTreeMap::new(),
            next_deed: 0,
            chance: Chance::new(seed),
            edges: Vec::new(),
            relays: Vec::new(),
            links: Vec::new(),
            redis: Redis::new(),
            devices: Vec::new(),
            wires: Vec::new(),
            users: 0,
            published: 0,
            history: History::default(),
            coverage: BTreeMap::new(),
            is_quiet: false,
            is_over: false,
            settings,
            traces,
        }
    }

    /// Lets `deed` happen after `delay`. What is due at the same time happens in the order of this call.
    pub(crate) fn after(&mut self, delay: Micros, deed: impl FnOnce(&mut Self) + 'static) {
        self.next_deed += 1;
        self.queue.push(Reverse((self.now + delay, self.next_deed)));
        self.deeds.insert(self.next_deed, Box::new(deed));
    }

    pub(crate) fn at(&mut self, when: Micros, deed: impl FnOnce(&mut Self) + 'static) {
        self.after(when.saturating_sub(self.now), deed);
    }

    /// Lets everything happen that is due up to `until`.
    pub(crate) fn run_until(&mut self, until: Micros) {
        while let Some(&Reverse((due, key))) = self.queue.peek() {
            if due > until {
                break;
            }
            self.queue.pop();
            self.now = due;
            let deed = self.deeds.remove(&key).expect("each is done once");
            deed(self);
        }
        self.now = until;
    }

    pub(crate) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    pub(crate) fn micros(&self, instant: Instant) -> Micros {
        let since = instant.saturating_duration_since(self.base).as_nanos();
        // A timer never comes early.
        u64::try_from(since.div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// What a wall clock that is wrong by `skew` seconds shows.
    pub(crate) fn unix(&self, skew: i64) -> Duration {
        let right = UNIX + Duration::from_micros(self.now);
        let skewed = right.as_secs().saturating_add_signed(skew);
        Duration::new(skewed, right.subsec_nanos())
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_insert(0) += 1;
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            println!("{:>10.3} ms  {}", self.now as f64 / 1000.0, what());
        }
    }
}
