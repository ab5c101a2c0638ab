//! A message of this edge to itself, each second, through its relay: whether lanes carry what they should, also where
//! nobody writes.
//!
//! It goes by the next lane in turn. Where it does not come back, the next one goes by the same lane, so that one lane
//! that is stuck is noticed like all of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::limits::LANES;
use proto::link::Lane;

/// Time between two.
const EVERY: Duration = Duration::from_secs(1);

/// One that has not come back by then is lost: who sends a message has been told that nobody knows a second before.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(5);

/// The canaries of one link.
#[derive(Debug)]
pub(super) struct Canaries {
    lane: Lane,
    last_number: u64,
    next: Instant,
    /// Those that have not come back, the oldest first.
    under_way: VecDeque<(u64, Instant)>,
    is_lost: bool,
}

impl Canaries {
    /// The first is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { lane: Lane(0), last_number: 0, next: now, under_way: VecDeque::new(), is_lost: false }
    }

    pub(super) fn next_due(&self) -> Instant {
        self.under_way.front().map_or(self.next, |&(_, sent)| self.next.min(sent + LOST_AFTER))
    }

    /// The lane and the number of one that is to be sent now, if one is.
    pub(super) fn send(&mut self, now: Instant) -> Option<(Lane, u64)> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        self.last_number += 1;
        self.under_way.push_back((self.last_number, now));
        Some((self.lane, self.last_number))
    }

    /// How long it took one to come back; `None` where it is lost already, or was never sent.
    pub(super) fn came(&mut self, now: Instant, number: u64) -> Option<Duration> {
        let at = self.under_way.iter().position(|&(under_way, _)| under_way == number)?;
        let (_, sent) = self.under_way.remove(at)?;
        self.is_lost = false;
        if self.under_way.is_empty() {
            self.lane = Lane((self.lane.0 + 1) % LANES as u8);
        }
        Some(now.saturating_duration_since(sent))
    }

    /// How many are lost by now, and were not before.
    pub(super) fn lose(&mut self, now: Instant) -> u64 {
        let before = self.under_way.len();
        while self.under_way.front().is_some_and(|&(_, sent)| now >= sent + LOST_AFTER) {
            self.under_way.pop_front();
            self.is_lost = true;
        }
        (before - self.under_way.len()) as u64
    }

    /// Those that will not come back, since the link has ended.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.len() as u64
    }

    /// Whether one was lost, and none came back since.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }
}

#[cfg(test)]
mod tests;
