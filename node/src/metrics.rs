//! The metrics of one node.
//!
//! A process may hold several nodes (`causeway dev`), and the macros of the `metrics` crate know one recorder per
//! process, so each node owns a [`Registry`]. A node's `metrics.rs` makes every handle once, at start; the data
//! path only touches handles; the admin listener renders [`Registry::handle`].
//!
//! What must stay true: names begin with the node's prefix, counters end in `_total`, units are in the name
//! (`_seconds`, `_bytes`), labels come from closed sets.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

static METADATA: Metadata<'static> = Metadata::new("node", Level::INFO, None);

/// The metrics of one node; see the map above.
pub struct Registry {
    recorder: PrometheusRecorder,
    prefix: String,
    histograms: HashSet<String>,
}

impl Registry {
    /// Creates the registry of the node whose names begin with `prefix` ("edge", "relay"), with
    /// `<prefix>_build_info` and `<prefix>_start_time_seconds` in it.
    ///
    /// `buckets` lists every histogram with its upper bounds, ascending: the exporter wants them first.
    ///
    /// # Panics
    ///
    /// A histogram without buckets.
    pub fn new(prefix: &str, version: &str, buckets: &[(&str, &[f64])]) -> Self {
        let mut builder = PrometheusBuilder::new();
        for &(name, bounds) in buckets {
            assert!(bounds.is_sorted(), "{name}: bucket bounds ascend");
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
                .expect("a histogram has at least one bucket");
        }
        let registry = Self {
            recorder: builder.build_recorder(),
            prefix: format!("{prefix}_"),
            histograms: buckets.iter().map(|&(name, _)| name.to_owned()).collect(),
        };
        registry.register_process(prefix, version);
        registry
    }

    /// Registers a counter, which shows as 0 at once.
    ///
    /// `help` says when it moves and what it pairs with.
    ///
    /// # Panics
    ///
    /// A name that does not begin with the prefix, does not end in `_total`, or has characters Prometheus refuses.
    pub fn counter(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        assert!(name.ends_with("_total"), "{name}: counters end in _total");
        self.recorder.describe_counter(KeyName::from(name.to_owned()), None, help.into());
        self.recorder.register_counter(&self.key(name, labels), &METADATA)
    }

    /// Registers a counter that takes over what somebody else counts.
    ///
    /// # Panics
    ///
    /// As with [`Registry::counter`].
    pub fn total(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Total {
        Total { counter: self.counter(name, help, labels), told: AtomicU64::new(0) }
    }

    /// Registers a gauge, which shows as 0 at once.
    ///
    /// # Panics
    ///
    /// A name that does not begin with the prefix, ends in `_total`, or has characters Prometheus refuses.
    pub fn gauge(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        assert!(!name.ends_with("_total"), "{name}: only counters end in _total");
        self.recorder.describe_gauge(KeyName::from(name.to_owned()), None, help.into());
        self.recorder.register_gauge(&self.key(name, labels), &METADATA)
    }

    /// Registers a histogram, which shows with empty buckets at once.
    ///
    /// Samples wait in memory until the next scrape or upkeep (every 5 s): measure a share of the messages.
    ///
    /// # Panics
    ///
    /// A name that [`Registry::new`] was not given buckets for, or as with [`Registry::gauge`].
    pub fn histogram(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        assert!(self.histograms.contains(name), "{name}: its buckets were not given to Registry::new");
        self.recorder.describe_histogram(KeyName::from(name.to_owned()), None, help.into());
        self.recorder.register_histogram(&self.key(name, labels), &METADATA)
    }

    /// The whole name of a metric that several kinds of nodes have: `store_up` is `edge_store_up` for an edge.
    pub fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Returns what renders all of it, for the admin listener.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }

    fn register_process(&self, prefix: &str, version: &str) {
        self.gauge(
            &format!("{prefix}_build_info"),
            "Always 1; the label tells the version that runs.",
            &[("version", version)],
        )
        .set(1.0);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.gauge(
            &format!("{prefix}_start_time_seconds"),
            "When the node started, in seconds since 1970; changes only with a restart.",
            &[],
        )
        .set(started.as_secs_f64());
    }

    fn key(&self, name: &str, labels: &[(&'static str, &str)]) -> Key {
        assert!(name.starts_with(&self.prefix), "{name}: names begin with {}", self.prefix);
        let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_');
        assert!(name.chars().all(allowed), "{name}: small letters, digits and _ only");
        let labels: Vec<_> =
            labels.iter().map(|&(label, value)| Label::new(label, value.to_owned())).collect();
        Key::from_parts(name.to_owned(), labels)
    }
}

/// A counter that is told its value again and again. Of the many that a node tells each turn, those that stand still cost
/// a comparison.
#[derive(Debug)]
pub struct Total {
    counter: Counter,
    told: AtomicU64,
}

impl Total {
    /// Takes over `value`, which never falls.
    pub fn tell(&self, value: u64) {
        if self.told.load(Ordering::Relaxed) != value {
            self.told.store(value, Ordering::Relaxed);
            self.counter.absolute(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry::new("edge", "1.2.3", &[("edge_turn_seconds", &[0.001, 0.01, 0.1])])
    }

    fn line<'t>(text: &'t str, start: &str) -> &'t str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in:\n{text}"))
    }

    #[test]
    fn everything_registered_shows_before_it_is_touched() {
        let registry = registry();
        let _counter = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);
        let _gauge = registry.gauge("edge_clients", "Clients held now.", &[]);
        let _histogram = registry.histogram("edge_turn_seconds", "How long a turn took.", &[]);

        let text = registry.handle().render();

        line(&text, "# HELP edge_pushes_total Grows with each push.");
        line(&text, "# TYPE edge_pushes_total counter");
        assert_eq!(line(&text, "edge_pushes_total"), r#"edge_pushes_total{door="line"} 0"#);
        assert_eq!(line(&text, "edge_clients"), "edge_clients 0");
        line(&text, "# TYPE edge_turn_seconds histogram");
        assert_eq!(line(&text, "edge_turn_seconds_bucket"), r#"edge_turn_seconds_bucket{le="0.001"} 0"#);
        assert_eq!(line(&text, "edge_turn_seconds_count"), "edge_turn_seconds_count 0");
    }

    #[test]
    fn samples_fall_into_the_buckets_given() {
        let registry = registry();
        let turn = registry.histogram("edge_turn_seconds", "How long a turn took.", &[]);

        turn.record(0.005);
        turn.record(7.0);

        let text = registry.handle().render();
        assert_eq!(line(&text, r#"edge_turn_seconds_bucket{le="0.001"}"#).rsplit(' ').next(), Some("0"));
        assert_eq!(line(&text, r#"edge_turn_seconds_bucket{le="0.01"}"#).rsplit(' ').next(), Some("1"));
        assert_eq!(line(&text, r#"edge_turn_seconds_bucket{le="+Inf"}"#).rsplit(' ').next(), Some("2"));
        assert_eq!(line(&text, "edge_turn_seconds_sum"), "edge_turn_seconds_sum 7.005");
    }

    #[test]
    fn two_nodes_in_one_process_do_not_share_a_counter() {
        let (first, second) = (registry(), registry());
        let counter = first.counter("edge_pushes_total", "Grows with each push.", &[]);
        let _other = second.counter("edge_pushes_total", "Grows with each push.", &[]);

        counter.increment(3);

        assert_eq!(line(&first.handle().render(), "edge_pushes_total"), "edge_pushes_total 3");
        assert_eq!(line(&second.handle().render(), "edge_pushes_total"), "edge_pushes_total 0");
    }

    #[test]
    fn the_same_name_and_labels_are_the_same_counter() {
        let registry = registry();
        let first = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);
        let second = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);

        first.increment(1);
        second.increment(1);

        let text = registry.handle().render();
        assert_eq!(line(&text, "edge_pushes_total{"), r#"edge_pushes_total{door="line"} 2"#);
    }

    #[test]
    fn every_node_tells_its_version_and_start() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();

        let text = registry().handle().render();

        assert_eq!(line(&text, "edge_build_info"), r#"edge_build_info{version="1.2.3"} 1"#);
        let started = line(&text, "edge_start_time_seconds").rsplit(' ').next().expect("a value");
        let started: f64 = started.parse().expect("a number");
        assert!((before..before + 60.0).contains(&started));
    }

    #[test]
    fn hostile_label_values_stay_inside_their_quotes() {
        let registry = registry();
        let _counter = registry.counter("edge_pushes_total", "Grows.", &[("door", "a\"b\\c\nd")]);

        let text = registry.handle().render();

        assert_eq!(line(&text, "edge_pushes_total"), r#"edge_pushes_total{door="a\"b\\c\nd"} 0"#);
    }

    #[test]
    #[should_panic(expected = "names begin with edge_")]
    fn a_name_without_the_prefix_is_our_mistake() {
        let _gauge = registry().gauge("relay_edges", "", &[]);
    }

    #[test]
    #[should_panic(expected = "counters end in _total")]
    fn a_counter_without_total_is_our_mistake() {
        let _counter = registry().counter("edge_pushes", "", &[]);
    }

    #[test]
    #[should_panic(expected = "its buckets were not given")]
    fn a_histogram_without_buckets_is_our_mistake() {
        let _histogram = registry().histogram("edge_other_seconds", "", &[]);
    }
}
