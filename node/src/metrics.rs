//! The metrics of one node.
//!
//! A process may hold several nodes (`causeway dev`), and the macros of the `metrics` crate know one recorder per
//! process, so each node owns a [`Registry`]. A node's `metrics.rs` makes every handle once, at start; the data
//! path only touches handles; the admin listener renders [`Registry::page`].
//!
//! What must stay true: names begin with the node's prefix, counters end in `_total`, units are in the name
//! (`_seconds`, `_bytes`), labels come from closed sets, and every series shows from the start: whatever clients send,
//! there are never more.

mod eventloop;
mod histogram;
mod process;
mod sampler;
mod text;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::runtime::Handle;

pub use eventloop::LoopMetrics;
pub use histogram::{Histogram, Latencies};
pub use sampler::Sampler;
pub use text::{Kind, Text};

static METADATA: Metadata<'static> = Metadata::new("node", Level::INFO, None);

/// Writes a part of the page, on the admin listener's thread, when somebody asks for it.
type Collector = Box<dyn Fn(&mut Text) + Send + Sync>;

/// The metrics of one node; see the map above.
pub struct Registry {
    recorder: PrometheusRecorder,
    prefix: String,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

/// All metrics of a node as text.
#[derive(Clone)]
pub struct Page {
    prometheus: PrometheusHandle,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

impl Registry {
    /// Creates the registry of the node whose names begin with `prefix` ("edge", "relay"), with
    /// `<prefix>_build_info`, `<prefix>_start_time_seconds` and what the operating system says of the process in it.
    pub fn new(prefix: &str, version: &str) -> Self {
        let registry = Self {
            recorder: PrometheusBuilder::new().build_recorder(),
            prefix: format!("{prefix}_"),
            collectors: Arc::default(),
        };
        registry.register_build(prefix, version);
        registry.collect(process::process);
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

    /// Registers a counter of seconds.
    ///
    /// # Panics
    ///
    /// As with [`Registry::counter`].
    pub fn seconds(&self, name: &str, help: &'static str) -> Seconds {
        assert!(name.ends_with("_seconds_total"), "{name}: counters of time end in _seconds_total");
        let (name, seconds) = (self.checked(name), Seconds::default());
        let shown = seconds.clone();
        self.collect(move |text| text.single(&name, Kind::Counter, help, shown.value()));
        seconds
    }

    /// Registers a histogram of durations, which shows with empty buckets at once.
    ///
    /// # Panics
    ///
    /// A name that does not begin with the prefix or does not end in `_seconds`.
    pub fn histogram(&self, name: &str, help: &'static str) -> Histogram {
        let [histogram] = self.histogram_family(name, help, [&[]]);
        histogram
    }

    /// Registers a histogram of durations for each `value` of `label`.
    ///
    /// # Panics
    ///
    /// As with [`Registry::histogram`].
    pub fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &'static str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Histogram; N] {
        let labels = values.map(|value| [(label, value)]);
        self.histogram_family(name, help, labels.each_ref().map(|labels| &labels[..]))
    }

    fn histogram_family<const N: usize>(
        &self,
        name: &str,
        help: &'static str,
        labels: [&[(&'static str, &'static str)]; N],
    ) -> [Histogram; N] {
        assert!(name.ends_with("_seconds"), "{name}: histograms are of durations");
        let histograms: [Histogram; N] = std::array::from_fn(|_| Histogram::default());
        let (name, shown, labels) = (self.checked(name), histograms.clone(), labels.map(<[_]>::to_vec));
        self.collect(move |text| {
            text.family(&name, Kind::Histogram, help);
            for (histogram, labels) in shown.iter().zip(&labels) {
                histogram.write(text, &name, labels);
            }
        });
        histograms
    }

    /// Adds to the page what `collector` writes when somebody asks for it.
    pub fn collect(&self, collector: impl Fn(&mut Text) + Send + Sync + 'static) {
        lock(&self.collectors).push(Box::new(collector));
    }

    /// Shows how the runtime does on which the node's data path runs.
    pub fn collect_runtime(&self, runtime: Handle) {
        self.collect(process::runtime(runtime, &self.prefix));
    }

    /// The whole name of a metric that several kinds of nodes have: `store_up` is `edge_store_up` for an edge.
    pub fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Returns what renders all of it, for the admin listener.
    pub fn page(&self) -> Page {
        Page { prometheus: self.recorder.handle(), collectors: Arc::clone(&self.collectors) }
    }

    fn register_build(&self, prefix: &str, version: &str) {
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
        let name = self.checked(name);
        let labels: Vec<_> =
            labels.iter().map(|&(label, value)| Label::new(label, value.to_owned())).collect();
        Key::from_parts(name, labels)
    }

    fn checked(&self, name: &str) -> String {
        assert!(name.starts_with(&self.prefix), "{name}: names begin with {}", self.prefix);
        let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_');
        assert!(name.chars().all(allowed), "{name}: small letters, digits and _ only");
        name.to_owned()
    }
}

impl Page {
    /// All of it, in the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = Text::default();
        for collector in lock(&self.collectors).iter() {
            collector(&mut text);
        }
        self.prometheus.render() + &text.into_string()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Page").finish_non_exhaustive()
    }
}

fn lock(collectors: &Mutex<Vec<Collector>>) -> MutexGuard<'_, Vec<Collector>> {
    // A collector that panicked wrote a part of one page; the list is whole.
    collectors.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

/// A counter of time, which the exporter has none for; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seconds {
    nanos: Arc<AtomicU64>,
}

impl Seconds {
    /// Counts some more.
    pub fn add(&self, duration: Duration) {
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn value(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry::new("edge", "1.2.3")
    }

    fn line<'t>(text: &'t str, start: &str) -> &'t str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in:\n{text}"))
    }

    #[test]
    fn everything_registered_shows_before_it_is_touched() {
        let registry = registry();
        let _counter = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);
        let _gauge = registry.gauge("edge_clients", "Clients held now.", &[]);
        let _histogram = registry.histogram("edge_turn_seconds", "How long a turn took.");

        let text = registry.page().render();

        line(&text, "# HELP edge_pushes_total Grows with each push.");
        line(&text, "# TYPE edge_pushes_total counter");
        assert_eq!(line(&text, "edge_pushes_total"), r#"edge_pushes_total{door="line"} 0"#);
        assert_eq!(line(&text, "edge_clients"), "edge_clients 0");
        line(&text, "# TYPE edge_turn_seconds histogram");
        assert_eq!(line(&text, "edge_turn_seconds_bucket"), r#"edge_turn_seconds_bucket{le="0.00001"} 0"#);
        assert_eq!(line(&text, "edge_turn_seconds_count"), "edge_turn_seconds_count 0");
    }

    #[test]
    fn samples_fall_into_the_buckets_given() {
        let registry = registry();
        let turn = registry.histogram("edge_turn_seconds", "How long a turn took.");

        turn.record(Duration::from_millis(5));
        turn.record(Duration::from_secs(7));

        let text = registry.page().render();
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

        assert_eq!(line(&first.page().render(), "edge_pushes_total"), "edge_pushes_total 3");
        assert_eq!(line(&second.page().render(), "edge_pushes_total"), "edge_pushes_total 0");
    }

    #[test]
    fn the_same_name_and_labels_are_the_same_counter() {
        let registry = registry();
        let first = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);
        let second = registry.counter("edge_pushes_total", "Grows with each push.", &[("door", "line")]);

        first.increment(1);
        second.increment(1);

        let text = registry.page().render();
        assert_eq!(line(&text, "edge_pushes_total{"), r#"edge_pushes_total{door="line"} 2"#);
    }

    #[test]
    fn every_node_tells_its_version_and_start() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();

        let text = registry().page().render();

        assert_eq!(line(&text, "edge_build_info"), r#"edge_build_info{version="1.2.3"} 1"#);
        let started = line(&text, "edge_start_time_seconds").rsplit(' ').next().expect("a value");
        let started: f64 = started.parse().expect("a number");
        assert!((before..before + 60.0).contains(&started));
    }

    #[test]
    fn hostile_label_values_stay_inside_their_quotes() {
        let registry = registry();
        let _counter = registry.counter("edge_pushes_total", "Grows.", &[("door", "a\"b\\c\nd")]);

        let text = registry.page().render();

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
    #[should_panic(expected = "histograms are of durations")]
    fn a_histogram_without_its_unit_is_our_mistake() {
        let _histogram = registry().histogram("edge_other", "");
    }

    #[test]
    fn histograms_of_one_name_share_its_help() {
        let registry = registry();
        let [link, local] = registry.histograms("edge_way_seconds", "How long.", "way", ["link", "local"]);
        link.record(Duration::from_micros(1));
        local.record(Duration::from_secs(1));

        let text = registry.page().render();

        assert_eq!(text.matches("# TYPE edge_way_seconds histogram").count(), 1);
        assert_eq!(
            line(&text, r#"edge_way_seconds_sum{way="link"}"#),
            r#"edge_way_seconds_sum{way="link"} 0.000001"#
        );
        assert_eq!(
            line(&text, r#"edge_way_seconds_sum{way="local"}"#),
            r#"edge_way_seconds_sum{way="local"} 1"#
        );
    }

    #[test]
    fn time_is_counted_in_fractions_of_seconds() {
        let registry = registry();
        let busy = registry.seconds("edge_busy_seconds_total", "How long.");
        busy.add(Duration::from_millis(250));
        busy.add(Duration::from_millis(500));
        assert_eq!(line(&registry.page().render(), "edge_busy"), "edge_busy_seconds_total 0.75");
    }

    #[tokio::test]
    async fn the_process_and_its_runtime_show_what_they_use() {
        let registry = registry();
        registry.collect_runtime(Handle::current());

        let text = registry.page().render();

        let value = |name: &str| -> f64 {
            line(&text, &format!("{name} "))
                .rsplit(' ')
                .next()
                .and_then(|value| value.parse().ok())
                .expect("a number")
        };
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"]
        {
            assert!(value(name) > 0.0, "{name}");
        }
        for name in ["process_cpu_seconds_total", "edge_runtime_tasks", "edge_runtime_busy_seconds_total"] {
            assert!(value(name) >= 0.0, "{name}");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "this process is {age} s old");
    }
}
