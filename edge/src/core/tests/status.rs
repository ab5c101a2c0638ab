//! What operators see of an edge through its relay.

use proto::id::Channel;
use proto::limits::FOUND_MAX;
use proto::link::{Status, ToEdge};

use super::super::{Encoding, Event};
use super::world::{UNIX, World, direct, millis, seconds, token_of};

#[test]
fn a_relay_that_has_greeted_is_told_each_second_how_its_edge_does() {
    let mut world = World::unlinked();
    world.wait(seconds(2));
    world.open_link();
    world.wait(seconds(2));
    assert_eq!(world.statuses, [], "before the welcome there is nobody to tell");
    world.welcome(7);
    world.wait(millis(0));
    assert_eq!(world.statuses, [Status::default()]);
    world.wait(millis(999));
    assert_eq!(world.statuses.len(), 1);
    world.wait(millis(1));
    assert_eq!(world.statuses.len(), 2);
    world.close_link();
    world.wait(seconds(3));
    assert_eq!(world.statuses.len(), 2);
}

#[test]
fn how_an_edge_does_is_what_it_counts() {
    let mut world = World::linked();
    let [alice, _bob] = ["alice", "bob"].map(|user| world.log_in(user));
    world.open();
    world.tell(Event::Ready { is_ready: true });
    world.send(alice, &direct(2, "bob", "1"));
    world.close_link();
    world.send(alice, &direct(3, "bob", "1"));
    world.link();
    world.wait(seconds(1));
    let status = world.statuses.last().expect("told each second");
    let expected = Status {
        clients: 2,
        is_ready: true,
        carries: true,
        rtt_micros: 0,
        received: 2,
        pushes: 2,
        unknown: 0,
    };
    assert_eq!(*status, expected);
    world.tell(Event::Ready { is_ready: false });
    world.wait(seconds(1));
    assert!(!world.statuses.last().expect("told each second").is_ready);
}

#[test]
fn a_relay_that_asks_is_told_which_clients_a_user_has_here_since_when_and_by_which_door() {
    let mut world = World::linked();
    world.log_in("bob");
    world.wait_and_settle(seconds(3));
    let line = world.open_as(Encoding::Line, 0.0);
    world.type_line(line, &format!("login {}", token_of("bob")));
    world.settle();
    world.said();
    let (first, second) = (UNIX * 1_000, UNIX * 1_000 + 3_000);
    world.relay_says(where_is(4, "#bob"));
    assert_eq!(world.said(), [format!("here 4 2 websocket since {first} line since {second}")]);
    world.relay_says(where_is(5, "#eve"));
    assert_eq!(world.said(), ["here 5 0"]);
}

#[test]
fn whoever_is_in_a_room_is_nobodys_answer() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "room");
    world.said();
    world.relay_says(where_is(1, "room"));
    assert_eq!(world.said(), ["here 1 0"]);
}

#[test]
fn of_many_clients_of_one_user_the_oldest_are_told() {
    let mut world = World::linked();
    for _ in 0..=FOUND_MAX {
        world.log_in("bob");
    }
    world.said();
    world.relay_says(where_is(1, "#bob"));
    let said = world.said();
    assert!(said[0].starts_with("here 1 33 websocket since "), "{said:?}");
    assert_eq!(said[0].matches("since").count(), FOUND_MAX);
}

fn where_is(query: u32, channel: &str) -> ToEdge {
    ToEdge::WhereIs { query, channel: Channel::parse(channel).expect("valid") }
}
