//! Whatever the store lost or mixed up is mended: all that is held is written again each round, and the index is read.

use store::StoreError;

use super::super::ClientKey;
use super::world::*;

#[test]
fn all_that_is_held_is_written_again_once_a_round() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    world.store_forgets();
    world.wait_and_settle(ROUND);
    assert!(world.routes().is_empty(), "the first round has just written it");
    let written = world.tally().route_counts.writes;
    world.wait_and_settle(millis(500));
    assert_eq!(world.routes(), ["edge-1.7 #alice", "edge-1.7 news"]);
    world.wait_and_settle(ROUND - millis(500));
    assert_eq!((written, world.tally().route_counts.writes), ([2, 0, 0], [4, 0, 0]));
    world.wait_and_settle(millis(500));
    assert_eq!(world.tally().route_counts.writes, [6, 0, 0]);
}

#[test]
fn a_slice_is_a_16th_of_what_is_held_and_16_channels_at_least() {
    for (channels, slices) in
        [(16, vec![16, 0]), (17, vec![16, 1, 0]), (256, vec![16; 16]), (257, slices(17, 257))]
    {
        let mut world = World::unlinked();
        world.crowd(channels);
        world.link();
        world.wait_and_settle(ROUND);
        for (n, slice) in slices.into_iter().enumerate() {
            world.wait(millis(500));
            assert_eq!(world.under_way().len(), slice, "slice {n} of {channels}");
            world.settle();
        }
    }
}

#[test]
fn a_large_slice_goes_in_batches_and_behind_what_has_changed() {
    let mut world = World::unlinked();
    world.crowd(16 * 300);
    world.link();
    world.wait_and_settle(ROUND);
    world.wait(millis(500));
    assert_eq!(world.under_way().len(), 256);
    world.connect("alice");
    world.store_writes_one();
    assert_eq!(world.under_way().len(), 45, "what has changed, and the rest of the slice");
    assert_eq!(world.under_way()[0], "edge-1.7 +#alice");
    assert_eq!((world.tally().routes, world.tally().routes_pending), (16 * 300, 1));
    world.store_writes_one();
    assert!(world.under_way().is_empty());
}

#[test]
fn what_a_busy_store_had_no_time_for_comes_first_in_the_next_round() {
    let mut world = World::unlinked();
    world.crowd(32);
    world.link();
    world.wait_and_settle(ROUND);
    world.wait(millis(500));
    let first = world.under_way();
    world.wait(ROUND - millis(500));
    assert_eq!(world.under_way(), first, "the store takes its time");
    world.store_writes_one();
    let rest = world.under_way();
    assert_eq!((rest.len(), rest.iter().any(|write| first.contains(write))), (16, false));
}

#[test]
fn a_route_that_is_written_again_stays_written() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.subscribe(alice, "news");
    world.wait_and_settle(ROUND);
    world.wait(millis(500));
    assert!(world.under_way().contains(&"edge-1.7 +news".to_owned()));
    world.send(bob, &subscribe(2, "news"));
    assert_eq!(world.read(bob).len(), 1, "nobody waits for what is there already");
    world.send(bob, &unsubscribe(3, "news"));
    world.send(alice, &unsubscribe(4, "news"));
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.7 -news"], "the wanted state wins all the same");
}

#[test]
fn a_rewrite_that_fails_is_a_change_to_be_written() {
    let mut world = World::linked();
    world.log_in("alice");
    world.wait_and_settle(ROUND);
    world.wait(millis(500));
    world.store_fails(StoreError::Unanswered, 0);
    assert_eq!((world.tally().routes, world.tally().routes_pending), (0, 1));
    world.wait(millis(500));
    assert_eq!(world.under_way(), ["edge-1.7 +#alice"]);
    world.store_writes();
    assert_eq!((world.tally().routes, world.tally().routes_pending), (1, 0));
}

#[test]
fn what_the_index_has_and_nobody_wants_is_removed() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    for name in ["stray", "wandering"] {
        world.store_mixes_up(&this_edge(), name);
    }
    world.wait(millis(500));
    world.store_reads();
    assert_eq!(world.under_way(), ["edge-1.7 -stray", "edge-1.7 -wandering"]);
    assert_eq!((world.tally().route_counts.strays, world.tally().routes_pending), (2, 2));
    world.store_writes();
    assert_eq!(world.routes(), ["edge-1.7 #alice", "edge-1.7 news"]);
    world.wait_and_settle(2 * ROUND);
    assert_eq!(world.tally().route_counts.strays, 2);
}

#[test]
fn what_is_wanted_since_or_under_way_is_no_stray() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "left");
    world.store_mixes_up(&this_edge(), "wanted");
    world.store_mixes_up(&this_edge(), "stray");
    world.wait(millis(500));
    world.store_looks();
    world.send(alice, &unsubscribe(2, "left"));
    world.send(alice, &subscribe(3, "wanted"));
    world.store_reads();
    assert_eq!(world.tally().route_counts.strays, 1);
    world.send(alice, &subscribe(4, "stray"));
    world.settle();
    assert_eq!(world.routes(), ["edge-1.7 #alice", "edge-1.7 stray", "edge-1.7 wanted"]);
}

#[test]
fn the_index_is_read_once_a_round_a_page_a_slice_and_more_of_it_where_strays_are() {
    let mut world = World::linked();
    for n in 0..1_793 {
        world.store_mixes_up(&this_edge(), &format!("stray-{n:04}"));
    }
    for (cursor, count) in [(0, 256), (256, 512), (768, 1_024), (1_792, 2_048)] {
        assert_eq!(world.reading(), None);
        world.wait(millis(500));
        assert_eq!(world.reading(), Some(("edge-1.7".to_owned(), cursor, count)));
        world.store_reads();
    }
    assert_eq!(world.tally().route_counts.strays, 1_793);
    for _ in 4..16 {
        world.wait(millis(500));
        assert_eq!(world.reading(), None);
    }
    world.store_writes();
    world.wait(millis(500));
    assert_eq!(world.reading(), Some(("edge-1.7".to_owned(), 0, 256)));
}

#[test]
fn twelve_pages_suffice_for_twice_what_is_held() {
    for (channels, page) in [(1_536, 256), (1_537, 257), (6_000, 1_000)] {
        let mut world = World::unlinked();
        world.crowd(channels);
        world.link();
        world.wait(millis(500));
        assert_eq!(world.reading(), Some(("edge-1.7".to_owned(), 0, page)), "of {channels}");
    }
}

#[test]
fn a_page_that_cannot_be_read_is_left_to_the_next_round() {
    let mut world = World::linked();
    world.wait(millis(500));
    world.store_fails_to_read(StoreError::Unanswered);
    world.wait(ROUND - millis(500));
    assert_eq!(world.reading(), None);
    world.wait(millis(500));
    assert!(world.reading().is_some());
}

#[test]
fn a_page_that_comes_in_another_round_or_life_does_not_count() {
    let mut world = World::linked();
    world.store_mixes_up(&this_edge(), "stray");
    world.wait(ROUND + millis(500));
    world.store_reads();
    assert_eq!(world.tally().route_counts.strays, 0);
    world.wait(millis(500));
    assert!(world.reading().is_some(), "the new round reads as soon as it may");
    world.store_looks();
    world.end_lease(8);
    world.lease(8);
    world.store_reads();
    assert_eq!(world.tally().route_counts.strays, 0);
}

#[test]
fn without_a_lease_there_are_no_rounds() {
    let mut world = World::linked();
    world.log_in("alice");
    world.close_link();
    world.wait(2 * ROUND);
    assert_eq!((world.under_way().len(), world.reading()), (0, None));
    world.open_link();
    world.welcome(EPOCH);
    world.wait(millis(2_900));
    assert_eq!((world.under_way().len(), world.reading()), (0, None));
    world.lease(EPOCH);
    world.wait(millis(500));
    assert_eq!(world.under_way(), ["edge-1.7 +#alice"], "a round begins with each lease");
    assert_eq!(world.ended(ClientKey(1)), None);
}

#[test]
fn a_lease_that_is_told_twice_does_not_begin_the_round_anew() {
    let mut world = World::linked();
    world.wait(millis(499));
    world.lease(EPOCH);
    world.wait(millis(1));
    assert!(world.reading().is_some());
}

/// Slices of so many channels, until there are no more.
fn slices(of: usize, mut channels: usize) -> Vec<usize> {
    let mut slices = Vec::new();
    while channels > 0 {
        slices.push(of.min(channels));
        channels -= of.min(channels);
    }
    slices
}
