//! The cluster's memory as a node sees it: the flags that say where it is, and the metrics of how it does. Alike for
//! edges and relays.

use std::time::Instant;

use metrics::{Counter, Gauge};
use store::redis::PREFIX_DEFAULT;
use store::{ClassStats, ErrorKind, RedisConfig, Stats, Store};

use crate::config::{ConfigError, Loaded, Secret};
use crate::metrics::{Histogram, Registry};
use crate::process::RunError;

/// For `#[command(flatten)]`.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreFlags {
    /// Where the cluster's memory is: redis://[user@]host[:port][/db] for several processes, `memory` for an edge without
    /// a relay
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub store: String,

    /// Begins the name of every key in Redis; alike in the whole cluster
    #[arg(long, value_name = "PREFIX", default_value = PREFIX_DEFAULT)]
    pub store_prefix: String,

    /// The password for Redis
    #[arg(long, value_name = "SECRET")]
    pub store_password: Option<Secret>,
}

/// Where the memory is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this process.
    Memory,
    /// There.
    Redis(RedisConfig),
}

impl StoreFlags {
    /// Where the memory is; with `is_shared` not in one process.
    ///
    /// # Errors
    /// The operator must change a setting; the error says which and how.
    pub fn place<T>(&self, loaded: &Loaded<T>, is_shared: bool) -> Result<Place, ConfigError> {
        if self.store == "memory" {
            return if is_shared { Err(loaded.refuse("store", ONE_PROCESS)) } else { Ok(Place::Memory) };
        }
        let config = RedisConfig::parse(&self.store, &self.store_prefix).map_err(|error| match error {
            store::InvalidRedis::Prefix(_) => loaded.refuse("store_prefix", &error.to_string()),
            store::InvalidRedis::Url(_) | store::InvalidRedis::NotBuilt(_) => {
                loaded.refuse("store", &error.to_string())
            }
        })?;
        match &self.store_password {
            Some(_) if config.has_password() => {
                Err(loaded.refuse("store_password", "--store has a password too; leave one out"))
            }
            Some(password) => Ok(Place::Redis(config.with_password(password.expose()))),
            None => Ok(Place::Redis(config)),
        }
    }
}

const ONE_PROCESS: &str = "\"memory\" is one process only, and with a relay there are several; \
                           give relay and edges the same Redis, such as --store redis://127.0.0.1:6379, \
                           or run all of it in one process with `causeway dev`";

impl Place {
    /// Opens the memory. A Redis need not be there yet.
    ///
    /// # Errors
    /// This machine gives no thread, or not the descriptors for one.
    pub fn open(self) -> Result<Store, RunError> {
        match self {
            Self::Memory => Ok(Store::memory()),
            Self::Redis(config) => Store::redis(config).map_err(RunError::Store),
        }
    }
}

/// How the memory does, by the node that has this registry.
#[derive(Debug)]
pub struct StoreMetrics {
    connections: [ConnectionMetrics; 2],
    errors: [Counter; ErrorKind::ALL.len()],
    operations: Vec<OperationMetrics>,
}

/// What a node asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Store::write_routes`].
    WriteRoutes,
    /// [`Store::index`].
    Index,
    /// [`Store::holders`].
    Holders,
    /// [`Store::beat`].
    Beat,
    /// [`Store::grant_lease`].
    GrantLease,
    /// [`Store::end_lease`].
    EndLease,
    /// [`Store::remove_routes`].
    RemoveRoutes,
    /// [`Store::sweep`].
    Sweep,
}

impl Operation {
    /// What edges ask.
    pub const OF_EDGES: [Self; 4] = [Self::WriteRoutes, Self::Index, Self::Holders, Self::Beat];

    /// What relays ask.
    pub const OF_RELAYS: [Self; 5] =
        [Self::GrantLease, Self::Beat, Self::EndLease, Self::RemoveRoutes, Self::Sweep];

    fn label(self) -> &'static str {
        match self {
            Self::WriteRoutes => "write_routes",
            Self::Index => "index",
            Self::Holders => "holders",
            Self::Beat => "beat",
            Self::GrantLease => "grant_lease",
            Self::EndLease => "end_lease",
            Self::RemoveRoutes => "remove_routes",
            Self::Sweep => "sweep",
        }
    }
}

#[derive(Debug)]
struct OperationMetrics {
    operation: Operation,
    /// Done, and failed.
    results: [Counter; 2],
    took: Histogram,
}

#[derive(Debug)]
struct ConnectionMetrics {
    is_up: Gauge,
    round_trips: Counter,
    commands: Counter,
    reconnects: Counter,
}

impl StoreMetrics {
    /// Registers all of them, for a node that asks `operations`.
    pub fn new<const N: usize>(registry: &Registry, operations: [Operation; N]) -> Self {
        let name = |rest| registry.name(rest);
        let connections = ["writes", "reads"].map(|connection| {
            let labels = [("connection", connection)];
            ConnectionMetrics {
                is_up: registry.gauge(
                    &name("store_up"),
                    "1 while the last that was heard of the store on this connection was good, else 0.",
                    &labels,
                ),
                round_trips: registry.counter(
                    &name("store_round_trips_total"),
                    "Times that something was sent to the store and its answer waited for.",
                    &labels,
                ),
                commands: registry.counter(
                    &name("store_commands_total"),
                    "Commands sent to the store, in edge_ or relay_store_round_trips_total.",
                    &labels,
                ),
                reconnects: registry.counter(
                    &name("store_reconnects_total"),
                    "Connections to the store that took the place of an earlier one.",
                    &labels,
                ),
            }
        });
        let errors = ErrorKind::ALL.map(|kind| {
            let help = "Failed tries to connect to the store, connections to it given up, and answers that were \
                        errors, by kind.";
            registry.counter(&name("store_errors_total"), help, &[("kind", kind.label())])
        });
        let took = registry.histograms(
            &name("store_operation_seconds"),
            "How long operations on the store took, failed ones too, in seconds; remove_routes waits for a second in between.",
            "operation",
            operations.map(Operation::label),
        );
        let operations = operations.into_iter().zip(took).map(|(operation, took)| {
            let results = ["ok", "failed"].map(|result| {
                let help = "Operations on the store that are over, by what they are for: ok, failed (the store was away, or did not answer).";
                let labels = [("operation", operation.label()), ("result", result)];
                registry.counter(&name("store_operations_total"), help, &labels)
            });
            OperationMetrics { operation, results, took }
        });
        Self { connections, errors, operations: operations.collect() }
    }

    /// Waits for what was `asked`, and counts it.
    ///
    /// # Errors
    /// Those of what was asked.
    pub async fn timed<T, E>(
        &self,
        operation: Operation,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let result = asked.await;
        let of_kind = |metrics: &&OperationMetrics| metrics.operation == operation;
        if let Some(metrics) = self.operations.iter().find(of_kind) {
            metrics.results[usize::from(result.is_err())].increment(1);
            metrics.took.record(begun.elapsed());
        }
        result
    }

    /// Takes over what the store counted.
    pub fn record(&self, stats: &Stats) {
        for (metrics, class) in self.connections.iter().zip([&stats.writes, &stats.reads]) {
            let &ClassStats { is_up, round_trips, commands, reconnects, .. } = class;
            metrics.is_up.set(f64::from(u8::from(is_up)));
            metrics.round_trips.absolute(round_trips);
            metrics.commands.absolute(commands);
            metrics.reconnects.absolute(reconnects);
        }
        for (counter, kind) in self.errors.iter().zip(ErrorKind::ALL) {
            counter.absolute(stats.writes.errors(kind) + stats.reads.errors(kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        store: StoreFlags,
    }

    #[test]
    fn a_memory_of_one_process_is_refused_where_it_must_be_shared() {
        assert!(matches!(place(&[], false), Ok(Place::Memory)));
        let refused = place(&[], true).expect_err("memory");
        assert!(refused.starts_with("--store: \"memory\" is one process only"), "{refused}");
    }

    #[test]
    fn a_redis_is_taken_with_its_password_and_what_is_wrong_is_named_without_it() {
        for args in [
            &["--store=redis://cache:7000/3", "--store-prefix=a:"][..],
            &["--store=redis://me:hunter2@cache"],
            &["--store=redis://me@cache", "--store-password=hunter2"],
        ] {
            let place = place(args, true);
            assert!(matches!(place, Ok(Place::Redis(_))), "{place:?}");
        }
        for (args, why) in [
            (&["--store=redis://me:hunter2@cache:x"][..], "--store: \"redis://…@cache:x\" is no address"),
            (&["--store=rediss://me:hunter2@cache"], "--store: rediss:// is not built yet"),
            (&["--store=redis://cache", "--store-prefix={a}"], "--store-prefix: \"{a}\" is no prefix"),
            (
                &["--store=redis://me:hunter2@cache", "--store-password=hunter2"],
                "--store-password: --store has a password too",
            ),
        ] {
            let refused = place(args, true).expect_err(why);
            assert!(refused.starts_with(why) && !refused.contains("hunter2"), "{refused}");
        }
    }

    fn place(args: &[&str], is_shared: bool) -> Result<Place, String> {
        let args = std::iter::once(OsString::from("x")).chain(args.iter().map(OsString::from));
        let loaded: Loaded<Settings> = crate::config::load(args, []).expect("they parse");
        loaded.settings.store.place(&loaded, is_shared).map_err(|error| error.to_string())
    }
}
