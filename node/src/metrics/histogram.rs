//! Histograms of durations. The exporter keeps every sample until it is scraped, which thousands of messages a second
//! would fill memory with; here a sample costs three additions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::text::Text;

/// Upper bounds of the buckets, in nanoseconds: from a queue that is empty to longer than any verdict takes.
const BOUNDS: [u64; 18] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

/// Those, and what is above.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations counted in plain numbers: for cores, whose shell hands them to a [`Histogram`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BUCKETS],
    count: u64,
    nanos: u64,
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let nanos = nanos(duration);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A histogram that the admin listener shows; clones share it. It is either recorded to, or told.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: [AtomicU64; BUCKETS],
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let nanos = nanos(duration);
        self.shared.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.shared.count.fetch_add(1, Relaxed);
        self.shared.nanos.fetch_add(nanos, Relaxed);
    }

    /// Takes over what somebody else counts, again and again; where nothing is new it costs a comparison.
    pub fn tell(&self, latencies: &Latencies) {
        if self.shared.count.load(Relaxed) == latencies.count {
            return;
        }
        self.shared.count.store(latencies.count, Relaxed);
        for (shared, &count) in self.shared.counts.iter().zip(&latencies.counts) {
            shared.store(count, Relaxed);
        }
        self.shared.nanos.store(latencies.nanos, Relaxed);
    }

    /// Writes its samples. Their count is that of the buckets, so that they agree whenever they are read.
    pub(super) fn write(&self, text: &mut Text, name: &str, labels: &[(&str, &str)]) {
        let mut sum = 0;
        let bounds = BOUNDS.iter().map(|&nanos| seconds(nanos).to_string()).chain(["+Inf".to_owned()]);
        for (count, bound) in self.shared.counts.iter().zip(bounds) {
            sum += count.load(Relaxed);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            text.sample(&format!("{name}_bucket"), &labels, sum as f64);
        }
        text.sample(&format!("{name}_sum"), labels, seconds(self.shared.nanos.load(Relaxed)));
        text.sample(&format!("{name}_count"), labels, sum as f64);
    }
}

/// The first bucket that takes it: bounds belong to their bucket, as Prometheus has it.
fn bucket(nanos: u64) -> usize {
    BOUNDS.partition_point(|&bound| bound < nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next() {
        assert_eq!([0, 10_000, 10_001, 5_000_000_000, 5_000_000_001].map(bucket), [0, 0, 1, 17, 18]);
    }

    #[test]
    fn what_a_core_counted_shows_like_what_was_recorded_directly() {
        let (direct, told) = (Histogram::default(), Histogram::default());
        let mut latencies = Latencies::default();
        for duration in [Duration::ZERO, Duration::from_micros(70), Duration::from_secs(60)] {
            direct.record(duration);
            latencies.record(duration);
            told.tell(&latencies);
        }
        let [direct, told] = [direct, told].map(|histogram| {
            let mut text = Text::default();
            histogram.write(&mut text, "x_seconds", &[("stage", "in")]);
            text.into_string()
        });
        assert_eq!(direct, told);
        for line in [
            r#"x_seconds_bucket{stage="in",le="0.00001"} 1"#,
            r#"x_seconds_bucket{stage="in",le="0.0001"} 2"#,
            r#"x_seconds_bucket{stage="in",le="5"} 2"#,
            r#"x_seconds_bucket{stage="in",le="+Inf"} 3"#,
            r#"x_seconds_sum{stage="in"} 60.00007"#,
            r#"x_seconds_count{stage="in"} 3"#,
        ] {
            assert!(told.lines().any(|other| other == line), "{line} in\n{told}");
        }
    }
}
