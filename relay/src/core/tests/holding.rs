//! Joins and leaves, and who is told when that a channel is held elsewhere too.
//!
//! "Each time a channel goes from one holder to two, the relay tells the one that it is now held elsewhere too. It
//! answers `joined` when all such tellings of this channel are acknowledged, or their links ended."

use proto::link::{CloseCode, Member, ToEdge, ToRelay};

use super::super::LinkKey;
use super::world::{StoreMood, World, channel, closed, held_elsewhere, held_here_only, joined, ms, routed};

#[test]
fn the_first_holder_is_answered_at_once_and_told_that_it_is_alone() {
    let (mut world, [a]) = World::linked(["a"]);
    world.join(a, "c");
    world.hears(a, &[joined("c", 1, false)]);
}

#[test]
fn the_second_holder_is_answered_when_the_first_knows_of_it() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.hears(b, &[]);
    world.hears(a, &[held_elsewhere("c", 1)]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(b, &[joined("c", 1, true)]);
    world.hears(a, &[]);
}

#[test]
fn a_joiner_receives_before_it_is_answered() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.publish(a, "c", false);
    assert_eq!(world.got(b, "c").len(), 1);
}

#[test]
fn a_third_holder_is_answered_at_once_and_nobody_is_told() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(a, b, "room");
    world.holds(c, "room", true);
    world.hears(a, &[]);
    world.hears(b, &[]);
}

#[test]
fn a_third_holder_waits_while_the_first_does_not_know_of_the_second() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.holds(a, "room", false);
    world.join(b, "room");
    world.join(c, "room");
    world.hears(b, &[]);
    world.hears(c, &[]);
    world.hears(a, &[held_elsewhere("room", 1)]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(b, &[joined("room", 1, true)]);
    world.hears(c, &[joined("room", 1, true)]);
}

#[test]
fn a_channel_waits_for_its_own_tellings_only() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.holds(a, "d", false);
    world.join(b, "c");
    world.join(b, "d");
    world.holds(b, "e", false);
    world.hears(a, &[held_elsewhere("c", 1), held_elsewhere("d", 2)]);
    world.says(a, ToRelay::Told { telling: 2 });
    world.hears(b, &[joined("d", 2, true)]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(b, &[joined("c", 1, true)]);
}

#[test]
fn the_link_of_one_that_was_told_ends_and_with_it_the_waiting() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.close(a);
    world.hears(b, &[held_here_only("c"), joined("c", 1, false), ToEdge::Gone { member: Member(1) }]);
}

#[test]
fn one_that_was_told_and_leaves_must_still_acknowledge() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.hears(a, &[held_elsewhere("c", 1)]);
    world.leave(a, "c");
    world.hears(b, &[held_here_only("c")]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(b, &[joined("c", 1, false)]);
}

#[test]
fn a_joiner_that_leaves_while_it_waits_is_answered_and_holds_nothing() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.leave(b, "c");
    world.hears(a, &[held_elsewhere("c", 1), held_here_only("c")]);
    world.says(a, ToRelay::Told { telling: 1 });
    let heard = world.heard(b);
    assert!(matches!(heard[..], [ToEdge::Joined { number: 1, .. }]), "{heard:?}");
    world.publish(a, "c", true);
    world.gets(a, "c", &[routed(Member(1), 1, &[], true)]);
}

#[test]
fn a_joiner_whose_link_ends_while_it_waits_is_forgotten() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.close(b);
    world.hears(a, &[held_elsewhere("c", 1), held_here_only("c"), ToEdge::Gone { member: Member(2) }]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(a, &[]);
    world.hears(b, &[]);
}

#[test]
fn every_change_from_one_holder_to_two_is_told_anew() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "c");
    world.leave(b, "c");
    world.hears(a, &[held_here_only("c")]);
    world.join(b, "c");
    world.hears(a, &[held_elsewhere("c", 2)]);
    world.hears(b, &[]);
    world.says(a, ToRelay::Told { telling: 2 });
    world.hears(b, &[joined("c", 2, true)]);
}

#[test]
fn all_tellings_of_a_channel_must_be_acknowledged() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.holds(a, "room", false);
    world.join(b, "room");
    world.leave(a, "room");
    world.join(c, "room");
    world.hears(b, &[held_here_only("room"), held_elsewhere("room", 2)]);
    world.says(b, ToRelay::Told { telling: 2 });
    world.hears(c, &[]);
    world.says(a, ToRelay::Told { telling: 1 });
    world.hears(b, &[joined("room", 1, true)]);
    world.hears(c, &[joined("room", 1, true)]);
}

#[test]
fn a_telling_is_acknowledged_by_whom_it_told() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.holds(a, "room", false);
    world.join(b, "room");
    for stranger in [b, c] {
        world.says(stranger, ToRelay::Told { telling: 1 });
    }
    world.hears(b, &[]);
    for telling in [1, 1, 0, 99] {
        world.says(a, ToRelay::Told { telling });
    }
    world.hears(b, &[joined("room", 1, true)]);
    world.does(&[]);
}

#[test]
fn a_join_of_what_is_already_held_is_answered_and_changes_nothing() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.holds(a, "c", false);
    let number = world.join(b, "c");
    world.acknowledges(a);
    world.hears(b, &[joined("c", number, true)]);
    world.holds(a, "c", true);
    world.holds(b, "c", true);
    world.hears(a, &[]);
    world.leave(b, "c");
    world.hears(a, &[held_here_only("c")]);
}

#[test]
fn a_repeated_join_waits_like_any_other_and_each_gets_its_own_answer() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.join(b, "c");
    world.join(b, "c");
    world.join(a, "c");
    world.hears(b, &[]);
    world.acknowledges(a);
    world.hears(b, &[joined("c", 1, true), joined("c", 2, true)]);
    world.hears(a, &[joined("c", 2, true)]);
}

#[test]
fn an_answer_brings_the_joins_own_number_back() {
    let (mut world, [a]) = World::linked(["a"]);
    for number in [7, 0, u32::MAX, 7] {
        world.says(a, ToRelay::Join { channel: channel("c"), number });
        world.hears(a, &[joined("c", number, false)]);
    }
}

#[test]
fn a_leave_of_what_is_not_held_changes_nothing() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(a, b, "room");
    world.leave(c, "room");
    world.leave(c, "nowhere");
    world.leave(b, "room");
    world.hears(a, &[held_here_only("room")]);
    world.leave(b, "room");
    world.leave(c, "room");
    world.hears(a, &[]);
}

#[test]
fn the_last_one_left_is_told_so_however_the_other_went() {
    type Go = fn(&mut World, LinkKey);
    let goes: [(&str, Go); 5] = [
        ("leaves", |world, link| world.leave(link, "c")),
        ("loses its link", |world, link| world.close(link)),
        ("says goodbye", |world, link| world.says(link, ToRelay::Goodbye)),
        ("is silent", |world, _| world.wait(ms(300))),
        ("starts anew", |world, _| {
            let newer = world.open("b");
            world.hello(newer, None);
        }),
    ];
    for (how, go) in goes {
        let (mut world, [a, b]) = World::linked(["a", "b"]);
        world.both_hold(a, b, "c");
        world.wait_pinging(ms(3_000), &[a]);
        go(&mut world, b);
        let heard = world.heard(a);
        assert_eq!(heard.first(), Some(&held_here_only("c")), "{how}");
        let gone = ToEdge::Gone { member: Member(2) };
        assert_eq!(heard.get(1), Some(&gone).filter(|_| how != "leaves"), "{how}");
        assert!(heard.len() <= 2, "{how}: {heard:?}");
    }
}

#[test]
fn two_that_are_left_of_three_are_told_nothing() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(a, b, "room");
    world.holds(c, "room", true);
    world.leave(c, "room");
    world.hears(a, &[]);
    world.hears(b, &[]);
}

#[test]
fn an_edge_on_a_new_link_holds_nothing_until_it_joins_again() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "c");
    let edge = world.id(b);
    world.close(b);
    let again = world.open("b");
    world.hello(again, Some(edge.epoch));
    world.heard(again);
    world.heard(a);
    world.publish(a, "c", false);
    world.gets(again, "c", &[]);
    let number = world.join(again, "c");
    world.acknowledges(a);
    world.hears(again, &[joined("c", number, true)]);
}

#[test]
fn a_control_stream_that_is_full_ends_its_link_only() {
    let (mut world, [a]) = World::linked(["a"]);
    world.control_bytes_max = WELCOME_BYTES;
    world.store_mood = StoreMood::Away;
    let b = world.open("b");
    world.hello(b, None);
    world.heard(b);
    world.done();
    world.join(b, "c1");
    world.does(&[]);
    world.join(b, "c2");
    world.does(&[closed(b, CloseCode::Overflow, "the control stream's queue is full")]);
    world.hears(a, &[ToEdge::Gone { member: Member(2) }]);
    world.holds(a, "c1", false);
}

#[test]
fn a_holder_that_cannot_be_told_is_no_holder_any_more() {
    let (mut world, [b]) = World::linked(["b"]);
    world.control_bytes_max = WELCOME_BYTES;
    world.store_mood = StoreMood::Away;
    let a = world.link("a");
    world.holds(a, "c", false);
    world.join(a, "x");
    let number = world.join(b, "c");
    world.does(&[closed(a, CloseCode::Overflow, "the control stream's queue is full")]);
    world.hears(b, &[held_here_only("c"), joined("c", number, false), ToEdge::Gone { member: Member(2) }]);
}

#[test]
fn a_joiner_that_cannot_be_answered_does_not_count_in_the_others_answer() {
    let (mut world, [a, c]) = World::linked(["a", "c"]);
    world.control_bytes_max = WELCOME_BYTES;
    world.store_mood = StoreMood::Away;
    let b = world.link("b");
    world.holds(a, "room", false);
    world.join(b, "x");
    world.join(b, "room");
    world.join(c, "room");
    world.leave(a, "room");
    let telling = ToRelay::Told { telling: 1 };
    world.says(a, telling);
    world.does(&[closed(b, CloseCode::Overflow, "the control stream's queue is full")]);
    let told = world.heard(c);
    let last = told.iter().rfind(|frame| !matches!(frame, ToEdge::Gone { .. }));
    assert!(
        matches!(
            last,
            Some(ToEdge::Joined { elsewhere: false, .. } | ToEdge::Elsewhere { elsewhere: false, .. })
        ),
        "c is alone: {told:?}"
    );
}

/// A control queue of this size takes a welcome, and no word about a lease; later one answer to a join, and no second frame.
const WELCOME_BYTES: usize = 17;
