//! The sign of life of an event loop.
//!
//! The event loop beats each turn, at least every 500 ms; the admin listener asks how long ago that was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::metrics::{Kind, Registry};

/// When an event loop last turned; clones share it.
///
/// Begins as if it had just beaten, so that a loop has its full time to begin too.
#[derive(Debug, Clone)]
pub struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the last beat.
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Creates a pulse that has beaten now.
    pub fn new() -> Self {
        Self::since(Instant::now())
    }

    pub(crate) fn since(begun: Instant) -> Self {
        Self { begun, last_ms: Arc::new(AtomicU64::new(0)) }
    }

    /// Beats now.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// Beats at `now`: for a loop that has just read the clock.
    pub fn beat_at(&self, now: Instant) {
        let elapsed_ms = now.saturating_duration_since(self.begun).as_millis();
        // Relaxed: the number guards nothing else. It lasts for 584 million years.
        self.last_ms.store(u64::try_from(elapsed_ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns how long ago the last beat was, to within a millisecond.
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    /// Shows it as a metric, which moves on where the event loop does not.
    pub fn show(&self, registry: &Registry) {
        let (name, pulse) = (registry.name("loop_age_seconds"), self.clone());
        registry.collect(move |text| {
            let help = "Time since the event loop last turned, in seconds: it does so twice a second; above 2, /health answers 503 and no other metric of the loop can be believed.";
            text.single(&name, Kind::Gauge, help, pulse.age().as_secs_f64());
        });
    }

    fn age_at(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.begun).saturating_sub(last)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_beginning_then_from_the_last_beat() {
        let begun = Instant::now();
        let pulse = Pulse::since(begun);
        let at = |ms| begun + Duration::from_millis(ms);

        assert_eq!(pulse.age_at(at(1999)), Duration::from_millis(1999));
        pulse.clone().beat_at(at(1500));
        assert_eq!(pulse.age_at(at(1999)), Duration::from_millis(499));
    }

    #[test]
    fn a_loop_that_is_stuck_shows_in_what_others_read() {
        let registry = Registry::new("edge", "1");
        let pulse = Pulse::since(Instant::now() - Duration::from_secs(60));
        pulse.show(&registry);
        let page = registry.page();
        let age = || -> f64 {
            let text = page.render();
            let line = text.lines().find_map(|line| line.strip_prefix("edge_loop_age_seconds "));
            line.and_then(|age| age.parse().ok()).expect("it is shown")
        };
        assert!(age() >= 60.0);
        pulse.beat();
        assert!(age() < 60.0);
    }

    #[test]
    fn a_clock_read_out_of_order_is_no_age() {
        let begun = Instant::now() + Duration::from_secs(10);
        let pulse = Pulse::since(begun);

        pulse.beat_at(begun - Duration::from_secs(1));

        assert_eq!(pulse.age_at(begun - Duration::from_secs(2)), Duration::ZERO);
    }
}
