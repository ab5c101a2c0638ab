//! Whoever is told of a client can reach it: replies wait for the relay's answer and, for a while, for the store; and
//! what comes in the meantime waits behind them.

use super::super::OUTBOX_BYTES_MAX;
use super::world::*;

#[test]
fn the_connect_reply_waits_for_joined_and_comes_before_all_else() {
    let mut world = World::linked();
    let bob = world.log_in("bob");
    let alice = world.connect("alice");
    world.store_writes();
    world.send(alice, &[publish(2, "chat", "1"), subscribe(3, "$secret"), direct(4, "bob", "2")].join("\n"));
    world.send(bob, &direct(2, "alice", "3"));
    assert!(world.read(alice).is_empty(), "nobody else may know of her yet");

    world.answer_joins();
    let replies = world.read(alice);
    assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
    assert_eq!(
        replies[1..],
        [
            r#"{"id":2,"publish":{}}"#.to_owned(),
            error(3, 103),
            delivered(4, 1),
            push("#alice", "3", "bob", bob)
        ]
    );
}

#[test]
fn pings_wait_behind_the_connect_reply_too() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.wait(seconds(25));
    assert!(world.read(alice).is_empty());
    world.answer_joins();
    let replies = world.read(alice);
    assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
    assert_eq!(replies[1..], ["{}"]);
}

#[test]
fn the_connect_reply_waits_for_all_of_the_tokens_channels() {
    let mut world = World::linked();
    let alice = world.open();
    world.send(alice, &connect(1, &signed(r#"{"sub":"alice","channels":["news","chat"]}"#)));
    world.store_writes();
    assert_eq!(world.said(), ["join #alice 1", "join news 2", "join chat 3"]);
    world.joined("chat", 3, false);
    world.joined("#alice", 1, false);
    assert!(world.read(alice).is_empty());
    world.joined("news", 2, false);
    assert_eq!(world.read(alice).len(), 1);
}

#[test]
fn leaving_a_token_channel_does_not_hurry_the_connect_reply() {
    let mut world = World::linked();
    let alice = world.open();
    world.send(alice, &connect(1, &signed(r#"{"sub":"alice","channels":["news","chat"]}"#)));
    world.store_writes();
    world.joined("news", 2, false);
    world.send(alice, &unsubscribe(2, "news"));
    world.joined("chat", 3, false);
    assert!(world.read(alice).is_empty(), "#alice is not joined");
    world.joined("#alice", 1, false);
    let replies = world.read(alice);
    assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
    assert_eq!(replies[1..], [r#"{"id":2,"unsubscribe":{}}"#]);
}

#[test]
fn a_token_channel_that_is_left_is_not_waited_for() {
    let mut world = World::linked();
    let alice = world.open();
    world.send(alice, &connect(1, &signed(r#"{"sub":"alice","channels":["news"]}"#)));
    world.store_writes();
    world.joined("#alice", 1, false);
    world.send(alice, &unsubscribe(2, "news"));
    let replies = world.read(alice);
    assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
    assert_eq!(replies[1..], [r#"{"id":2,"unsubscribe":{}}"#]);
}

#[test]
fn publications_wait_behind_the_subscribe_reply() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    world.store_writes();
    world.send(bob, &publish(2, "news", "1"));
    world.arrives("news", 1, "2", false);
    world.send(alice, &publish(3, "chat", "3"));
    assert_eq!(world.read(alice), [r#"{"id":3,"publish":{}}"#], "only that channel waits");
    world.answer_joins();
    assert_eq!(
        world.read(alice),
        [r#"{"id":2,"subscribe":{}}"#.to_owned(), push("news", "1", "bob", bob), push_of_zoe("news", "2")]
    );
    world.arrives("news", 2, "4", false);
    assert_eq!(world.read(alice), [push_of_zoe("news", "4")]);
}

#[test]
fn a_publication_that_is_parked_counts_as_taken() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.arrives("#alice", 1, "1", true);
    assert_eq!(world.answers(), ["lane 0: 2.1 Took(1)"]);
    world.settle();
    assert_eq!(world.read(alice)[1], push_of_zoe("#alice", "1"));
}

#[test]
fn the_store_is_waited_for_a_quarter_of_a_second() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.answer_joins();
    world.wait(millis(249));
    assert!(world.read(alice).is_empty());
    world.wait(millis(1));
    assert_eq!(world.read(alice).len(), 1);
    world.settle();
    assert!(world.read(alice).is_empty(), "a reply comes once");
}

#[test]
fn what_the_store_has_written_is_waited_for_no_longer() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.answer_joins();
    world.wait(millis(100));
    world.store_writes();
    assert_eq!(world.read(alice).len(), 1);
}

#[test]
fn all_channels_of_a_frame_wait_for_the_store_together() {
    let mut world = World::linked();
    let alice = world.open();
    let frame = [connect(1, &token_of("alice")), subscribe(2, "news"), subscribe(3, "chat")];
    world.send(alice, &frame.join("\n"));
    world.answer_joins();
    world.wait(millis(250));
    assert_eq!(world.read(alice).len(), 3);
}

#[test]
fn joined_is_waited_for_as_long_as_there_is_a_link() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.store_writes();
    world.wait(seconds(8));
    assert!(world.read(alice).is_empty());
    world.close_link();
    assert_eq!(world.read(alice).len(), 1, "the end of a link ends the waiting");
}

#[test]
fn the_end_of_the_link_ends_the_waiting_for_the_store_too() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    world.send(alice, &subscribe(2, "news"));
    world.answer_joins();
    world.close_link();
    assert_eq!(world.read(alice).len(), 2);
}

#[test]
fn without_a_link_or_a_greeting_nobody_waits() {
    let mut world = World::unlinked();
    let alice = world.connect("alice");
    assert_eq!(world.read(alice).len(), 1);
    world.open_link();
    let bob = world.connect("bob");
    assert_eq!(world.read(bob).len(), 1);
}

#[test]
fn without_a_lease_the_store_is_not_waited_for() {
    let mut world = World::unlinked();
    world.open_link();
    world.welcome(EPOCH);
    let alice = world.connect("alice");
    world.answer_joins();
    assert_eq!(world.read(alice).len(), 1);
}

#[test]
fn a_lease_that_comes_before_joined_does_not_prolong_the_waiting() {
    let mut world = World::unlinked();
    world.open_link();
    world.welcome(EPOCH);
    let alice = world.connect("alice");
    world.lease(EPOCH);
    world.wait(millis(100));
    world.answer_joins();
    world.wait(millis(150));
    assert_eq!(world.read(alice).len(), 1, "the store never answers");
}

#[test]
fn a_second_subscriber_waits_with_the_first_and_not_after_it() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    world.send(bob, &subscribe(2, "news"));
    assert!(world.read(bob).is_empty());
    world.settle();
    assert_eq!((world.read(alice).len(), world.read(bob).len()), (1, 1));

    let carol = world.log_in("carol");
    world.send(carol, &subscribe(2, "news"));
    assert_eq!(world.read(carol).len(), 1, "this edge holds the channel already");
}

#[test]
fn whoever_comes_while_a_removal_is_under_way_waits_until_it_is_undone() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.close(alice);
    assert_eq!(world.under_way(), ["edge-1.7 -#alice"]);
    let again = world.connect("alice");
    world.answer_joins();
    assert!(world.read(again).is_empty(), "the store is about to forget her");
    world.store_writes_one();
    assert!(world.read(again).is_empty());
    assert_eq!(world.under_way(), ["edge-1.7 +#alice"]);
    world.store_writes_one();
    assert_eq!(world.read(again).len(), 1);
}

#[test]
fn what_is_parked_is_bounded_like_an_outbox() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    let overhead = push("news", "", "bob", bob).len();
    let filler = format!(r#""{}""#, "x".repeat(OUTBOX_BYTES_MAX / 4 - overhead - 2));
    for _ in 0..4 {
        world.send(bob, &publish(2, "news", &filler));
    }
    assert_eq!(world.ended(alice), None);
    world.send(bob, &publish(2, "news", "1"));
    assert_eq!((world.ended(alice), world.read(alice)), (Some(3008), vec![]));
    assert_eq!(world.ended(bob), None);
}

#[test]
fn what_is_parked_for_one_client_is_bounded_in_all_its_channels_together() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    let overhead = push("room-0", "", "bob", bob).len();
    let filler = format!(r#""{}""#, "x".repeat(OUTBOX_BYTES_MAX / 8 - overhead - 2));
    for n in 0..8 {
        world.send(alice, &subscribe(2, &format!("room-{n}")));
        world.send(bob, &publish(2, &format!("room-{n}"), &filler));
    }
    assert_eq!(world.ended(alice), None);
    world.send(bob, &publish(2, "room-3", "1"));
    assert_eq!(world.ended(alice), Some(3008));
}

#[test]
fn what_waits_for_the_connect_reply_is_bounded_too() {
    let mut world = World::linked();
    let alice = world.connect("alice");
    let ping = r#"{"id":5,"ping":{}}"#;
    let frame = vec![ping; OUTBOX_BYTES_MAX / ping.len()].join("\n");
    world.send(alice, &frame);
    assert_eq!(world.ended(alice), None);
    world.send(alice, ping);
    assert_eq!(world.ended(alice), Some(3008));
}
