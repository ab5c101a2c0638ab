//! Which edges there are: linked, heard, lost. What is decided here is who gets which epoch, who is a later life of
//! whom, and whether all of them have told what they hold.

use std::time::{Duration, Instant};

use node::freeze::{LATE_MAX, TICK};
use proto::id::{EdgeId, Epoch, NodeName};
use proto::limits::{EPOCH_GIVEN_MAX, LANES, PING_EVERY};
use proto::link::{Member, Status};

use super::overview::Traffic;
use super::{LinkKey, LinkOutboxes, Map};

/// An edge is lost when so much time has passed since it was last heard, however its link ended. The edge itself gives
/// a silent link up after 3 s.
pub const LOST_AFTER: Duration = Duration::from_millis(3_300);

/// A linked edge that was not heard for so long may have clients that it cannot tell of.
pub const UNHEARD_MAX: Duration = Duration::from_secs(2);

/// Epochs of one life that are remembered: more than it can be given before it hears of the first.
const PAST_MAX: usize = 64;

/// How long what an edge says of itself, each second, speaks for it.
pub(super) const STATUS_FRESH: Duration = Duration::from_secs(3);

// A process that stood still unnoticed, after a ping that was as old as it may be, has not lost its edges yet.
const _: () =
    assert!(TICK.as_millis() + LATE_MAX.as_millis() + PING_EVERY.as_millis() < LOST_AFTER.as_millis());

/// See the file.
///
/// # Invariants
/// Every entry of `by_number` is in `by_name`; a name is either there or in `lost`, or in neither.
#[derive(Debug)]
pub(super) struct Members {
    by_number: Map<Member, Linked>,
    by_name: Map<NodeName, Member>,
    lost: Vec<Lost>,
    /// The highest epoch that each name was ever given, as far as this relay knows.
    epochs: Map<NodeName, Epoch>,
    last_number: u32,
    /// Until then everybody linked has told everything, if nothing happens; kept, since it is asked for every receipt.
    complete_until: Option<Instant>,
}

/// An edge that said hello on a living link.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) link: LinkKey,
    pub(super) life: Life,
    pub(super) lease: LeaseState,
    /// The store refuses its routes, as it says.
    pub(super) is_refused: bool,
    pub(super) outboxes: LinkOutboxes,
    pub(super) is_synced: bool,
    pub(super) heard: Instant,
    /// The highest number of a publication on each lane; 0 before the first.
    pub(super) lane_numbers: [u64; LANES],
    /// When it linked: time since the unix epoch.
    pub(super) since: Duration,
    /// When it last said how it does, and what.
    pub(super) status: Option<(Instant, Status)>,
    /// Channels that it holds.
    pub(super) channels: u64,
    pub(super) traffic: Traffic,
}

/// One process of an edge.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) edge: EdgeId,
    /// Epochs that it said it had, or was given, before this one. It may not have heard of a later one yet.
    pub(super) past: Vec<Epoch>,
    /// It had no epoch when it first came: no other process of its name is newer.
    pub(super) is_new: bool,
    pub(super) capacity: u32,
    pub(super) version: String,
}

/// How far the lease of an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseState {
    /// The store was asked to write it.
    Asked,
    /// The store did not; it is asked again.
    Failed,
    /// The edge had it before; whether the store still does, a beat will show.
    Kept,
    /// The store has it, and the edge knows.
    Written,
}

/// An edge whose link ended without a goodbye; it has until then to come back.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) life: Life,
    pub(super) lease: LeaseState,
    reap_at: Instant,
    pub(super) heard: Instant,
    /// When its link ended: time since the unix epoch.
    pub(super) since: Duration,
    /// What it had last said, and what had gone over its link.
    pub(super) status: Option<(Instant, Status)>,
    pub(super) traffic: Traffic,
}

/// What a lease's edge is to this relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is this one.
    Linked(Member),
    /// It was this one, and is expected back.
    Lost,
    /// A later life of it is linked.
    Over,
    /// An edge of the name is linked with a lower epoch; `is_new`: one that is newer all the same.
    Ahead { member: Member, is_new: bool },
    /// Nobody of the name is here.
    Unknown,
}

/// What an edge says of itself.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub(super) name: NodeName,
    pub(super) had: Option<Epoch>,
    pub(super) capacity: u32,
    pub(super) version: String,
}

/// What a hello leads to.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) member: Member,
    pub(super) edge: EdgeId,
    pub(super) lease: LeaseState,
}

impl Life {
    /// Whether whoever says that it had `epoch` is this one.
    fn had(&self, epoch: Epoch) -> bool {
        self.edge.epoch == epoch || self.past.contains(&epoch)
    }
}

impl Members {
    pub(super) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self {
            by_number: Map::with_hasher(hasher.clone()),
            by_name: Map::with_hasher(hasher.clone()),
            lost: Vec::new(),
            epochs: Map::with_hasher(hasher),
            last_number: 0,
            complete_until: None,
        }
    }

    /// Takes in the edge that said hello; a link that it had must have been removed before. `may_keep`: whether the
    /// store may still have the lease that it had.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        unix: Duration,
        link: LinkKey,
        hello: Hello,
        may_keep: bool,
        outboxes: LinkOutboxes,
    ) -> Admission {
        let Hello { name, had, capacity, version } = hello;
        debug_assert!(!self.by_name.contains_key(&name), "the old link is removed first");
        let former = self.lost.iter().position(|lost| lost.life.edge.name == name);
        let former = former.map(|at| self.lost.swap_remove(at));
        // Another life's lease ends with it; one's own is taken up where it was.
        let former = former.filter(|lost| had.is_some_and(|had| lost.life.had(had)));
        let (lease, epoch) = match (&former, had) {
            (Some(lost), Some(had)) if lost.life.edge.epoch == had => (lost.lease.resumed(), had),
            (None, Some(had)) if may_keep && self.epochs.get(&name).is_none_or(|&highest| highest <= had) => {
                (LeaseState::Kept, had)
            }
            (Some(_) | None, _) => (LeaseState::Failed, self.next_epoch(&name, had, unix)),
        };
        let is_new = former.as_ref().map_or(had.is_none(), |lost| lost.life.is_new);
        let mut past = former.map(|lost| lost.life.past).unwrap_or_default();
        past.extend(had.filter(|had| *had != epoch && !past.contains(had)));
        self.epochs.insert(name.clone(), epoch);
        self.last_number += 1;
        let member = Member(self.last_number);
        let edge = EdgeId { name: name.clone(), epoch };
        let life = Life { edge: edge.clone(), past, is_new, capacity, version };
        let linked = Linked {
            link,
            life,
            lease,
            is_refused: false,
            outboxes,
            is_synced: false,
            heard: now,
            lane_numbers: [0; LANES],
            since: unix,
            status: None,
            channels: 0,
            traffic: Traffic::default(),
        };
        self.by_number.insert(member, linked);
        self.by_name.insert(name, member);
        self.reckon();
        Admission { member, edge, lease }
    }

    /// Gives a linked edge its next epoch; the old edge id and the new epoch.
    pub(super) fn renew(&mut self, member: Member, unix: Duration) -> Option<(EdgeId, Epoch)> {
        let old = self.by_number.get(&member)?.life.edge.clone();
        let next = self.next_epoch(&old.name, Some(old.epoch), unix);
        self.epochs.insert(old.name.clone(), next);
        let linked = self.by_number.get_mut(&member)?;
        linked.is_refused = false;
        linked.life.past.push(old.epoch);
        if linked.life.past.len() > PAST_MAX {
            linked.life.past.remove(0);
        }
        linked.life.edge.epoch = next;
        Some((old, next))
    }

    fn next_epoch(&self, name: &NodeName, had: Option<Epoch>, unix: Duration) -> Epoch {
        let clock = Epoch(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        let highest = self.epochs.get(name).copied().max(had);
        highest.map_or(clock, |highest| Epoch(highest.0.saturating_add(1)).max(clock))
    }

    /// The store knows of this one: later epochs of the name are higher.
    pub(super) fn has_been(&mut self, edge: &EdgeId) {
        if edge.epoch.0 > EPOCH_GIVEN_MAX {
            return;
        }
        let highest = self.epochs.entry_ref(&edge.name).or_insert(edge.epoch);
        *highest = edge.epoch.max(*highest);
    }

    pub(super) fn get(&self, member: Member) -> Option<&Linked> {
        self.by_number.get(&member)
    }

    pub(super) fn get_mut(&mut self, member: Member) -> Option<&mut Linked> {
        self.by_number.get_mut(&member)
    }

    pub(super) fn named(&self, name: &NodeName) -> Option<Member> {
        self.by_name.get(name).copied()
    }

    /// What `edge`, of whom the store tells, is to this relay.
    pub(super) fn standing(&self, edge: &EdgeId) -> Standing {
        if let Some((member, linked)) =
            self.named(&edge.name).and_then(|member| Some((member, self.get(member)?)))
        {
            return match linked.life.edge.epoch.cmp(&edge.epoch) {
                std::cmp::Ordering::Equal => Standing::Linked(member),
                std::cmp::Ordering::Greater => Standing::Over,
                std::cmp::Ordering::Less => Standing::Ahead { member, is_new: linked.life.is_new },
            };
        }
        let is_lost = self.lost.iter().any(|lost| lost.life.edge == *edge);
        if is_lost { Standing::Lost } else { Standing::Unknown }
    }

    pub(super) fn is_linked(&self, edge: &EdgeId) -> bool {
        matches!(self.standing(edge), Standing::Linked(_))
    }

    /// Whether an edge of this name, linked or lost, is the one that says it had `epoch`.
    pub(super) fn is_life(&self, name: &NodeName, epoch: Epoch) -> bool {
        self.lives().any(|life| life.edge.name == *name && life.had(epoch))
    }

    /// The newest epoch of an edge of this name that is linked or lost.
    pub(super) fn newest(&self, name: &NodeName) -> Option<Epoch> {
        self.lives().filter(|life| life.edge.name == *name).map(|life| life.edge.epoch).max()
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.by_number.values().map(|linked| &linked.life).chain(self.lost.iter().map(|lost| &lost.life))
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn lost_len(&self) -> usize {
        self.lost.len()
    }

    pub(super) fn lost(&self) -> impl Iterator<Item = &Lost> {
        self.lost.iter()
    }

    /// `member` holds so many channels more, or fewer.
    pub(super) fn holds(&mut self, member: Member, more: i64) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.channels = linked.channels.saturating_add_signed(more);
        }
    }

    pub(super) fn does(&mut self, now: Instant, member: Member, status: Status) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.status = Some((now, status));
        }
    }

    /// Whether an edge other than `member` has lately said that its canaries come back.
    pub(super) fn others_carry(&self, now: Instant, member: Member) -> bool {
        self.by_number.iter().filter(|&(&other, _)| other != member).any(|(_, linked)| {
            linked.status.is_some_and(|(said, status)| status.carries && now <= said + STATUS_FRESH)
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Member, &Linked)> {
        self.by_number.iter().map(|(&member, linked)| (member, linked))
    }

    /// Edges that were heard lately, and whose lease the store has, or may have; in an order that is the same for the
    /// same seed.
    pub(super) fn to_renew(&self, now: Instant) -> Vec<EdgeId> {
        let renewed = self.by_number.values().filter(|linked| {
            matches!(linked.lease, LeaseState::Kept | LeaseState::Written)
                && now <= linked.heard + UNHEARD_MAX
        });
        let mut renewed: Vec<EdgeId> = renewed.map(|linked| linked.life.edge.clone()).collect();
        renewed.sort_unstable();
        renewed
    }

    /// Edges whose routes the store refuses.
    pub(super) fn refused(&self) -> Vec<Member> {
        let refused = self.iter().filter(|(_, linked)| linked.is_refused);
        let mut refused: Vec<Member> = refused.map(|(member, _)| member).collect();
        refused.sort_unstable();
        refused
    }

    /// Edges whose lease the store was asked to write in vain.
    pub(super) fn without_lease(&self) -> Vec<Member> {
        let mut failed: Vec<Member> = self
            .iter()
            .filter(|(_, linked)| linked.lease == LeaseState::Failed)
            .map(|(member, _)| member)
            .collect();
        failed.sort_unstable();
        failed
    }

    pub(super) fn heard(&mut self, now: Instant, member: Member) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.heard = now;
            self.reckon();
        }
    }

    pub(super) fn synced(&mut self, member: Member) {
        if let Some(linked) = self.by_number.get_mut(&member) {
            linked.is_synced = true;
            self.reckon();
        }
    }

    /// The link of `member` ended; it is lost unless it comes back in time.
    pub(super) fn lose(&mut self, member: Member, since: Duration) {
        let Some(linked) = self.remove(member) else { return };
        let Linked { life, lease, heard, status, traffic, .. } = linked;
        self.lost.push(Lost { life, lease, reap_at: heard + LOST_AFTER, heard, since, status, traffic });
        self.reckon();
    }

    /// The answer of the store came when the edge was lost.
    pub(super) fn lost_lease(&mut self, edge: &EdgeId, lease: LeaseState) {
        if let Some(lost) = self.lost.iter_mut().find(|lost| lost.life.edge == *edge) {
            lost.lease = lease;
        }
    }

    /// Nobody could come back until now.
    pub(super) fn excuse_lost(&mut self, until: Instant) {
        for lost in &mut self.lost {
            lost.reap_at = lost.reap_at.max(until);
        }
    }

    /// `member` is not expected back.
    pub(super) fn remove(&mut self, member: Member) -> Option<Linked> {
        let linked = self.by_number.remove(&member)?;
        self.by_name.remove(&linked.life.edge.name);
        self.reckon();
        Some(linked)
    }

    /// Linked edges that were not heard for too long.
    pub(super) fn silent(&self, now: Instant) -> Vec<Member> {
        let mut silent: Vec<Member> = self
            .iter()
            .filter(|(_, linked)| linked.heard + LOST_AFTER <= now)
            .map(|(member, _)| member)
            .collect();
        silent.sort_unstable();
        silent
    }

    /// Edges that did not come back in time.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<EdgeId> {
        let overdue: Vec<EdgeId> =
            self.lost.extract_if(.., |lost| lost.reap_at <= now).map(|lost| lost.life.edge).collect();
        self.reckon();
        overdue
    }

    /// Whether somebody is linked, nobody is lost, and everybody linked has told all that it holds and was heard lately.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.complete_until.is_some_and(|until| now <= until)
    }

    /// When somebody may have to be reaped.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let silent = self.by_number.values().map(|linked| linked.heard + LOST_AFTER).min();
        let lost = self.lost.iter().map(|lost| lost.reap_at).min();
        silent.into_iter().chain(lost).min()
    }

    fn reckon(&mut self) {
        let is_known = self.lost.is_empty() && self.by_number.values().all(|linked| linked.is_synced);
        let oldest = self.by_number.values().map(|linked| linked.heard).min();
        self.complete_until = oldest.filter(|_| is_known).map(|heard| heard + UNHEARD_MAX);
    }
}

impl LeaseState {
    /// What it is when its edge is back with it.
    fn resumed(self) -> Self {
        match self {
            Self::Asked | Self::Failed => self,
            Self::Kept | Self::Written => Self::Kept,
        }
    }
}
