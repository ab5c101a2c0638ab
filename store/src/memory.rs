//! Routes and leases in one process's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;
use proto::id::{Channel, EdgeId};

/// See [`crate::Store::Memory`].
#[derive(Debug, Clone, Default)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
}

/// # Invariants
/// An edge is in `edges_by_channel[c]` exactly when `c` is in `channels_by_edge[edge]`, which has every leased edge.
#[derive(Debug, Default)]
struct Shared {
    edges_by_channel: HashMap<Channel, BTreeSet<EdgeId>>,
    channels_by_edge: BTreeMap<EdgeId, BTreeSet<Channel>>,
}

impl Memory {
    pub(crate) fn write_route(&self, edge: &EdgeId, channel: &Channel, held: bool) {
        let mut shared = self.lock();
        let Some(channels) = shared.channels_by_edge.get_mut(edge) else { return };
        if held {
            channels.insert(channel.clone());
            shared.edges_by_channel.entry(channel.clone()).or_default().insert(edge.clone());
        } else {
            channels.remove(channel);
            shared.forget_route(edge, channel);
        }
    }

    pub(crate) fn holders(&self, channel: &Channel) -> Vec<EdgeId> {
        self.lock().edges_by_channel.get(channel).into_iter().flatten().cloned().collect()
    }

    pub(crate) fn grant_lease(&self, edge: &EdgeId) {
        self.lock().channels_by_edge.entry(edge.clone()).or_default();
    }

    pub(crate) fn end_lease(&self, edge: &EdgeId) -> usize {
        let mut shared = self.lock();
        let channels = shared.channels_by_edge.remove(edge).unwrap_or_default();
        for channel in &channels {
            shared.forget_route(edge, channel);
        }
        channels.len()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds this lock can panic")
    }
}

impl Shared {
    fn forget_route(&mut self, edge: &EdgeId, channel: &Channel) {
        if let Some(edges) = self.edges_by_channel.get_mut(channel) {
            edges.remove(edge);
            if edges.is_empty() {
                self.edges_by_channel.remove(channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{Epoch, NodeName};

    use super::*;

    fn edge(name: &str) -> EdgeId {
        EdgeId { name: NodeName::parse(name).expect("valid"), epoch: Epoch(1) }
    }

    fn channel(name: &str) -> Channel {
        Channel::parse(name).expect("valid")
    }

    #[test]
    fn a_route_is_found_until_it_is_removed() {
        let memory = Memory::default();
        for edge in [edge("a"), edge("b")] {
            memory.grant_lease(&edge);
            memory.write_route(&edge, &channel("c"), true);
        }
        assert_eq!(memory.holders(&channel("c")), [edge("a"), edge("b")]);
        memory.write_route(&edge("a"), &channel("c"), false);
        assert_eq!(memory.holders(&channel("c")), [edge("b")]);
    }

    #[test]
    fn a_lease_takes_its_routes_with_it() {
        let memory = Memory::default();
        memory.grant_lease(&edge("a"));
        memory.write_route(&edge("a"), &channel("c"), true);
        memory.write_route(&edge("a"), &channel("d"), true);
        assert_eq!(memory.end_lease(&edge("a")), 2);
        assert_eq!(memory.holders(&channel("c")), []);
        assert_eq!(memory.end_lease(&edge("a")), 0);
    }

    #[test]
    fn an_edge_without_a_lease_writes_nothing() {
        let memory = Memory::default();
        memory.write_route(&edge("a"), &channel("c"), true);
        memory.grant_lease(&edge("a"));
        assert_eq!(memory.holders(&channel("c")), []);
    }
}
