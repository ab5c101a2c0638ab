//! Now and then looks through the whole store for routes that nobody would ever remove.
//!
//! Leases and their ends account for every route, so it should find none, except where the store was emptied between the
//! two halves of a write. What it finds is counted.

use std::sync::Arc;
use std::time::Duration;

use node::memory::Operation;
use store::Store;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::metrics::Metrics;

/// How long after it is wished for a sweep begins, so that writes that were under way are over.
const BEGINS_AFTER: Duration = Duration::from_secs(3);

/// How long after a sweep that failed the next one begins. It is wished for when the store was emptied, which is when the
/// store may go away again: what it was to find must not stay for hours.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Sweeps for as long as the relay runs: each time that is wished for, and every now and then. One that fails is begun
/// again, and said once.
pub(crate) async fn sweep(store: Store, every: Duration, wished: Arc<Notify>, metrics: Arc<Metrics>) {
    let mut has_failed = false;
    loop {
        if has_failed {
            sleep(AGAIN_AFTER.min(every)).await;
        } else if timeout(every, wished.notified()).await.is_ok() {
            sleep(BEGINS_AFTER).await;
        }
        let swept = metrics.store.timed(Operation::Sweep, store.sweep()).await;
        metrics.swept(swept.ok());
        match swept {
            Ok(0) => tracing::info!("sweep: no route without an edge"),
            Ok(routes) => tracing::warn!(routes, "sweep: removed routes without an edge"),
            Err(error) if !has_failed => tracing::warn!(%error, "sweep: not finished; trying on"),
            Err(error) => tracing::debug!(%error, "sweep: still not finished"),
        }
        has_failed = swept.is_err();
    }
}
