//! Whether clients should be sent to this node, and if not, why.
//!
//! The event loop sets it whenever it likes; the admin listener reads it for `/ready`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::{Kind, Registry};

/// One of a closed set of short sentences, such as "draining".
type Reason = Cow<'static, str>;

/// Whether a node is ready, and why not; clones share it.
///
/// Begins with the reason "starting".
#[derive(Debug, Clone)]
pub struct Readiness {
    // Held for a comparison or a clone of the `Arc`, never while anything is formatted or sent.
    state: Arc<Mutex<Arc<State>>>,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Why no clients should be sent here; none means ready.
    pub reasons: Vec<Reason>,
    /// What is missing, though that is no reason to send clients elsewhere.
    pub missing: Vec<Reason>,
}

impl Readiness {
    /// Creates the readiness of a node that is starting.
    pub fn new() -> Self {
        let starting = State { reasons: vec![Reason::Borrowed("starting")], missing: Vec::new() };
        Self { state: Arc::new(Mutex::new(Arc::new(starting))) }
    }

    /// Replaces the state. Does nothing where it is the same.
    ///
    /// Returns whether it changed, so that the caller can log it.
    pub fn set(&self, state: State) -> bool {
        let mut current = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if **current == state {
            return false;
        }
        *current = Arc::new(state);
        true
    }

    /// Returns the state.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether clients should be sent here.
    pub fn is_ready(&self) -> bool {
        self.state().reasons.is_empty()
    }

    /// Shows it as a metric.
    pub fn show(&self, registry: &Registry) {
        let (name, readiness) = (registry.name("ready"), self.clone());
        registry.collect(move |text| {
            let help = "1 while /ready answers 200, else 0; its answer says why.";
            text.single(&name, Kind::Gauge, help, f64::from(u8::from(readiness.is_ready())));
        });
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_not_ready_until_it_says_so() {
        let (readiness, registry) = (Readiness::new(), Registry::new("edge", "1"));
        readiness.show(&registry);
        assert_eq!(readiness.state().reasons, ["starting"]);
        assert!(registry.page().render().contains("\nedge_ready 0\n"));

        assert!(readiness.clone().set(State::default()));

        assert!(readiness.is_ready());
        assert!(registry.page().render().contains("\nedge_ready 1\n"));
    }

    #[test]
    fn the_same_state_again_changes_nothing() {
        let readiness = Readiness::new();
        let draining = State { reasons: vec!["draining".into()], missing: Vec::new() };
        assert!(readiness.set(draining.clone()));
        let before = readiness.state();

        assert!(!readiness.set(draining));

        assert!(Arc::ptr_eq(&before, &readiness.state()));
    }

    #[test]
    fn what_is_missing_alone_keeps_nobody_away() {
        let readiness = Readiness::new();
        readiness.set(State { reasons: Vec::new(), missing: vec!["no link to the relay".into()] });
        assert!(readiness.is_ready());
    }
}
