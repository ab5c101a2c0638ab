//! What the store counts, for metrics.

/// What went wrong with Redis, as far as an operator would act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no connection to be had, or it was cut.
    Unreachable,
    /// No connection, or no answer, in time.
    Timeout,
    /// A key of ours holds something of another type: somebody else writes under our prefix.
    WrongType,
    /// It is a replica.
    ReadOnly,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// It is reading its data from disk.
    Loading,
    /// User or password are wrong or missing.
    Auth,
    /// The user may not do what we need.
    NoPermission,
    /// It cannot save and therefore refuses writes.
    MisConf,
    /// It is part of a cluster, or of a replication, that sends us elsewhere or is down.
    Cluster,
    /// Anything else: the log has its words.
    Other,
}

impl ErrorKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Timeout,
        Self::WrongType,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::Loading,
        Self::Auth,
        Self::NoPermission,
        Self::MisConf,
        Self::Cluster,
        Self::Other,
    ];

    /// Its name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::WrongType => "wrong_type",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::Loading => "loading",
            Self::Auth => "auth",
            Self::NoPermission => "no_permission",
            Self::MisConf => "misconf",
            Self::Cluster => "cluster",
            Self::Other => "other",
        }
    }
}

/// How the store does, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The connection that looks things up.
    pub reads: ClassStats,
    /// The connection that writes.
    pub writes: ClassStats,
}

/// How one of the store's two connections does. Counters count from the store's making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassStats {
    /// Whether the last that was heard of Redis on this connection was good.
    pub is_up: bool,
    /// Times that something was sent and waited for.
    pub round_trips: u64,
    /// Commands in those.
    pub commands: u64,
    /// Connections that took the place of an earlier one.
    pub reconnects: u64,
    pub(crate) errors: [u64; ErrorKind::ALL.len()],
}

impl ClassStats {
    /// How often `kind` happened: failed tries to connect, connections given up, answers that were errors.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }
}

impl Stats {
    /// Of a store without connections, which is always up.
    pub(crate) fn of_memory() -> Self {
        let class = ClassStats {
            is_up: true,
            round_trips: 0,
            commands: 0,
            reconnects: 0,
            errors: Default::default(),
        };
        Self { reads: class, writes: class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_its_label() {
        let mut labels = std::collections::BTreeSet::new();
        for (place, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert!(labels.insert(kind.label()));
        }
        assert_eq!(ErrorKind::Other as usize + 1, ErrorKind::ALL.len());
    }
}
