//! What the store should say of this edge, and what it does say: joins and leaves as state, not as a log.
//!
//! Per channel at most one write is under way; the wanted state is kept, and written again until both agree. Writes need
//! a lease: without one the wanted state waits.

use proto::id::{Channel, EdgeId};

use super::{Action, Map};

#[derive(Debug)]
pub(super) struct Routes {
    by_channel: Map<Channel, Route>,
    /// This edge in its present life; `None` while its lease is not known to be written.
    lease: Option<EdgeId>,
    /// The lease under which `written` was learnt.
    written_as: Option<EdgeId>,
}

/// # Invariants
/// An entry exists while any of the three is true or under way.
#[derive(Debug, Default)]
struct Route {
    wanted: bool,
    written: bool,
    in_flight: bool,
}

impl Routes {
    pub(super) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self { by_channel: Map::with_hasher(hasher), lease: None, written_as: None }
    }

    /// Whether nobody needs to wait for the route of `channel` any longer.
    pub(super) fn is_settled(&self, channel: &Channel) -> bool {
        self.lease.is_none()
            || self
                .by_channel
                .get(channel)
                .is_some_and(|route| route.wanted && route.written && !route.in_flight)
    }

    pub(super) fn want(&mut self, channel: &Channel, held: bool, actions: &mut impl Extend<Action>) {
        self.by_channel.entry_ref(channel).or_default().wanted = held;
        self.advance(channel, actions);
    }

    /// The lease is written: all that is held is written under it.
    pub(super) fn leased(&mut self, edge: EdgeId, actions: &mut impl Extend<Action>) {
        if self.written_as.as_ref() != Some(&edge) {
            // What an older life wrote is removed with that life.
            self.by_channel.retain(|_, route| {
                *route = Route { wanted: route.wanted, ..Route::default() };
                route.wanted
            });
            self.written_as = Some(edge.clone());
        }
        self.lease = Some(edge);
        let channels: Vec<Channel> = self.by_channel.keys().cloned().collect();
        for channel in channels {
            self.advance(&channel, actions);
        }
    }

    /// The lease may be gone: no more writes.
    pub(super) fn unleased(&mut self) {
        self.lease = None;
    }

    pub(super) fn written(
        &mut self,
        edge: &EdgeId,
        channel: &Channel,
        held: bool,
        actions: &mut impl Extend<Action>,
    ) {
        if self.written_as.as_ref() != Some(edge) {
            return;
        }
        let Some(route) = self.by_channel.get_mut(channel) else { return };
        route.in_flight = false;
        route.written = held;
        self.advance(channel, actions);
    }

    fn advance(&mut self, channel: &Channel, actions: &mut impl Extend<Action>) {
        let Some(route) = self.by_channel.get_mut(channel) else { return };
        if route.in_flight {
            return;
        }
        if route.wanted == route.written {
            if !route.wanted {
                self.by_channel.remove(channel);
            }
            return;
        }
        let Some(edge) = self.lease.clone() else { return };
        route.in_flight = true;
        actions.extend([Action::WriteRoute { edge, channel: channel.clone(), held: route.wanted }]);
    }
}
