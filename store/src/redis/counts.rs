//! The counters of one connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{ClassStats, ErrorKind};

/// Only grows. Each counter is right by itself; two read together may be of different moments.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    round_trips: AtomicU64,
    commands: AtomicU64,
    reconnects: AtomicU64,
    errors: [AtomicU64; ErrorKind::ALL.len()],
}

impl Counts {
    pub(crate) fn asked(&self, commands: usize) {
        self.round_trips.fetch_add(1, Relaxed);
        self.commands.fetch_add(commands as u64, Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self, kind: ErrorKind) {
        self.errors[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self, is_up: bool) -> ClassStats {
        ClassStats {
            is_up,
            round_trips: self.round_trips.load(Relaxed),
            commands: self.commands.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            errors: std::array::from_fn(|kind| self.errors[kind].load(Relaxed)),
        }
    }
}
