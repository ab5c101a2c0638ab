//! The link: greeting, joins and their answers, what is held elsewhere, the heartbeat, and the end.

use bytes::Bytes;
use proto::link::{CloseCode, Lane, ToEdge};

use super::super::{Carries, Event};
use super::world::*;

#[test]
fn a_new_link_begins_with_hello_and_a_ping() {
    let mut world = World::unlinked();
    world.relay_echoes = false;
    world.open_link();
    assert_eq!(world.said(), ["hello edge-1 new 500"]);
    assert_eq!(world.pings, [0_u64.to_be_bytes()]);
    assert!(!world.hub.is_linked(), "not before the relay has greeted");
    world.welcome(EPOCH);
    assert_eq!(world.said(), ["synced"]);
    assert!(world.hub.is_linked());
    assert_eq!(world.tally().links, 1);
}

#[test]
fn a_link_that_died_before_anybody_heard_of_it_is_none() {
    let mut world = World::unlinked();
    world.open_dead_link();
    assert!(!world.hub.is_linked());
    world.wait(seconds(4));
    assert!(world.said().is_empty(), "nobody waits for its welcome");
    world.close_link();
    world.link();
    assert!(world.hub.is_linked(), "the next one counts");
}

#[test]
fn the_first_subscriber_joins_and_the_last_one_leaves() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    assert_eq!(world.said(), ["join #alice 1", "join #bob 2"]);
    world.subscribe(alice, "news");
    world.subscribe(bob, "news");
    assert_eq!(world.said(), ["join news 3"]);
    world.send(alice, &unsubscribe(2, "news"));
    assert!(world.said().is_empty());
    world.send(bob, &unsubscribe(2, "news"));
    assert_eq!(world.said(), ["leave news"]);
    world.read(bob);
    world.subscribe(bob, "news");
    assert_eq!(world.said(), ["join news 4"], "no number is used twice");
}

#[test]
fn an_answer_to_an_older_join_does_not_count() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &[subscribe(2, "news"), unsubscribe(3, "news"), subscribe(4, "news")].join("\n"));
    world.read(alice);
    world.store_writes();
    world.joined("news", 2, false);
    assert!(world.read(alice).is_empty());
    world.joined("news", 3, false);
    assert_eq!(world.read(alice), [r#"{"id":4,"subscribe":{}}"#]);
    world.joined("news", 2, true);
    assert!(!world.hub.is_elsewhere("news"), "nor does it say who else holds the channel");
    world.joined("never", 9, true);
}

#[test]
fn elsewhere_comes_with_joined_and_changes_with_tellings() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, "news"));
    world.store_writes();
    assert!(world.hub.is_elsewhere("news"), "not yet told counts as true");
    world.joined("news", 2, true);
    assert!(world.hub.is_elsewhere("news"));
    world.tell_elsewhere("news", false, 0);
    assert!(!world.hub.is_elsewhere("news"));
    world.tell_elsewhere("news", true, 8);
    assert!(world.hub.is_elsewhere("news"));
    assert!(world.hub.is_elsewhere("chat"), "and what is not held here may be anywhere");
}

#[test]
fn tellings_are_acknowledged_where_the_relay_wants_to_know() {
    let mut world = World::linked();
    world.log_in("alice");
    world.said();
    world.tell_elsewhere("#alice", true, 41);
    world.tell_elsewhere("#alice", false, 0);
    world.tell_elsewhere("never-held", true, 42);
    assert_eq!(world.said(), ["told 41", "told 42"]);
}

#[test]
fn a_telling_before_joined_is_acknowledged_and_changes_nothing() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, "news"));
    world.said();
    world.tell_elsewhere("news", false, 5);
    assert_eq!(world.said(), ["told 5"]);
    assert!(world.hub.is_elsewhere("news"));
    world.tell_elsewhere("news", true, 6);
    world.joined("news", 2, false);
    assert!(!world.hub.is_elsewhere("news"), "it was about an older join");

    world.open_link();
    world.welcome(EPOCH);
    world.tell_elsewhere("news", true, 7);
    world.close_link();
    assert!(!world.hub.is_elsewhere("news"));
}

#[test]
fn when_the_link_ends_the_last_telling_stays() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    for (name, elsewhere) in [("here", false), ("both", true)] {
        world.subscribe(alice, name);
        world.tell_elsewhere(name, elsewhere, 0);
    }
    world.send(alice, &subscribe(2, "untold"));
    world.close_link();
    let elsewhere = |world: &World| ["here", "both", "untold"].map(|name| world.hub.is_elsewhere(name));
    assert_eq!(elsewhere(&world), [false, true, false]);
    world.open_link();
    assert_eq!(elsewhere(&world), [false, true, false], "no greeting, no link");
    world.welcome(EPOCH);
    assert_eq!(elsewhere(&world), [true, true, true], "all must be told anew");
    world.close_link();
    assert_eq!(elsewhere(&world), [false, true, false]);
}

#[test]
fn a_new_link_joins_everything_again_and_says_synced() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    world.said();
    world.close_link();
    world.send(alice, &subscribe(2, "chat"));
    world.send(alice, &unsubscribe(3, "news"));
    assert_eq!(world.read(alice).len(), 2, "nobody waits for a relay that is away");
    assert!(world.said().is_empty());

    world.open_link();
    assert_eq!(world.said(), ["hello edge-1 7 500"], "with the lease that it had");
    world.welcome(EPOCH);
    let mut said = world.said();
    assert_eq!(said.pop().expect("synced"), "synced");
    let mut joined: Vec<&str> = said.iter().filter_map(|said| said.split(' ').nth(1)).collect();
    joined.sort_unstable();
    assert_eq!(joined, ["#alice", "chat"]);
    let numbers: Vec<&str> = said.iter().filter_map(|said| said.split(' ').nth(2)).collect();
    assert_eq!(numbers, ["1", "2"]);
    world.settle();
    assert!(world.read(alice).is_empty(), "clients notice nothing");
}

#[test]
fn whoever_was_answered_gets_publications_while_the_edge_joins_again() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.open_link();
    world.welcome(EPOCH);
    world.arrives("#alice", 1, "1", false);
    assert_eq!(world.read(alice), [push_of_zoe("#alice", "1")]);
}

#[test]
fn a_ping_goes_out_every_second_and_each_quarter_while_its_echo_is_missing() {
    let mut world = World::linked();
    world.relay_echoes = false;
    world.wait(millis(1_600));
    let sent = [1_000, 1_250, 1_500].map(|millis: u64| (millis * 1_000_000).to_be_bytes());
    assert_eq!(world.pings, sent);
    world.echo(sent[0]);
    world.wait(millis(890));
    assert_eq!(world.pings.len(), 3, "the next one is due a second after the last");
    world.wait(millis(10));
    assert_eq!(world.pings.len(), 4);
}

#[test]
fn the_echo_tells_the_round_trip() {
    let mut world = World::linked();
    world.relay_echoes = false;
    world.wait(seconds(1));
    let ping = world.pings[0];
    world.wait(millis(30));
    world.echo(ping);
    assert_eq!(world.tally().rtt_nanos, 30_000_000);
    world.close_link();
    assert_eq!(world.tally().rtt_nanos, 0);
}

#[test]
fn a_link_whose_echo_is_missing_for_3_s_is_ended() {
    let mut world = World::linked();
    let generation = world.generation();
    let alice = world.log_in("alice");
    world.send(alice, &[subscribe(2, "news"), direct(3, "bob", "1")].join("\n"));
    world.relay_echoes = false;
    world.wait(seconds(3) - millis(1));
    assert_eq!((world.closed_links(), world.hub.is_linked()), (vec![], true));
    world.wait(millis(1));
    let closed = world.closed_links();
    assert_eq!(closed, [(generation, CloseCode::Silent, "the relay's echo is missing for 3 s".to_owned())]);
    assert!(!world.hub.is_linked());
    assert_eq!(world.read(alice), [r#"{"id":2,"subscribe":{}}"#.to_owned(), error(3, 100)]);

    world.tell(Event::LinkClosed { generation });
    world.wait(seconds(10));
    assert!(world.closed_links().is_empty());
}

#[test]
fn echoes_keep_a_link_and_those_of_an_old_link_do_not() {
    let mut world = World::linked();
    let old = world.generation();
    world.wait(seconds(60));
    assert!(world.hub.is_linked());
    world.link();
    world.relay_echoes = false;
    world.wait(seconds(2));
    let ping = *world.pings.last().expect("two pings");
    world.tell(Event::Echo { generation: old, ping });
    world.wait(seconds(1));
    assert!(!world.hub.is_linked());
}

#[test]
fn a_relay_that_never_greets_is_not_waited_for_by_anybody() {
    let mut world = World::unlinked();
    world.open_link();
    let alice = world.connect("alice");
    assert_eq!(world.read(alice).len(), 1);
    world.lease(EPOCH);
    assert_eq!(world.under_way(), [""; 0]);
}

#[test]
fn a_frame_that_does_not_decode_ends_the_link() {
    let mut world = World::linked();
    let generation = world.generation();
    let bob = world.log_in("bob");
    let good = publication_of_zoe("#bob", 1, "1", false);
    let bad = Bytes::from_static(&[0, 0, 0, 1, 99]);
    world.lane(Lane(11), vec![good.clone(), bad, good]);
    assert_eq!(world.read(bob), [push_of_zoe("#bob", "1")], "what stood before it counts");
    assert_eq!(
        world.closed_links(),
        [(generation, CloseCode::BadFrame, "lane 11: a frame of kind 99 is too short".to_owned())]
    );
    assert!(!world.hub.is_linked());
}

#[test]
fn a_control_stream_that_takes_no_more_ends_the_link() {
    let mut world = World::unlinked();
    world.control_bytes_max = 100;
    world.link();
    let generation = world.generation();
    let alice = world.log_in("alice");
    world.send(alice, &subscribe(2, &"c".repeat(100)));
    assert_eq!(
        world.closed_links(),
        [(generation, CloseCode::Overflow, "the control stream's queue is full".to_owned())]
    );
    assert_eq!(world.read(alice), [r#"{"id":2,"subscribe":{}}"#], "and nobody waits for it");
}

#[test]
fn what_does_not_fit_the_control_stream_at_the_greeting_ends_the_link_too() {
    let mut world = World::unlinked();
    world.control_bytes_max = 40;
    let alice = world.connect("alice");
    for n in 0..5 {
        world.send(alice, &subscribe(2, &format!("a-rather-long-name-{n}")));
    }
    world.open_link();
    world.welcome(EPOCH);
    assert_eq!(world.closed_links()[0].1, CloseCode::Overflow);
    assert!(!world.hub.is_linked());
    assert_eq!(world.read(alice).len(), 6);
}

#[test]
fn a_link_that_has_ended_is_not_heard_any_more() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.close_link();
    world.tell_elsewhere("#alice", true, 3);
    world.arrives("#alice", 1, "1", true);
    world.relay_says(ToEdge::Gone { member: THERE });
    world.lease(EPOCH + 1);
    assert!(world.read(alice).is_empty());
    assert!(!world.hub.is_elsewhere("#alice"));
    assert_eq!((world.said().len(), world.under_way().len()), (1, 0), "{:?}", world.said());
}

#[test]
fn a_message_to_itself_goes_through_the_relay_each_second_and_its_way_is_timed() {
    let mut world = World::linked();
    world.wait(seconds(3) + millis(500));
    let tally = world.tally();
    assert_eq!((tally.canaries.count(), tally.canaries_lost, tally.frames_out), (4, 0, 0));
    assert!(!matches!(world.hub.carries(), Carries::No { .. }));
}

#[test]
fn canaries_that_do_not_come_back_are_lost_and_the_link_stays() {
    let mut world = World::linked();
    world.relay_returns_canaries = false;
    world.wait(seconds(5) - millis(1));
    assert!(!matches!(world.hub.carries(), Carries::No { .. }));
    world.wait(millis(1));
    assert_eq!((world.tally().canaries.count(), world.tally().canaries_lost), (0, 1));
    assert_eq!(world.hub.carries(), Carries::No { others_do: false });
    world.relay_says(ToEdge::Others { carry: true });
    assert_eq!(world.hub.carries(), Carries::No { others_do: true });
    assert!(world.hub.is_linked());

    world.relay_returns_canaries = true;
    world.wait(seconds(1));
    assert!(!matches!(world.hub.carries(), Carries::No { .. }));

    world.relay_returns_canaries = false;
    world.wait(seconds(2));
    let lost = world.tally().canaries_lost;
    world.close_link();
    assert!(world.tally().canaries_lost >= lost + 2, "those that were under way");
    assert_eq!(world.hub.carries(), Carries::Unknown, "that is the link's matter now");
    world.wait(seconds(9));
    world.link();
    assert!(!matches!(world.hub.carries(), Carries::No { .. }));
}

#[test]
fn how_long_a_verdict_took_is_counted_where_the_relay_was_asked() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &direct(2, "alice", "1"));
    assert_eq!(world.tally().receipt_latencies.map(|latencies| latencies.count()), [0, 0, 0]);
    world.send(alice, &direct(3, "bob", "1"));
    world.wait(seconds(4));
    assert_eq!(world.tally().receipt_latencies.map(|latencies| latencies.count()), [0, 0, 1]);
}
