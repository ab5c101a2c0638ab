//! What the Hub counts: plain numbers, turned into metrics once per turn of the event loop.

use std::time::Duration;

use node::metrics::Latencies;
use proto::client::code::Disconnect;
use proto::link::Answer;

/// What became of a message that a client sent: each one ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A publication on its way to whoever receives the channel.
    Accepted,
    /// A directed message that at least one outbox has.
    Delivered,
    /// A directed message to somebody who is nowhere.
    Offline,
    /// Refused for good: the sender's mistake.
    Rejected,
    /// Not known, or refused for now: the sender may try again.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Delivered, Self::Offline, Self::Rejected, Self::Unknown];

    /// As a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Offline => "offline",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many connections have it in their outbox; more than none.
    Delivered(u32),
    /// The addressee is connected nowhere.
    Offline,
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// Its place in counts of verdicts.
    fn index(self) -> usize {
        match self {
            Self::Delivered(_) => 0,
            Self::Offline => 1,
            Self::Unknown => 2,
        }
    }
}

/// What became of routes since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteCounts {
    /// Writes of one channel each: done, failed, refused for want of a lease.
    pub writes: [u64; 3],
    /// New epochs.
    pub epochs: u64,
    /// Entries of the index that were not wanted.
    pub strays: u64,
}

/// Counters since the start, and levels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publications and directed messages that clients sent.
    pub messages_received: u64,
    /// The same by what became of them, as [`Outcome::ALL`] has it.
    pub messages: [u64; Outcome::ALL.len()],
    /// Receipts given: delivered, offline, unknown.
    pub receipts: [u64; 3],
    /// How long verdicts on what went to the relay took: delivered, offline, unknown.
    pub receipt_latencies: [Latencies; 3],
    /// What other edges answered: took, not here, unknown.
    pub answers: [u64; 3],
    /// How long canaries took that came back.
    pub canaries: Latencies,
    /// Canaries that did not.
    pub canaries_lost: u64,
    /// Channels that this edge began to hold.
    pub joins: u64,
    /// Channels that it ceased to hold.
    pub leaves: u64,
    /// Publications held back behind a reply.
    pub parked: u64,
    /// Publications put into clients' outboxes.
    pub pushes: u64,
    /// Publication frames that came from other edges.
    pub frames_in: u64,
    /// Publication frames sent to the relay.
    pub frames_out: u64,
    /// Look-ups whose answer contradicts the relay.
    pub memories_differ: u64,
    /// Clients let go, as [`Disconnect::ALL`] has it.
    pub disconnects: [u64; Disconnect::ALL.len()],
    /// Error replies.
    pub errors: u64,
    /// Clients logged in now.
    pub clients: u64,
    /// Channels held now.
    pub channels: u64,
    /// Directed messages that wait for their verdict now.
    pub receipts_pending: u64,
    /// Links that were greeted by the relay.
    pub links: u64,
    /// Look-ups by what the store said: nobody else, somebody else, away, unanswered.
    pub lookups: [u64; 4],
    /// Times that this edge stood still.
    pub freezes: u64,
    /// Whether the store has this edge's lease, as the relay said.
    pub is_leased: bool,
    /// Routes that the store has.
    pub routes: u64,
    /// Routes that the store does not have as they are wanted, old epochs' included.
    pub routes_pending: u64,
    /// What was written to the store, and found in it.
    pub route_counts: RouteCounts,
    /// Round trip of the last heartbeat, in nanoseconds; 0 without a link.
    pub rtt_nanos: u64,
}

impl Tally {
    pub(super) fn message(&mut self, outcome: Outcome) {
        self.messages[outcome as usize] += 1;
    }

    pub(super) fn receipt(&mut self, verdict: Verdict) {
        self.receipts[verdict.index()] += 1;
        self.message(match verdict {
            Verdict::Delivered(_) => Outcome::Delivered,
            Verdict::Offline => Outcome::Offline,
            Verdict::Unknown => Outcome::Unknown,
        });
    }

    /// A verdict on what went to the relay, and how long that took.
    pub(super) fn receipt_came(&mut self, verdict: Verdict, took: Duration) {
        self.receipt_latencies[verdict.index()].record(took);
    }

    pub(super) fn answer(&mut self, answer: &Answer) {
        self.answers[match answer {
            Answer::Took(_) => 0,
            Answer::NotHere(_) => 1,
            Answer::Unknown => 2,
        }] += 1;
    }

    pub(super) fn disconnect(&mut self, why: Disconnect) {
        let index = Disconnect::ALL.iter().position(|&code| code == why).expect("ALL has all");
        self.disconnects[index] += 1;
    }
}
