//! When canaries go, and when they are lost.

use super::*;

const NO: Carries = Carries::No { others_do: false };

#[test]
fn one_a_second_by_each_lane_in_turn() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    assert_eq!(canaries.carries(), Carries::Unknown);
    for n in 0..40_u64 {
        let now = start + EVERY * n as u32;
        assert_eq!(canaries.next_due(), now);
        assert_eq!(canaries.send(now), Some((Lane((n % LANES as u64) as u8), n + 1)));
        assert_eq!(canaries.send(now), None);
        assert_eq!(canaries.came(now + Duration::from_millis(3), n + 1), Some(Duration::from_millis(3)));
        assert_eq!(canaries.carries(), Carries::Yes);
    }
}

#[test]
fn a_lane_that_is_stuck_is_asked_until_it_answers() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    for n in 0..5 {
        let now = start + EVERY * n;
        assert_eq!(canaries.lose(now), 0);
        assert_eq!(canaries.send(now), Some((Lane(0), u64::from(n) + 1)));
    }
    let now = start + LOST_AFTER;
    assert_eq!((canaries.next_due(), canaries.carries()), (now, Carries::Unknown));
    assert_eq!((canaries.lose(now), canaries.carries()), (1, NO));
    assert_eq!(canaries.came(now, 1), None, "it is lost");
    assert_eq!(canaries.carries(), NO);

    assert_eq!(canaries.came(now, 3), Some(EVERY * 3));
    assert_eq!((canaries.carries(), canaries.under_way()), (Carries::Yes, 3), "2, 4 and 5");
    for number in [2, 4, 5] {
        assert_eq!(canaries.lane, Lane(1), "its answers make one step");
        canaries.came(now, number);
    }
}

#[test]
fn a_round_trip_of_seconds_keeps_no_lane_from_its_turn() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    let mut lanes = Vec::new();
    for n in 0..40_u64 {
        let now = start + EVERY * n as u32;
        lanes.extend(canaries.send(now).map(|(lane, _)| lane));
        canaries.came(now, n.saturating_sub(2));
    }
    assert_eq!(lanes.last(), Some(&Lane(9)), "each has four turns");
}

#[test]
fn a_single_one_that_is_lost_among_others_shows_nothing() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    for n in 0..8_u64 {
        let now = start + EVERY * n as u32;
        canaries.lose(now);
        canaries.send(now);
        if n > 0 {
            canaries.came(now, n + 1);
            assert_eq!(canaries.carries(), Carries::Yes);
        }
    }
}

#[test]
fn of_others_counts_what_is_told_while_nothing_comes_back() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    canaries.told_of_others(true);
    assert_eq!(canaries.carries(), Carries::Unknown);
    canaries.send(start);
    canaries.lose(start + LOST_AFTER);
    for others_do in [true, false, true] {
        canaries.told_of_others(others_do);
        assert_eq!(canaries.carries(), Carries::No { others_do });
    }
    canaries.send(start + LOST_AFTER);
    canaries.lose(start + 2 * LOST_AFTER);
    assert_eq!(
        canaries.carries(),
        Carries::No { others_do: true },
        "another that is lost says nothing of others"
    );
}

#[test]
fn what_was_never_sent_does_not_come_back() {
    let now = Instant::now();
    assert_eq!(Canaries::new(now).came(now, 1), None);
}
