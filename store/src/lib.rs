//! What the cluster remembers: which edge holds which channel (routes), and which edges may hold any (leases).
//!
//! Edges write routes and look them up; relays write leases, and clean up after edges that are gone. There are two
//! memories behind the same calls: one process's own, and Redis. A route of an edge without a lease is never found.

mod error;
pub mod memory;
pub mod redis;
mod stats;

use std::collections::BTreeMap;

use proto::id::{Channel, EdgeId, NodeName};

pub use error::StoreError;
use memory::Memory;
use redis::Redis;
pub use redis::{InvalidRedis, RedisConfig};
pub use stats::{ClassStats, ErrorKind, Stats};

/// The cluster's memory. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process, and gone with it.
    Memory(Memory),
    /// In Redis, shared with the cluster.
    Redis(Redis),
}

/// That an edge holds a channel, or that it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWrite {
    /// Which.
    pub channel: Channel,
    /// Whether it does.
    pub held: bool,
}

/// A part of what an edge's reverse index says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexPage {
    /// Channels that the edge holds, as far as the store knows.
    pub channels: Vec<Channel>,
    /// Where the next page begins; 0 after the last one.
    pub cursor: u64,
}

/// An edge's right to have routes, and what operators want to know of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub edge: EdgeId,
    /// The relay that gave it.
    pub relay: NodeName,
    /// From where the edge linked.
    pub address: String,
    /// How many clients the edge holds at most.
    pub capacity: u32,
    /// The edge's software.
    pub version: String,
    /// When it was given, in milliseconds since the unix epoch.
    pub since: u64,
}

/// When a lease was last renewed, by the clock of the relay that did. Scores are compared with each other and never
/// with a clock: one that stands still belongs to an edge that no relay hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Score(pub u64);

/// A relay's sign of life for its edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Edges that it has heard, and whose lease was written. One that is no member stays none.
    pub renewed: Vec<EdgeId>,
    /// Their new score.
    pub score: Score,
    /// Whether to set the mark that the store knows the cluster.
    pub settles: bool,
}

/// All leases, as they stand after a beat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    /// Every edge with a lease.
    pub scores: BTreeMap<EdgeId, Score>,
    /// Edges whose lease was ended and whose routes are not yet known to be removed.
    pub ended: Vec<EdgeId>,
    /// Whether the store knows the cluster: an emptied one does not.
    pub is_settled: bool,
}

impl Store {
    /// An empty memory in this process.
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// The memory in a Redis. Answers before it is connected; until it is, and whenever it is not, calls fail with
    /// [`StoreError::Away`].
    ///
    /// # Errors
    /// This machine gives no thread, or not the descriptors for one.
    pub fn redis(config: RedisConfig) -> std::io::Result<Self> {
        Redis::new(config).map(Self::Redis)
    }

    /// How it does, and what it has counted so far.
    pub fn stats(&self) -> Stats {
        match self {
            Self::Memory(_) => Stats::of_memory(),
            Self::Redis(redis) => redis.stats(),
        }
    }

    /// Remembers what `edge` holds and does not hold. Without a lease nothing is remembered as held: answers `false`
    /// if something should have been and was not. `clients` is how many it has now, for operators. A channel stands in
    /// `writes` at most once.
    ///
    /// Calls for one edge must not overlap.
    ///
    /// # Errors
    /// Some of it may be written: whoever calls writes again what he wants.
    pub async fn write_routes(
        &self,
        edge: &EdgeId,
        clients: u64,
        writes: &[RouteWrite],
    ) -> Result<bool, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.write_routes(edge, writes)),
            Self::Redis(redis) => redis.write_routes(edge, clients, writes).await,
        }
    }

    /// About `count` channels of the reverse index of `edge`, from `cursor`, which is 0 or the last page's.
    ///
    /// # Errors
    /// Nothing was read.
    pub async fn index(&self, edge: &EdgeId, cursor: u64, count: usize) -> Result<IndexPage, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.index(edge, cursor, count)),
            Self::Redis(redis) => redis.index(edge, cursor, count).await,
        }
    }

    /// The edges with a lease that hold `channel`.
    ///
    /// # Errors
    /// [`StoreError::Away`]: there is no asking. Others: the question may have been answered unheard.
    pub async fn holders(&self, channel: &Channel) -> Result<Vec<EdgeId>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.holders(channel)),
            Self::Redis(redis) => redis.holders(channel).await,
        }
    }

    /// Gives a lease; writing the same again changes nothing.
    ///
    /// A relay's calls to this, [`Self::beat`] and [`Self::end_lease`] must not overlap.
    ///
    /// # Errors
    /// It may be written or not: write it again.
    pub async fn grant_lease(&self, lease: &Lease, score: Score) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.grant_lease(&lease.edge, score);
                Ok(())
            }
            Self::Redis(redis) => redis.grant_lease(lease, score).await,
        }
    }

    /// Renews leases, and reads all of them, in one step.
    ///
    /// # Errors
    /// Leases may be renewed or not; nothing was read.
    pub async fn beat(&self, beat: &Beat) -> Result<Leases, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.beat(beat)),
            Self::Redis(redis) => redis.beat(beat).await,
        }
    }

    /// Ends the lease of `edge` if its score is still `score`, and notes that its routes have to go; whether it did.
    ///
    /// # Errors
    /// It may be ended or not; [`Leases::ended`] shows it.
    pub async fn end_lease(&self, edge: &EdgeId, score: Score) -> Result<bool, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.end_lease(edge, score)),
            Self::Redis(redis) => redis.end_lease(edge, score).await,
        }
    }

    /// Removes every route of `edge`, whose lease was ended, and once more a second later, for writes that were under
    /// way; answers how many there were.
    ///
    /// # Errors
    /// Not all are removed: the edge stays in [`Leases::ended`].
    pub async fn remove_routes(&self, edge: &EdgeId) -> Result<u64, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.remove_routes(edge)),
            Self::Redis(redis) => redis.remove_routes(edge).await,
        }
    }

    /// Removes routes of edges that have neither lease nor index and are not about to be cleaned up, and answers how
    /// many there were: none, if everything else works. It takes its time: a relay's slow task.
    ///
    /// # Errors
    /// What was not looked at is left for the next time.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        match self {
            Self::Memory(_) => Ok(0),
            Self::Redis(redis) => redis.sweep().await,
        }
    }
}
