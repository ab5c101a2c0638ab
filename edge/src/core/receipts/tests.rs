//! What receipts keep of a flood.

use proto::link::Lane;

use super::*;

#[test]
fn a_flood_leaves_little_behind_one_that_waits_and_nothing_when_nobody_does() {
    let now = Instant::now();
    let mut receipts = Receipts::new(foldhash::fast::FixedState::with_seed(1));
    let ticket = |number| Ticket { lane: Lane(0), number };
    let channel = Channel::parse("#nobody").expect("a channel");
    let waiting = || Pending::new(now, ClientKey(1), 1, channel.clone(), None);
    receipts.insert(ticket(0), waiting());
    for number in 1..=5_000 {
        receipts.insert(ticket(number), waiting());
    }
    for number in 1..=5_000 {
        let over = receipts.routed(ticket(number), Vec::new(), false);
        assert!(matches!(over, Progress::Over(_, Verdict::Unknown)));
    }

    receipts.insert(ticket(5_001), waiting());
    assert_eq!((receipts.len(), receipts.deadlines.len()), (2, 2), "the first and the last");
    assert!(receipts.pending.capacity() > 5_000);

    for number in [0, 5_001] {
        let over = receipts.routed(ticket(number), Vec::new(), false);
        assert!(matches!(over, Progress::Over(_, Verdict::Unknown)));
    }
    assert_eq!((receipts.len(), receipts.next_due()), (0, None));
    assert!(receipts.pending.capacity() <= 2 * ANSWERED_KEPT);
}
