//! What the cluster remembers: which edge holds which channel (routes), and which edges may hold any (leases).
//!
//! Edges write routes, relays write leases. Here is the memory of one process; Redis, for several, will be the second
//! variant of [`Store`], behind the same calls. A route of an edge without a lease is never found.

pub mod memory;

use proto::id::{Channel, EdgeId};

use memory::Memory;

/// The cluster's memory. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process, and gone with it.
    Memory(Memory),
}

impl Store {
    /// An empty memory in this process.
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Remembers that `edge` holds `channel`, or that it does not. An edge without a lease cannot hold anything.
    pub async fn write_route(&self, edge: &EdgeId, channel: &Channel, held: bool) {
        match self {
            Self::Memory(memory) => memory.write_route(edge, channel, held),
        }
    }

    /// The edges with a lease that hold `channel`.
    pub async fn holders(&self, channel: &Channel) -> Vec<EdgeId> {
        match self {
            Self::Memory(memory) => memory.holders(channel),
        }
    }

    /// Gives `edge` a lease.
    pub async fn grant_lease(&self, edge: &EdgeId) {
        match self {
            Self::Memory(memory) => memory.grant_lease(edge),
        }
    }

    /// Takes the lease of `edge` and all of its routes; answers how many those were.
    pub async fn end_lease(&self, edge: &EdgeId) -> usize {
        match self {
            Self::Memory(memory) => memory.end_lease(edge),
        }
    }
}
