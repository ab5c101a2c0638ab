//! Whether an edge that cannot reach others should be left out by balancers. Pure: the event loop has the clock and the
//! store.
//!
//! An edge that alone lost its relay is of less use than the others. When all have lost it, all are alike, and turning
//! them all away would turn a relay's outage into everybody's. So a link that is away counts only while the store shows
//! that somebody else's lease is still renewed; and one that is up and brings no canary back only while the relay says that
//! another edge's come back, since leases are renewed for whoever is heard, whatever lanes do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::id::{EdgeId, NodeName};
use store::{Leases, Score, StoreError};

use crate::core::Carries;

/// A link that is away does not count before: clients are served meanwhile, and links come back in a second.
const LINK_LOST_MAX: Duration = Duration::from_secs(10);

/// How often leases are read while the link is away: relays renew them every second.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How long a renewal speaks for the relay: some reads may fail.
const RENEWAL_FRESH: Duration = Duration::from_secs(5);

/// What an edge knows of its way to others, and of their leases.
#[derive(Debug)]
pub(crate) struct Isolation {
    name: NodeName,
    way: Way,
    next_read: Option<Instant>,
    is_reading: bool,
    /// Others' scores, as the last good read had them.
    scores: Option<BTreeMap<EdgeId, Score>>,
    /// When another edge's lease was last seen to be renewed.
    renewed_at: Option<Instant>,
}

/// How others are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// The link is up, and canaries do not come back.
    Stuck {
        others_do: bool,
    },
    /// There is no link, which counts from that moment on.
    Away {
        counts_from: Instant,
        why: Why,
    },
}

/// Why there is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There was none yet.
    New,
    Lost,
    /// It was lost when it was of no use any more: the next one has to show that it is.
    WasStuck,
}

/// What balancers should know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All is well.
    Well,
    /// No client should be sent here: others do better.
    Alone(&'static str),
    /// Something is missing, and others do no better as far as can be known.
    LikeAll(&'static str),
}

impl Isolation {
    /// The edge `name`, which has begun at `now` and is not linked yet.
    pub(crate) fn new(name: NodeName, now: Instant) -> Self {
        let way = Way::Away { counts_from: now + LINK_LOST_MAX, why: Why::New };
        Self { name, way, next_read: Some(now), is_reading: false, scores: None, renewed_at: None }
    }

    /// Notes whether the edge is linked at `now`, and what its canaries show of that link.
    pub(crate) fn see(&mut self, now: Instant, is_linked: bool, carries: Carries) {
        let counts_from = now + LINK_LOST_MAX;
        self.way = match (self.way, is_linked, carries) {
            (_, true, Carries::No { others_do }) => Way::Stuck { others_do },
            (_, true, Carries::Yes) => Way::Open,
            (Way::Away { why: Why::WasStuck, .. } | Way::Stuck { .. }, true, Carries::Unknown) => self.way,
            (Way::Open | Way::Away { .. }, true, Carries::Unknown) => Way::Open,
            (Way::Open, false, _) => Way::Away { counts_from, why: Why::Lost },
            (Way::Stuck { .. }, false, _) => Way::Away { counts_from: now, why: Why::WasStuck },
            (Way::Away { .. }, false, _) => self.way,
        };
        match self.way {
            // Scores of an older absence are no proof in a newer one.
            Way::Open | Way::Stuck { .. } => {
                (self.next_read, self.scores, self.renewed_at) = (None, None, None);
            }
            Way::Away { .. } => {
                self.next_read.get_or_insert(now);
            }
        }
    }

    /// Whether leases are to be read now; [`Self::leases_read`] answers.
    pub(crate) fn begin_read(&mut self, now: Instant) -> bool {
        let begins = !self.is_reading && self.next_read.is_some_and(|at| at <= now);
        if begins {
            self.is_reading = true;
            self.next_read = Some(now + READ_EVERY);
        }
        begins
    }

    /// Compares leases with those of the last read.
    pub(crate) fn leases_read(&mut self, now: Instant, leases: Result<Leases, StoreError>) {
        self.is_reading = false;
        if !matches!(self.way, Way::Away { .. }) {
            return;
        }
        let scores = leases.ok().map(|leases| {
            let mut scores = leases.scores;
            scores.retain(|edge, _| edge.name != self.name);
            scores
        });
        if let (Some(before), Some(scores)) = (&self.scores, &scores)
            && scores.iter().any(|(edge, score)| before.get(edge).is_some_and(|before| before != score))
        {
            self.renewed_at = Some(now);
        }
        // After a failure nobody knows when a change was made: the next read begins anew.
        self.scores = scores;
    }

    /// Whether clients should be sent here, as far as reaching others is concerned.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        match self.way {
            Way::Open => Standing::Well,
            Way::Stuck { others_do: true } => {
                Standing::Alone("the link brings nothing back, while other edges' links do")
            }
            Way::Stuck { others_do: false } => Standing::LikeAll("the link brings nothing back"),
            Way::Away { counts_from, why } => {
                let others_live = self.renewed_at.is_some_and(|at| now <= at + RENEWAL_FRESH);
                match (now >= counts_from, why) {
                    (true, _) if others_live => {
                        Standing::Alone("no link to the relay, while other edges have one")
                    }
                    // A cluster that starts as a whole is given the time to find itself.
                    (false, Why::New) => Standing::Alone("not linked to the relay yet"),
                    (_, _) => {
                        Standing::LikeAll("no link to the relay: clients of this edge reach each other")
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YET: Standing = Standing::Alone("not linked to the relay yet");
    const LOST: Standing = Standing::Alone("no link to the relay, while other edges have one");
    const LIKE_ALL: Standing =
        Standing::LikeAll("no link to the relay: clients of this edge reach each other");

    #[test]
    fn an_edge_that_starts_has_10_s_to_link_and_then_is_left_out_only_where_others_are_linked() {
        let (mut isolation, start) = new();
        isolation.see(start, false, Carries::Unknown);
        assert_eq!((isolation.standing(start), isolation.begin_read(start)), (YET, true));
        assert_eq!(isolation.standing(start + seconds(10) - millis(1)), YET);
        assert_eq!(isolation.standing(start + seconds(10)), LIKE_ALL);
        isolation.leases_read(start + seconds(9), Ok(leases(&[("edge-2.1", 1)])));
        isolation.leases_read(start + seconds(10), Ok(leases(&[("edge-2.1", 2)])));
        assert_eq!(isolation.standing(start + seconds(10)), LOST);
        isolation.see(start, true, Carries::Unknown);
        assert_eq!(isolation.standing(start), Standing::Well);
    }

    #[test]
    fn a_lost_link_counts_after_10_s_while_others_are_renewed() {
        let (mut isolation, start) = lost();
        for n in 0..=10 {
            isolation.leases_read(start + seconds(n), Ok(leases(&[("edge-2.1", n)])));
        }
        assert_eq!(isolation.standing(start + seconds(10) - millis(1)), LIKE_ALL);
        assert_eq!(isolation.standing(start + seconds(10)), LOST);
        isolation.see(start + seconds(11), true, Carries::Unknown);
        assert_eq!(isolation.standing(start + seconds(11)), Standing::Well);
    }

    #[test]
    fn a_renewal_speaks_for_5_s() {
        let (mut isolation, start) = lost();
        isolation.leases_read(start + seconds(8), Ok(leases(&[("edge-2.1", 1)])));
        isolation.leases_read(start + seconds(9), Ok(leases(&[("edge-2.1", 2)])));
        assert_eq!(isolation.standing(start + seconds(14)), LOST);
        assert_eq!(
            isolation.standing(start + seconds(14) + millis(1)),
            LIKE_ALL,
            "nobody is linked: all are alike"
        );
    }

    #[test]
    fn only_a_change_of_anothers_score_shows_that_a_relay_lives() {
        type Read = &'static [(&'static str, u64)];
        let unchanged: [(&str, Read, Read); 4] = [
            ("it stands still", &[("edge-2.1", 5)], &[("edge-2.1", 5)]),
            ("our own", &[("edge-1.1", 5)], &[("edge-1.1", 6)]),
            ("it came", &[], &[("edge-2.1", 5)]),
            ("it went", &[("edge-2.1", 5)], &[]),
        ];
        for (why, first, second) in unchanged {
            let (mut isolation, start) = lost();
            for read in [first, second] {
                isolation.leases_read(start + seconds(12), Ok(leases(read)));
            }
            assert_eq!(isolation.standing(start + seconds(12)), LIKE_ALL, "{why}");
        }
    }

    #[test]
    fn reads_that_fail_or_are_of_an_older_loss_compare_with_nothing() {
        let (mut isolation, start) = lost();
        isolation.leases_read(start, Ok(leases(&[("edge-2.1", 1)])));
        isolation.leases_read(start, Err(StoreError::Away));
        isolation.leases_read(start, Ok(leases(&[("edge-2.1", 2)])));
        assert_eq!(isolation.standing(start + seconds(10)), LIKE_ALL);
        isolation.see(start, true, Carries::Unknown);
        isolation.leases_read(start, Ok(leases(&[("edge-2.1", 3)])));
        isolation.see(start, false, Carries::Unknown);
        isolation.leases_read(start, Ok(leases(&[("edge-2.1", 4)])));
        assert_eq!(isolation.standing(start + seconds(10)), LIKE_ALL);
    }

    #[test]
    fn leases_are_read_once_a_second_one_read_at_a_time() {
        let (mut isolation, start) = lost();
        assert!(isolation.begin_read(start));
        assert!(!isolation.begin_read(start + seconds(3)), "the first one is under way");
        isolation.leases_read(start + seconds(3), Err(StoreError::Unanswered));
        assert!(isolation.begin_read(start + seconds(3)));
        isolation.leases_read(start + seconds(3), Err(StoreError::Unanswered));
        assert!(!isolation.begin_read(start + seconds(4) - millis(1)));
        assert!(isolation.begin_read(start + seconds(4)));
        isolation.leases_read(start + seconds(4), Err(StoreError::Unanswered));
        isolation.see(start + seconds(4), true, Carries::Unknown);
        assert!(!isolation.begin_read(start + seconds(9)));
    }

    #[test]
    fn a_link_that_brings_nothing_back_counts_while_others_do() {
        let (mut isolation, start) = new();
        isolation.see(start, true, Carries::Yes);
        isolation.see(start, true, Carries::No { others_do: false });
        let stuck = Standing::LikeAll("the link brings nothing back");
        assert_eq!((isolation.standing(start), isolation.begin_read(start)), (stuck, false));
        isolation.see(start, true, Carries::No { others_do: true });
        let alone = Standing::Alone("the link brings nothing back, while other edges' links do");
        assert_eq!(isolation.standing(start), alone);
        isolation.see(start, true, Carries::Yes);
        assert_eq!(isolation.standing(start), Standing::Well);
    }

    #[test]
    fn whoever_was_stuck_is_well_again_when_a_canary_is_back_and_not_when_there_is_a_new_link() {
        let (mut isolation, start) = new();
        isolation.see(start, true, Carries::No { others_do: true });
        isolation.see(start, false, Carries::Unknown);
        isolation.begin_read(start);
        for score in [1, 2] {
            isolation.leases_read(start, Ok(leases(&[("edge-2.1", score)])));
        }
        assert_eq!(isolation.standing(start), LOST, "there is no new time to come back");
        isolation.see(start, true, Carries::Unknown);
        assert_eq!(isolation.standing(start), LOST);
        isolation.see(start, true, Carries::Yes);
        assert_eq!(isolation.standing(start), Standing::Well);
    }

    fn new() -> (Isolation, Instant) {
        let start = Instant::now();
        (Isolation::new(NodeName::parse("edge-1").expect("valid"), start), start)
    }

    /// An edge that lost its link at that moment.
    fn lost() -> (Isolation, Instant) {
        let (mut isolation, start) = new();
        isolation.see(start, true, Carries::Unknown);
        isolation.see(start, false, Carries::Unknown);
        (isolation, start)
    }

    fn leases(scores: &[(&str, u64)]) -> Leases {
        let scores = scores.iter().map(|&(edge, score)| (edge.parse().expect("an edge id"), Score(score)));
        Leases { scores: scores.collect(), ..Leases::default() }
    }

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }
}
