//! When what is due: the times of an open loop's messages, and the parts of a run.

use std::time::{Duration, Instant};

/// How long after its last message a run waits for those that are still under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The open loop: message `n` is due at `start + n / rate`, whatever became of those before it.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    rate: u64,
    taken: u64,
}

impl Schedule {
    /// `rate` messages a second, the first at `start`.
    pub(super) fn new(start: Instant, rate: u32) -> Self {
        assert!(rate > 0, "checked on the command line");
        Self { start, rate: rate.into(), taken: 0 }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Instant {
        let nanos = u128::from(self.taken) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).expect("584 years are not reached"))
    }

    /// Takes the next message if it is due `now`: its number and its intended time.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let intended = self.next_due();
        if intended > now {
            return None;
        }
        self.taken += 1;
        Some((self.taken - 1, intended))
    }
}

/// The parts of a run: warm-up, the measured window, and what is still awaited afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phases {
    pub(super) start: Instant,
    pub(super) measured_from: Instant,
    /// Also when the sending stops.
    pub(super) measured_until: Instant,
    pub(super) drained_until: Instant,
}

impl Phases {
    pub(super) fn new(start: Instant, warm_up: Duration, duration: Duration) -> Self {
        let measured_from = start + warm_up;
        let measured_until = measured_from + duration;
        Self { start, measured_from, measured_until, drained_until: measured_until + DRAIN_MAX }
    }

    /// The same run, whose sending stops `now`.
    pub(super) fn cut_short(&mut self, now: Instant) {
        self.measured_until = self.measured_until.min(now);
        self.drained_until = self.drained_until.min(now + DRAIN_MAX);
    }

    pub(super) fn is_sending(&self, now: Instant) -> bool {
        now < self.measured_until
    }

    /// Whether what was meant for `instant` counts.
    pub(super) fn is_measured(&self, instant: Instant) -> bool {
        (self.measured_from..self.measured_until).contains(&instant)
    }

    /// When the next part begins.
    pub(super) fn next_change(&self, now: Instant) -> Instant {
        [self.start, self.measured_from, self.measured_until]
            .into_iter()
            .find(|&change| change > now)
            .unwrap_or(self.drained_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn each_message_has_its_time_whatever_became_of_those_before_it() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 5_000);

        assert_eq!(schedule.take(start), Some((0, start)));
        assert_eq!(schedule.take(start), None);
        assert_eq!(schedule.next_due(), start + Duration::from_micros(200));
        let late = start + millis(1);
        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(late)).collect();

        let intended = [200, 400, 600, 800, 1000].map(|micros| start + Duration::from_micros(micros));
        assert_eq!(taken, (1..6).zip(intended).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_keeps_its_pace() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 3);

        let taken = std::iter::from_fn(|| schedule.take(start + Duration::from_secs(1000))).count();

        assert_eq!(taken, 3001, "0 s and 1000 s are both in");
        assert_eq!(schedule.next_due(), start + Duration::from_nanos(1_000_333_333_333));
    }

    #[test]
    fn only_the_middle_of_a_run_is_measured() {
        let start = Instant::now();
        let phases = Phases::new(start, millis(20), millis(100));
        let is_measured = |at| phases.is_measured(start + millis(at));

        assert_eq!([0, 19, 20, 119, 120].map(is_measured), [false, false, true, true, false]);
        assert!(phases.is_sending(start) && !phases.is_sending(start + millis(120)));
        let changes = [0, 20, 120].map(|at| phases.next_change(start + millis(at)));
        assert_eq!(changes, [20, 120, 5120].map(|at| start + millis(at)));
    }

    #[test]
    fn a_run_that_is_cut_short_still_waits_for_what_is_under_way() {
        let start = Instant::now();
        let mut phases = Phases::new(start, millis(20), millis(100));

        phases.cut_short(start + millis(50));

        assert!(!phases.is_sending(start + millis(50)));
        assert_eq!(phases.drained_until, start + millis(50) + DRAIN_MAX);
        phases.cut_short(start + millis(200));
        assert_eq!(phases.measured_until, start + millis(50), "it never grows");
    }
}
