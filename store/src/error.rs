//! Why a memory did not do what it was asked.

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// It is known to be away, or answers that it cannot: nothing is to be expected of it now.
    #[error("the store is away")]
    Away,
    /// It was asked, and the answer did not come: what was asked for may have been done, or not.
    #[error("the store did not answer")]
    Unanswered,
}
