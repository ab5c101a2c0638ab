//! The messages of a run: when each flow sends, what arrives, and the count of all of it.
//!
//! A core, for pairs and for fan-out, in a closed loop and in an open one. In the closed loop each flow has so many messages
//! under way and sends the next when one is everywhere (with receipts: is answered). In the open loop they go by the
//! clock, one flow after the other, and a latency counts from the time when its message was meant to go: a server that
//! is slow makes nobody wait with measuring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::crowd::{ClientIndex, Core, Outboxes};
use super::flow::{Arrival, Flow};
use super::latency::Latency;
use super::line::{self, Line, Outcome, Refusal};
use super::payload::{Message, Payload};
use super::schedule::{Phases, Schedule};
use super::socket::End;

/// How long a closed loop waits for a message before it goes on without it.
const STALL_MAX: Duration = Duration::from_secs(5);

/// How often it looks for that.
const STALL_CHECK: Duration = Duration::from_secs(1);

/// Bytes that may wait for a client that the server does not read from; more is not sent, and counted.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// Answers that may be missing of one flow; more is not sent, and counted.
const UNANSWERED_MAX: usize = 1 << 16;

/// What a run counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Deliveries that are to come, and those that came, once each.
    pub(super) expected: u64,
    pub(super) delivered: u64,
    /// Came while it was measured.
    pub(super) delivered_measured: u64,
    /// Was due, and not sent, because the server did not read or answer, or the connection had ended.
    pub(super) unsent: u64,
    /// Came to somebody else, or was never sent.
    pub(super) strays: u64,
    /// Flows of a closed loop that went on without what was under way.
    pub(super) stalls: u64,
    /// Receipts that said that nobody is there.
    pub(super) offline: u64,
    pub(super) refusals: BTreeMap<Refusal, u64>,
    /// Connections that ended, by reason.
    pub(super) ended: BTreeMap<String, u64>,
}

/// Closed loop or open loop.
#[derive(Debug)]
pub(super) enum Pace {
    /// So many messages of each flow under way.
    Window(usize),
    Rate(Schedule),
}

/// The traffic of one run.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) flows: Vec<Flow>,
    /// By client: the flow that it sends.
    flow_by_sender: Vec<Option<usize>>,
    has_ended: Vec<bool>,
    pace: Pace,
    pub(super) phases: Phases,
    has_begun: bool,
    next_stall_check: Instant,
    payload: Payload,
    /// Whether commands are sent, which are answered.
    is_answered: bool,
    /// In the closed loop, what makes room for the next message: with receipts the answer, otherwise the delivery.
    answers_make_room: bool,
    pub(super) counts: Counts,
    /// From the intended time to the receiver, and to the answer.
    pub(super) latency: Latency,
    pub(super) answer_latency: Latency,
    /// From the intended time until it was on its way.
    pub(super) lateness: Latency,
    sent_this_turn: Vec<Instant>,
    /// Deliveries and answers that are awaited.
    outstanding: usize,
    unanswered: usize,
}

/// How the flows are driven.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) pace: Pace,
    pub(super) phases: Phases,
    pub(super) payload: Payload,
    pub(super) is_answered: bool,
    pub(super) has_receipts: bool,
}

impl Traffic {
    /// Traffic of `flows` between `clients` clients, all of them in.
    pub(super) fn new(flows: Vec<Flow>, clients: usize, drive: Drive) -> Self {
        let Drive { pace, phases, payload, is_answered, has_receipts } = drive;
        let mut flow_by_sender = vec![None; clients];
        for (at, flow) in flows.iter().enumerate() {
            flow_by_sender[flow.sender.0] = Some(at);
        }
        Self {
            flows,
            flow_by_sender,
            has_ended: vec![false; clients],
            pace,
            phases,
            has_begun: false,
            next_stall_check: phases.start + STALL_CHECK,
            payload,
            is_answered,
            answers_make_room: has_receipts,
            counts: Counts::default(),
            latency: Latency::default(),
            answer_latency: Latency::default(),
            lateness: Latency::default(),
            sent_this_turn: Vec::new(),
            outstanding: 0,
            unanswered: 0,
        }
    }

    /// Sends what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, outboxes: &mut Outboxes) {
        match &mut self.pace {
            // Also when the time is over: what was due before goes out, however late we are.
            Pace::Rate(_) => self.send_scheduled(now, outboxes),
            Pace::Window(_) if !self.phases.is_sending(now) => {}
            Pace::Window(window) => {
                let window = *window;
                if !self.has_begun {
                    self.has_begun = true;
                    (0..self.flows.len()).for_each(|flow| self.fill(flow, window, now, outboxes));
                }
                if now >= self.next_stall_check {
                    self.next_stall_check = now + STALL_CHECK;
                    self.free_stalled(window, now, outboxes);
                }
            }
        }
    }

    /// When to call [`Traffic::handle_timeout`] again.
    pub(super) fn poll_timeout(&self, now: Instant) -> Instant {
        let next = match &self.pace {
            Pace::Rate(schedule) => schedule.next_due(),
            Pace::Window(_) => self.next_stall_check,
        };
        let change = self.phases.next_change(now);
        if self.phases.is_sending(now) { change.min(next) } else { change }
    }

    /// Whether all has been sent, and nothing is awaited any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_quiet = self.outstanding == 0 && self.unanswered == 0;
        !self.phases.is_sending(now) && (is_quiet || now >= self.phases.drained_until)
    }

    /// Whether nobody is left who could send or get anything.
    pub(super) fn is_deserted(&self) -> bool {
        self.has_ended.iter().all(|&has_ended| has_ended)
    }

    fn send_scheduled(&mut self, now: Instant, outboxes: &mut Outboxes) {
        while let Pace::Rate(schedule) = &mut self.pace
            && schedule.next_due() < self.phases.measured_until
            && let Some((number, intended)) = schedule.take(now)
        {
            let flow = (number % self.flows.len() as u64) as usize;
            self.send(flow, intended, outboxes);
        }
    }

    fn fill(&mut self, flow: usize, window: usize, now: Instant, outboxes: &mut Outboxes) {
        (0..window).for_each(|_| self.send(flow, now, outboxes));
    }

    fn send(&mut self, at: usize, intended: Instant, outboxes: &mut Outboxes) {
        let flow = &mut self.flows[at];
        if self.has_ended[flow.sender.0]
            || outboxes.bytes(flow.sender) > OUTBOX_BYTES_MAX
            || flow.unanswered() >= UNANSWERED_MAX
        {
            self.counts.unsent += 1;
            return;
        }
        let nanos = intended.duration_since(self.phases.start).as_nanos() as u64;
        flow.send(at, intended, nanos, &mut self.payload, outboxes);
        self.outstanding += flow.receivers.len();
        self.counts.expected += flow.receivers.len() as u64;
        self.unanswered += usize::from(self.is_answered);
        if self.phases.is_measured(intended) {
            self.sent_this_turn.push(intended);
        }
    }

    /// A message that does not come back would hold its place for ever.
    fn free_stalled(&mut self, window: usize, now: Instant, outboxes: &mut Outboxes) {
        for at in 0..self.flows.len() {
            let flow = &mut self.flows[at];
            let is_sending = !self.has_ended[flow.sender.0];
            if is_sending && now.duration_since(flow.last_progress) > STALL_MAX {
                self.outstanding -= flow.give_up();
                flow.last_progress = now;
                self.counts.stalls += 1;
                self.fill(at, window, now, outboxes);
            }
        }
    }

    /// There is room for one more message of the flow `at`.
    fn progress(&mut self, at: usize, now: Instant, outboxes: &mut Outboxes) {
        self.flows[at].last_progress = now;
        if matches!(self.pace, Pace::Window(_)) && self.phases.is_sending(now) {
            self.send(at, now, outboxes);
        }
    }

    fn arrived(&mut self, client: ClientIndex, now: Instant, message: Message, outboxes: &mut Outboxes) {
        let Message { flow: at, number, intended_nanos } = message;
        let arrival = self.flows.get_mut(at).map_or(Arrival::Stray, |flow| flow.arrived(client, number));
        match arrival {
            Arrival::Stray => self.counts.strays += 1,
            Arrival::Again => {}
            Arrival::New { was_awaited, is_everywhere } => {
                self.counts.delivered += 1;
                self.outstanding -= usize::from(was_awaited);
                let intended = self.phases.start + Duration::from_nanos(intended_nanos);
                if self.phases.is_measured(intended) {
                    self.latency.record(now.saturating_duration_since(intended));
                }
                if self.phases.is_measured(now) {
                    self.counts.delivered_measured += 1;
                }
                if is_everywhere && !self.answers_make_room {
                    self.progress(at, now, outboxes);
                }
            }
        }
    }

    fn answered(
        &mut self,
        client: ClientIndex,
        now: Instant,
        id: u32,
        outcome: Outcome,
        outboxes: &mut Outboxes,
    ) {
        let Some(at) = self.flow_by_sender[client.0] else { return };
        let Some((number, intended)) = self.flows[at].answered(id) else { return };
        self.unanswered -= 1;
        if self.phases.is_measured(intended) {
            self.answer_latency.record(now.saturating_duration_since(intended));
        }
        let mut makes_room = self.answers_make_room;
        match outcome {
            Outcome::Done => {}
            Outcome::Delivered(count) => self.counts.offline += u64::from(count == 0),
            Outcome::Refused(refusal) => {
                *self.counts.refusals.entry(refusal).or_default() += 1;
                self.outstanding -= self.flows[at].refused(number);
                makes_room = true;
            }
        }
        if makes_room {
            self.progress(at, now, outboxes);
        }
    }
}

impl Core for Traffic {
    fn opened(&mut self, _client: ClientIndex, _now: Instant, _outboxes: &mut Outboxes) {}

    fn heard(&mut self, client: ClientIndex, now: Instant, bytes: &[u8], outboxes: &mut Outboxes) {
        match line::read(bytes) {
            Line::Ping => outboxes.text(client, &[line::PONG]),
            Line::Answer { id, outcome } => self.answered(client, now, id, outcome, outboxes),
            Line::Push => {
                if let Some(message) = self.payload.find(bytes) {
                    self.arrived(client, now, message, outboxes);
                }
            }
        }
    }

    fn ended(&mut self, client: ClientIndex, _now: Instant, end: End) {
        self.has_ended[client.0] = true;
        *self.counts.ended.entry(end.to_string()).or_default() += 1;
    }

    fn flushed(&mut self, now: Instant) {
        for intended in self.sent_this_turn.drain(..) {
            self.lateness.record(now.saturating_duration_since(intended));
        }
    }
}

#[cfg(test)]
mod tests;
