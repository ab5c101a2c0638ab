//! Notices that this process stood still: stopped, paused with its machine, or starved.

use std::time::{Duration, Instant};

/// Every event loop turns at least so often.
pub const TICK: Duration = Duration::from_millis(500);

/// An event loop whose tick comes later than this was frozen. Relays count an edge as lost after 3.3 s, of which 1 s may
/// have passed since its last ping, and a tick before the loop notices anything.
pub const LATE_MAX: Duration = Duration::from_millis(1_500);

/// How late an event loop is that was to turn at `tick_due`, at the latest, and does so `now`: if that is so late that
/// it must have stood still.
pub fn frozen_for(now: Instant, tick_due: Instant) -> Option<Duration> {
    Some(now.saturating_duration_since(tick_due)).filter(|&late| late > LATE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_of_1_5_s_is_late_and_a_later_one_a_freeze() {
        let due = Instant::now();
        let after = |millis| frozen_for(due + Duration::from_millis(millis), due);
        assert_eq!((after(0), after(1_500)), (None, None));
        assert_eq!(after(1_501), Some(Duration::from_millis(1_501)));
        assert_eq!(frozen_for(due, due + Duration::from_secs(9)), None, "it is not due yet");
    }
}
