//! Speaks to the store for the Router: one thing after the other, beats first, the rest in the order in which the Router
//! asked. A lease that is ended after a beat that renews it is therefore ended after it.
//!
//! Removing the routes of an edge takes over a second and waits for nobody, so it has a task of its own.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use node::memory::Operation;
use proto::id::{EdgeId, NodeName};
use store::{Beat, Lease, Stats, Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::core::{Action, Event};
use crate::eventloop::{Input, unix};
use crate::metrics::Metrics;

/// Orders that wait: a lease for each of 1,000 edges that come at once. The store answers within its timeout, so only one
/// that hangs fills this.
const ORDERS_MAX: usize = 1024;

/// What could not be removed now can seldom be removed a second later.
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The Router's hand on the store.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    relay: NodeName,
    store: Store,
    /// Before everything else: a lease that is confirmed late keeps routes from being written.
    answers: mpsc::Sender<Input>,
    /// Before orders that wait: with 1,000 leases to give, nobody's may stand still.
    beats: mpsc::Sender<Beat>,
    orders: mpsc::Sender<Order>,
    /// Edges whose routes could not be removed: that is told once.
    failing: Arc<Mutex<BTreeSet<EdgeId>>>,
    sweeps: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// What to do, in the order given.
#[derive(Debug)]
enum Order {
    Grant(Lease, store::Score),
    End(EdgeId, store::Score),
}

impl Heartbeat {
    /// The task must be run for as long as the Router is.
    pub(crate) fn new(
        relay: NodeName,
        store: Store,
        answers: mpsc::Sender<Input>,
        sweeps: Arc<Notify>,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        // There is one at a time.
        let (beats, beat_receiver) = mpsc::channel(1);
        let task = obey(store.clone(), beat_receiver, receiver, answers.clone(), Arc::clone(&metrics));
        let failing = Arc::default();
        (Self { relay, store, answers, beats, orders, failing, sweeps, metrics }, task)
    }

    /// How the store does.
    pub(crate) fn store_stats(&self) -> Stats {
        self.store.stats()
    }

    /// Does what concerns the store. `address` is where the edge of a new lease linked from.
    pub(crate) fn act(&self, action: Action, address: impl FnOnce(crate::core::LinkKey) -> String) {
        let order = match action {
            Action::GrantLease { link, edge, capacity, version, score } => {
                let since = u64::try_from(unix().as_millis()).unwrap_or(u64::MAX);
                let (relay, address) = (self.relay.clone(), address(link));
                Order::Grant(Lease { edge, relay, address, capacity, version, since }, score)
            }
            Action::Beat(beat) => {
                // It has room, for the Router waits for each answer; without it the process ends.
                let _ = self.beats.try_send(beat);
                return;
            }
            Action::EndLease { edge, score } => Order::End(edge, score),
            Action::RemoveRoutes { edge } => {
                let (store, answers) = (self.store.clone(), self.answers.clone());
                let (failing, metrics) = (Arc::clone(&self.failing), Arc::clone(&self.metrics));
                tokio::spawn(async move {
                    let removing = store.remove_routes(&edge);
                    let result = metrics.store.timed(Operation::RemoveRoutes, removing).await;
                    match result {
                        Ok(routes) => {
                            lock(&failing).remove(&edge);
                            tracing::info!(%edge, routes, "routes removed");
                        }
                        Err(error) => {
                            if lock(&failing).insert(edge.clone()) {
                                tracing::warn!(%edge, %error, "routes are not all removed; trying on");
                            }
                            sleep(REMOVE_AGAIN_AFTER).await;
                        }
                    }
                    // This, like all hand-overs, fails only while the process ends.
                    let _ = answers.send(Input::Event(Event::RoutesRemoved { edge, result })).await;
                });
                return;
            }
            Action::Sweep => return self.sweeps.notify_one(),
            Action::Admit { .. } | Action::Close { .. } | Action::Found { .. } => {
                unreachable!("it does not concern the store")
            }
        };
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(order) {
            let answers = self.answers.clone();
            tokio::spawn(async move {
                let _ = answers.send(Input::Event(order.failed())).await;
            });
        }
    }
}

impl Order {
    fn failed(self) -> Event {
        let error = StoreError::Away;
        match self {
            Self::Grant(lease, score) => Event::Granted { edge: lease.edge, score, result: Err(error) },
            Self::End(edge, _) => Event::LeaseEnded { edge, result: Err(error) },
        }
    }
}

async fn obey(
    store: Store,
    mut beats: mpsc::Receiver<Beat>,
    mut orders: mpsc::Receiver<Order>,
    answers: mpsc::Sender<Input>,
    metrics: Arc<Metrics>,
) {
    let store_metrics = &metrics.store;
    loop {
        let order = tokio::select! {
            biased;
            Some(beat) = beats.recv() => {
                let result = store_metrics.timed(Operation::Beat, store.beat(&beat)).await;
                if answers.send(Input::Event(Event::Beaten { beat, result })).await.is_err() {
                    return;
                }
                continue;
            }
            Some(order) = orders.recv() => order,
            else => return,
        };
        let event = match order {
            Order::Grant(lease, score) => {
                let result =
                    store_metrics.timed(Operation::GrantLease, store.grant_lease(&lease, score)).await;
                Event::Granted { edge: lease.edge, score, result }
            }
            Order::End(edge, score) => {
                let result = store_metrics.timed(Operation::EndLease, store.end_lease(&edge, score)).await;
                if result == Ok(true) {
                    tracing::info!(%edge, "edge reaped");
                }
                Event::LeaseEnded { edge, result }
            }
        };
        if answers.send(Input::Event(event)).await.is_err() {
            return;
        }
    }
}

fn lock(edges: &Mutex<BTreeSet<EdgeId>>) -> MutexGuard<'_, BTreeSet<EdgeId>> {
    edges.lock().expect("no code that holds this lock can panic")
}
