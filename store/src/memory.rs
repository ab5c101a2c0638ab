//! Routes and leases in one process's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;
use proto::id::{Channel, EdgeId};

use crate::{Beat, IndexPage, Leases, RouteWrite, Score};

/// See [`crate::Store::Memory`].
#[derive(Debug, Clone, Default)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
}

/// # Invariants
/// An edge is in `edges_by_channel[c]` exactly when `c` is in its `channels_by_edge`; it is in at most one of `scores`
/// and `ended`.
#[derive(Debug, Default)]
struct Shared {
    scores: BTreeMap<EdgeId, Score>,
    ended: BTreeSet<EdgeId>,
    edges_by_channel: HashMap<Channel, BTreeSet<EdgeId>>,
    channels_by_edge: BTreeMap<EdgeId, BTreeSet<Channel>>,
}

impl Memory {
    pub(crate) fn write_routes(&self, edge: &EdgeId, writes: &[RouteWrite]) -> bool {
        let mut shared = self.lock();
        let has_lease = shared.scores.contains_key(edge);
        let mut is_open = true;
        for RouteWrite { channel, held } in writes {
            if !held {
                shared.forget_route(edge, channel);
            } else if has_lease {
                shared.channels_by_edge.entry(edge.clone()).or_default().insert(channel.clone());
                shared.edges_by_channel.entry(channel.clone()).or_default().insert(edge.clone());
            } else {
                is_open = false;
            }
        }
        is_open
    }

    pub(crate) fn index(&self, edge: &EdgeId, cursor: u64, count: usize) -> IndexPage {
        let shared = self.lock();
        let Some(channels) = shared.channels_by_edge.get(edge) else { return IndexPage::default() };
        let first = usize::try_from(cursor).unwrap_or(usize::MAX);
        let page: Vec<Channel> = channels.iter().skip(first).take(count.max(1)).cloned().collect();
        let next = first.saturating_add(page.len());
        IndexPage { channels: page, cursor: if next < channels.len() { next as u64 } else { 0 } }
    }

    pub(crate) fn holders(&self, channel: &Channel) -> Vec<EdgeId> {
        let shared = self.lock();
        let holders = shared.edges_by_channel.get(channel).into_iter().flatten();
        holders.filter(|edge| shared.scores.contains_key(*edge)).cloned().collect()
    }

    pub(crate) fn grant_lease(&self, edge: &EdgeId, score: Score) {
        self.lock().scores.entry(edge.clone()).or_insert(score);
    }

    /// A memory of one process is born knowing its cluster.
    pub(crate) fn beat(&self, beat: &Beat) -> Leases {
        let mut shared = self.lock();
        for edge in &beat.renewed {
            if let Some(score) = shared.scores.get_mut(edge) {
                *score = beat.score;
            }
        }
        let (scores, ended) = (shared.scores.clone(), shared.ended.iter().cloned().collect());
        Leases { scores, ended, is_settled: true }
    }

    pub(crate) fn end_lease(&self, edge: &EdgeId, score: Score) -> bool {
        let mut shared = self.lock();
        let is_still_watched = shared.scores.get(edge) == Some(&score);
        if is_still_watched {
            shared.scores.remove(edge);
            shared.ended.insert(edge.clone());
        }
        is_still_watched
    }

    /// No write can be under way here, so once is enough.
    pub(crate) fn remove_routes(&self, edge: &EdgeId) -> u64 {
        let mut shared = self.lock();
        let channels = shared.channels_by_edge.remove(edge).unwrap_or_default();
        for channel in &channels {
            shared.forget_route(edge, channel);
        }
        shared.ended.remove(edge);
        channels.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds this lock can panic")
    }
}

impl Shared {
    fn forget_route(&mut self, edge: &EdgeId, channel: &Channel) {
        if let Some(channels) = self.channels_by_edge.get_mut(edge) {
            channels.remove(channel);
        }
        if let Some(edges) = self.edges_by_channel.get_mut(channel) {
            edges.remove(edge);
            if edges.is_empty() {
                self.edges_by_channel.remove(channel);
            }
        }
    }
}
