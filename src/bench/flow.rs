//! One flow: who sends, who must get it, and the account of every message in between.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::arrivals::{Arrivals, Bits};
use super::crowd::{ClientIndex, Outboxes};
use super::line;
use super::payload::{Message, Payload};

/// Ids of commands have ten digits from the start, so that all commands are alike.
const FIRST_ID: u32 = 1_000_000_000;

/// Messages of one flow in one run: as many as there are ids.
const MESSAGES_MAX: u64 = (u32::MAX - FIRST_ID) as u64;

/// A sender, its receivers, and what became of its messages.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) sender: ClientIndex,
    /// Clients, by their indices.
    pub(super) receivers: Range<usize>,
    wire: Wire,
    pub(super) sent: u64,
    /// Messages of which the sender was told that they did not go, or that nobody knows.
    pub(super) refused: Bits,
    /// One for each receiver.
    pub(super) arrivals: Vec<Arrivals>,
    /// Of each message: how many receivers do not have it yet.
    missing: Tail<usize>,
    /// Of each message: when it was meant to go, while its command is not answered.
    unanswered: Tail<Option<Instant>>,
    pub(super) last_progress: Instant,
}

/// How a message stands in a frame.
#[derive(Debug)]
pub(super) enum Wire {
    /// By itself.
    Floor,
    /// In a command; these are its parts around id and payload.
    Command { head: Vec<u8>, tail: Vec<u8> },
}

impl Wire {
    /// `publish` to `channel`.
    pub(super) fn publish(channel: &str) -> Self {
        let (head, tail) = line::publish_parts(channel);
        Self::Command { head, tail }
    }

    /// The RPC `send` to `user`.
    pub(super) fn send(user: &str) -> Self {
        let (head, tail) = line::send_parts(user);
        Self::Command { head, tail }
    }
}

/// What an arrival was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first of its number at this receiver. Awaited, unless it was refused or given up; with it the message may be
    /// everywhere that it was to go.
    New {
        was_awaited: bool,
        is_everywhere: bool,
    },
    Again,
    /// It was not for this client, or was never sent.
    Stray,
}

impl Flow {
    pub(super) fn new(now: Instant, sender: ClientIndex, receivers: Range<usize>, wire: Wire) -> Self {
        let arrivals = receivers.clone().map(|_| Arrivals::default()).collect();
        Self {
            sender,
            receivers,
            wire,
            sent: 0,
            refused: Bits::default(),
            arrivals,
            missing: Tail::default(),
            unanswered: Tail::default(),
            last_progress: now,
        }
    }

    /// Queues the next message.
    ///
    /// # Panics
    /// After three thousand million of them, which no run's length allows.
    pub(super) fn send(
        &mut self,
        flow: usize,
        intended: Instant,
        intended_nanos: u64,
        payload: &mut Payload,
        outboxes: &mut Outboxes,
    ) {
        let number = self.sent;
        assert!(number < MESSAGES_MAX, "a run has at most so many messages a flow");
        self.sent += 1;
        self.missing.push(self.receivers.len());
        let payload = payload.write(Message { flow, number, intended_nanos });
        match &self.wire {
            Wire::Floor => outboxes.text(self.sender, &[payload]),
            Wire::Command { head, tail } => {
                let id = ten_digits(FIRST_ID + number as u32);
                outboxes.text(self.sender, &[b"{\"id\":", &id, head, payload, tail]);
                self.unanswered.push(Some(intended));
            }
        }
    }

    /// Notes that message `number` came to `client`.
    pub(super) fn arrived(&mut self, client: ClientIndex, number: u64) -> Arrival {
        if !self.receivers.contains(&client.0) || number >= self.sent {
            return Arrival::Stray;
        }
        if !self.arrivals[client.0 - self.receivers.start].note(number) {
            return Arrival::Again;
        }
        let Some(missing) = self.missing.get_mut(number).filter(|missing| **missing > 0) else {
            return Arrival::New { was_awaited: false, is_everywhere: false };
        };
        *missing -= 1;
        let is_everywhere = *missing == 0;
        self.missing.forget_while(|&missing| missing == 0);
        Arrival::New { was_awaited: true, is_everywhere }
    }

    /// Notes the answer to the command `id`: which message that was, and its intended time.
    pub(super) fn answered(&mut self, id: u32) -> Option<(u64, Instant)> {
        let number = u64::from(id.checked_sub(FIRST_ID)?);
        let intended = self.unanswered.get_mut(number)?.take()?;
        self.unanswered.forget_while(Option::is_none);
        Some((number, intended))
    }

    /// Notes that message `number` was refused: how many deliveries will not come.
    pub(super) fn refused(&mut self, number: u64) -> usize {
        self.refused.insert(number);
        let without = self.missing.get_mut(number).map_or(0, std::mem::take);
        self.missing.forget_while(|&missing| missing == 0);
        without
    }

    /// Gives up waiting for whatever is under way: how many deliveries that were.
    pub(super) fn give_up(&mut self) -> usize {
        self.missing.forget_all().sum()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.arrivals.iter().map(|arrivals| arrivals.lost(self.sent, &self.refused)).sum()
    }
}

/// The entries of a numbered series from the oldest that matters on.
#[derive(Debug)]
struct Tail<T> {
    first: u64,
    entries: VecDeque<T>,
}

impl<T> Default for Tail<T> {
    fn default() -> Self {
        Self { first: 0, entries: VecDeque::new() }
    }
}

impl<T> Tail<T> {
    fn push(&mut self, entry: T) {
        self.entries.push_back(entry);
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.entries.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn forget_while(&mut self, is_done: impl Fn(&T) -> bool) {
        while self.entries.pop_front_if(|entry| is_done(entry)).is_some() {
            self.first += 1;
        }
    }

    fn forget_all(&mut self) -> impl Iterator<Item = T> {
        self.first += self.entries.len() as u64;
        self.entries.drain(..)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}

fn ten_digits(mut number: u32) -> [u8; 10] {
    let mut digits = [0; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow from client 0 to the clients 1 and 2 that has sent `count` messages.
    fn sent(count: u64) -> Flow {
        let now = Instant::now();
        let mut flow = Flow::new(now, ClientIndex(0), 1..3, Wire::publish("c"));
        let mut outboxes = Outboxes::new(3).expect("chance");
        let mut payload = Payload::new(7, 100);
        for _ in 0..count {
            flow.send(0, now, 0, &mut payload, &mut outboxes);
        }
        flow
    }

    #[test]
    fn a_message_is_in_flight_until_it_is_everywhere() {
        let mut flow = sent(2);
        let mut arrive = |client, number| flow.arrived(ClientIndex(client), number);

        assert_eq!(arrive(1, 0), Arrival::New { was_awaited: true, is_everywhere: false });
        assert_eq!(arrive(1, 0), Arrival::Again);
        assert_eq!(arrive(2, 0), Arrival::New { was_awaited: true, is_everywhere: true });
        assert_eq!(flow.missing.len(), 1);
        assert_eq!(flow.lost(), 2, "the second message has come to nobody");
    }

    #[test]
    fn what_was_never_sent_or_comes_to_somebody_else_is_a_stray() {
        let mut flow = sent(1);

        assert_eq!(flow.arrived(ClientIndex(0), 0), Arrival::Stray);
        assert_eq!(flow.arrived(ClientIndex(3), 0), Arrival::Stray);
        assert_eq!(flow.arrived(ClientIndex(1), 1), Arrival::Stray);
    }

    #[test]
    fn answers_find_their_messages_in_any_order_and_once() {
        let mut flow = sent(3);
        let mut answer = |id| flow.answered(FIRST_ID + id).map(|(number, _)| number);

        assert_eq!([answer(1), answer(1), answer(0), answer(3)], [Some(1), None, Some(0), None]);
        assert_eq!(flow.unanswered(), 1);
        assert_eq!(flow.answered(1), None, "the reply to connect");
    }

    #[test]
    fn a_refused_message_is_neither_in_flight_nor_lost() {
        let mut flow = sent(2);

        assert_eq!(flow.refused(0), 2);
        assert_eq!(flow.missing.len(), 1);
        assert_eq!(flow.lost(), 2);
        let all_the_same = Arrival::New { was_awaited: false, is_everywhere: false };
        assert_eq!(flow.arrived(ClientIndex(1), 0), all_the_same);
        assert_eq!(flow.give_up(), 2);
        assert_eq!((flow.missing.len(), flow.lost()), (0, 2));
    }

    #[test]
    fn all_ids_have_ten_digits() {
        assert_eq!(&ten_digits(FIRST_ID), b"1000000000");
        assert_eq!(&ten_digits(u32::MAX), b"4294967295");
    }
}
