//! The link as the Hub sees it: who greets whom, who is told what, and whether it is still alive.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::client::Publication;
use proto::id::{Channel, EdgeId, Epoch};
use proto::limits::PING_EVERY;
use proto::link::{
    Answer, CloseCode, HEARTBEAT_BYTES, Lane, LaneFrame, Member, PublicationFrame, ToEdge, ToRelay,
};

use super::canary::{Canaries, Carries};
use super::hub::Hub;
use super::receipts::Progress;
use super::{Action, Generation, LinkOutboxes, Ticket};

/// A ping without its echo is followed by the next one so soon: a relay that was restarted answers it with a reset.
const PING_AGAIN: Duration = Duration::from_millis(250);

/// A link whose echo is missing for so long is dead, before its relay counts this edge as lost (3.3 s).
const ECHO_MISSING_MAX: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: Generation,
    outboxes: LinkOutboxes,
    opened: Instant,
    last_echo: Instant,
    last_ping: Instant,
    next_ping: Instant,
    /// When the relay is to be told how this edge does; once it has greeted.
    pub(super) next_status: Option<Instant>,
    last_join: u32,
    /// This edge's number on the lanes, since the relay has greeted.
    member: Option<Member>,
    /// The last members that went, since `Gone` and `Routed` travel on different streams and may overtake each other.
    gone: VecDeque<Member>,
    /// Since the relay has greeted.
    canaries: Option<Canaries>,
}

/// So many members cannot go while one `Routed` is under way.
const GONE_KEPT: usize = 256;

impl Link {
    fn new(now: Instant, generation: Generation, outboxes: LinkOutboxes) -> Self {
        Self {
            generation,
            outboxes,
            opened: now,
            last_echo: now,
            last_ping: now,
            next_ping: now,
            next_status: None,
            last_join: 0,
            member: None,
            gone: VecDeque::new(),
            canaries: None,
        }
    }

    pub(super) fn next_due(&self) -> Instant {
        let welcome = self.member.is_none().then_some(self.opened + ECHO_MISSING_MAX);
        let canary = self.canaries.as_ref().map(Canaries::next_due);
        welcome
            .into_iter()
            .chain(self.next_status)
            .chain(canary)
            .chain([self.next_ping, self.last_echo + ECHO_MISSING_MAX])
            .min()
            .unwrap_or(self.next_ping)
    }
}

impl Hub {
    /// The link, once the relay has greeted: until then there is none to send on.
    pub(super) fn live_link(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.member.is_some())
    }

    /// Whether the relay has greeted this edge on a living link.
    pub fn is_linked(&self) -> bool {
        self.live_link().is_some()
    }

    /// Whether the link carries what it should, as far as canaries show.
    pub fn carries(&self) -> Carries {
        let canaries = self.link.as_ref().and_then(|link| link.canaries.as_ref());
        canaries.map_or(Carries::Unknown, Canaries::carries)
    }

    pub(super) fn link_opened(&mut self, now: Instant, generation: Generation, outboxes: LinkOutboxes) {
        self.end_link();
        if self.is_stopping {
            let (code, reason) = (CloseCode::Goodbye, "the edge stops".to_owned());
            return self.actions.push_back(Action::CloseLink { generation, code, reason });
        }
        let hello = ToRelay::Hello {
            name: self.config.name.clone(),
            epoch: self.routes.edge().map(|edge| edge.epoch),
            capacity: self.config.capacity,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // A link may die before anybody here hears of it. Nobody writes its queues then, and its end is on the way.
        if outboxes.control.push(hello.encode()).is_ok() {
            self.link = Some(Link::new(now, generation, outboxes));
            self.beat(now);
        }
    }

    pub(super) fn link_closed(&mut self, generation: Generation) {
        if self.link.as_ref().is_some_and(|link| link.generation == generation) {
            self.end_link();
        }
    }

    /// Whether `generation` is the link that counts.
    pub(super) fn is_current(&self, generation: Generation) -> bool {
        self.link.as_ref().is_some_and(|link| link.generation == generation)
    }

    fn end_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.tally.canaries_lost += link.canaries.as_ref().map_or(0, Canaries::under_way);
        self.tally.rtt_nanos = 0;
        self.routes.unleased();
        self.forget_joins();
        for (pending, verdict) in self.receipts.link_ended() {
            self.give_verdict(&pending, verdict);
        }
    }

    /// Ends the link for a reason of ours and tells the shell.
    pub(super) fn drop_link(&mut self, code: CloseCode, reason: String) {
        if let Some(link) = &self.link {
            self.actions.push_back(Action::CloseLink { generation: link.generation, code, reason });
            self.end_link();
        }
    }

    pub(super) fn control(&mut self, now: Instant, frame: ToEdge) {
        match frame {
            ToEdge::Welcome { epoch, member } => self.welcomed(now, epoch, member),
            ToEdge::Leased { epoch } => {
                if self.is_linked() && !self.is_stopping {
                    self.routes.leased(now, &self.edge_id(epoch));
                }
            }
            ToEdge::Ended { next } => self.lease_ended(next),
            ToEdge::Joined { channel, number, elsewhere } => self.joined(&channel, number, elsewhere),
            ToEdge::Elsewhere { channel, elsewhere, telling } => {
                self.told_elsewhere(&channel, elsewhere);
                if telling != 0 {
                    self.say(&ToRelay::Told { telling });
                }
            }
            ToEdge::Others { carry } => {
                if let Some(canaries) = self.link.as_mut().and_then(|link| link.canaries.as_mut()) {
                    canaries.told_of_others(carry);
                }
            }
            ToEdge::WhereIs { query, channel } => self.where_is(query, &channel),
            ToEdge::Gone { member } => {
                if let Some(link) = &mut self.link {
                    link.gone.truncate(GONE_KEPT - 1);
                    link.gone.push_front(member);
                }
                for ticket in self.receipts.awaiting(member) {
                    let progress = self.receipts.answered(ticket, member, Answer::Unknown);
                    self.progress(ticket, progress);
                }
            }
        }
    }

    fn welcomed(&mut self, now: Instant, epoch: Epoch, member: Member) {
        let Some(link) = &mut self.link else { return };
        link.member = Some(member);
        link.next_status = Some(now);
        link.canaries = Some(Canaries::new(now));
        self.routes.live_as(self.edge_id(epoch));
        self.tally.links += 1;
        for channel in self.held_channels() {
            self.join(&channel);
        }
        self.say(&ToRelay::Synced);
    }

    /// The lease is gone, the link and its joins are not: nobody here or elsewhere notices but the store.
    fn lease_ended(&mut self, next: Epoch) {
        if !self.is_linked() {
            return;
        }
        self.routes.unleased();
        self.routes.live_as(self.edge_id(next));
        self.settle_waiting();
    }

    fn edge_id(&self, epoch: Epoch) -> EdgeId {
        EdgeId { name: self.config.name.clone(), epoch }
    }

    /// Tells the relay that this edge holds `channel` from now on, if there is a link.
    pub(super) fn join(&mut self, channel: &Channel) {
        let Some(link) = self.link.as_mut().filter(|link| link.member.is_some()) else { return };
        link.last_join += 1;
        let number = link.last_join;
        self.join_sent(channel, number);
        self.say(&ToRelay::Join { channel: channel.clone(), number });
    }

    /// Queues a control frame. The control stream carries state: where it is full, the link must begin anew.
    pub(super) fn say(&mut self, frame: &ToRelay) {
        let Some(link) = &self.link else { return };
        if link.outboxes.control.push(frame.encode()).is_err() {
            self.drop_link(CloseCode::Overflow, "the control stream's queue is full".to_owned());
        }
    }

    /// Queues a publication in its lane; its ticket, or `None` where the link is away or the lane is full.
    pub(super) fn send_out(
        &mut self,
        channel: &str,
        publication: Publication<'_>,
        wants_receipt: bool,
    ) -> Option<Ticket> {
        let link = self.link.as_ref()?;
        let source = link.member?;
        let lane = proto::link::lane_of(channel);
        let number = self.lane_numbers[lane.index()] + 1;
        let Publication { data, info } = publication;
        let frame = PublicationFrame { source, number, wants_receipt, channel, info, data };
        link.outboxes.lanes[lane.index()].push(frame.encode()).ok()?;
        self.lane_numbers[lane.index()] = number;
        self.tally.frames_out += 1;
        Some(Ticket { lane, number })
    }

    pub(super) fn lane_frames(&mut self, lane: Lane, frames: &[Bytes]) {
        for bytes in frames {
            match LaneFrame::decode(bytes) {
                Ok(frame) => self.lane_frame(lane, frame),
                Err(error) => {
                    return self.drop_link(CloseCode::BadFrame, format!("lane {}: {error}", lane.0));
                }
            }
        }
    }

    fn lane_frame(&mut self, lane: Lane, frame: LaneFrame<'_>) {
        match frame {
            LaneFrame::Publication(frame) => self.publication_came(lane, frame),
            LaneFrame::Routed { number, holders, complete, .. } => {
                let ticket = Ticket { lane, number };
                let is_gone =
                    |member: &Member| self.link.as_ref().is_some_and(|link| link.gone.contains(member));
                let gone: Vec<Member> = holders.iter().copied().filter(is_gone).collect();
                let progress = self.receipts.routed(ticket, holders, complete);
                self.progress(ticket, progress);
                for member in gone {
                    let progress = self.receipts.answered(ticket, member, Answer::Unknown);
                    self.progress(ticket, progress);
                }
            }
            LaneFrame::Answer { number, holder, answer, .. } => {
                self.tally.answer(&answer);
                let ticket = Ticket { lane, number };
                let progress = self.receipts.answered(ticket, holder, answer);
                self.progress(ticket, progress);
            }
            LaneFrame::Canary { number, .. } => self.canary_came(number),
        }
    }

    fn canary_came(&mut self, number: u64) {
        let canaries = self.link.as_mut().and_then(|link| link.canaries.as_mut());
        if let Some(took) = canaries.and_then(|canaries| canaries.came(self.now, number)) {
            self.tally.canaries.record(took);
        }
    }

    fn canary_timeout(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let (Some(source), Some(canaries)) = (link.member, &mut link.canaries) else { return };
        self.tally.canaries_lost += canaries.lose(now);
        if let Some((lane, number)) = canaries.send(now) {
            let canary = LaneFrame::Canary { source, number };
            // A lane that stays full is as stuck as one that loses what it takes.
            let _ = link.outboxes.lanes[lane.index()].push(canary.encode());
        }
    }

    fn publication_came(&mut self, lane: Lane, frame: PublicationFrame<'_>) {
        self.tally.frames_in += 1;
        let publication = Publication { data: frame.data, info: frame.info };
        let took = self.deliver(frame.channel, publication);
        if !frame.wants_receipt {
            return;
        }
        let Some(link) = &self.link else { return };
        let (Some(holder), Some(edge)) = (link.member, self.routes.edge()) else { return };
        let answer = match took {
            None => Answer::NotHere(edge.clone()),
            // Its only readers have just been let go as too slow; they will be back.
            Some(0) => Answer::Unknown,
            Some(n) => Answer::Took(n),
        };
        let answer = LaneFrame::Answer { source: frame.source, number: frame.number, holder, answer };
        // A full lane makes this answer silence, which its source counts as unknown.
        let _ = link.outboxes.lanes[lane.index()].push(answer.encode());
    }

    fn progress(&mut self, ticket: Ticket, progress: Progress) {
        match progress {
            Progress::Wait => {}
            Progress::LookUp(channel) => self.actions.push_back(Action::LookUp { ticket, channel }),
            Progress::Over(pending, verdict) => self.give_verdict(&pending, verdict),
        }
    }

    pub(super) fn echo(&mut self, now: Instant, ping: [u8; HEARTBEAT_BYTES]) {
        let Some(link) = &mut self.link else { return };
        link.last_echo = now;
        link.next_ping = link.last_ping + PING_EVERY;
        let sent = self.started + Duration::from_nanos(u64::from_be_bytes(ping));
        let rtt = now.saturating_duration_since(sent).as_nanos();
        self.tally.rtt_nanos = u64::try_from(rtt).unwrap_or(u64::MAX).max(1);
    }

    pub(super) fn link_timeout(&mut self, now: Instant) {
        let Some(link) = &self.link else { return };
        if now >= link.last_echo + ECHO_MISSING_MAX {
            return self.drop_link(CloseCode::Silent, "the relay's echo is missing for 3 s".to_owned());
        }
        if link.member.is_none() && now >= link.opened + ECHO_MISSING_MAX {
            return self.drop_link(CloseCode::Silent, "the relay's welcome is missing for 3 s".to_owned());
        }
        if now >= link.next_ping {
            self.beat(now);
        }
        self.report_status(now);
        self.canary_timeout(now);
    }

    fn beat(&mut self, now: Instant) {
        let since_start = now.saturating_duration_since(self.started).as_nanos();
        let ping = u64::try_from(since_start).unwrap_or(u64::MAX).to_be_bytes();
        let Some(link) = &mut self.link else { return };
        link.last_ping = now;
        link.next_ping = now + PING_AGAIN;
        // A full queue means that nothing gets out; the missing echo will tell.
        let _ = link.outboxes.heartbeat.push(Bytes::copy_from_slice(&ping));
    }

    /// Says goodbye, so that the relay removes this edge's routes at once.
    pub(super) fn say_goodbye(&mut self) {
        self.say(&ToRelay::Goodbye);
    }
}
