//! Who is admitted, with which epoch, and what becomes of an older life.

use bytes::Bytes;
use proto::id::Epoch;
use proto::limits::EPOCH_GIVEN_MAX;
use proto::link::{CloseCode, Lane, Member, ToEdge, ToRelay, lane_of};

use super::super::{Action, Event};
use super::world::{
    UNIX_MS, World, channel, closed, edge_id, ends, held_here_only, hello, ms, publication, routed, welcome,
};

#[test]
fn a_hello_is_welcomed_and_admitted_and_a_lease_is_asked_for() {
    let mut world = World::new();
    let a = world.open("a");
    world.hello(a, None);
    world.hears(a, &[welcome(UNIX_MS, 1)]);
    let edge = edge_id("a", UNIX_MS);
    world.does(&[Action::Admit { link: a, edge: edge.clone() }]);

    assert_eq!(world.leased(a), [UNIX_MS]);
    assert_eq!(world.leases(), [edge.to_string()]);
}

#[test]
fn a_hello_under_another_name_than_the_certificates_ends_the_link() {
    let (mut world, [b]) = World::linked(["b"]);
    let a = world.open("a");
    world.says(a, hello("b", None));
    world.does(&[closed(a, CloseCode::WrongName, "hello says b, its certificate says a")]);
    world.hears(a, &[]);
    world.hears(b, &[]);
    world.holds(b, "c", false);
}

#[test]
fn an_edge_that_cannot_be_welcomed_is_lost_like_any_other() {
    let mut world = World::new();
    world.control_bytes_max = 0;
    let a = world.open("a");
    world.hello(a, None);
    world.does(&[
        Action::Admit { link: a, edge: edge_id("a", UNIX_MS) },
        closed(a, CloseCode::Overflow, "the control stream's queue is full"),
    ]);
    assert_eq!(world.leases(), Vec::<String>::new(), "nobody knows of it");
    world.wait(ms(3_300));
    world.does(&[]);
}

#[test]
fn an_epoch_is_what_the_clock_shows_at_hello() {
    let mut world = World::new();
    world.wait(ms(250));
    let a = world.open("a");
    world.hello(a, None);
    world.hears(a, &[welcome(UNIX_MS + 250, 1)]);

    world.tell(Event::Clock { unix: ms(UNIX_MS + 9_000) });
    world.wait(ms(1));
    let b = world.open("b");
    world.hello(b, None);
    world.hears(b, &[welcome(UNIX_MS + 9_001, 2)]);
}

#[test]
fn an_epoch_is_higher_than_any_that_the_name_had_even_if_the_clock_goes_back() {
    let (mut world, [a]) = World::linked(["a"]);
    world.says(a, ToRelay::Goodbye);
    world.tell(Event::Clock { unix: ms(UNIX_MS - 3_600_000) });

    let a = world.open("a");
    world.hello(a, None);
    world.hears(a, &[welcome(UNIX_MS + 1, 2)]);

    // Another relay gave that one.
    let b = world.open("b");
    world.hello(b, Some(Epoch(UNIX_MS + 70)));
    world.hears(b, &[welcome(UNIX_MS + 71, 3)]);
}

#[test]
fn an_epoch_that_nobody_was_given_ends_its_link_and_the_highest_one_does_not() {
    let mut world = World::new();
    let a = world.open("a");
    world.hello(a, Some(Epoch(EPOCH_GIVEN_MAX + 1)));
    world.does(&[closed(a, CloseCode::BadFrame, "hello says an epoch that nobody was ever given")]);
    let again = world.open("a");
    world.hello(again, Some(Epoch(EPOCH_GIVEN_MAX)));
    world.hears(again, &[welcome(EPOCH_GIVEN_MAX + 1, 1)]);
}

#[test]
fn an_edge_that_comes_back_within_3_3_s_keeps_its_epoch_and_is_not_reaped() {
    let (mut world, [a]) = World::linked(["a"]);
    world.close(a);
    world.wait(ms(3_299));
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.hears(again, &[welcome(UNIX_MS, 2)]);
    world.does(&[Action::Admit { link: again, edge: edge_id("a", UNIX_MS) }]);

    world.says(again, ToRelay::Synced);
    assert!(world.is_complete(), "nobody is lost any more");
    world.wait_pinging(ms(10_000), &[again]);
    world.does(&[]);
}

#[test]
fn an_edge_that_comes_back_after_3_3_s_takes_a_new_epoch() {
    let (mut world, [a]) = World::linked(["a"]);
    world.close(a);
    world.wait(ms(3_300));
    world.does(&[ends(edge_id("a", UNIX_MS))]);
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.hears(again, &[welcome(UNIX_MS + 3_300, 2)]);
}

#[test]
fn an_edge_that_starts_anew_ends_its_former_life_at_once() {
    let (mut world, [a]) = World::linked(["a"]);
    world.close(a);
    world.wait(ms(500));
    let again = world.open("a");
    world.hello(again, None);
    let (former, edge) = (edge_id("a", UNIX_MS), edge_id("a", UNIX_MS + 500));
    world.does(&[Action::Admit { link: again, edge }, ends(former)]);
    world.wait_pinging(ms(10_000), &[again]);
    world.does(&[]);
}

#[test]
fn a_hello_on_a_newer_link_of_the_same_life_replaces_the_older() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "c");
    let newer = world.open("a");
    world.hello(newer, Some(Epoch(UNIX_MS)));
    let edge = edge_id("a", UNIX_MS);
    world.does(&[
        closed(a, CloseCode::Replaced, "this edge has a newer link"),
        Action::Admit { link: newer, edge },
    ]);
    world.hears(newer, &[welcome(UNIX_MS, 3)]);
    world.hears(b, &[held_here_only("c"), ToEdge::Gone { member: Member(1) }]);
}

#[test]
fn what_a_replaced_link_still_had_unread_is_discarded() {
    let (mut world, [a]) = World::linked(["a"]);
    let newer = world.open("a");
    world.hello(newer, Some(Epoch(UNIX_MS)));
    world.heard(newer);
    world.holds(newer, "c", false);
    world.done();

    world.leave(a, "c");
    world.says(a, ToRelay::Goodbye);
    world.tell(Event::Lane { link: a, lane: Lane(0), frames: vec![Bytes::from_static(b"garbage")] });
    world.ping(a);
    world.close(a);
    world.does(&[]);
    world.hears(newer, &[]);
    assert_eq!(world.router.tally(world.now).channels, 1);
}

#[test]
fn a_newer_edge_of_a_name_supersedes_the_older_and_ends_its_life() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait(ms(1_000));
    let newer = world.open("a");
    world.hello(newer, None);
    let edge = edge_id("a", UNIX_MS + 1_000);
    world.does(&[
        closed(a, CloseCode::Superseded, "a newer edge of this name has come"),
        Action::Admit { link: newer, edge },
        ends(edge_id("a", UNIX_MS)),
    ]);
    world.hears(b, &[ToEdge::Gone { member: Member(1) }]);
}

#[test]
fn an_edge_that_did_not_hear_its_welcome_is_not_taken_for_another() {
    let (mut world, []) = World::linked([]);
    let first = world.open("a");
    world.hello(first, Some(Epoch(7)));
    world.done();
    let second = world.open("a");
    world.hello(second, Some(Epoch(7)));
    assert!(world.done().contains(&closed(first, CloseCode::Replaced, "this edge has a newer link")));
    world.hears(second, &[welcome(UNIX_MS + 1, 2)]);
}

#[test]
fn an_edge_that_was_superseded_does_not_take_its_name_back() {
    let (mut world, []) = World::linked([]);
    let older = world.open("a");
    world.hello(older, None);
    world.wait(ms(1_000));
    let newer = world.open("a");
    world.hello(newer, None);
    world.done();
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.does(&[closed(again, CloseCode::Superseded, "a newer edge of this name has come")]);
    world.hears(newer, &[welcome(UNIX_MS + 1_000, 2)]);
}

#[test]
fn whatever_comes_before_hello_ends_the_link() {
    for frame in [
        ToRelay::Join { channel: channel("c"), number: 1 },
        ToRelay::Leave { channel: channel("c") },
        ToRelay::Synced,
        ToRelay::Told { telling: 1 },
        ToRelay::Goodbye,
    ] {
        let (mut world, [b]) = World::linked(["b"]);
        let a = world.open("a");
        world.says(a, frame.clone());
        world.does(&[closed(a, CloseCode::BadFrame, "the first frame is not hello")]);
        world.hello(a, None);
        world.does(&[]);
        world.hears(a, &[]);
        world.hears(b, &[]);
        let tally = world.router.tally(world.now);
        assert_eq!((tally.edges, tally.channels, tally.closed), (1, 0, 1), "{frame:?}");
    }
}

#[test]
fn a_lane_says_nothing_before_hello() {
    let (mut world, [b]) = World::linked(["b"]);
    world.holds(b, "c", false);
    let a = world.open("a");
    let lane = lane_of("c");
    world.sends(a, lane, &publication(Member(2), 1, "c", true));
    world.tell(Event::Lane { link: a, lane, frames: vec![Bytes::from_static(b"garbage")] });
    world.does(&[]);
    world.gets(b, "c", &[]);
}

#[test]
fn a_second_hello_ends_the_link() {
    let (mut world, [a]) = World::linked(["a"]);
    world.hello(a, Some(Epoch(UNIX_MS)));
    world.does(&[closed(a, CloseCode::BadFrame, "a second hello")]);
}

#[test]
fn no_number_of_a_member_is_used_twice() {
    let (mut world, [mut a]) = World::linked(["a"]);
    for number in 2..20 {
        match number % 3 {
            0 => world.close(a),
            1 => world.says(a, ToRelay::Goodbye),
            _ => {}
        }
        a = world.open("a");
        world.hello(a, None);
        world.heard(a);
        assert_eq!(world.member(a), Member(number));
    }
}

#[test]
fn an_edge_that_is_not_synced_is_routed_for_and_to_already() {
    let mut world = World::new();
    let a = world.open("a");
    world.hello(a, None);
    world.heard(a);
    world.holds(a, "c", false);
    let b = world.open("b");
    world.hello(b, None);
    world.heard(b);
    world.publish(b, "c", true);
    world.gets(b, "c", &[routed(Member(2), 1, &[Member(1)], false)]);
    assert_eq!(world.got(a, "c").len(), 1);
}
