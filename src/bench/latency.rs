//! Durations in a histogram (HDR: three digits from 1 ns to a minute), and the figures that are told of it.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer ones count as this long.
const LONGEST: Duration = Duration::from_secs(60);

/// Durations of one kind.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u64>);

/// What a report says of a [`Latency`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) mean_us: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, nanos(LONGEST), 3).expect("the bounds are valid"))
    }
}

impl Latency {
    pub(super) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(nanos(duration).max(1));
    }

    /// The figures; none where nothing was recorded.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| micros(self.0.value_at_quantile(quantile) as f64);
        Some(Percentiles {
            count: self.0.len(),
            mean_us: micros(self.0.mean()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(self.0.max() as f64),
        })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count: _, mean_us: _, p50_us, p90_us, p99_us, p999_us, max_us } = self;
        let [p50, p90, p99, p999, max] = [p50_us, p90_us, p99_us, p999_us, max_us].map(|us| us / 1000.0);
        write!(
            formatter,
            "p50 {p50:.3} ms   p90 {p90:.3} ms   p99 {p99:.3} ms   p99.9 {p999:.3} ms   max {max:.3} ms"
        )
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: f64) -> f64 {
    // A tenth of a microsecond is more than anything here can tell apart.
    (nanos / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::default();
        for millis in 1..=1000 {
            latency.record(Duration::from_millis(millis));
        }

        let told = latency.percentiles().expect("recorded");

        assert_eq!(told.count, 1000);
        for (is, should) in
            [(told.p50_us, 500e3), (told.p90_us, 900e3), (told.p99_us, 990e3), (told.max_us, 1e6)]
        {
            assert!((is / should - 1.0).abs() < 0.001, "{is} is not {should}");
        }
    }

    #[test]
    fn one_slow_message_shows_in_the_maximum_and_not_in_the_median() {
        let mut latency = Latency::default();
        for _ in 0..999 {
            latency.record(Duration::from_micros(100));
        }
        latency.record(Duration::from_secs(2));

        let told = latency.percentiles().expect("recorded");

        assert!((told.p50_us - 100.0).abs() < 0.2 && (told.p99_us - 100.0).abs() < 0.2, "{told:?}");
        assert!(told.max_us >= 2e6);
    }

    #[test]
    fn nothing_recorded_is_nothing_told_and_nothing_is_too_short_or_too_long() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), None);

        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);

        let told = latency.percentiles().expect("recorded");
        assert_eq!(told.count, 2);
        assert!((59e6..61e6).contains(&told.max_us), "{told:?}");
    }
}
