//! Keeps one complaint from filling the disk: of what one place in the code warns of, so many lines in ten seconds are
//! written, and the rest is counted and told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Warnings and errors of one place in the code that are written in [`LIMIT_EVERY`].
const COMPLAINTS_MAX: u64 = 20;

/// The same for what is only told: a hundred edges that come at once are no flood.
const TOLD_MAX: u64 = 500;

/// After so long the counting begins anew, and what was left out is told.
pub(super) const LIMIT_EVERY: Duration = Duration::from_secs(10);

/// Counts what is written, by where it comes from; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug)]
struct Counts {
    began: Instant,
    by_place: HashMap<Identifier, Count>,
}

#[derive(Debug)]
struct Count {
    place: String,
    /// Since the counting began.
    lines: u64,
    /// Since that was last told.
    left_out: u64,
}

impl Limit {
    pub(super) fn new() -> Self {
        let counts = Counts { began: Instant::now(), by_place: HashMap::new() };
        Self { counts: Arc::new(Mutex::new(counts)) }
    }

    /// Whether a line may be written. Whoever should tell what was left out may be stuck himself: the counting goes on
    /// without him.
    fn may_write(&self, now: Instant, metadata: &Metadata<'_>) -> bool {
        let most = match *metadata.level() {
            Level::ERROR | Level::WARN => COMPLAINTS_MAX,
            Level::INFO => TOLD_MAX,
            _ => return true,
        };
        let mut counts = self.lock();
        if now >= counts.began + LIMIT_EVERY {
            counts.began = now;
            counts.by_place.values_mut().for_each(|count| count.lines = 0);
        }
        let new = || Count { place: place(metadata), lines: 0, left_out: 0 };
        let count = counts.by_place.entry(metadata.callsite()).or_insert_with(new);
        count.lines += 1;
        count.left_out += u64::from(count.lines > most);
        count.lines <= most
    }

    /// Tells what was left out since this was last called.
    pub(super) fn tell(&self) {
        let told = |count: &mut Count| (count.place.clone(), std::mem::take(&mut count.left_out));
        let left_out: Vec<(String, u64)> = self.lock().by_place.values_mut().map(told).collect();
        for (place, lines) in left_out.into_iter().filter(|&(_, lines)| lines > 0) {
            tracing::warn!(lines, place, "lines of one place were left out");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(metadata: &Metadata<'_>) -> String {
    match (metadata.file(), metadata.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (_, _) => metadata.target().to_owned(),
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        self.may_write(Instant::now(), event.metadata())
    }
}
