//! What the log was told of Redis: once that it is away and once that it is there, though two connections find it out.

use std::sync::Mutex;

use tracing::{info, warn};

use super::config::RedisConfig;
use super::dial::Purpose;
use super::fault::Fault;
use crate::ErrorKind;

/// Shared by the connections of one store.
pub(crate) struct Told {
    by_purpose: Mutex<[Seen; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Up,
    Away(ErrorKind),
}

impl Told {
    pub(crate) fn new() -> Self {
        Self { by_purpose: Mutex::new([Seen::Nothing; 2]) }
    }

    /// Logs that Redis is away, unless the other connection is so for the same reason.
    pub(crate) fn away(&self, purpose: Purpose, config: &RedisConfig, fault: &Fault) {
        let mut seen = self.by_purpose.lock().expect("no code that holds this lock can panic");
        let is_known = seen.contains(&Seen::Away(fault.kind));
        seen[purpose as usize] = Seen::Away(fault.kind);
        if !is_known {
            let (class, kind) = (purpose.label(), fault.kind.label());
            warn!(class, kind, server = %config.address, reason = fault.message, "redis is away");
        }
    }

    /// Logs that Redis is there, when the last connection has found so.
    pub(crate) fn up(&self, purpose: Purpose, config: &RedisConfig) {
        let mut seen = self.by_purpose.lock().expect("no code that holds this lock can panic");
        seen[purpose as usize] = Seen::Up;
        if *seen == [Seen::Up; 2] {
            info!(server = %config.address, "redis is there");
        }
    }
}
