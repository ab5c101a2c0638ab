//! Why a memory did not do what it was asked.

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// It is known to be away, or holds nothing that it could be asked for: nothing is to be expected of it now.
    #[error("the store is away")]
    Away,
    /// It was asked, and did not answer, or refused: what was asked for may have been done, or not.
    #[error("the store did not answer")]
    Unanswered,
}
