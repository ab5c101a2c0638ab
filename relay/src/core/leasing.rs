//! What the store says of leases, and what this relay makes of it: which it has to renew, which stand still, which were
//! ended, and whether the store would know of an edge that this relay does not.
//!
//! All here is bookkeeping; `heartbeat.rs` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proto::id::{EdgeId, Epoch, NodeName};
use store::{Leases, Score, StoreError};

use super::members::LOST_AFTER;

/// Time between two beats.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How long a relay that has just started, was frozen, or has its store back watches before it reaps what it does not
/// know: longer than an edge takes to come back. That is 3 s until it gives a silent link up, 0.5 s between two tries, and
/// a handshake.
pub const WATCH_ANEW: Duration = Duration::from_secs(5);

/// How long a relay that cannot ask the store, or asks an empty one, waits for edges that it does not know.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A score must have been read so often before it is said to stand still.
const STILL_READS_MIN: u32 = 3;

/// See the file.
///
/// # Invariants
/// No edge is in two of `known`, `ending` and `removing`.
#[derive(Debug)]
pub(super) struct Leasing {
    /// Leases of the last good read, with what this relay has granted and ended since.
    known: BTreeMap<EdgeId, Score>,
    /// What this relay last wrote as the score of its own edges, the beat that is under way included: at another one
    /// than this, somebody else hears the edge.
    written: BTreeMap<EdgeId, Score>,
    /// Leases that the store was asked to end.
    ending: BTreeSet<EdgeId>,
    /// Edges whose routes are being removed.
    removing: BTreeSet<EdgeId>,
    /// Leases of edges that are neither linked here nor lost here.
    watched: BTreeMap<EdgeId, Watched>,
    /// Nobody is said to stand still before.
    watch_until: Instant,
    reading: Reading,
    last_good: Instant,
    /// Without a settled store, the relay is not complete before.
    patience_until: Instant,
    next_beat: Instant,
    /// The score of the beat that is under way.
    beating: Option<Score>,
    /// The beat under way began before a freeze: its answer is too old.
    is_outdated: bool,
    last_score: Score,
}

#[derive(Debug)]
struct Watched {
    score: Score,
    since: Instant,
    reads: u32,
    /// It was renewed while it was watched: another relay hears this edge.
    has_moved: bool,
}

/// How the last beat went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// There was none yet, or none since a freeze.
    Never,
    Good {
        is_settled: bool,
    },
    Away,
}

impl Leasing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: BTreeMap::new(),
            written: BTreeMap::new(),
            ending: BTreeSet::new(),
            removing: BTreeSet::new(),
            watched: BTreeMap::new(),
            watch_until: now + WATCH_ANEW,
            reading: Reading::Never,
            last_good: now,
            patience_until: now + PATIENCE,
            next_beat: now,
            beating: None,
            is_outdated: false,
            last_score: Score(0),
        }
    }

    /// A score above all that this relay has used; what the wall clock shows, if it does not go back.
    pub(super) fn next_score(&mut self, unix: Duration) -> Score {
        let clock = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.last_score = Score(clock.max(self.last_score.0 + 1));
        self.last_score
    }

    /// When the next beat is due; `None` while one is under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.beating.is_none().then_some(self.next_beat)
    }

    /// A lease waits to be confirmed: do not let it wait for a second.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next_beat = now;
    }

    pub(super) fn begin_beat(&mut self, now: Instant, score: Score, renewed: &[EdgeId]) {
        self.written.extend(renewed.iter().map(|edge| (edge.clone(), score)));
        self.next_beat = now + BEAT_EVERY;
        self.beating = Some(score);
    }

    /// Whether a mark that the store lacks should be set: whoever there is has had the time to come.
    pub(super) fn should_settle(&self, now: Instant) -> bool {
        self.reading == Reading::Good { is_settled: false } && now >= self.patience_until
    }

    /// Takes in what a beat read; whether it says anything.
    pub(super) fn beaten(&mut self, now: Instant, result: Result<&Leases, StoreError>) -> bool {
        self.beating = None;
        if std::mem::take(&mut self.is_outdated) {
            self.hurry(now);
            return false;
        }
        let Ok(leases) = result else {
            if matches!(self.reading, Reading::Good { .. }) {
                self.patience_until = now + PATIENCE;
            }
            self.reading = Reading::Away;
            return false;
        };
        // After a short absence nobody has to come back, and a score that is the same has stood still all the time.
        if self.reading == Reading::Away && now >= self.last_good + LOST_AFTER {
            self.watched.clear();
            self.watch_until = self.watch_until.max(now + WATCH_ANEW);
        }
        self.last_good = now;
        let is_settled = leases.is_settled;
        if !is_settled && self.reading != (Reading::Good { is_settled: false }) {
            self.patience_until = now + PATIENCE;
        }
        self.reading = Reading::Good { is_settled };
        self.known.clone_from(&leases.scores);
        self.known.retain(|edge, _| !self.ending.contains(edge));
        self.watched.retain(|edge, _| self.known.contains_key(edge));
        self.written.retain(|edge, _| self.known.contains_key(edge));
        true
    }

    /// Whether the store did not answer the last beat.
    pub(super) fn is_away(&self) -> bool {
        self.reading == Reading::Away
    }

    pub(super) fn known(&self) -> &BTreeMap<EdgeId, Score> {
        &self.known
    }

    /// The newest lease of a name.
    pub(super) fn newest(&self, name: &NodeName) -> Option<Epoch> {
        self.of_name(name).map(|edge| edge.epoch).max()
    }

    /// The newest lease of a name that another relay was seen to renew.
    pub(super) fn newest_elsewhere(&self, name: &NodeName) -> Option<Epoch> {
        self.of_name(name).filter(|edge| self.is_renewed_elsewhere(edge)).map(|edge| edge.epoch).max()
    }

    /// All leases of a name.
    pub(super) fn of_name<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = &'a EdgeId> {
        self.known.keys().filter(move |edge| edge.name == *name)
    }

    /// Whether `edge`, which had this lease until now, may still have it: the store has it, or cannot say.
    pub(super) fn may_keep(&self, edge: &EdgeId) -> bool {
        let cannot_say = !matches!(self.reading, Reading::Good { .. });
        !self.ending.contains(edge)
            && !self.removing.contains(edge)
            && (cannot_say || self.known.contains_key(edge))
    }

    pub(super) fn granted(&mut self, edge: &EdgeId, score: Score) {
        self.known.entry(edge.clone()).or_insert(score);
        self.written.entry(edge.clone()).or_insert(score);
    }

    /// The edge is linked here, or is expected back here: others do not have to look after it.
    pub(super) fn unwatch(&mut self, edge: &EdgeId) {
        self.watched.remove(edge);
    }

    /// Notes a score of an edge that nobody here hears; whether it has stood still for long enough.
    pub(super) fn watch(&mut self, now: Instant, edge: &EdgeId, score: Score) -> bool {
        // It ends at the score that stood still: what was written while it was heard here may never have arrived.
        self.written.remove(edge);
        let first = Watched { score, since: now, reads: 0, has_moved: false };
        let watched = self.watched.entry(edge.clone()).or_insert(first);
        if watched.score != score {
            *watched = Watched { score, since: now, reads: 0, has_moved: true };
        }
        watched.reads = watched.reads.saturating_add(1);
        let is_still = watched.reads >= STILL_READS_MIN && now >= watched.since + LOST_AFTER;
        is_still && now >= self.watch_until
    }

    /// Whether another relay was seen to renew this lease.
    pub(super) fn is_renewed_elsewhere(&self, edge: &EdgeId) -> bool {
        self.watched.get(edge).is_some_and(|watched| watched.has_moved)
    }

    /// Begins to end a lease; the score at which it may be ended, if the store is known to have it. Where that is not
    /// its score any more, the next good reads show whose it is.
    pub(super) fn end(&mut self, edge: &EdgeId) -> Option<Score> {
        let read = self.known.remove(edge)?;
        let score = self.written.remove(edge).unwrap_or(read);
        self.watched.remove(edge);
        self.ending.insert(edge.clone());
        Some(score)
    }

    /// The store has ended a lease, or not: then the next beats show what became of it.
    pub(super) fn ended(&mut self, edge: &EdgeId) {
        self.ending.remove(edge);
    }

    /// Whether somebody has to begin removing the routes of `edge`.
    pub(super) fn begin_removal(&mut self, edge: &EdgeId) -> bool {
        self.removing.insert(edge.clone())
    }

    pub(super) fn end_removal(&mut self, edge: &EdgeId) {
        self.removing.remove(edge);
    }

    /// What was known may be old: everything is watched anew.
    pub(super) fn froze(&mut self, now: Instant) {
        self.watched.clear();
        self.watch_until = now + WATCH_ANEW;
        self.patience_until = now + PATIENCE;
        self.reading = Reading::Never;
        self.is_outdated = self.beating.is_some();
        self.hurry(now);
    }

    /// Whether an edge that this relay does not know would be known to the store, or has had the time to come.
    pub(super) fn vouches(&self, now: Instant) -> bool {
        self.reading == (Reading::Good { is_settled: true }) || now >= self.patience_until
    }
}
