//! What the store is told: state, not a log, and never without a lease.

use super::super::Event;
use super::world::*;

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_held_is_written_and_what_is_left_is_removed() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    let routes = |world: &World| world.routes.iter().map(|(e, c)| format!("{e} {c}")).collect::<Vec<_>>();
    assert_eq!(routes(&world), ["edge-1.7 #alice", "edge-1.7 news"]);
    world.send(alice, &unsubscribe(2, "news"));
    world.settle();
    assert_eq!(routes(&world), ["edge-1.7 #alice"]);
    world.close(alice);
    world.settle();
    assert_eq!(routes(&world), NOTHING);
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
    assert_eq!(world.under_way(), NOTHING, "another life's lease is not ours");
    world.lease(EPOCH);
    let mut under_way = world.under_way();
    under_way.sort_unstable();
    assert_eq!(under_way, ["edge-1.7 +#alice", "edge-1.7 +news"]);
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
    assert_eq!(world.under_way(), NOTHING);

    world.open_link();
    world.welcome(EPOCH);
    world.lease(EPOCH);
    let mut under_way = world.under_way();
    under_way.sort_unstable();
    assert_eq!(under_way, ["edge-1.7 +new", "edge-1.7 -gone", "edge-1.7 -slow"], "only what has changed");
}

#[test]
fn a_new_epoch_writes_everything_again() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    world.subscribe(alice, "gone");
    world.send(alice, &unsubscribe(2, "gone"));
    world.send(alice, &subscribe(3, "slow"));
    world.open_link();
    world.welcome(EPOCH + 1);
    world.lease(EPOCH + 1);
    let mut under_way = world.under_way();
    under_way.sort_unstable();
    assert_eq!(
        under_way,
        ["edge-1.7 +slow", "edge-1.7 -gone", "edge-1.8 +#alice", "edge-1.8 +news", "edge-1.8 +slow"],
        "what the old life wrote is removed with it"
    );
    world.settle();
    let routes: Vec<String> =
        world.routes.iter().filter(|(e, _)| e.epoch.0 == 8).map(|(_, c)| c.to_string()).collect();
    assert_eq!(routes, ["#alice", "news", "slow"]);
    world.close_link();
    world.open_link();
    assert!(world.said().contains(&"hello edge-1 8 500".to_owned()));
}

#[test]
fn an_old_lifes_answer_settles_nothing() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.open_link();
    world.welcome(EPOCH + 1);
    world.read(alice);
    world.lease(EPOCH + 1);
    world.send(alice, &subscribe(2, "news"));
    world.answer_joins();
    world.send(alice, &subscribe(3, "chat"));
    world.answer_joins();
    assert_eq!(world.under_way()[0], "edge-1.7 +#alice");
    world.store_writes_one();
    assert!(world.read(alice).is_empty());
    world.store_writes();
    assert_eq!(world.read(alice).len(), 2);
}

#[test]
fn a_stopping_edge_removes_its_routes() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    world.tell(Event::Stop);
    world.settle();
    assert!(world.routes.is_empty());
}
