//! What happened to the clients, and whether that may be so: the judge of I1 to I6.
//!
//! | | |
//! |---|---|
//! | I1 | each message gets exactly one verdict, in time |
//! | I2 | *delivered n*: n connections have it, each once, or ended before they read it |
//! | I3 | *offline*: the addressee was not on an edge with a lease throughout, and does not get it later |
//! | I4 | one sender's messages reach one connection in order |
//! | I5 | nothing reaches anybody but its addressee, nor before its log-in or subscribe reply |
//! | I6 | a lower epoch of an edge never replaces a higher one |
//! | row 4 | what lay before an edge or a relay while it stood still is not delivered |
//!
//! I7 to I9, of what is left when all is quiet, are `quiet.rs`. All times are microseconds since the run began.

use std::collections::{BTreeMap, BTreeSet};

use node::freeze::{LATE_MAX, TICK};
use proto::id::{EdgeId, Epoch, NodeName};

use super::world::{MILLISECOND, Micros, SECOND};

/// How long a verdict may take: 4 s at the edge, and twice the way between it and its client.
const VERDICT_MAX: Micros = 4 * SECOND + SECOND / 2;

/// An edge that stands still for longer than this may have lost its lease: it was last heard up to a second before.
const UNNOTICED_MAX: Micros = 2 * SECOND;

/// How long an edge may not know yet that a client went.
const NOTICED_AFTER: Micros = SECOND / 4;

/// A process that stood still for longer than this cannot but notice: its last tick may just have been.
pub(crate) const FROZEN_FOR: Micros = 2 * SECOND;

// The rule that is judged is that of the nodes.
const _: () = assert!(FROZEN_FOR as u128 == (LATE_MAX.as_micros() + TICK.as_micros()));

/// What travels to others: a directed message, or a publication in a room, each by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Published {
    Direct(u64),
    InRoom(u64),
}

/// How long an edge that has just got its lease may take to write its routes, where Redis is well: two batches.
const WRITTEN_AFTER: Micros = 20 * MILLISECOND;

/// After a write that failed, how long until its routes are there: half a second, and as above.
const RETRIED_AFTER: Micros = SECOND / 2 + WRITTEN_AFTER;

/// One connection of a user.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) user: usize,
    pub(crate) edge: usize,
    /// Which process of that edge.
    pub(crate) life: u32,
    /// When the connect reply arrived.
    pub(crate) opened: Option<Micros>,
    /// When it surely was there no more: it left, its edge let it go, or its edge died.
    pub(crate) gone: Option<Micros>,
    /// It does not read what it is sent, so that its verdicts may come late.
    pub(crate) is_slow: bool,
}

/// A directed message.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) connection: usize,
    pub(crate) to: usize,
    pub(crate) at: Micros,
    pub(crate) verdicts: Vec<(Micros, Verdict)>,
    /// Who got it, in the order of arrival.
    pub(crate) receivers: Vec<usize>,
}

/// What the sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered(u32),
    Offline,
    Unknown,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) connections: Vec<Connection>,
    pub(crate) sent: Vec<Sent>,
    /// Per edge and process: when it got or lost its lease, at the store or by its own knowledge.
    leases: BTreeMap<(usize, u32), Vec<(Micros, bool)>>,
    /// Per edge: from when to when it stood still or was dead.
    pub(crate) pauses: Vec<(usize, Micros, Micros)>,
    /// When answers may have been lost, so that a verdict may count too few.
    pub(crate) faults: Vec<(Micros, Micros)>,
    /// The highest epoch that any process of a name was told.
    highest: BTreeMap<NodeName, Epoch>,
    /// What lay before a process of an edge when it went on after it had stood still.
    old_at_edge: BTreeSet<(usize, u32, Published)>,
    /// The same for a relay, with the edge that it came from, whose own clients had it long before.
    old_at_relay: BTreeMap<Published, usize>,
    /// A relay knows nothing of another's edges that came since it last heard from Redis; Redis does, if it is well.
    pub(crate) has_two_relays: bool,
    /// When an edge could not write: nobody waits for its routes then, and it tries again later.
    pub(crate) unwritten: Vec<(usize, Micros)>,
    /// From when on something was wrong with Redis.
    pub(crate) redis_ill_from: Option<Micros>,
    /// Which message came on which connection, in the order of arrival.
    arrivals: Vec<(usize, usize)>,
    pub(crate) wrong: Vec<String>,
}

impl History {
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Somebody got a message; what is in it says which.
    pub(crate) fn received(
        &mut self,
        connection: usize,
        id: usize,
        from: &str,
        user_name: impl Fn(usize) -> String,
    ) {
        let Some(sent) = self.sent.get_mut(id) else {
            return self.wrong(format!("I5: message {id} that nobody sent came to connection {connection}"));
        };
        let receiver = &self.connections[connection];
        let sender = self.connections[sent.connection].user;
        if sent.to != receiver.user {
            self.wrong.push(format!("I5: message {id} to u{} came to u{}", sent.to, receiver.user));
        }
        if user_name(sender) != from {
            self.wrong.push(format!("I5: message {id} of u{sender} came as if {from} had sent it"));
        }
        if receiver.opened.is_none() {
            self.wrong.push(format!("I5: message {id} came before the log-in"));
        }
        if sent.receivers.contains(&connection) {
            self.wrong.push(format!("I2: message {id} came twice on connection {connection}"));
        }
        sent.receivers.push(connection);
        self.arrivals.push((connection, id));
    }

    /// Notes what lay before an edge that stood still.
    pub(crate) fn old_at_edge(&mut self, edge: usize, life: u32, unread: Vec<Published>) {
        self.old_at_edge.extend(unread.into_iter().map(|published| (edge, life, published)));
    }

    /// Notes what lay before a relay that stood still, and which edges it came from.
    pub(crate) fn old_at_relay(&mut self, unread: Vec<(usize, Published)>) {
        self.old_at_relay.extend(unread.into_iter().map(|(edge, published)| (published, edge)));
    }

    /// Something came to a client, directed or not; it must not have been read before a freeze.
    pub(crate) fn came(&mut self, connection: usize, published: Published) {
        let Connection { edge, life, .. } = self.connections[connection];
        if self.old_at_edge.contains(&(edge, life, published)) {
            self.wrong.push(format!(
                "row 4: {published:?} came on connection {connection}, though it lay before edge {edge} while that stood still"
            ));
        }
        if self.old_at_relay.get(&published).is_some_and(|&source| source != edge) {
            self.wrong.push(format!(
                "row 4: {published:?} came on connection {connection}, though it lay before a relay while that stood still"
            ));
        }
    }

    /// Notes whether an edge has its lease at the store.
    pub(crate) fn leased(&mut self, edge: usize, life: u32, at: Micros, is_leased: bool) {
        let changes = self.leases.entry((edge, life)).or_default();
        if changes.last().is_some_and(|&(_, last)| last) != is_leased {
            changes.push((at, is_leased));
        }
    }

    /// Notes an epoch that an edge was told.
    pub(crate) fn given(&mut self, name: &NodeName, epoch: Epoch) {
        let highest = self.highest.entry(name.clone()).or_insert(epoch);
        *highest = epoch.max(*highest);
    }

    /// An edge that had `id` last had to give way.
    pub(crate) fn superseded(&mut self, id: &EdgeId) {
        if self.highest.get(&id.name).is_none_or(|&highest| highest <= id.epoch) {
            self.wrong.push(format!("I6: {id} was superseded, and nobody of its name had a higher epoch"));
        }
    }

    /// Judges all that is known at `now`, when nothing is under way any more.
    pub(crate) fn judge(&mut self, now: Micros) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        let mut of_user: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, connection) in self.connections.iter().enumerate() {
            of_user.entry(connection.user).or_default().push(index);
        }
        let nobody = Vec::new();
        for (id, sent) in self.sent.iter().enumerate() {
            let devices = of_user.get(&sent.to).unwrap_or(&nobody);
            self.in_time(id, sent, now, &mut wrong);
            if let Some(&(at, verdict)) = sent.verdicts.first() {
                match verdict {
                    Verdict::Delivered(n) => self.delivered(id, sent, at, n as usize, devices, &mut wrong),
                    Verdict::Offline => self.offline(id, sent, at, devices, &mut wrong),
                    Verdict::Unknown => {}
                }
            }
        }
        self.in_order(&mut wrong);
        wrong
    }

    fn in_time(&self, id: usize, sent: &Sent, now: Micros, wrong: &mut Vec<String>) {
        let connection = &self.connections[sent.connection];
        // What lies before an edge that stands still was not accepted yet.
        let pauses = self
            .pauses
            .iter()
            .filter(|&&(edge, from, _)| edge == connection.edge && from < sent.at + VERDICT_MAX);
        let begun = pauses.filter(|&&(_, _, to)| to > sent.at).map(|&(_, _, to)| to).max().unwrap_or(sent.at);
        let deadline = begun.saturating_add(VERDICT_MAX);
        if sent.verdicts.len() > 1 {
            wrong.push(format!("I1: message {id} got {} verdicts", sent.verdicts.len()));
        }
        match sent.verdicts.first() {
            Some(&(at, _)) if at > deadline && !connection.is_slow => {
                wrong.push(format!("I1: message {id} got its verdict after {} ms", (at - sent.at) / 1000));
            }
            Some(_) => {}
            None => {
                if connection.gone.unwrap_or(now) > deadline && !connection.is_slow {
                    wrong.push(format!("I1: message {id} of {} got no verdict", sent.at / 1000));
                }
            }
        }
    }

    fn delivered(
        &self,
        id: usize,
        sent: &Sent,
        at: Micros,
        n: usize,
        devices: &[usize],
        wrong: &mut Vec<String>,
    ) {
        let got: BTreeSet<usize> = sent.receivers.iter().copied().collect();
        let may_have_ended = |&&device: &&usize| {
            let connection = &self.connections[device];
            !got.contains(&device)
                && (connection.gone.is_some_and(|gone| gone + NOTICED_AFTER >= sent.at) || connection.is_slow)
        };
        let ended = devices.iter().filter(may_have_ended).count();
        if n > got.len() + ended {
            wrong.push(format!(
                "I2: message {id} was delivered to {n}, came on {}, and {ended} ended meanwhile",
                got.len()
            ));
        }
        if self.faults.iter().any(|&(from, to)| from <= at && sent.at <= to) {
            return;
        }
        if got.len() > n {
            wrong.push(format!("I2: message {id} was delivered to {n}, and came on {}", got.len()));
        }
        let throughout = devices.iter().filter(|&&device| self.is_there(device, sent.at, at)).count();
        if n < throughout {
            wrong.push(format!("I2: message {id} was delivered to {n}, and {throughout} were there"));
        }
    }

    fn offline(&self, id: usize, sent: &Sent, at: Micros, devices: &[usize], wrong: &mut Vec<String>) {
        if !sent.receivers.is_empty() {
            wrong.push(format!("I3: message {id} was called offline, and came"));
        }
        if self.has_two_relays && self.redis_ill_from.is_some_and(|ill| ill <= at) {
            return;
        }
        // Redis alone knows of another relay's newest edges, and learns of routes only after leases.
        let leased_from = if self.has_two_relays { sent.at.saturating_sub(WRITTEN_AFTER) } else { sent.at };
        for &device in devices {
            let Connection { edge, life, .. } = self.connections[device];
            if self.has_two_relays && self.may_lack_routes(edge, sent.at, at) {
                continue;
            }
            if self.is_there(device, sent.at, at) && self.has_lease(edge, life, leased_from, at) {
                wrong.push(format!(
                    "I3: message {id} to u{} was called offline from {} to {} ms, and he was on edge {edge}",
                    sent.to,
                    sent.at / 1000,
                    at / 1000
                ));
            }
        }
    }

    fn may_lack_routes(&self, edge: usize, from: Micros, to: Micros) -> bool {
        self.unwritten.iter().any(|&(of, at)| of == edge && from < at + RETRIED_AFTER && at <= to)
    }

    fn is_there(&self, device: usize, from: Micros, to: Micros) -> bool {
        let connection = &self.connections[device];
        connection.opened.is_some_and(|opened| opened <= from) && connection.gone.is_none_or(|gone| gone > to)
    }

    fn has_lease(&self, edge: usize, life: u32, from: Micros, to: Micros) -> bool {
        if self
            .pauses
            .iter()
            .any(|&(paused, since, until)| paused == edge && since + UNNOTICED_MAX <= to && from <= until)
        {
            return false;
        }
        let Some(changes) = self.leases.get(&(edge, life)) else { return false };
        let at_first = changes.iter().rev().find(|&&(at, _)| at <= from);
        at_first.is_some_and(|&(_, is_leased)| is_leased)
            && !changes.iter().any(|&(at, is_leased)| from < at && at <= to && !is_leased)
    }

    fn in_order(&self, wrong: &mut Vec<String>) {
        // Messages are numbered as they are sent; who got what is noted as it arrives.
        let mut by_path: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for &(connection, id) in &self.arrivals {
            let path = (self.sent[id].connection, connection);
            let last = by_path.entry(path).or_insert(id);
            if *last > id {
                wrong.push(format!("I4: message {id} came after message {last} on connection {connection}"));
            }
            *last = (*last).max(id);
        }
    }
}
