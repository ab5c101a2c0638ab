//! A session's middle and end: pings, those who do not read, those at a terminal, the edge's stop.

use std::iter::repeat_n;

use bytes::Bytes;
use proto::client::code::Disconnect;

use super::super::{ClientKey, Encoding, Event, OUTBOX_BYTES_MAX};
use super::world::*;

#[test]
fn the_first_ping_comes_by_chance_between_half_an_interval_and_a_whole_one() {
    for (chance, at) in [(0.0, millis(12_500)), (0.5, millis(18_750)), (0.999_999, millis(25_000))] {
        let mut world = World::alone();
        let client = world.open_as(Encoding::Json, chance);
        world.send(client, &connect(1, &token_of("alice")));
        world.read(client);
        world.wait(at - millis(1));
        assert!(world.read(client).is_empty(), "{chance}");
        world.wait(millis(1));
        assert_eq!(world.read(client), ["{}"], "{chance}");
    }
}

#[test]
fn a_late_login_gets_its_first_ping_half_an_interval_later() {
    let mut world = World::alone();
    let client = world.open_as(Encoding::Json, 0.0);
    world.wait(seconds(9));
    world.send(client, &connect(1, &token_of("alice")));
    world.read(client);
    world.wait(millis(12_499));
    assert!(world.read(client).is_empty());
    world.wait(millis(1));
    assert_eq!(world.read(client), ["{}"]);
}

#[test]
fn pings_go_on_at_the_interval_as_long_as_they_are_answered() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.wait(seconds(25));
    for _ in 0..4 {
        assert_eq!(world.read(client), ["{}"]);
        world.wait(millis(7_900));
        world.send(client, "{}");
        world.wait(millis(17_000));
        assert!(world.read(client).is_empty());
        world.wait(millis(100));
    }
    assert_eq!(world.ended(client), None);
}

#[test]
fn a_ping_that_is_not_answered_within_8_s_ends_the_session() {
    let mut world = World::alone();
    let client = world.open_as(Encoding::Json, 0.0);
    world.send(client, &connect(1, &token_of("alice")));
    world.wait(millis(12_500) + seconds(8) - millis(1));
    assert_eq!(world.ended(client), None);
    world.wait(millis(1));
    assert_eq!(world.ended(client), Some(3012));
    assert_eq!(world.tally().clients, 0);
}

#[test]
fn a_pong_that_nobody_asked_for_breaks_the_protocol() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.send(client, "{}");
    assert_eq!(world.ended(client), Some(3501));

    let client = world.log_in("alice");
    world.wait(seconds(25));
    world.send(client, "{}\n{}");
    assert_eq!(world.ended(client), Some(3501), "one ping, two pongs");
}

#[test]
fn whatever_has_no_id_is_a_pong() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.wait(seconds(25));
    world.send(client, r#"{"publish":{"channel":"news","data":1}}"#);
    assert_eq!(world.ended(client), None);
    assert_eq!(world.tally().messages_received, 0);
}

#[test]
fn a_client_may_ping_too() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.send(client, r#"{"id":5,"ping":{}}"#);
    assert_eq!(world.read(client), [r#"{"id":5,"ping":{}}"#]);
}

#[test]
fn what_is_no_command_ends_the_session_after_what_stands_before_it() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.send(client, &format!("{}\nnonsense\n{}", publish(2, "news", "1"), publish(3, "news", "1")));
    assert_eq!(world.read(client), [r#"{"id":2,"publish":{}}"#]);
    assert_eq!((world.ended(client), world.tally().messages_received), (Some(3501), 1));
}

#[test]
fn slow_client_is_disconnected_and_others_are_not() {
    let mut world = World::alone();
    let (slow, other, sender) = three_in(&mut world, "news");
    let filler = filler(sender);
    for _ in 0..8 {
        world.send(sender, &publish(2, "news", &filler));
        assert_eq!(world.read(other).len(), 1);
    }
    assert_eq!(world.ended(slow), None, "the outbox is full to its last byte");
    assert_eq!(world.tally().pushes, 16);
    world.send(sender, &publish(2, "news", "1"));
    assert_eq!((world.ended(slow), world.read(slow)), (Some(3008), vec![]));
    assert_eq!((world.ended(other), world.read(other).len()), (None, 1));
    assert_eq!(world.read(sender), [r#"{"id":2,"publish":{}}"#; 9]);
    assert_eq!((world.tally().pushes, world.tally().clients), (17, 2));
}

#[test]
fn a_slow_client_that_reads_in_time_stays() {
    let mut world = World::alone();
    let (slow, _, sender) = three_in(&mut world, "news");
    let filler = filler(sender);
    for _ in 0..3 {
        for _ in 0..8 {
            world.send(sender, &publish(2, "news", &filler));
        }
        assert_eq!(world.read(slow).len(), 8);
        let other = ClientKey(2);
        assert_eq!(world.read(other).len(), 8);
    }
    assert_eq!(world.ended(slow), None);
}

#[test]
fn a_client_that_does_not_read_its_own_replies_is_slow() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    let reply_bytes = r#"{"id":5,"ping":{}}"#.len();
    let frame: Vec<&str> = repeat_n(r#"{"id":5,"ping":{}}"#, OUTBOX_BYTES_MAX / reply_bytes).collect();
    world.send(client, &frame.join("\n"));
    assert_eq!(world.ended(client), None);
    world.send(client, r#"{"id":5,"ping":{}}"#);
    assert_eq!(world.ended(client), Some(3008));
}

#[test]
fn what_a_client_went_for_is_counted_and_its_channels_are_left() {
    let mut world = World::linked();
    let client = world.log_in("alice");
    world.subscribe(client, "news");
    world.said();
    world.close(client);
    let mut said = world.said();
    said.sort_unstable();
    assert_eq!(said, ["leave #alice", "leave news"]);
    assert_eq!((world.ended(client), world.tally().channels), (Some(3000), 0));
    assert_eq!(world.disconnects(Disconnect::Closed), 1);
    assert!(world.hub.sessions.is_empty());

    world.close(client);
    world.send(client, &publish(3, "news", "1"));
    assert_eq!(world.disconnects(Disconnect::Closed), 1, "whoever is gone does nothing any more");
}

#[test]
fn a_stopping_edge_tells_everybody_and_the_relay_last() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    let nobody = world.open();
    world.send(alice, &publish(2, "#alice", "1"));
    world.said();
    world.tell(Event::Stop);
    assert_eq!((world.ended(alice), world.ended(nobody)), (Some(3001), Some(3001)));
    assert_eq!(world.read(alice).len(), 2, "what was queued is still written");
    assert_eq!(world.said(), ["leave #alice", "goodbye"]);
    assert_eq!((world.tally().clients, world.disconnects(Disconnect::Shutdown)), (0, 2));
}

#[test]
fn a_stopping_edge_tells_those_first_who_came_first() {
    let mut world = World::linked();
    let users: Vec<String> = (0..30).map(|n| format!("user-{n}")).collect();
    for user in &users {
        world.log_in(user);
    }
    world.said();
    world.tell(Event::Stop);
    let leaves = users.iter().map(|user| format!("leave #{user}"));
    assert_eq!(world.said(), leaves.chain(["goodbye".to_owned()]).collect::<Vec<_>>());
}

#[test]
fn whoever_comes_while_the_edge_stops_is_sent_away() {
    let mut world = World::alone();
    world.tell(Event::Stop);
    let late = world.open();
    assert_eq!(world.ended(late), Some(3001));
    assert!(world.hub.sessions.is_empty());
}

#[test]
fn a_person_at_a_terminal_logs_in_and_talks() {
    let mut world = World::alone();
    let alice = world.open_line();
    world.type_line(alice, &format!("login {}", token_of("alice")));
    assert_eq!(world.read(alice), ["ok logged in as alice\n"]);
    let bob = world.log_in("bob");

    world.type_line(alice, "send bob hello there");
    assert_eq!(world.read(bob), [push("#bob", r#""hello there""#, "alice", alice)]);
    world.type_line(alice, "send carol hello");
    world.type_line(alice, "join news");
    world.type_line(alice, "say news to all");
    world.type_line(alice, "leave news");
    world.type_line(alice, "who news");
    world.send(bob, &direct(2, "alice", r#""hi""#));
    assert_eq!(
        world.read(alice),
        [
            "ok delivered 1\n",
            "ok delivered 0 (offline)\n",
            "ok\n",
            "pub news alice to all\n",
            "ok\n",
            "ok\n",
            "err 108 not available\n",
            "msg bob hi\n",
        ]
    );
}

#[test]
fn a_person_who_has_not_logged_in_gets_errors_and_may_go_on() {
    let mut world = World::alone();
    let client = world.open_line();
    world.type_line(client, "send bob hello");
    world.type_line(client, "join news");
    let expired = signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX - 61));
    world.type_line(client, &format!("login {expired}"));
    world.type_line(client, "join news");
    world.type_line(client, &format!("login {}", token_of("alice")));
    world.type_line(client, &format!("login {}", token_of("alice")));
    assert_eq!(
        world.read(client),
        [
            "err 101 unauthorized\n",
            "err 101 unauthorized\n",
            "err 109 token expired\n",
            "err 101 unauthorized\n",
            "ok logged in as alice\n",
            "err 107 bad request\n",
        ]
    );
    assert_eq!((world.ended(client), world.tally().messages_received), (None, 0));
}

#[test]
fn what_a_door_answers_by_itself_keeps_its_place() {
    let mut world = World::linked();
    let client = world.open_line();
    let answered = |frame| Event::Answered { client, frame: Bytes::from_static(frame) };
    world.tell(answered(b"err 107 first\n"));
    world.type_line(client, &format!("login {}", token_of("alice")));
    world.tell(answered(b"err 107 second\n"));
    assert_eq!(world.read(client), ["err 107 first\n"]);
    world.settle();
    assert_eq!(world.read(client), ["ok logged in as alice\n", "err 107 second\n"]);
}

#[test]
fn a_terminal_is_not_pinged_but_must_log_in_in_time() {
    let mut world = World::alone();
    let (stale, alice) = (world.open_line(), world.open_line());
    world.type_line(alice, &format!("login {}", token_of("alice")));
    world.wait(seconds(3_600));
    assert_eq!(world.read(alice), ["ok logged in as alice\n"]);
    assert_eq!((world.ended(stale), world.ended(alice)), (Some(3502), None));
}

#[test]
fn each_reader_gets_its_own_encoding() {
    let mut world = World::alone();
    let (json, terminal) = (world.log_in("alice"), world.open_line());
    world.type_line(terminal, &format!("login {}", token_of("alice")));
    world.read(terminal);
    let sender = world.log_in("bob");
    world.send(sender, &direct(2, "alice", r#""hi""#));
    assert_eq!(world.read(sender), [delivered(2, 2)]);
    assert_eq!(world.read(json), [push("#alice", r#""hi""#, "bob", sender)]);
    assert_eq!(world.read(terminal), ["msg bob hi\n"]);
}

/// Two subscribers of a channel, and one who is none.
fn three_in(world: &mut World, channel: &str) -> (ClientKey, ClientKey, ClientKey) {
    let (first, second, third) = (world.log_in("first"), world.log_in("second"), world.log_in("third"));
    world.subscribe(first, channel);
    world.subscribe(second, channel);
    (first, second, third)
}

/// A payload whose push to `news` is an eighth of an outbox.
fn filler(sender: ClientKey) -> String {
    let overhead = push("news", "", "third", sender).len();
    let text = "x".repeat(OUTBOX_BYTES_MAX / 8 - overhead - 2);
    format!(r#""{text}""#)
}
