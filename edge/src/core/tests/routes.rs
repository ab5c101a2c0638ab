//! What the store is told: state, not a log, in one batch at a time, and never without a lease.

use std::time::Instant;

use store::StoreError;

use super::super::routes::Routes;
use super::super::{ClientKey, Event};
use super::world::*;

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_held_is_written_and_what_is_left_is_removed() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    assert_eq!(world.routes(), ["edge-1.7 #alice", "edge-1.7 news"]);
    world.send(alice, &unsubscribe(2, "news"));
    world.settle();
    assert_eq!(world.routes(), ["edge-1.7 #alice"]);
    world.close(alice);
    world.settle();
    assert_eq!(world.routes(), NOTHING);
    let tally = world.tally();
    assert_eq!((tally.route_counts.writes, tally.routes, tally.routes_pending), ([4, 0, 0], 0, 0));
}

#[test]
fn one_write_of_a_channel_is_under_way_and_the_wanted_state_wins() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, "news"));
    assert_eq!(world.under_way(), ["edge-1.7 +news"]);
    world.send(alice, &unsubscribe(3, "news"));
    assert_eq!(world.under_way(), ["edge-1.7 +news"]);
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.7 -news"]);
    world.store_writes_one();
    assert_eq!(world.under_way(), NOTHING);
}

#[test]
fn what_changes_while_the_store_is_busy_goes_together_in_its_order() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "old");
    world.send(alice, &subscribe(2, "a"));
    for frame in [subscribe(3, "b"), unsubscribe(4, "old"), unsubscribe(5, "a"), subscribe(6, "c")] {
        world.send(alice, &frame);
    }
    assert_eq!(world.under_way(), ["edge-1.7 +a"], "an idle store is asked at once");
    assert_eq!((world.tally().routes, world.tally().routes_pending), (1, 4));
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.7 +b", "edge-1.7 -old", "edge-1.7 +c", "edge-1.7 -a"]);
}

#[test]
fn a_batch_has_256_channels_at_most() {
    for (channels, batches) in [(256, vec![256]), (257, vec![256, 1]), (600, vec![256, 256, 88])] {
        let mut world = World::unlinked();
        world.crowd(channels);
        world.open_link();
        world.welcome(EPOCH);
        world.lease(EPOCH);
        for batch in batches {
            assert_eq!(world.under_way().len(), batch, "of {channels}");
            world.store_writes_one();
        }
        assert_eq!((world.under_way().len(), world.routes().len()), (0, channels));
    }
}

#[test]
fn what_changed_its_mind_in_time_is_not_written_again() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    let frame = [subscribe(2, "news"), unsubscribe(3, "news"), subscribe(4, "news")];
    world.send(alice, &frame.join("\n"));
    assert_eq!(world.under_way(), ["edge-1.7 +news"]);
    world.store_writes_one();
    assert_eq!(world.under_way(), NOTHING);
    world.answer_joins();
    assert_eq!(world.read(alice).last().expect("a reply"), r#"{"id":4,"subscribe":{}}"#);
}

#[test]
fn nothing_is_written_without_a_lease() {
    let mut world = World::unlinked();
    let alice = world.log_in("alice");
    assert_eq!(world.under_way(), NOTHING);
    world.open_link();
    world.welcome(EPOCH);
    world.send(alice, &subscribe(2, "news"));
    assert_eq!(world.under_way(), NOTHING);
    world.lease(EPOCH - 1);
    assert_eq!(
        (world.under_way().len(), world.tally().is_leased),
        (0, false),
        "another life's lease is not ours"
    );
    world.lease(EPOCH);
    assert_eq!(world.under_way_sorted(), ["edge-1.7 +#alice", "edge-1.7 +news"]);
    assert!(world.tally().is_leased);
    world.lease(EPOCH);
    assert_eq!(world.tally().route_counts.epochs, 1);
}

#[test]
fn writes_stop_with_the_link_and_go_on_with_the_next_lease() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "gone");
    world.send(alice, &subscribe(2, "slow"));
    world.close_link();
    world.send(alice, &subscribe(3, "new"));
    world.send(alice, &unsubscribe(4, "gone"));
    world.send(alice, &unsubscribe(5, "slow"));
    assert_eq!(world.under_way(), ["edge-1.7 +slow"], "it cannot be called back");
    world.store_writes_one();
    world.wait(seconds(20));
    assert_eq!(world.under_way(), NOTHING);

    world.open_link();
    world.welcome(EPOCH);
    world.lease(EPOCH);
    assert_eq!(
        world.under_way_sorted(),
        ["edge-1.7 +new", "edge-1.7 -gone", "edge-1.7 -slow"],
        "only what has changed"
    );
}

#[test]
fn a_failed_batch_is_written_again_half_a_second_later() {
    for error in [StoreError::Away, StoreError::Unanswered] {
        let mut world = World::linked();
        let alice = world.log_in("alice");
        world.send(alice, &[subscribe(2, "news"), subscribe(3, "chat")].join("\n"));
        world.store_fails(error, 1);
        assert_eq!(world.tally().route_counts.writes, [1, 2, 0]);
        world.send(alice, &unsubscribe(4, "chat"));
        world.wait(millis(499));
        assert_eq!(world.under_way(), NOTHING, "nor does anything new hurry it");
        world.wait(millis(1));
        let again = ["edge-1.7 +news", "edge-1.7 -chat"];
        assert_eq!(world.under_way(), again, "chat may be there or not");
        world.store_fails(error, 0);
        world.wait(millis(500));
        assert_eq!(world.under_way(), again);
        world.store_writes();
        assert_eq!(world.routes(), ["edge-1.7 #alice", "edge-1.7 news"]);
        assert_eq!((world.tally().routes, world.tally().routes_pending), (2, 0));
    }
}

#[test]
fn a_removal_after_an_unanswered_write_is_repeated_for_two_rounds() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, "chat"));
    world.store_fails(StoreError::Unanswered, 0);
    world.send(alice, &unsubscribe(3, "chat"));
    world.wait(millis(500));
    world.store_writes();
    let mut repeats = 0;
    for _ in 0..60 {
        world.wait(millis(500));
        repeats += world.under_way().iter().filter(|write| *write == "edge-1.7 -chat").count();
        world.store_writes();
        world.store_reads();
    }
    assert_eq!(repeats, 2);
    assert_eq!((world.tally().routes, world.tally().routes_pending), (1, 0));
}

#[test]
fn a_removal_that_failed_is_tried_again() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.close(alice);
    world.store_fails(StoreError::Unanswered, 0);
    world.wait(millis(500));
    assert_eq!(world.under_way(), ["edge-1.7 -#alice"]);
    world.store_writes();
    assert_eq!(world.routes(), NOTHING);
}

#[test]
fn while_the_last_try_failed_nobody_waits_for_the_store() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    world.send(bob, &subscribe(2, "chat"));
    world.answer_joins();
    assert!(world.read(alice).is_empty());
    world.store_fails(StoreError::Away, 0);
    assert_eq!((world.read(alice).len(), world.read(bob).len()), (1, 1), "those who waited are let go");
    world.send(alice, &subscribe(3, "more"));
    world.answer_joins();
    assert_eq!(world.read(alice).len(), 1);

    world.wait(millis(500));
    world.send(alice, &subscribe(4, "late"));
    world.answer_joins();
    assert_eq!(world.read(alice).len(), 1, "the next try has not succeeded yet");
    world.store_writes_one();
    world.send(alice, &subscribe(5, "last"));
    world.answer_joins();
    assert!(world.read(alice).is_empty(), "the store is back, and waited for");
    world.store_writes();
    assert_eq!(world.read(alice).len(), 1);
}

#[test]
fn a_store_that_knows_no_lease_is_told_nothing_more_and_the_relay_is_asked() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.said();
    world.send(alice, &subscribe(2, "news"));
    world.answer_joins();
    world.store_fences();
    assert_eq!(world.said(), ["join news 2", "unleased 7"]);
    assert_eq!(world.read(alice).len(), 1, "without a lease nobody waits");
    assert!(!world.tally().is_leased);
    world.send(alice, &subscribe(3, "chat"));
    world.wait_and_settle(seconds(20));
    assert_eq!((world.said(), world.under_way().len()), (vec!["join chat 3".to_owned()], 0));
    assert_eq!(world.tally().route_counts.writes, [1, 0, 1]);

    world.end_lease(8);
    world.lease(8);
    world.settle();
    assert_eq!(world.routes(), ["edge-1.8 #alice", "edge-1.8 chat", "edge-1.8 news"]);
    assert!(world.said().is_empty());
}

#[test]
fn a_fence_met_by_an_older_lease_is_not_news() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.said();
    world.send(alice, &subscribe(2, "news"));
    world.end_lease(8);
    world.lease(8);
    world.store_fences();
    assert_eq!((world.said(), world.tally().is_leased), (vec!["join news 2".to_owned()], true));

    world.settle();
    world.close(alice);
    world.open_link();
    world.welcome(8);
    world.said();
    world.store_fences();
    assert!(world.said().is_empty(), "whether there is a lease now, the relay will say");
}

#[test]
fn a_new_epoch_writes_everything_again_and_then_removes_what_was_there() {
    for by_welcome in [true, false] {
        let mut world = World::linked();
        let alice = world.log_in("alice");
        world.subscribe(alice, "news");
        world.send(alice, &subscribe(3, "slow"));
        new_epoch(&mut world, 8, by_welcome);
        assert_eq!(world.tally().routes_pending, 6, "three to write, three to remove");
        world.store_writes_one();
        world.wait(seconds(1));
        assert_eq!(world.under_way(), NOTHING, "the lease is awaited");
        world.lease(8);
        world.send(alice, &subscribe(4, "new"));
        assert_eq!(world.under_way_sorted(), ["edge-1.8 +#alice", "edge-1.8 +news", "edge-1.8 +slow"]);
        world.store_writes_one();
        assert_eq!(world.under_way(), ["edge-1.8 +new"]);
        world.store_writes_one();
        assert_eq!(world.under_way(), ["edge-1.7 -#alice", "edge-1.7 -news", "edge-1.7 -slow"]);
        world.store_fences();
        let names = ["#alice", "new", "news", "slow"].map(|name| format!("edge-1.8 {name}"));
        assert_eq!(world.routes(), names, "a life that is over needs no lease to be removed");
        let tally = world.tally();
        assert_eq!((tally.is_leased, tally.routes, tally.routes_pending), (true, 4, 0));
        assert_eq!((tally.route_counts.epochs, tally.route_counts.writes), (2, [10, 0, 0]));
        world.open_link();
        assert!(world.said().contains(&"hello edge-1 8 500".to_owned()));
    }
}

#[test]
fn the_link_and_its_joins_outlive_the_lease() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.tell_elsewhere("#alice", true, 0);
    world.said();
    world.send(alice, &subscribe(2, "news"));
    world.answer_joins();
    world.end_lease(8);
    assert_eq!(world.read(alice), [r#"{"id":2,"subscribe":{}}"#], "nobody waits for the next lease");
    assert!(world.hub.is_linked() && world.hub.is_elsewhere("#alice"));
    world.arrives("gone", 1, "1", true);
    assert_eq!(world.answers(), ["lane 12: 2.1 NotHere(edge-1.8)"]);
    assert_eq!(world.said(), ["join news 2"]);
}

#[test]
fn an_end_before_the_greeting_or_of_an_old_link_is_not_heard() {
    let mut world = World::unlinked();
    world.open_link();
    world.end_lease(9);
    assert_eq!(world.tally().route_counts.epochs, 0);
    world.welcome(EPOCH);
    world.close_link();
    world.end_lease(9);
    assert_eq!(world.tally().route_counts.epochs, 1);
}

#[test]
fn an_answer_to_a_batch_of_an_old_life_settles_nothing() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, "news"));
    world.end_lease(8);
    world.lease(8);
    world.read(alice);
    let bob = world.connect("bob");
    world.answer_joins();
    world.store_does();
    assert_eq!(world.under_way(), ["edge-1.7 +news"]);
    world.store_writes_one();
    assert!(world.read(bob).is_empty());
    assert_eq!(world.under_way_sorted(), ["edge-1.8 +#alice", "edge-1.8 +#bob", "edge-1.8 +news"]);
    world.store_writes();
    assert_eq!(world.read(bob).len(), 1);
    assert_eq!(world.routes(), ["edge-1.8 #alice", "edge-1.8 #bob", "edge-1.8 news"]);
}

#[test]
fn every_old_life_is_removed_however_fast_epochs_change() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    world.end_lease(8);
    world.lease(8);
    world.store_does();
    world.end_lease(9);
    world.end_lease(10);
    world.lease(9);
    world.store_writes_one();
    assert_eq!(world.under_way(), NOTHING);
    assert_eq!(world.tally().routes_pending, 6);
    world.lease(10);
    world.send(alice, &unsubscribe(2, "news"));
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.10 -news"]);
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.7 -#alice", "edge-1.7 -news"]);
    world.store_fails(StoreError::Unanswered, 1);
    world.wait(millis(499));
    assert_eq!(world.under_way(), NOTHING);
    world.wait(millis(1));
    assert_eq!(world.under_way(), ["edge-1.7 -#alice", "edge-1.7 -news"], "again");
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.8 -#alice", "edge-1.8 -news"]);
    world.store_writes();
    assert_eq!(world.routes(), ["edge-1.10 #alice"]);
}

#[test]
fn an_epoch_that_comes_back_keeps_its_routes() {
    let mut world = World::linked();
    world.log_in("alice");
    world.end_lease(8);
    world.lease(8);
    world.end_lease(EPOCH);
    world.lease(EPOCH);
    world.store_writes();
    assert_eq!(world.routes(), ["edge-1.7 #alice"]);
}

#[test]
fn an_epoch_that_comes_back_wanting_nothing_leaves_the_rest_to_the_index() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.end_lease(8);
    world.close(alice);
    world.lease(8);
    assert_eq!(world.under_way(), ["edge-1.7 -#alice"]);
    world.end_lease(EPOCH);
    world.lease(EPOCH);
    world.store_fails(StoreError::Unanswered, 0);
    world.wait(seconds(1));
    world.store_writes();
    assert_eq!(world.routes(), NOTHING);
}

#[test]
fn removals_of_an_old_life_give_way_to_changes_and_wait_for_a_lease() {
    let mut world = World::unlinked();
    world.crowd(300);
    world.link();
    world.end_lease(8);
    world.lease(8);
    world.store_writes_one();
    world.store_writes_one();
    assert_eq!(world.under_way().len(), 256);
    assert!(world.under_way()[0].starts_with("edge-1.7 -"));
    let alice = world.connect("alice");
    world.store_writes_one();
    assert_eq!(world.under_way(), ["edge-1.8 +#alice"]);
    world.store_writes_one();
    assert_eq!(world.under_way().len(), 44);
    world.close_link();
    world.store_fails(StoreError::Away, 0);
    world.wait(seconds(9));
    assert_eq!((world.under_way().len(), world.tally().routes_pending), (0, 44));
    world.open_link();
    world.welcome(8);
    world.lease(8);
    world.settle();
    assert_eq!((world.routes().len(), world.ended(alice)), (301, None));
}

#[test]
fn a_stopping_edge_leaves_its_routes_to_the_relay() {
    let mut world = World::linked();
    world.log_in("alice");
    world.said();
    world.tell(Event::Stop);
    assert_eq!(world.said(), ["leave #alice", "goodbye"]);
    world.lease(EPOCH);
    world.end_lease(8);
    world.lease(8);
    world.wait(millis(2_500));
    assert_eq!((world.under_way().len(), world.ended(ClientKey(1))), (0, Some(3001)));
}

#[test]
fn what_nobody_wants_and_nobody_removes_is_remembered_up_to_a_bound() {
    let mut now = Instant::now();
    let mut routes = Routes::new(foldhash::fast::FixedState::with_seed(1));
    routes.live_as(this_edge());
    routes.leased(now, &this_edge());
    let names: Vec<_> = (0..65_537).map(|n| channel(&format!("c{n}"))).collect();
    names.iter().for_each(|channel| routes.want(channel, true));
    for _ in 0..names.len().div_ceil(256) {
        let (edge, writes) = routes.next_batch(now).expect("there is more");
        routes.written(now, &edge, &writes, Err(StoreError::Unanswered));
        now += millis(500);
    }
    names[..65_536].iter().for_each(|channel| routes.want(channel, false));
    assert_eq!(routes.pending_len(), 65_537);
    routes.want(&names[65_536], false);
    assert_eq!(routes.pending_len(), 65_536, "the index will name it again");
}

fn new_epoch(world: &mut World, epoch: u64, by_welcome: bool) {
    if by_welcome {
        world.open_link();
        world.welcome(epoch);
    } else {
        world.end_lease(epoch);
    }
}
