//! What must be left when faults have ended: I7 to I9, and everybody reaches everybody.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{Channel, EdgeId, UserId};

use super::client::user_name;
use super::history::Verdict;
use super::world::{MILLISECOND, SECOND, World};

impl World {
    /// Mends everything, waits, and looks.
    pub(crate) fn end_quietly(&mut self) {
        self.trace(|| "faults end".to_owned());
        self.is_quiet = true;
        self.faults_end();
        self.run_until(self.now + 17 * SECOND);
        self.routes_are_right();
        let first = self.history.sent.len();
        self.everybody_tells_everybody();
        self.run_until(self.now + 7 * SECOND);
        self.everybody_was_reached(first);
        self.is_over = true;
        self.all_leave();
        self.run_until(self.now + 10 * SECOND);
        self.nothing_is_left();
    }

    /// I7.
    fn routes_are_right(&mut self) {
        let mut wanted: BTreeMap<Channel, BTreeSet<usize>> = BTreeMap::new();
        for (index, connection) in self.history.connections.iter().enumerate() {
            if connection.opened.is_some() && connection.gone.is_none() {
                let user = UserId::parse(&user_name(connection.user)).expect("a user");
                wanted.entry(user.personal_channel()).or_default().insert(connection.edge);
                for room in self.rooms_of(index) {
                    let room = Channel::parse(&room).expect("a room");
                    wanted.entry(room).or_default().insert(connection.edge);
                }
            }
        }
        let ids: BTreeMap<usize, Option<EdgeId>> =
            (0..self.edges.len()).map(|edge| (edge, self.lease_of(edge))).collect();
        let mut wrong = Vec::new();
        for (&edge, id) in &ids {
            if self.edges[edge].is_alive() && id.is_none() {
                wrong.push(format!("I7: {:?} has no lease: {:?}", self.edges[edge].name, self.redis.leases));
            }
        }
        let wanted: BTreeMap<Channel, BTreeSet<EdgeId>> = wanted
            .into_iter()
            .map(|(channel, edges)| (channel, edges.iter().filter_map(|edge| ids[edge].clone()).collect()))
            .collect();
        for (channel, wanted) in &wanted {
            let found = self.redis.routes.get(channel).cloned().unwrap_or_default();
            wrong.extend(wanted.difference(&found).map(|id| format!("I7: {channel} lacks {id}")));
        }
        for (channel, found) in &self.redis.routes {
            let wanted = wanted.get(channel).cloned().unwrap_or_default();
            wrong.extend(found.difference(&wanted).map(|id| format!("I7: {channel} has {id}, a ghost")));
        }
        wrong.extend(self.redis.ended.iter().map(|id| format!("I7: {id} is not cleaned up")));
        for id in self.redis.indices.keys().filter(|id| !ids.values().flatten().any(|live| live == *id)) {
            wrong.push(format!("I7: {id} has an index, and is nobody"));
        }
        wrong.into_iter().for_each(|what| self.history.wrong(what));
    }

    fn lease_of(&self, edge: usize) -> Option<EdgeId> {
        let node = &self.edges[edge];
        let mut leases = node.ids.iter().filter(|id| node.is_alive() && self.redis.leases.contains_key(*id));
        leases.next_back().cloned()
    }

    fn everybody_tells_everybody(&mut self) {
        for device in 0..self.devices.len() {
            for to in 0..self.users {
                let pause = self.chance.below(2_000) * MILLISECOND;
                self.after(pause, move |world| {
                    if let Some(connection) = world.devices[device].connection {
                        world.client_tells(connection, to);
                    }
                });
            }
        }
    }

    fn everybody_was_reached(&mut self, first: usize) {
        let mut of_user: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for connection in self.history.connections.iter().filter(|c| c.opened.is_some() && c.gone.is_none()) {
            of_user.entry(connection.user).or_default().push(connection.edge);
        }
        let has_one_relay = self.relays.len() == 1;
        let mut wrong = Vec::new();
        for (id, sent) in self.history.sent.iter().enumerate().skip(first) {
            let edges = of_user.get(&sent.to).cloned().unwrap_or_default();
            let wanted = match u32::try_from(edges.len()).expect("few") {
                0 => Verdict::Offline,
                n => Verdict::Delivered(n),
            };
            let found = sent.verdicts.first().map(|&(_, verdict)| verdict);
            if has_one_relay && found != Some(wanted) {
                wrong.push(format!(
                    "all is quiet, and message {id} to u{} ended as {found:?}, not {wanted:?}",
                    sent.to
                ));
            }
        }
        for device in &self.devices {
            if device
                .connection
                .is_none_or(|connection| self.history.connections[connection].opened.is_none())
            {
                wrong.push(format!("all is quiet, and u{} is not connected", device.user));
            }
        }
        wrong.into_iter().for_each(|what| self.history.wrong(what));
    }

    /// I8, I9.
    fn nothing_is_left(&mut self) {
        let mut wrong = Vec::new();
        for node in &mut self.edges {
            let name = node.name.clone();
            let Some(hub) = node.hub() else { continue };
            let tally = hub.tally();
            let levels =
                [tally.clients, tally.channels, tally.receipts_pending, tally.routes, tally.routes_pending];
            if levels != [0; 5] {
                wrong.push(format!(
                    "I8: {name} is not empty: clients, channels, receipts, routes, pending {levels:?}"
                ));
            }
            if tally.messages_received != tally.messages.iter().sum::<u64>() {
                wrong.push(format!(
                    "I9: {name} had {} messages, ended as {:?}",
                    tally.messages_received, tally.messages
                ));
            }
        }
        let now = self.instant();
        for (relay, node) in self.relays.iter_mut().enumerate() {
            let Some(router) = node.router() else { continue };
            let channels = router.tally(now).channels;
            if channels != 0 {
                wrong.push(format!("I8: relay {relay} has {channels} channels of nobody"));
            }
        }
        if !self.redis.routes.is_empty() || !self.redis.indices.is_empty() {
            wrong.push(format!("I7: routes of nobody: {:?} {:?}", self.redis.routes, self.redis.indices));
        }
        wrong.into_iter().for_each(|what| self.history.wrong(what));
    }
}
