//! Notices that this process stood still: stopped, paused with its machine, or starved.

use std::time::{Duration, Instant};

/// An event loop whose tick comes so late was frozen: others have given it up by then, or are about to.
pub const FREEZE_MIN: Duration = Duration::from_secs(2);

/// Whether an event loop that was to turn at `tick_due`, at the latest, and does so `now`, stood still.
pub fn was_frozen(tick_due: Instant, now: Instant) -> bool {
    now.saturating_duration_since(tick_due) > FREEZE_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_is_two_seconds_late_is_late_and_a_later_one_was_a_freeze() {
        let due = Instant::now();
        assert!(!was_frozen(due + Duration::from_millis(500), due), "events come before the tick");
        assert!(!was_frozen(due, due + FREEZE_MIN));
        assert!(was_frozen(due, due + FREEZE_MIN + Duration::from_millis(1)));
    }
}
