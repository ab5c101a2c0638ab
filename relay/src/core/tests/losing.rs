//! Heartbeat, silence, goodbye, reaping and stop; whether the relay is complete.

use proto::link::{CloseCode, Member, ToEdge, ToRelay};

use super::super::{Event, LOST_AFTER, Tally, UNHEARD_MAX};
use super::world::{UNIX_MS, World, closed, edge_id, ends, ms};

#[test]
fn a_ping_is_echoed_as_it_is() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.ping(a);
    world.ping(a);
    assert_eq!((world.echoes(a), world.echoes(b)), (2, 0));
    let unknown = world.open("c");
    world.ping(unknown);
    assert_eq!(world.echoes(unknown), 1, "the heartbeat does not wait for hello");
    assert_eq!(world.router.tally(world.now).heartbeats, 3);
}

#[test]
fn an_edge_that_is_silent_for_3_3_s_is_closed_and_reaped_at_once() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait_pinging(ms(500), &[a]);
    world.wait_pinging(ms(3_299), &[b]);
    world.does(&[]);
    world.wait(ms(1));
    world.does(&[closed(a, CloseCode::Silent, "no heartbeat for 3.3 s"), ends(edge_id("a", UNIX_MS))]);
    world.hears(b, &[ToEdge::Gone { member: Member(1) }]);
    world.close(a);
    world.wait_pinging(ms(10_000), &[b]);
    world.does(&[]);
}

#[test]
fn a_link_that_says_no_hello_is_closed_after_3_3_s_however_much_it_pings() {
    let mut world = World::linked([]).0;
    let mute = world.open("a");
    world.wait_pinging(ms(3_299), &[mute]);
    world.does(&[]);
    world.wait(ms(1));
    world.does(&[closed(mute, CloseCode::Silent, "no hello for 3.3 s")]);
}

#[test]
fn words_and_publications_are_no_heartbeat() {
    let (mut world, [a]) = World::linked(["a"]);
    for _ in 0..3 {
        world.wait(ms(1_000));
        world.holds(a, "c", false);
        world.publish(a, "c", false);
    }
    world.wait(ms(300));
    world.does(&[closed(a, CloseCode::Silent, "no heartbeat for 3.3 s"), ends(edge_id("a", UNIX_MS))]);
}

#[test]
fn an_edge_whose_link_ends_is_reaped_3_3_s_after_it_was_last_heard_and_not_earlier() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait_pinging(ms(1_000), &[a, b]);
    world.wait(ms(900));
    world.close(a);
    world.hears(b, &[ToEdge::Gone { member: Member(1) }]);
    world.wait_pinging(ms(3_300 - 900 - 1), &[b]);
    world.does(&[]);
    world.wait(ms(1));
    world.does(&[ends(edge_id("a", UNIX_MS))]);
    world.wait_pinging(ms(10_000), &[b]);
    world.does(&[]);
}

#[test]
fn an_edge_that_was_closed_for_a_mistake_may_come_back_in_time() {
    let (mut world, [a]) = World::linked(["a"]);
    world.hello(a, None);
    world.does(&[closed(a, CloseCode::BadFrame, "a second hello")]);
    let again = world.open("a");
    world.hello(again, Some(edge_id("a", UNIX_MS).epoch));
    world.heard(again);
    assert_eq!(world.id(again), edge_id("a", UNIX_MS));
    world.done();
    world.wait_pinging(ms(4_000), &[again]);
    world.does(&[]);
}

#[test]
fn an_edge_that_says_goodbye_is_reaped_at_once() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.says(a, ToRelay::Goodbye);
    world.does(&[closed(a, CloseCode::Goodbye, "goodbye"), ends(edge_id("a", UNIX_MS))]);
    world.hears(b, &[ToEdge::Gone { member: Member(1) }]);
    world.hears(c, &[ToEdge::Gone { member: Member(1) }]);
    assert!(world.is_complete(), "nobody is missing");
    world.close(a);
    world.wait_pinging(ms(4_000), &[b, c]);
    world.does(&[]);
    assert_eq!(world.router.tally(world.now).closed, 0, "that was not for a reason of ours");
}

#[test]
fn a_link_that_ends_before_hello_is_nobodys_loss() {
    let (mut world, [b]) = World::linked(["b"]);
    let a = world.open("a");
    world.close(a);
    world.hears(b, &[]);
    assert!(world.is_complete());
    world.wait_pinging(ms(4_000), &[b]);
    world.does(&[]);
}

#[test]
fn a_relay_is_complete_when_every_linked_edge_is_synced() {
    let (mut world, [_a]) = World::linked(["a"]);
    assert!(world.is_complete());
    let b = world.open("b");
    assert!(world.is_complete(), "whoever did not say hello has no clients to be found");
    world.hello(b, None);
    assert!(!world.is_complete());
    world.says(b, ToRelay::Synced);
    assert!(world.is_complete());
}

#[test]
fn a_relay_is_complete_while_every_linked_edge_was_heard_within_2_s() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait(ms(1_000));
    world.ping(a);
    world.wait(ms(1_000));
    assert!(world.is_complete());
    world.wait(ms(1));
    assert!(!world.is_complete(), "b was heard 2.001 s ago");
    world.ping(b);
    assert!(world.is_complete());
}

#[test]
fn a_relay_is_complete_again_when_a_lost_edge_is_reaped() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.close(a);
    assert!(!world.is_complete());
    world.wait_pinging(ms(3_299), &[b]);
    assert!(!world.is_complete());
    world.wait(ms(1));
    assert!(world.is_complete());
}

#[test]
fn a_relay_is_complete_again_when_a_lost_edge_is_back_and_synced() {
    let (mut world, [a, _b]) = World::linked(["a", "b"]);
    world.close(a);
    let again = world.open("a");
    world.hello(again, Some(edge_id("a", UNIX_MS).epoch));
    assert!(!world.is_complete());
    world.says(again, ToRelay::Synced);
    assert!(world.is_complete());
}

#[test]
fn a_relay_that_has_heard_nobody_is_not_complete() {
    let mut world = World::new();
    assert!(!world.is_complete());
}

#[test]
fn whoever_may_be_lost_is_incomplete_before_it_is_lost() {
    assert!(UNHEARD_MAX < LOST_AFTER);
}

#[test]
fn a_timeout_that_comes_late_does_all_that_was_due() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.close(b);
    let c = world.link("c");
    world.now += ms(60_000);
    world.wait(ms(0));
    world.does(&[
        closed(a, CloseCode::Silent, "no heartbeat for 3.3 s"),
        closed(c, CloseCode::Silent, "no heartbeat for 3.3 s"),
        ends(edge_id("b", UNIX_MS)),
        ends(edge_id("a", UNIX_MS)),
        ends(edge_id("c", UNIX_MS)),
    ]);
}

#[test]
fn a_relay_that_stops_closes_every_link() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    let unknown = world.open("c");
    world.tell(Event::Stop);
    world.does(&[a, b, unknown].map(|link| closed(link, CloseCode::Goodbye, "the relay stops")));
}

#[test]
fn everything_is_counted() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "c");
    world.holds(b, "d", false);
    world.publish(a, "c", false);
    world.ping(a);
    world.leave(b, "d");
    world.says(b, ToRelay::Goodbye);
    world.hello(a, None);
    let expected = Tally {
        publications: 1,
        forwarded: 1,
        joins: 3,
        leaves: 1,
        heartbeats: 1,
        admitted: 2,
        closed: 1,
        reaped: 1,
        leases: 1,
        lost: 1,
        ..Tally::default()
    };
    assert_eq!(*world.router.tally(world.now), expected);
}
