//! What became of directed messages that went to the relay.
//!
//! ```text
//! sent ─▶ routed to n holders ─▶ all have answered ─▶ somebody took it ─▶ delivered
//!            │                        │             ├─▶ one cannot say, or the relay does not know all ─▶ unknown
//!            │ n = 0                  │             └─▶ the store is asked ─▶ nobody else, or away ─▶ offline, else unknown
//! 4 s pass, the link ends, or this edge froze: delivered if somebody took it, else unknown
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::id::{Channel, EdgeId};
use proto::link::{Answer, Member};
use store::StoreError;

use super::{ClientKey, Map, Ticket, Verdict};

/// When a verdict is due at the latest; clients give up after 5 s.
pub(super) const VERDICT_DUE: Duration = Duration::from_secs(4);

/// Messages that may wait at once: what 8,000 a second leave behind in 4 s of silence. With their table, which is twice
/// there while it grows, 14 MB.
pub(super) const RECEIPTS_MAX: usize = 32_768;

/// Messages of one client that may wait at once: what 250 a second leave behind in 4 s of silence. Who sends more must not
/// take the others' share, and sixteen who do have half of all.
pub(super) const RECEIPTS_PER_CLIENT_MAX: u32 = 1_024;

/// Messages about which the store is asked at once; about one more nobody can tell. It answers within 1 ms, so that only
/// who floods somebody who is nowhere, or a store that hangs, meets with it. Each is a task of some 500 bytes.
pub(super) const LOOK_UPS_MAX: usize = 1_000;

/// So many deadlines of answered messages are kept behind one that waits, and as many more as there are messages that
/// wait; and room for so many, when nobody does.
const ANSWERED_KEPT: usize = 1_024;

/// See the file.
///
/// # Invariants
/// `looking_up` is how many of `pending` are in that stage.
#[derive(Debug)]
pub(super) struct Receipts {
    pending: Map<Ticket, Pending>,
    looking_up: usize,
    /// In the order of sending, which is the order of the deadlines; answered ones are passed over.
    deadlines: VecDeque<(Instant, Ticket)>,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) client: ClientKey,
    pub(super) reply_id: u32,
    pub(super) channel: Channel,
    /// How many outboxes have it, here and elsewhere.
    pub(super) took: u32,
    /// When its sender sent it.
    pub(super) sent: Instant,
    stage: Stage,
    /// Whether somebody may have it, or not.
    is_unsure: bool,
    not_here: Vec<EdgeId>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Sent,
    Routed { awaited: Vec<Member>, complete: bool },
    LookingUp,
}

/// How it goes on with a message.
#[derive(Debug)]
pub(super) enum Progress {
    /// More must be heard.
    Wait,
    /// The store must be asked about this channel.
    LookUp(Channel),
    /// It is over.
    Over(Pending, Verdict),
}

impl Pending {
    /// `took_here`: how many outboxes of this edge have it, `None` where nobody receives the channel.
    pub(super) fn new(
        sent: Instant,
        client: ClientKey,
        reply_id: u32,
        channel: Channel,
        took_here: Option<u32>,
    ) -> Self {
        Self {
            sent,
            client,
            reply_id,
            channel,
            took: took_here.unwrap_or(0),
            stage: Stage::Sent,
            // Somebody is here, but so slow that he was just let go: not offline, whatever others say.
            is_unsure: took_here == Some(0),
            not_here: Vec::new(),
        }
    }

    /// The verdict when nothing more can be heard.
    fn final_verdict(&self) -> Verdict {
        if self.took > 0 { Verdict::Delivered(self.took) } else { Verdict::Unknown }
    }
}

impl Receipts {
    pub(super) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self { pending: Map::with_hasher(hasher), looking_up: 0, deadlines: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < RECEIPTS_MAX
    }

    pub(super) fn insert(&mut self, ticket: Ticket, pending: Pending) {
        while self.deadlines.front().is_some_and(|(_, oldest)| !self.pending.contains_key(oldest)) {
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > 2 * self.pending.len() + ANSWERED_KEPT {
            self.deadlines.retain(|(_, ticket)| self.pending.contains_key(ticket));
        }
        self.deadlines.push_back((pending.sent + VERDICT_DUE, ticket));
        self.pending.insert(ticket, pending);
    }

    pub(super) fn routed(&mut self, ticket: Ticket, holders: Vec<Member>, complete: bool) -> Progress {
        let Some(pending) = self.pending.get_mut(&ticket) else { return Progress::Wait };
        if pending.stage == Stage::Sent {
            pending.stage = Stage::Routed { awaited: holders, complete };
        }
        self.advance(ticket)
    }

    pub(super) fn answered(&mut self, ticket: Ticket, holder: Member, answer: Answer) -> Progress {
        let Some(pending) = self.pending.get_mut(&ticket) else { return Progress::Wait };
        let Stage::Routed { awaited, .. } = &mut pending.stage else { return Progress::Wait };
        let Some(position) = awaited.iter().position(|&member| member == holder) else {
            return Progress::Wait;
        };
        awaited.swap_remove(position);
        match answer {
            Answer::Took(n) => pending.took = pending.took.saturating_add(n),
            Answer::NotHere(edge) => pending.not_here.push(edge),
            Answer::Unknown => pending.is_unsure = true,
        }
        self.advance(ticket)
    }

    /// The messages that wait for an answer of `member`, which will not come.
    pub(super) fn awaiting(&self, member: Member) -> Vec<Ticket> {
        let awaits = |pending: &Pending| matches!(&pending.stage, Stage::Routed { awaited, .. } if awaited.contains(&member));
        self.pending.iter().filter(|(_, pending)| awaits(pending)).map(|(&ticket, _)| ticket).collect()
    }

    pub(super) fn looked_up(
        &mut self,
        ticket: Ticket,
        holders: Result<Vec<EdgeId>, StoreError>,
        this_edge: Option<&EdgeId>,
    ) -> Option<(Pending, Looked)> {
        self.pending.get(&ticket).filter(|pending| pending.stage == Stage::LookingUp)?;
        let pending = self.remove(ticket)?;
        let looked = match holders {
            Err(StoreError::Away) => Looked::Away,
            Err(StoreError::Unanswered) => Looked::Unanswered,
            Ok(holders) => {
                let is_known = |edge: &EdgeId| Some(edge) == this_edge || pending.not_here.contains(edge);
                if holders.iter().all(is_known) { Looked::Nobody } else { Looked::Somebody }
            }
        };
        Some((pending, looked))
    }

    /// A message whose time is up.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(Pending, Verdict)> {
        while let Some(&(due, ticket)) = self.deadlines.front() {
            if due > now {
                return None;
            }
            self.deadlines.pop_front();
            if let Some(pending) = self.remove(ticket) {
                let verdict = pending.final_verdict();
                return Some((pending, verdict));
            }
        }
        None
    }

    /// All messages that only the link could have told about; those that ask the store still may.
    pub(super) fn link_ended(&mut self) -> Vec<(Pending, Verdict)> {
        self.end_those(|pending| pending.stage != Stage::LookingUp)
    }

    /// All messages: what the relay said of them is too old to be believed.
    pub(super) fn froze(&mut self) -> Vec<(Pending, Verdict)> {
        self.end_those(|_| true)
    }

    /// In the order of their tickets, so that each lane's senders are answered in order.
    fn end_those(&mut self, is_over: impl Fn(&Pending) -> bool) -> Vec<(Pending, Verdict)> {
        let mut ended: Vec<_> = self.pending.extract_if(|_, pending| is_over(pending)).collect();
        self.looking_up -= ended.iter().filter(|(_, pending)| pending.stage == Stage::LookingUp).count();
        self.give_back();
        ended.sort_unstable_by_key(|&(ticket, _)| ticket);
        let with_verdict = |(_, pending): (Ticket, Pending)| {
            let verdict = pending.final_verdict();
            (pending, verdict)
        };
        ended.into_iter().map(with_verdict).collect()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        self.looking_up -= usize::from(pending.stage == Stage::LookingUp);
        self.give_back();
        Some(pending)
    }

    /// When nobody waits any more, what a flood made room for is given back.
    fn give_back(&mut self) {
        if self.pending.is_empty()
            && self.pending.capacity().max(self.deadlines.capacity()) > ANSWERED_KEPT * 2
        {
            self.pending.shrink_to(ANSWERED_KEPT);
            self.deadlines = VecDeque::new();
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(due, _)| due)
    }

    fn advance(&mut self, ticket: Ticket) -> Progress {
        let Some(pending) = self.pending.get_mut(&ticket) else { return Progress::Wait };
        let complete = match &pending.stage {
            Stage::Routed { awaited, complete } if awaited.is_empty() => *complete,
            Stage::Routed { .. } | Stage::Sent | Stage::LookingUp => return Progress::Wait,
        };
        if pending.took == 0 && complete && !pending.is_unsure && self.looking_up < LOOK_UPS_MAX {
            self.looking_up += 1;
            pending.stage = Stage::LookingUp;
            return Progress::LookUp(pending.channel.clone());
        }
        let pending = self.remove(ticket).expect("it was just there");
        let verdict = pending.final_verdict();
        Progress::Over(pending, verdict)
    }
}

/// What the store said of a message that nobody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    Nobody,
    /// Two memories differ.
    Somebody,
    /// It cannot be asked.
    Away,
    /// It was asked, and may know better.
    Unanswered,
}

#[cfg(test)]
mod tests;
