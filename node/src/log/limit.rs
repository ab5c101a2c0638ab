//! Keeps one complaint from filling the disk: of what one place in the code warns of, so many lines in ten seconds are
//! written, and the rest is counted and told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Warnings and errors of one place in the code that are written in [`LIMIT_EVERY`].
const LINES_MAX: u64 = 20;

/// After so long the counting begins anew, and what was left out is told.
pub(super) const LIMIT_EVERY: Duration = Duration::from_secs(10);

/// Counts what is written, by where it comes from; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit {
    counts: Arc<Mutex<HashMap<Identifier, Count>>>,
}

#[derive(Debug)]
struct Count {
    lines: u64,
    place: String,
}

impl Limit {
    /// Whether a line may be written.
    fn may_write(&self, metadata: &Metadata<'_>) -> bool {
        if *metadata.level() > Level::WARN {
            return true;
        }
        let mut counts = self.lock();
        let count =
            counts.entry(metadata.callsite()).or_insert_with(|| Count { lines: 0, place: place(metadata) });
        count.lines += 1;
        count.lines <= LINES_MAX
    }

    /// Begins anew, and tells what was left out.
    pub(super) fn tell(&self) {
        let counts = std::mem::take(&mut *self.lock());
        for Count { lines, place } in counts.into_values().filter(|count| count.lines > LINES_MAX) {
            tracing::warn!(lines = lines - LINES_MAX, place, "lines of one place were left out");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Count>> {
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
        self.may_write(event.metadata())
    }
}
