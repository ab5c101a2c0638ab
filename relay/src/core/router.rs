//! The Router: everything that a relay knows and decides.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::id::{Channel, EdgeId, Epoch, NodeName};
use proto::limits::EPOCH_GIVEN_MAX;
use proto::link::{
    Answer, CloseCode, HEARTBEAT_BYTES, Lane, LaneFrame, Member, PublicationFrame, Status, ToEdge, ToRelay,
};

use super::journal::{EntryKind, Journal};
use super::leasing::Leasing;
use super::members::{Admission, Hello, LOST_AFTER, LeaseState, Members};
use super::search::Searches;
use super::{Action, Event, LinkKey, LinkOutboxes, Map, Tally};

/// A relay without IO, time or chance.
///
/// After each [`Self::handle`] and [`Self::handle_timeout`], [`Self::poll_action`] must be drained.
#[derive(Debug)]
pub struct Router {
    /// When the wall clock was last read, and what it showed.
    pub(super) clock: (Instant, Duration),
    /// When the event or timeout came that is handled.
    now: Instant,
    pub(super) links: Map<LinkKey, Link>,
    pub(super) members: Members,
    pub(super) leasing: Leasing,
    /// Whether everybody who has a lease, as far as this relay knows, is linked here.
    pub(super) is_everybody_linked: bool,
    holders_by_channel: Map<Channel, Holders>,
    /// Where each unacknowledged telling belongs.
    channel_by_telling: Map<u64, Channel>,
    last_telling: u64,
    pub(super) searches: Searches,
    pub(super) journal: Journal,
    pub(super) actions: VecDeque<Action>,
    pub(super) tally: Tally,
}

/// A link from its opening to its end.
#[derive(Debug)]
pub(super) struct Link {
    opened: Instant,
    certificate: NodeName,
    outboxes: LinkOutboxes,
    /// Set by hello.
    member: Option<Member>,
}

/// Who holds a channel.
///
/// # Invariants
/// There is a member, a telling, or somebody who waits for one. A telling is here until it is acknowledged or its link
/// ends.
#[derive(Debug, Default)]
struct Holders {
    members: Vec<Member>,
    /// Lone holders that were told that another joins, and have not acknowledged it.
    tellings: Vec<(u64, Member)>,
    /// Joins that are answered when all tellings are acknowledged.
    waiting: VecDeque<(Member, u32)>,
}

impl Router {
    /// A relay without edges, at `now`, when the wall clock shows `unix`. `hash_seed` keeps clients from choosing
    /// channels that collide in our tables.
    pub fn new(hash_seed: u64, now: Instant, unix: Duration) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(hash_seed);
        Self {
            clock: (now, unix),
            now,
            links: Map::with_hasher(hasher.clone()),
            members: Members::new(hasher.clone()),
            leasing: Leasing::new(now),
            is_everybody_linked: true,
            holders_by_channel: Map::with_hasher(hasher.clone()),
            channel_by_telling: Map::with_hasher(hasher.clone()),
            last_telling: 0,
            searches: Map::with_hasher(hasher),
            journal: Journal::new(unix),
            actions: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Takes one event. Never fails and never waits.
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.now = now;
        match event {
            Event::Clock { unix } => {
                self.clock = (now, unix);
                self.journal.look(unix, self.is_complete(now), self.leasing.is_away());
            }
            Event::LinkOpened { link, certificate, outboxes } => {
                self.links.insert(link, Link { opened: now, certificate, outboxes, member: None });
            }
            Event::LinkClosed { link } => self.link_closed(link, Some("its link ended")),
            Event::Control { link, frame } => self.control(now, link, frame),
            Event::Lane { link, lane, frames } => self.lane_frames(now, link, lane, &frames),
            Event::Ping { link, ping } => self.ping(now, link, ping),
            Event::Granted { edge, score, result } => self.granted(&edge, score, result),
            Event::Beaten { beat, result } => self.beaten(now, &beat, result),
            Event::LeaseEnded { edge, result } => self.lease_ended(edge, result),
            Event::RoutesRemoved { edge, result } => self.routes_removed(&edge, result),
            Event::WhereIs { query, user } => self.search(now, query, &user),
            Event::Froze => self.froze(now),
            Event::Stop => self.stop(),
        }
    }

    /// What must be done now, until there is nothing more.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let hello =
            self.links.values().filter(|link| link.member.is_none()).map(|link| link.opened + LOST_AFTER);
        let searches = self.next_search_due();
        hello.chain(self.members.next_due()).chain(self.leasing.next_due()).chain(searches).min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let is_mute = |link: &Link| link.member.is_none() && link.opened + LOST_AFTER <= now;
        let mut mute: Vec<LinkKey> =
            self.links.iter().filter(|(_, link)| is_mute(link)).map(|(&key, _)| key).collect();
        mute.sort_unstable();
        for link in mute {
            self.close(link, CloseCode::Silent, "no hello for 3.3 s".to_owned());
        }
        for member in self.members.silent(now) {
            let link = self.members.get(member).map(|linked| linked.link);
            if let Some(link) = link {
                self.close(link, CloseCode::Silent, "no heartbeat for 3.3 s".to_owned());
            }
        }
        for edge in self.members.take_overdue(now) {
            self.end(&edge);
        }
        self.reckon();
        self.end_searches(now);
        self.beat(now);
    }

    /// What was counted, and the levels of this moment.
    pub fn tally(&mut self, now: Instant) -> &Tally {
        self.tally.edges = self.members.len() as u64;
        self.tally.channels = self.holders_by_channel.len() as u64;
        self.tally.is_complete = self.is_complete(now);
        self.tally.leases = self.leasing.known().len() as u64;
        self.tally.lost = self.members.lost_len() as u64;
        &self.tally
    }

    fn control(&mut self, now: Instant, link: LinkKey, frame: ToRelay) {
        let Some(known) = self.links.get(&link) else { return };
        let Some(member) = known.member else {
            return match frame {
                ToRelay::Hello { name, epoch: had, capacity, version } => {
                    self.hello(now, link, Hello { name, had, capacity, version });
                }
                _ => self.close(link, CloseCode::BadFrame, "the first frame is not hello".to_owned()),
            };
        };
        match frame {
            ToRelay::Hello { .. } => self.close(link, CloseCode::BadFrame, "a second hello".to_owned()),
            ToRelay::Join { channel, number } => self.join(member, &channel, number),
            ToRelay::Leave { channel } => {
                self.tally.leaves += 1;
                self.leave(member, &channel);
            }
            ToRelay::Synced => self.members.synced(member),
            ToRelay::Told { telling } => self.acknowledged(member, telling),
            ToRelay::Unleased { epoch } => self.unleased(member, epoch),
            ToRelay::Goodbye => self.goodbye(link, member),
            ToRelay::Status(status) => self.does(now, member, status),
            ToRelay::Here { query, total, clients } => self.here(now, member, query, total, clients),
        }
    }

    fn does(&mut self, now: Instant, member: Member, status: Status) {
        self.members.does(now, member, status);
        if !status.carries {
            let carry = self.members.others_carry(now, member);
            self.say(member, &ToEdge::Others { carry });
        }
    }

    fn hello(&mut self, now: Instant, link: LinkKey, hello: Hello) {
        let Some(known) = self.links.get(&link) else { return };
        let name = hello.name.clone();
        if known.certificate != name {
            let reason = format!("hello says {name}, its certificate says {}", known.certificate);
            return self.close(link, CloseCode::WrongName, reason);
        }
        if hello.had.is_some_and(|had| had.0 > EPOCH_GIVEN_MAX) {
            let reason = "hello says an epoch that nobody was ever given".to_owned();
            return self.close(link, CloseCode::BadFrame, reason);
        }
        let outboxes = known.outboxes.clone();
        if hello.had.is_some_and(|had| self.is_superseded(&name, had)) {
            let reason = "a newer edge of this name has come".to_owned();
            return self.close(link, CloseCode::Superseded, reason);
        }
        if let Some(older) = self.members.named(&name) {
            self.end_older(older, hello.had);
        }
        let may_keep = hello.had.is_some_and(|epoch| {
            let had = EdgeId { name: name.clone(), epoch };
            self.leasing.may_keep(&had)
        });
        let unix = self.unix(now);
        let is_back = hello.had.is_some();
        let Admission { member, edge, lease } =
            self.members.admit(now, unix, link, hello, may_keep, outboxes);
        if let Some(known) = self.links.get_mut(&link) {
            known.member = Some(member);
        }
        self.tally.admitted += 1;
        let kind = if is_back { EntryKind::Back } else { EntryKind::Linked };
        self.enter(kind, Some(&edge.name), format!("epoch {}", edge.epoch));
        let welcome = ToEdge::Welcome { epoch: edge.epoch, member };
        self.actions.push_back(Action::Admit { link, edge: edge.clone() });
        self.say(member, &welcome);
        match lease {
            LeaseState::Failed => self.ask_for_lease(now, member),
            LeaseState::Kept => self.leasing.hurry(now),
            LeaseState::Asked | LeaseState::Written => {}
        }
        self.end_former_lives(&edge);
        self.reckon();
    }

    /// Whether a later process of this name is heard than the one that says it had `had`. A later lease alone is no
    /// proof: it may have been given to this one, which never heard of it.
    fn is_superseded(&self, name: &NodeName, had: Epoch) -> bool {
        let newest = self.members.newest(name).max(self.leasing.newest_elsewhere(name));
        !self.members.is_life(name, had) && newest.is_some_and(|newest| newest > had)
    }

    /// Ends the link that an edge of this name already has: its own old one, or that of an older process.
    fn end_older(&mut self, older: Member, had: Option<Epoch>) {
        let Some(linked) = self.members.get(older) else { return };
        let (link, name) = (linked.link, &linked.life.edge.name);
        let (code, reason) = if had.is_some_and(|had| self.members.is_life(name, had)) {
            (CloseCode::Replaced, "this edge has a newer link")
        } else {
            (CloseCode::Superseded, "a newer edge of this name has come")
        };
        self.close(link, code, reason.to_owned());
    }

    /// Whoever has come is the only life of its name.
    fn end_former_lives(&mut self, edge: &EdgeId) {
        let former: Vec<EdgeId> =
            self.leasing.of_name(&edge.name).filter(|other| other.epoch < edge.epoch).cloned().collect();
        for other in former {
            self.end(&other);
        }
    }

    fn goodbye(&mut self, link: LinkKey, member: Member) {
        self.links.remove(&link);
        if let Some(linked) = self.members.remove(member) {
            self.forget(member);
            self.enter(EntryKind::Left, Some(&linked.life.edge.name), "it said goodbye");
            self.actions.push_back(Action::Close {
                link,
                code: CloseCode::Goodbye,
                reason: "goodbye".to_owned(),
            });
            self.end(&linked.life.edge);
            self.reckon();
        }
    }

    /// `why`: where that is worth an entry in the journal.
    fn link_closed(&mut self, link: LinkKey, why: Option<&'static str>) {
        let Some(known) = self.links.remove(&link) else { return };
        if let Some(member) = known.member {
            if let Some(why) = why {
                self.enter(EntryKind::Lost, Some(&known.certificate), why);
            }
            let since = self.unix(self.now);
            self.members.lose(member, since);
            self.forget(member);
            self.reckon();
        }
    }

    /// Ends a link for a reason of ours; its edge is lost unless it comes back.
    pub(super) fn close(&mut self, link: LinkKey, code: CloseCode, reason: String) {
        self.tally.closed += 1;
        self.enter_close(link, code, &reason);
        self.actions.push_back(Action::Close { link, code, reason });
        self.link_closed(link, None);
    }

    fn enter_close(&mut self, link: LinkKey, code: CloseCode, reason: &str) {
        let Some(known) = self.links.get(&link) else { return };
        let kind = match code {
            // All links at once, or one that the next entry tells of.
            CloseCode::Froze | CloseCode::Replaced => return,
            CloseCode::Superseded => EntryKind::Superseded,
            CloseCode::Goodbye
            | CloseCode::BadFrame
            | CloseCode::WrongName
            | CloseCode::Silent
            | CloseCode::Overflow => match known.member {
                Some(_) => EntryKind::Lost,
                None => EntryKind::Refused,
            },
        };
        let certificate = known.certificate.clone();
        self.enter(kind, Some(&certificate), reason.to_owned());
    }

    /// Notes in the journal what has just happened.
    pub(super) fn enter(
        &mut self,
        kind: EntryKind,
        edge: Option<&NodeName>,
        text: impl Into<Cow<'static, str>>,
    ) {
        let unix = self.unix(self.now);
        self.journal.enter(unix, kind, edge, text);
    }

    /// Removes all that `member` held, and tells who may wait for its answers.
    fn forget(&mut self, member: Member) {
        self.leave_searches(member);
        let channels: Vec<Channel> = self
            .holders_by_channel
            .iter()
            .filter(|(_, holders)| holders.involves(member))
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in channels {
            if let Some(holders) = self.holders_by_channel.get_mut(&channel) {
                holders.waiting.retain(|&(waiting, _)| waiting != member);
                for (telling, _) in holders.tellings.extract_if(.., |(_, told)| *told == member) {
                    self.channel_by_telling.remove(&telling);
                }
            }
            self.leave(member, &channel);
        }
        let others: Vec<Member> = self.members.iter().map(|(other, _)| other).collect();
        for other in others {
            self.say(other, &ToEdge::Gone { member });
        }
    }

    /// Who holds `channel`.
    pub(super) fn holders(&self, channel: &Channel) -> &[Member] {
        self.holders_by_channel.get(channel).map_or(&[][..], |holders| &holders.members)
    }

    fn join(&mut self, member: Member, channel: &Channel, number: u32) {
        self.tally.joins += 1;
        let holders = self.holders_by_channel.entry_ref(channel).or_default();
        let newcomer = !holders.members.contains(&member);
        let lone = match holders.members.as_slice() {
            [lone] if newcomer => Some(*lone),
            _ => None,
        };
        if newcomer {
            holders.members.push(member);
            self.members.holds(member, 1);
        }
        holders.waiting.push_back((member, number));
        if let Some(lone) = lone {
            self.last_telling += 1;
            holders.tellings.push((self.last_telling, lone));
            self.channel_by_telling.insert(self.last_telling, channel.clone());
            let telling =
                ToEdge::Elsewhere { channel: channel.clone(), elsewhere: true, telling: self.last_telling };
            self.say(lone, &telling);
        }
        self.answer_joins(channel);
    }

    fn leave(&mut self, member: Member, channel: &Channel) {
        let Some(holders) = self.holders_by_channel.get_mut(channel) else { return };
        let before = holders.members.len();
        holders.members.retain(|&holder| holder != member);
        if holders.members.len() < before {
            self.members.holds(member, -1);
        }
        let last = match holders.members.as_slice() {
            [last] if before == 2 => Some(*last),
            _ => None,
        };
        if let Some(last) = last {
            self.say(last, &ToEdge::Elsewhere { channel: channel.clone(), elsewhere: false, telling: 0 });
        }
        self.answer_joins(channel);
    }

    fn acknowledged(&mut self, member: Member, telling: u64) {
        let Some(channel) = self.channel_by_telling.get(&telling).cloned() else { return };
        let Some(holders) = self.holders_by_channel.get_mut(&channel) else { return };
        let Some(at) = holders.tellings.iter().position(|&told| told == (telling, member)) else { return };
        holders.tellings.swap_remove(at);
        self.channel_by_telling.remove(&telling);
        self.answer_joins(&channel);
    }

    /// Answers the joins of `channel` if whoever must know of them knows; forgets the channel if nobody is left.
    fn answer_joins(&mut self, channel: &Channel) {
        // Looks anew before each answer: one that cannot be queued ends a link, and with it a holder.
        while let Some(holders) = self.holders_by_channel.get_mut(channel)
            && holders.tellings.is_empty()
        {
            let Some((member, number)) = holders.waiting.pop_front() else {
                if holders.members.is_empty() {
                    self.holders_by_channel.remove(channel);
                }
                return;
            };
            let elsewhere = holders.members.iter().any(|&holder| holder != member);
            self.say(member, &ToEdge::Joined { channel: channel.clone(), number, elsewhere });
        }
    }

    /// Queues a control frame. The control stream carries state: where it is full, the link must begin anew.
    pub(super) fn say(&mut self, member: Member, frame: &ToEdge) {
        let Some(linked) = self.members.get(member) else { return };
        if linked.outboxes.control.push(frame.encode()).is_err() {
            let link = linked.link;
            self.close(link, CloseCode::Overflow, "the control stream's queue is full".to_owned());
        }
    }

    fn lane_frames(&mut self, now: Instant, link: LinkKey, lane: Lane, frames: &[Bytes]) {
        for bytes in frames {
            let Some(member) = self.links.get(&link).and_then(|known| known.member) else { return };
            let done = match LaneFrame::decode(bytes) {
                Ok(frame) => self.lane_frame(now, member, lane, &frame, bytes),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = done {
                return self.close(link, CloseCode::BadFrame, format!("lane {}: {reason}", lane.0));
            }
        }
    }

    fn lane_frame(
        &mut self,
        now: Instant,
        member: Member,
        lane: Lane,
        frame: &LaneFrame<'_>,
        bytes: &Bytes,
    ) -> Result<(), String> {
        match frame {
            LaneFrame::Publication(frame) if frame.source == member => {
                self.route(now, lane, frame, bytes);
                Ok(())
            }
            LaneFrame::Answer { source, holder, .. } if *holder == member => {
                self.pass_answer(*source, lane, bytes);
                Ok(())
            }
            LaneFrame::Canary { source, .. } if *source == member => {
                self.tally.canaries += 1;
                // A full lane lets it be missed, as it would be with any message.
                push(&self.members, member, lane, bytes.clone());
                Ok(())
            }
            LaneFrame::Publication(_) | LaneFrame::Answer { .. } | LaneFrame::Canary { .. } => {
                Err("it speaks for another edge".to_owned())
            }
            LaneFrame::Routed { .. } => Err("only relays route".to_owned()),
        }
    }

    fn route(&mut self, now: Instant, lane: Lane, frame: &PublicationFrame<'_>, bytes: &Bytes) {
        self.tally.publications += 1;
        let PublicationFrame { source, number, wants_receipt, channel, .. } = *frame;
        self.count_in(source, lane, number, bytes.len());
        let holders = self.holders_by_channel.get(channel).map_or(&[][..], |holders| &holders.members);
        if wants_receipt {
            // Before any answer can come: both go by the same lane.
            let holders: Vec<Member> = holders.iter().copied().filter(|&holder| holder != source).collect();
            let routed = LaneFrame::Routed { source, number, holders, complete: self.is_complete(now) };
            if !push(&self.members, source, lane, routed.encode()) {
                self.tally.answers_lost += 1;
            }
        }
        let mut copies = 0;
        for &holder in holders.iter().filter(|&&holder| holder != source) {
            copies += 1;
            if forward(&mut self.members, holder, lane, bytes.clone()) {
                self.tally.forwarded += 1;
                continue;
            }
            self.tally.refused += 1;
            if wants_receipt {
                let answer = LaneFrame::Answer { source, number, holder, answer: Answer::Unknown };
                if !push(&self.members, source, lane, answer.encode()) {
                    self.tally.answers_lost += 1;
                }
            }
        }
        if copies == 0 {
            self.tally.unheld += 1;
        }
    }

    fn count_in(&mut self, source: Member, lane: Lane, number: u64, bytes: usize) {
        let Some(linked) = self.members.get_mut(source) else { return };
        linked.traffic.publications_in += 1;
        linked.traffic.bytes_in += bytes as u64;
        let last = &mut linked.lane_numbers[lane.index()];
        if *last != 0 {
            let missing = number.saturating_sub(*last).saturating_sub(1);
            self.tally.gaps = self.tally.gaps.saturating_add(missing);
        }
        *last = number.max(*last);
    }

    fn pass_answer(&mut self, source: Member, lane: Lane, bytes: &Bytes) {
        if push(&self.members, source, lane, bytes.clone()) {
            self.tally.answers += 1;
        } else {
            self.tally.answers_lost += 1;
        }
    }

    fn ping(&mut self, now: Instant, link: LinkKey, ping: [u8; HEARTBEAT_BYTES]) {
        let Some(known) = self.links.get(&link) else { return };
        self.tally.heartbeats += 1;
        // A full queue means that nothing gets out; the missing echo will tell.
        let _ = known.outboxes.heartbeat.push(Bytes::copy_from_slice(&ping));
        if let Some(member) = known.member {
            self.members.heard(now, member);
        }
    }

    fn stop(&mut self) {
        let mut links: Vec<LinkKey> = self.links.keys().copied().collect();
        links.sort_unstable();
        for link in links {
            self.actions.push_back(Action::Close {
                link,
                code: CloseCode::Goodbye,
                reason: "the relay stops".to_owned(),
            });
        }
    }
}

impl Holders {
    fn involves(&self, member: Member) -> bool {
        self.members.contains(&member)
            || self.waiting.iter().any(|&(waiting, _)| waiting == member)
            || self.tellings.iter().any(|&(_, told)| told == member)
    }
}

/// Queues a copy of a publication, and counts it; whether it was.
fn forward(members: &mut Members, to: Member, lane: Lane, frame: Bytes) -> bool {
    let Some(linked) = members.get_mut(to) else { return false };
    let bytes = frame.len() as u64;
    let is_queued = linked.outboxes.lanes[lane.index()].push(frame).is_ok();
    linked.traffic.copies_out += u64::from(is_queued);
    linked.traffic.bytes_out += if is_queued { bytes } else { 0 };
    is_queued
}

/// Queues a lane frame; whether it was.
fn push(members: &Members, to: Member, lane: Lane, frame: Bytes) -> bool {
    members.get(to).is_some_and(|linked| linked.outboxes.lanes[lane.index()].push(frame).is_ok())
}
