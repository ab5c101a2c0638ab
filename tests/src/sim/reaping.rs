//! Whether leases end when they have to, and not before: the judge of rows 1, 2 and 9.
//!
//! | | |
//! |---|---|
//! | row 1 | whoever stopped in order has neither lease nor routes soon after |
//! | row 2 | whoever died has none 3.3 s after it was last heard, and what that takes |
//! | row 9 | no edge that runs and is reached is reaped by its own relay, whatever that went through |
//!
//! All this is asked only where nothing else went wrong meanwhile: the other faults have rules of their own.

use proto::id::EdgeId;

use super::edge::{EdgeNode, State};
use super::redis::Asker;
use super::world::{MILLISECOND, Micros, SECOND, World};

/// How long nothing must have been wrong before: an edge that lost its link has it back, and a beat has shown what became
/// of one that failed.
const CALM: Micros = 2 * SECOND;

/// The same where an edge must not be reaped: its relay may have thought it lost for so long.
const LIVES: Micros = 5 * SECOND;

/// The same for a Redis that goes on with commands that should be dead.
const LATE_COMMANDS: Micros = 5 * SECOND;

/// From a goodbye to the end of its lease: the way to the relay, a beat that is under way, and a call; each call may take
/// 250 ms.
const STOPPED_MAX: Micros = SECOND;

/// From a death to the end of its lease: 3.3 s after the last ping has arrived, and as above.
const DIED_MAX: Micros = STOPPED_MAX + 3_300 * MILLISECOND;

/// From the end of a lease to the end of its routes: three calls.
const ROUTES_MAX: Micros = 750 * MILLISECOND;

/// How long a relay's word of the next epoch may take, and the edge's turn.
const TOLD_MAX: Micros = SECOND;

impl World {
    /// An edge stops, and says so.
    pub(crate) fn must_end_after_goodbye(&mut self, edge: usize) {
        self.must_end(edge, "row 1", STOPPED_MAX);
    }

    /// An edge dies without a word.
    pub(crate) fn must_end_after_death(&mut self, edge: usize) {
        self.must_end(edge, "row 2", DIED_MAX);
    }

    fn must_end(&mut self, edge: usize, row: &'static str, within: Micros) {
        let node = &self.edges[edge];
        let is_linked = node.link.is_some_and(|link| {
            let link = &self.links[link];
            link.is_admitted && link.relay_life == self.relays[node.relay].life
        });
        let since = self.now;
        if !is_linked || !self.is_edge_calm(edge, since, CALM) {
            return;
        }
        let Some(id) = node.called.clone() else { return };
        let later = id.clone();
        self.after(within, move |world| {
            let left = Some(id).filter(|id| world.redis.leases.contains_key(id));
            world.must_be_none(row, edge, since, left, "lease");
        });
        self.after(within + ROUTES_MAX, move |world| {
            let left = Some(later).filter(|id| world.redis.routes.values().any(|edges| edges.contains(id)));
            world.must_be_none(row, edge, since, left, "route");
        });
    }

    fn must_be_none(&mut self, row: &str, edge: usize, since: Micros, left: Option<EdgeId>, what: &str) {
        let EdgeNode { relay, links_calm_since, .. } = self.edges[edge];
        let is_calm = links_calm_since + CALM <= since
            && self.is_relay_calm(relay, since)
            && self.is_store_calm(relay, since);
        let Some(id) = left.filter(|_| is_calm) else { return };
        let ago = (self.now - since) / MILLISECOND;
        self.history.wrong(format!("{row}: {id} is gone for {ago} ms, and still has a {what}"));
    }

    /// A relay has ended a lease.
    pub(crate) fn lease_was_ended(&mut self, asker: Asker, id: &EdgeId) {
        let Asker::Relay(reaper) = asker else { return };
        let is_it = |edge: &usize| self.edges[*edge].called.as_ref() == Some(id);
        let Some(edge) = (0..self.edges.len()).find(is_it) else { return };
        let node = &self.edges[edge];
        let (since, life, id) = (self.now, node.life, id.clone());
        if node.relay != reaper || !self.is_edge_calm(edge, since, LIVES) {
            return;
        }
        self.after(TOLD_MAX, move |world| {
            let node = &world.edges[edge];
            let has_namesake =
                world.edges.iter().enumerate().any(|(other, it)| other != edge && it.name == node.name);
            let is_replaced = node.life != life || node.renewed.contains(&id) || has_namesake;
            let relay = &world.relays[reaper];
            if !is_replaced
                && world.is_edge_calm(edge, since, LIVES)
                && relay.is_running()
                && relay.calm_since <= since
            {
                world
                    .history
                    .wrong(format!("row 9: {id} was reaped at {} ms, and lives", since / MILLISECOND));
            }
        });
    }

    /// Whether an edge runs and reaches its relay, and did for so long before `since`.
    fn is_edge_calm(&self, edge: usize, since: Micros, calm: Micros) -> bool {
        let node = &self.edges[edge];
        node.state == State::Running
            && node.cut == [false; 2]
            && node.is_stalled == [false; 2]
            && node.calm_since.max(node.links_calm_since) + calm <= since
    }

    fn is_relay_calm(&self, relay: usize, since: Micros) -> bool {
        let node = &self.relays[relay];
        node.is_running() && node.calm_since + CALM <= since
    }

    /// Whether Redis has answered this relay, and kept what it was told.
    fn is_store_calm(&self, relay: usize, since: Micros) -> bool {
        let calm = if self.settings.is_redis_treacherous { LATE_COMMANDS } else { CALM };
        let is_long_ago = |at: Option<Micros>| at.is_none_or(|at| at + calm <= since);
        is_long_ago(self.relays[relay].store.failed_at) && is_long_ago(self.redis.emptied_at)
    }
}
