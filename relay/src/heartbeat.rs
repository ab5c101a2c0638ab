//! Speaks to the store for the Router: one thing after the other, in the order in which the Router asked.
//!
//! Removing the routes of an edge takes over a second and waits for nobody, so it has a task of its own.

use std::sync::Arc;

use proto::id::NodeName;
use store::{Lease, Stats, Store, StoreError};
use tokio::sync::{Notify, mpsc};

use crate::core::{Action, Event};
use crate::eventloop::{Input, unix};

/// Orders that wait: a lease for each of 1,000 edges that come at once. The store answers within its timeout, so only one
/// that hangs fills this.
const ORDERS_MAX: usize = 1024;

/// The Router's hand on the store.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    relay: NodeName,
    store: Store,
    /// Before everything else: a lease that is confirmed late keeps routes from being written.
    answers: mpsc::Sender<Input>,
    orders: mpsc::Sender<Order>,
    sweeps: Arc<Notify>,
}

/// What to do, in the order given.
#[derive(Debug)]
enum Order {
    Grant(Lease, store::Score),
    Beat(store::Beat),
    End(proto::id::EdgeId, store::Score),
}

impl Heartbeat {
    /// The task must be run for as long as the Router is.
    pub(crate) fn new(
        relay: NodeName,
        store: Store,
        answers: mpsc::Sender<Input>,
        sweeps: Arc<Notify>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let task = obey(store.clone(), receiver, answers.clone());
        (Self { relay, store, answers, orders, sweeps }, task)
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
            Action::Beat(beat) => Order::Beat(beat),
            Action::EndLease { edge, score } => Order::End(edge, score),
            Action::RemoveRoutes { edge } => {
                let (store, answers) = (self.store.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let result = store.remove_routes(&edge).await;
                    match result {
                        Ok(routes) => tracing::info!(%edge, routes, "routes removed"),
                        Err(error) => tracing::warn!(%edge, %error, "routes are not all removed; trying on"),
                    }
                    // This, like all hand-overs, fails only while the process ends.
                    let _ = answers.send(Input::Event(Event::RoutesRemoved { edge, result })).await;
                });
                return;
            }
            Action::Sweep => return self.sweeps.notify_one(),
            Action::Admit { .. } | Action::Close { .. } => unreachable!("it does not concern the store"),
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
            Self::Beat(beat) => Event::Beaten { beat, result: Err(error) },
            Self::End(edge, _) => Event::LeaseEnded { edge, result: Err(error) },
        }
    }
}

async fn obey(store: Store, mut orders: mpsc::Receiver<Order>, answers: mpsc::Sender<Input>) {
    while let Some(order) = orders.recv().await {
        let event = match order {
            Order::Grant(lease, score) => {
                let result = store.grant_lease(&lease, score).await;
                Event::Granted { edge: lease.edge, score, result }
            }
            Order::Beat(beat) => {
                let result = store.beat(&beat).await;
                Event::Beaten { beat, result }
            }
            Order::End(edge, score) => {
                let result = store.end_lease(&edge, score).await;
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
