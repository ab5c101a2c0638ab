//! Now and then looks through the whole store for routes that nobody would ever remove.
//!
//! Leases and their ends account for every route, so it should find none; what it finds is a fault of ours, and counted.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use tokio::time::sleep;

use crate::metrics::Metrics;

/// Sweeps for as long as the relay runs. One that fails is left to the next.
pub(crate) async fn sweep(store: Store, every: Duration, metrics: Arc<Metrics>) {
    loop {
        sleep(every).await;
        let swept = store.sweep().await;
        metrics.swept(swept.ok());
        match swept {
            Ok(0) => tracing::info!("sweep: no route without an edge"),
            Ok(routes) => tracing::warn!(routes, "sweep: removed routes without an edge; please report this"),
            Err(error) => tracing::warn!(%error, "sweep: not finished"),
        }
    }
}
