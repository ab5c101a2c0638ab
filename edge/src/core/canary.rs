//! A message of this edge to itself, each second, through its relay: whether lanes carry what they should, also where
//! nobody writes.
//!
//! It goes by the next lane in turn. Where it does not come back, the next one goes by the same lane, so that one lane
//! that is stuck is noticed like all of them. A single one that was refused by a lane that was full is lost, and no more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::limits::LANES;
use proto::link::Lane;

/// Time between two.
const EVERY: Duration = Duration::from_secs(1);

/// One that has not come back by then is lost: who sends a message has been told that nobody knows a second before.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// What canaries show of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Nothing yet: the link is new, or there is none.
    Unknown,
    /// They come back.
    Yes,
    /// One was lost, and none of those that were sent later has come back.
    No {
        /// Whether the relay says that another edge's do.
        others_do: bool,
    },
}

/// The canaries of one link.
#[derive(Debug)]
pub(super) struct Canaries {
    lane: Lane,
    last_number: u64,
    /// The newest that came back; 0 before the first.
    returned: u64,
    next: Instant,
    /// Those that have not come back, the oldest first.
    under_way: VecDeque<UnderWay>,
    carries: Carries,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    number: u64,
    lane: Lane,
    sent: Instant,
}

impl Canaries {
    /// The first is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            lane: Lane(0),
            last_number: 0,
            returned: 0,
            next: now,
            under_way: VecDeque::new(),
            carries: Carries::Unknown,
        }
    }

    pub(super) fn next_due(&self) -> Instant {
        self.under_way.front().map_or(self.next, |oldest| self.next.min(oldest.sent + LOST_AFTER))
    }

    /// The lane and the number of one that is to be sent now, if one is.
    pub(super) fn send(&mut self, now: Instant) -> Option<(Lane, u64)> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        self.last_number += 1;
        self.under_way.push_back(UnderWay { number: self.last_number, lane: self.lane, sent: now });
        Some((self.lane, self.last_number))
    }

    /// How long it took one to come back; `None` where it is lost already, or was never sent.
    pub(super) fn came(&mut self, now: Instant, number: u64) -> Option<Duration> {
        let at = self.under_way.iter().position(|under_way| under_way.number == number)?;
        let UnderWay { lane, sent, .. } = self.under_way.remove(at)?;
        if number > self.returned {
            self.returned = number;
            self.carries = Carries::Yes;
        }
        if lane == self.lane {
            self.lane = Lane((lane.0 + 1) % LANES as u8);
        }
        Some(now.saturating_duration_since(sent))
    }

    /// How many are lost by now, and were not before.
    pub(super) fn lose(&mut self, now: Instant) -> u64 {
        let before = self.under_way.len();
        while let Some(lost) = self.under_way.pop_front_if(|oldest| now >= oldest.sent + LOST_AFTER) {
            if lost.number > self.returned && !matches!(self.carries, Carries::No { .. }) {
                self.carries = Carries::No { others_do: false };
            }
        }
        (before - self.under_way.len()) as u64
    }

    /// The relay's word on other edges' canaries, which counts while this edge's do not come back.
    pub(super) fn told_of_others(&mut self, others_do: bool) {
        if let Carries::No { others_do: known } = &mut self.carries {
            *known = others_do;
        }
    }

    /// Those that will not come back, since the link has ended.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.len() as u64
    }

    pub(super) fn carries(&self) -> Carries {
        self.carries
    }
}

#[cfg(test)]
mod tests;
