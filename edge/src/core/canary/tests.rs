//! When canaries go, and when they are lost.

use super::*;

#[test]
fn one_a_second_by_each_lane_in_turn() {
    let start = Instant::now();
    let mut canaries = Canaries::new(start);
    for n in 0..40_u64 {
        let now = start + EVERY * n as u32;
        assert_eq!(canaries.next_due(), now);
        assert_eq!(canaries.send(now), Some((Lane((n % LANES as u64) as u8), n + 1)));
        assert_eq!(canaries.send(now), None);
        assert_eq!(canaries.came(now + Duration::from_millis(3), n + 1), Some(Duration::from_millis(3)));
    }
    assert!(!canaries.is_lost());
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
    assert_eq!((canaries.next_due(), canaries.is_lost()), (now, false));
    assert_eq!((canaries.lose(now), canaries.is_lost()), (1, true));
    assert_eq!(canaries.came(now, 1), None, "it is lost");
    assert!(canaries.is_lost());

    assert_eq!(canaries.came(now, 3), Some(EVERY * 3));
    assert_eq!((canaries.is_lost(), canaries.under_way()), (false, 3), "2, 4 and 5");
    for number in [2, 4] {
        canaries.came(now, number);
        assert_eq!(canaries.lane, Lane(0), "others are under way");
    }
    canaries.came(now, 5);
    assert_eq!(canaries.lane, Lane(1));
}

#[test]
fn what_was_never_sent_does_not_come_back() {
    let now = Instant::now();
    assert_eq!(Canaries::new(now).came(now, 1), None);
}
