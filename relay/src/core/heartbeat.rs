//! Leases: given, renewed each second, ended. Who may come back, who is reaped, and when.
//!
//! ```text
//! hello with a new epoch ─▶ GrantLease ─▶ Granted ─▶ leased
//! hello with a kept one  ─▶ the next beat finds it ─▶ leased        and every second a beat renews it
//!                                └─▶ and does not ─▶ ended: the next epoch ─▶ GrantLease
//! goodbye, lost for 3.3 s, an older life, a score that stands still ─▶ EndLease ─▶ RemoveRoutes
//! ```
//!
//! The store may be away at any of these arrows. Granting is tried again with each beat; what could not be ended shows in
//! the next good read, and is watched like a stranger's.

use std::time::{Duration, Instant};

use proto::id::{EdgeId, Epoch};
use proto::link::{CloseCode, Member, ToEdge};
use store::{Beat, Leases, Score, StoreError};

use super::journal::EntryKind;
use super::members::{LeaseState, Standing};
use super::router::Router;
use super::{Action, LinkKey, WATCH_ANEW};

impl Router {
    /// Renews the leases of all edges heard, and asks again for those that were not written.
    pub(super) fn beat(&mut self, now: Instant) {
        if self.leasing.next_due().is_none_or(|due| due > now) {
            return;
        }
        let score = self.next_score(now);
        let renewed = self.members.to_renew(now);
        let settles = self.leasing.should_settle(now);
        self.leasing.begin_beat(now, score, &renewed);
        self.actions.push_back(Action::Beat(Beat { renewed, score, settles }));
        for member in self.members.without_lease() {
            self.ask_for_lease(now, member);
        }
    }

    pub(super) fn beaten(&mut self, now: Instant, beat: &Beat, result: Result<Leases, StoreError>) {
        if self.leasing.beaten(now, result.as_ref().map_err(|&error| error)) {
            let leases = result.unwrap_or_default();
            self.look_at_leases(now);
            self.look_for_missing(now, &beat.renewed, &leases);
            for member in self.members.refused() {
                self.renew_lease(now, member);
            }
            for edge in leases.ended {
                self.remove_routes(edge);
            }
            if beat.settles {
                // A route that was written just when the store was emptied is in no index: no reaper finds it.
                self.actions.push_back(Action::Sweep);
            }
        }
        self.reckon();
    }

    fn look_at_leases(&mut self, now: Instant) {
        let known: Vec<(EdgeId, Score)> =
            self.leasing.known().iter().map(|(edge, &score)| (edge.clone(), score)).collect();
        for (edge, _) in &known {
            self.members.has_been(edge);
        }
        for (edge, score) in known {
            match self.members.standing(&edge) {
                Standing::Linked(member) => {
                    self.leasing.unwatch(&edge);
                    self.lease_written(member);
                }
                Standing::Lost => self.leasing.unwatch(&edge),
                Standing::Over => self.end(&edge),
                // Whoever starts anew is newer than any lease, whatever the clock said when that was given.
                Standing::Ahead { member, is_new: true } => {
                    if let Some(linked) = self.members.get_mut(member) {
                        linked.life.is_new = false;
                    }
                    self.renew_lease(now, member);
                }
                Standing::Ahead { member, is_new: false } => {
                    self.watch(now, &edge, score);
                    if self.leasing.is_renewed_elsewhere(&edge) {
                        self.supersede(member);
                    }
                }
                Standing::Unknown => self.watch(now, &edge, score),
            }
        }
    }

    fn watch(&mut self, now: Instant, edge: &EdgeId, score: Score) {
        if self.leasing.watch(now, edge, score) {
            self.end(edge);
        }
    }

    fn supersede(&mut self, member: Member) {
        if let Some(link) = self.members.get(member).map(|linked| linked.link) {
            self.close(
                link,
                CloseCode::Superseded,
                "a newer edge of this name is linked elsewhere".to_owned(),
            );
        }
    }

    /// Leases that were to be renewed and are not there: another relay reaped them, or the store was emptied.
    fn look_for_missing(&mut self, now: Instant, renewed: &[EdgeId], leases: &Leases) {
        for edge in renewed.iter().filter(|edge| !leases.scores.contains_key(*edge)) {
            let Standing::Linked(member) = self.members.standing(edge) else { continue };
            // A newer process of this name may be about to come back: until it has, or is reaped, nothing is decided.
            if self.leasing.newest(&edge.name).is_none_or(|newest| newest < edge.epoch) {
                self.renew_lease(now, member);
                // Where the lease alone was lost, the hash and the routes are still there, and in no list to be walked.
                self.remove_routes(edge.clone());
            }
        }
    }

    /// Gives a linked edge the next epoch; the old one is over.
    fn renew_lease(&mut self, now: Instant, member: Member) {
        let unix = self.unix(now);
        let Some((old, next)) = self.members.renew(member, unix) else { return };
        self.tally.renewed += 1;
        self.enter(
            EntryKind::Renewed,
            Some(&old.name),
            format!("the store had lost epoch {}; now {next}", old.epoch),
        );
        self.end(&old);
        self.say(member, &ToEdge::Ended { next });
        self.ask_for_lease(now, member);
    }

    /// An edge says that the store refuses to write its routes. It gets its next epoch with the next good read, and not
    /// at once: where relay and edge do not mean the same store, that will not help, and must not cost much.
    pub(super) fn unleased(&mut self, member: Member, epoch: Epoch) {
        if let Some(linked) = self.members.get_mut(member)
            && linked.life.edge.epoch == epoch
            && matches!(linked.lease, LeaseState::Written | LeaseState::Kept)
        {
            linked.is_refused = true;
        }
    }

    pub(super) fn ask_for_lease(&mut self, now: Instant, member: Member) {
        let score = self.next_score(now);
        let Some(linked) = self.members.get_mut(member) else { return };
        linked.lease = LeaseState::Asked;
        self.actions.push_back(Action::GrantLease {
            link: linked.link,
            edge: linked.life.edge.clone(),
            capacity: linked.life.capacity,
            version: linked.life.version.clone(),
            score,
        });
    }

    pub(super) fn granted(&mut self, edge: &EdgeId, score: Score, result: Result<(), StoreError>) {
        match (result, self.members.standing(edge)) {
            (Ok(()), Standing::Linked(member)) => {
                self.leasing.granted(edge, score);
                self.lease_written(member);
            }
            (Ok(()), Standing::Lost) => {
                self.leasing.granted(edge, score);
                self.members.lost_lease(edge, LeaseState::Written);
            }
            (Ok(()), Standing::Over | Standing::Ahead { .. } | Standing::Unknown) => {
                self.leasing.granted(edge, score);
                self.end(edge);
            }
            (Err(_), Standing::Linked(member)) => {
                if let Some(linked) = self.members.get_mut(member) {
                    linked.lease = LeaseState::Failed;
                }
            }
            (Err(_), Standing::Lost) => self.members.lost_lease(edge, LeaseState::Failed),
            (Err(_), Standing::Over | Standing::Ahead { .. } | Standing::Unknown) => {}
        }
        self.reckon();
    }

    fn lease_written(&mut self, member: Member) {
        let Some(linked) = self.members.get_mut(member) else { return };
        if linked.lease != LeaseState::Written {
            linked.lease = LeaseState::Written;
            let epoch = linked.life.edge.epoch;
            self.say(member, &ToEdge::Leased { epoch });
        }
    }

    /// Ends a lease, if the store has it; if it turns out later that it has, the next good read shows it.
    pub(super) fn end(&mut self, edge: &EdgeId) {
        if let Some(score) = self.leasing.end(edge) {
            self.actions.push_back(Action::EndLease { edge: edge.clone(), score });
        }
    }

    pub(super) fn lease_ended(&mut self, edge: EdgeId, result: Result<bool, StoreError>) {
        self.leasing.ended(&edge);
        if result == Ok(true) {
            self.tally.reaped += 1;
            self.enter(
                EntryKind::Reaped,
                Some(&edge.name),
                format!("epoch {}; its routes are removed", edge.epoch),
            );
            self.remove_routes(edge);
        }
        self.reckon();
    }

    fn remove_routes(&mut self, edge: EdgeId) {
        if self.leasing.begin_removal(&edge) {
            self.actions.push_back(Action::RemoveRoutes { edge });
        }
    }

    /// Where that failed, the next good read shows the edge among those that were ended, and it begins again.
    pub(super) fn routes_removed(&mut self, edge: &EdgeId, result: Result<u64, StoreError>) {
        self.leasing.end_removal(edge);
        self.tally.routes_removed += result.unwrap_or(0);
    }

    /// Edges that were lost while nobody looked have had no time to come back.
    pub(super) fn froze(&mut self, now: Instant) {
        self.tally.freezes += 1;
        self.enter(EntryKind::Froze, None, "this relay stood still; all edges link again");
        let mut links: Vec<LinkKey> = self.links.keys().copied().collect();
        links.sort_unstable();
        for link in links {
            self.close(link, CloseCode::Froze, "the relay stood still; what it had read is old".to_owned());
        }
        self.leasing.froze(now);
        self.members.excuse_lost(now + WATCH_ANEW);
        self.reckon();
    }

    /// To be called after every change of who is linked and of which leases are known.
    pub(super) fn reckon(&mut self) {
        let members = &self.members;
        self.is_everybody_linked = self.leasing.known().keys().all(|edge| members.is_linked(edge));
    }

    /// Whether this relay knows every edge that there may be.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.is_everybody_linked && self.members.is_complete(now) && self.leasing.vouches(now)
    }

    fn next_score(&mut self, now: Instant) -> Score {
        let unix = self.unix(now);
        self.leasing.next_score(unix)
    }

    pub(super) fn unix(&self, now: Instant) -> Duration {
        let (read_at, unix) = self.clock;
        unix + now.saturating_duration_since(read_at)
    }
}
