//! Whether clients should be sent to this node, and if not, why.
//!
//! The event loop sets it whenever it likes; the admin listener reads it for `/ready`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// One of a closed set of short sentences, such as "draining".
type Reason = Cow<'static, str>;

/// The reasons why a node is not ready; clones share them.
///
/// Begins with the reason "starting".
#[derive(Debug, Clone)]
pub struct Readiness {
    // Held for a comparison or a clone of the `Arc`, never while anything is formatted or sent.
    reasons: Arc<Mutex<Arc<Vec<Reason>>>>,
}

impl Readiness {
    /// Creates the readiness of a node that is starting.
    pub fn new() -> Self {
        Self { reasons: Arc::new(Mutex::new(Arc::new(vec![Reason::Borrowed("starting")]))) }
    }

    /// Replaces the reasons; none means ready. Does nothing where they are the same.
    ///
    /// Returns whether they changed, so that the caller can log it.
    pub fn set(&self, reasons: Vec<Reason>) -> bool {
        let mut current = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if **current == reasons {
            return false;
        }
        *current = Arc::new(reasons);
        true
    }

    /// Returns the reasons; none means ready.
    pub fn reasons(&self) -> Arc<Vec<Reason>> {
        Arc::clone(&self.reasons.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether clients should be sent here.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
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
        let readiness = Readiness::new();
        assert_eq!(*readiness.reasons(), ["starting"]);

        assert!(readiness.clone().set(Vec::new()));

        assert!(readiness.is_ready());
    }

    #[test]
    fn the_same_reasons_again_change_nothing() {
        let readiness = Readiness::new();
        assert!(readiness.set(vec!["draining".into()]));
        let before = readiness.reasons();

        assert!(!readiness.set(vec!["draining".into()]));

        assert!(Arc::ptr_eq(&before, &readiness.reasons()));
    }
}
