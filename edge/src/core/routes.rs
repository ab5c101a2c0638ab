//! What the store should say of this edge, and what it does say: joins and leaves as state, not as a log.
//!
//! ```text
//! want ─▶ differs from the store ─▶ in the batch that is under way ─▶ agrees with the store
//!              ▲   ▲                     │ failed, or wanted otherwise    │ a round's slice: written again,
//!              │   └─────────────────────┘                                │ though it agrees
//!              └── a stray of the index: not wanted, but there            ▼
//! ```
//!
//! At most one batch is under way at all, so a channel has at most one write, and whatever changes meanwhile waits and
//! goes in the next one. Writes need a lease: without one the wanted state waits. A new epoch writes all of it under the
//! new id, and then removes what is left under the old ones.

mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proto::id::{Channel, EdgeId};
use store::{RouteWrite, StoreError};

use super::Map;
use super::tally::RouteCounts;
use round::Round;

/// Channels of one batch: a few milliseconds of the store's time, so that a change never waits long behind others.
pub(super) const BATCH_MAX: usize = 256;

/// How long a store that failed is left alone. Two tries a second cost nothing, and it is missed no longer than that.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Channels that nobody wants and whose removal failed, beyond which they are forgotten: the index names them again.
/// As many as an edge of 500 clients can hold; some 10 MB.
const LEFTOVERS_MAX: usize = 65_536;

/// A removal after an unanswered write is written as often as this, one round apart: a store that goes on with what it
/// was asked long ago must not have the last word. Nobody else looks for a route that is in no index.
const REPEATS: u8 = 3;

/// See the file.
///
/// # Invariants
/// A route that is not under way has a place, in `differing`, `agreeing` or `removed`; one that is has none.
#[derive(Debug)]
pub(super) struct Routes {
    /// This edge in its present life, of which `by_channel` speaks.
    edge: Option<EdgeId>,
    /// Set while the edge has its lease.
    round: Option<Round>,
    by_channel: Map<Channel, Route>,
    /// By place: what has to be written, the longest waiting first.
    differing: BTreeMap<u64, Channel>,
    /// By place: what the store has as it is wanted, the longest unwritten first.
    agreeing: BTreeMap<u64, Channel>,
    /// By place: what was removed, and is to be removed once more.
    removed: BTreeMap<u64, Channel>,
    /// The next place; no place is used twice.
    next_place: u64,
    /// How many channels are wanted.
    held: usize,
    batch: Option<Batch>,
    /// Set while the last try failed: the next one comes no sooner.
    retry_at: Option<Instant>,
    /// What older lives of this edge may have left in the store.
    old: BTreeMap<EdgeId, BTreeSet<Channel>>,
    /// How many channels there are in `old`.
    old_len: usize,
    /// The round whose page is being read.
    reading: Option<u64>,
    /// Rounds begun.
    rounds: u64,
    counts: RouteCounts,
}

#[derive(Debug, Default)]
struct Route {
    wanted: bool,
    stored: Stored,
    /// What is being written.
    under_way: Option<bool>,
    /// In how many rounds its removal is still to be repeated: a write was not answered, and may yet take effect.
    repeats: u8,
    place: Option<u64>,
}

/// What the last finished write says of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stored {
    #[default]
    Absent,
    Held,
    Unknown,
}

/// Writes that are under way: how many of them change what the store says of the present life, and how many do not.
#[derive(Debug, Default)]
struct Batch {
    changes: usize,
    rewrites: usize,
}

/// What the world hears of a finished batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    /// Its channels may be settled.
    Written,
    /// Nobody waits for the store any more.
    Failed,
    /// The store knows no such lease, as was not known here; nobody waits for it any more.
    Fenced,
}

impl Routes {
    pub(super) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self {
            edge: None,
            round: None,
            by_channel: Map::with_hasher(hasher),
            differing: BTreeMap::new(),
            agreeing: BTreeMap::new(),
            removed: BTreeMap::new(),
            next_place: 0,
            held: 0,
            batch: None,
            retry_at: None,
            old: BTreeMap::new(),
            old_len: 0,
            reading: None,
            rounds: 0,
            counts: RouteCounts::default(),
        }
    }

    /// This edge in its present life, linked or not; `None` until a relay has given it an epoch.
    pub(super) fn edge(&self) -> Option<&EdgeId> {
        self.edge.as_ref()
    }

    pub(super) fn is_leased(&self) -> bool {
        self.round.is_some()
    }

    /// Whether nobody needs to wait for the route of `channel` any longer.
    pub(super) fn is_settled(&self, channel: &Channel) -> bool {
        let is_written =
            |route: &Route| route.wanted && route.stored == Stored::Held && route.under_way != Some(false);
        !self.is_leased() || self.retry_at.is_some() || self.by_channel.get(channel).is_some_and(is_written)
    }

    pub(super) fn want(&mut self, channel: &Channel, held: bool) {
        let route = self.by_channel.entry_ref(channel).or_default();
        if route.wanted != held {
            route.wanted = held;
            self.held = if held { self.held + 1 } else { self.held - 1 };
        }
        self.place(channel);
    }

    /// This edge lives as `edge` from now on. In another life nothing is written, and what the last one wrote has to go.
    pub(super) fn live_as(&mut self, edge: EdgeId) {
        if self.edge.as_ref() == Some(&edge) {
            return;
        }
        self.unleased();
        self.counts.epochs += 1;
        self.differing.clear();
        self.agreeing.clear();
        self.removed.clear();
        let mut left = BTreeSet::new();
        self.by_channel.retain(|channel, route| {
            if route.stored != Stored::Absent || route.under_way.is_some() {
                left.insert(channel.clone());
            }
            *route = Route { wanted: route.wanted, place: Some(self.next_place), ..Route::default() };
            if route.wanted {
                self.differing.insert(self.next_place, channel.clone());
                self.next_place += 1;
            }
            route.wanted
        });
        if let Some(batch) = &mut self.batch {
            *batch = Batch::default();
        }
        // Epochs do not come back; if one did, its routes would be removed while they are wanted.
        self.old_len -= self.old.remove(&edge).map_or(0, |channels| channels.len());
        if let Some(old) = self.edge.replace(edge).filter(|_| !left.is_empty()) {
            self.old_len += left.len();
            self.old_len -= self.old.insert(old, left).map_or(0, |channels| channels.len());
        }
        // The relay reaps old lives as well.
        while self.old_len > LEFTOVERS_MAX
            && let Some((_, channels)) = self.old.pop_first()
        {
            self.old_len -= channels.len();
        }
    }

    /// The store has the lease of `edge`: writes may begin.
    pub(super) fn leased(&mut self, now: Instant, edge: &EdgeId) {
        if self.edge.as_ref() == Some(edge) && self.round.is_none() {
            self.begin_round(now);
        }
    }

    /// The lease may be gone: no more writes.
    pub(super) fn unleased(&mut self) {
        self.round = None;
    }

    /// The next writes, if there are any, the store is idle, and it did not fail just now: changes first, then what this
    /// round writes again; what old lives left comes last.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<(EdgeId, Vec<RouteWrite>)> {
        if !self.is_leased() || self.batch.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let edge = self.edge.clone()?;
        let mut writes = Vec::new();
        while writes.len() < BATCH_MAX
            && let Some((_, channel)) = self.differing.pop_first()
        {
            writes.push(self.begin_write(channel));
        }
        let changes = writes.len();
        while writes.len() < BATCH_MAX
            && let Some(channel) = self.take_rewrite()
        {
            writes.push(self.begin_write(channel));
        }
        if !writes.is_empty() {
            let rewrites = writes.len() - changes;
            self.batch = Some(Batch { changes, rewrites });
            return Some((edge, writes));
        }
        let (edge, channels) = self.old.first_key_value()?;
        let removal = |channel: &Channel| RouteWrite { channel: channel.clone(), held: false };
        let writes = channels.iter().take(BATCH_MAX).map(removal).collect();
        self.batch = Some(Batch::default());
        Some((edge.clone(), writes))
    }

    /// Takes the store's answer to the batch that was under way.
    pub(super) fn written(
        &mut self,
        now: Instant,
        edge: &EdgeId,
        writes: &[RouteWrite],
        result: Result<bool, StoreError>,
    ) -> Finished {
        self.batch = None;
        self.retry_at = result.is_err().then_some(now + RETRY_AFTER);
        let is_present = self.edge.as_ref() == Some(edge);
        for write in writes {
            let kind = match result {
                Ok(true) => 0,
                Ok(false) if write.held => 2,
                // Removals need no lease.
                Ok(false) => 0,
                Err(_) => 1,
            };
            self.counts.writes[kind] += 1;
            if is_present {
                self.finish_write(write, result);
            } else if result.is_ok() && !write.held {
                self.forget_old(edge, &write.channel);
            }
        }
        match result {
            Ok(false) if is_present && self.is_leased() => {
                self.unleased();
                Finished::Fenced
            }
            Ok(_) => Finished::Written,
            Err(_) => Finished::Failed,
        }
    }

    /// When [`Self::next_batch`] or [`Self::next_page`] should be asked again, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let round = self.round.as_ref()?;
        let has_writes = !self.differing.is_empty() || !self.old.is_empty() || self.has_rewrite();
        let retry = self.retry_at.filter(|_| self.batch.is_none() && has_writes);
        retry.into_iter().chain([round.next_slice]).min()
    }

    /// Routes that the store has.
    pub(super) fn written_len(&self) -> usize {
        self.agreeing.len() + self.batch.as_ref().map_or(0, |batch| batch.rewrites)
    }

    /// Writes that are not done, those under way included.
    pub(super) fn pending_len(&self) -> usize {
        self.differing.len() + self.batch.as_ref().map_or(0, |batch| batch.changes) + self.old_len
    }

    pub(super) fn counts(&self) -> RouteCounts {
        self.counts
    }

    fn begin_write(&mut self, channel: Channel) -> RouteWrite {
        let route = self.by_channel.get_mut(&channel).expect("what has a place has a route");
        route.place = None;
        route.under_way = Some(route.wanted);
        RouteWrite { channel, held: route.wanted }
    }

    fn finish_write(&mut self, write: &RouteWrite, result: Result<bool, StoreError>) {
        let Some(route) = self.by_channel.get_mut(&write.channel) else { return };
        route.under_way = None;
        route.repeats = match result {
            Err(StoreError::Unanswered) => REPEATS,
            Err(StoreError::Away) => route.repeats,
            Ok(_) => route.repeats.saturating_sub(1),
        };
        route.stored = match result {
            Ok(true) if write.held => Stored::Held,
            Ok(true) => Stored::Absent,
            Ok(false) | Err(_) => Stored::Unknown,
        };
        self.place(&write.channel);
    }

    /// Puts a route where its state belongs, behind all others there. One that is under way is placed by its answer.
    fn place(&mut self, channel: &Channel) {
        let leftovers = self.by_channel.len() - self.held;
        let Some(route) = self.by_channel.get_mut(channel) else { return };
        if let Some(place) = route.place.take()
            && self.differing.remove(&place).is_none()
            && self.agreeing.remove(&place).is_none()
        {
            self.removed.remove(&place);
        }
        if route.under_way.is_some() {
            return;
        }
        let queue = match (route.wanted, route.stored) {
            (true, Stored::Held) => &mut self.agreeing,
            (false, Stored::Absent) if route.repeats > 0 && self.removed.len() < LEFTOVERS_MAX => {
                &mut self.removed
            }
            (false, Stored::Absent) => {
                self.by_channel.remove(channel);
                return;
            }
            (false, Stored::Unknown) if leftovers > LEFTOVERS_MAX => {
                self.by_channel.remove(channel);
                return;
            }
            (true, Stored::Absent | Stored::Unknown) | (false, Stored::Held | Stored::Unknown) => {
                &mut self.differing
            }
        };
        queue.insert(self.next_place, channel.clone());
        route.place = Some(self.next_place);
        self.next_place += 1;
    }

    fn forget_old(&mut self, edge: &EdgeId, channel: &Channel) {
        let Some(channels) = self.old.get_mut(edge) else { return };
        self.old_len -= usize::from(channels.remove(channel));
        if channels.is_empty() {
            self.old.remove(edge);
        }
    }
}
