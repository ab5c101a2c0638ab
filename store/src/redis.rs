//! Routes and leases in Redis.
//!
//! All of it runs on a thread of its own, so that nobody who moves messages parses Redis's answers. Two connections:
//! `writes`, whose commands must take effect in order, and `reads`, for look-ups. Each has its own breaker.

mod config;
mod connection;
mod counts;
mod dial;
mod fault;
mod keys;
mod leases;
mod reply;
mod routes;
mod scripts;
mod sweep;
mod told;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::thread;

use proto::id::{Channel, EdgeId};
use tokio::runtime;
use tokio::sync::oneshot;

pub use config::{InvalidRedis, PREFIX_BYTES_MAX, PREFIX_DEFAULT, RedisConfig};
use connection::{Connection, keep_connected};
use dial::Purpose;
use keys::Keys;
use told::Told;

use crate::{Beat, IndexPage, Lease, Leases, RouteWrite, Score, Stats, StoreError};

/// See [`crate::Store::Redis`].
#[derive(Clone)]
pub struct Redis {
    thread: Arc<Thread>,
    client: Arc<Client>,
}

/// Where the work is done.
struct Thread {
    runtime: runtime::Handle,
    /// Dropped with the last clone, which ends the thread.
    _ends: oneshot::Sender<()>,
}

/// What the work is done with.
struct Client {
    keys: Keys,
    reads: Arc<Connection>,
    writes: Arc<Connection>,
}

impl Redis {
    pub(crate) fn new(config: RedisConfig) -> std::io::Result<Self> {
        let keys = Keys::new(config.prefix.clone());
        let told = Arc::new(Told::new());
        let reads = Connection::new(Purpose::Reads, config.clone(), keys.edges(), Arc::clone(&told));
        let writes = Connection::new(Purpose::Writes, config, keys.edges(), told);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.spawn(keep_connected(Arc::clone(&reads)));
        runtime.spawn(keep_connected(Arc::clone(&writes)));
        let (ends, ended) = oneshot::channel::<()>();
        let thread = Thread { runtime: runtime.handle().clone(), _ends: ends };
        thread::Builder::new().name("store".to_owned()).spawn(move || {
            let _ = runtime.block_on(ended);
            // A name that is being looked up may hang for many seconds; nobody waits for it any more.
            runtime.shutdown_background();
        })?;
        Ok(Self { thread: Arc::new(thread), client: Arc::new(Client { keys, reads, writes }) })
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { reads: self.client.reads.stats(), writes: self.client.writes.stats() }
    }

    pub(crate) async fn write_routes(
        &self,
        edge: &EdgeId,
        clients: u64,
        writes: &[RouteWrite],
    ) -> Result<bool, StoreError> {
        let (edge, writes) = (edge.clone(), writes.to_vec());
        self.run(|client| async move { client.write_routes(&edge, clients, &writes).await }).await
    }

    pub(crate) async fn index(
        &self,
        edge: &EdgeId,
        cursor: u64,
        count: usize,
    ) -> Result<IndexPage, StoreError> {
        let edge = edge.clone();
        self.run(|client| async move { client.index(&edge, cursor, count).await }).await
    }

    pub(crate) async fn holders(&self, channel: &Channel) -> Result<Vec<EdgeId>, StoreError> {
        let channel = channel.clone();
        self.run(|client| async move { client.holders(&channel).await }).await
    }

    pub(crate) async fn grant_lease(&self, lease: &Lease, score: Score) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.run(|client| async move { client.grant_lease(&lease, score).await }).await
    }

    pub(crate) async fn beat(&self, beat: &Beat) -> Result<Leases, StoreError> {
        let beat = beat.clone();
        self.run(|client| async move { client.beat(&beat).await }).await
    }

    pub(crate) async fn end_lease(&self, edge: &EdgeId, score: Score) -> Result<bool, StoreError> {
        let edge = edge.clone();
        self.run(|client| async move { client.end_lease(&edge, score).await }).await
    }

    pub(crate) async fn remove_routes(&self, edge: &EdgeId) -> Result<u64, StoreError> {
        let edge = edge.clone();
        self.run(|client| async move { client.remove_routes(&edge).await }).await
    }

    pub(crate) async fn sweep(&self) -> Result<u64, StoreError> {
        self.run(|client| async move { client.sweep().await }).await
    }

    /// Does `work` on the store's thread. Who stops waiting for it does not stop it: between its round trips the
    /// memory would be left half written.
    async fn run<T, Work>(&self, work: impl FnOnce(Arc<Client>) -> Work) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        match self.thread.runtime.spawn(work(Arc::clone(&self.client))).await {
            Ok(outcome) => outcome,
            // It panicked, and has said so; whoever waits must not wait for ever.
            Err(_) => Err(StoreError::Unanswered),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
