//! Publications, from here and from elsewhere, and what is not offered.

use super::world::*;

#[test]
fn a_publication_comes_back_to_its_publisher_with_who_he_is() {
    let mut world = World::alone();
    let alice = world.open();
    world.send(alice, &connect(1, &signed(r#"{"sub":"alice","info":{"name":"Al"}}"#)));
    world.read(alice);
    world.subscribe(alice, "news");
    world.send(alice, &publish(2, "news", r#"{ "a" : 1.0e+0 }"#));
    assert_eq!(
        world.read(alice),
        [
            r#"{"push":{"channel":"news","pub":{"data":{ "a" : 1.0e+0 },"info":{"user":"alice","client":"00000000-0000-0000-0000-000000000001","conn_info":{"name":"Al"}}}}}"#,
            r#"{"id":2,"publish":{}}"#
        ]
    );
    let tally = world.tally();
    assert_eq!((tally.messages_received, tally.messages[0], tally.pushes), (1, 1, 1));
}

#[test]
fn everybody_may_publish_where_everybody_may_read_and_to_everybody() {
    let mut world = World::alone();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    for name in ["news", "#bob", "#nobody", "dialog#bob,alice"] {
        world.send(alice, &publish(2, name, "1"));
        assert_eq!(world.read(alice), [r#"{"id":2,"publish":{}}"#], "{name}");
    }
    assert_eq!(world.read(bob), [push("#bob", "1", "alice", alice)]);
    assert_eq!(world.tally().messages, [4, 0, 0, 0, 0]);
}

#[test]
fn publications_that_cannot_be_are_refused() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    for (command, code) in [
        (publish(2, "caf\u{e9}", "1"), 107),
        (publish(2, &"c".repeat(256), "1"), 107),
        (r#"{"id":2,"publish":{"channel":"news"}}"#.to_owned(), 107),
        (r#"{"id":2,"publish":{"channel":"$secret"}}"#.to_owned(), 107),
        (publish(2, "$secret", "1"), 103),
        (publish(2, "dialog#bob", "1"), 103),
        (r#"{"id":2,"publish":{"channel":"news","data":1,"type":1}}"#.to_owned(), 108),
    ] {
        world.send(alice, &command);
        assert_eq!(world.read(alice), [error(2, code)], "{command}");
    }
    assert_eq!(world.tally().messages, [0, 0, 0, 7, 0]);
    world.send(alice, &publish(2, "", "1"));
    assert_eq!((world.ended(alice), world.tally().messages[3]), (Some(3501), 8));
}

#[test]
fn what_is_published_for_people_elsewhere_goes_to_the_relay() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &[publish(2, "news", "1"), publish(3, "news", "2")].join("\n"));
    assert_eq!(world.read(alice), [r#"{"id":2,"publish":{}}"#, r#"{"id":3,"publish":{}}"#]);
    let sent = world.sent();
    let words: Vec<_> = sent.iter().map(|s| (s.ticket.number, s.channel.as_str(), s.data.as_str())).collect();
    assert_eq!(words, [(1, "news", "1"), (2, "news", "2")]);
    assert!(sent.iter().all(|sent| !sent.wants_receipt));
    assert_eq!(
        sent[0].info, r#"{"user":"alice","client":"00000000-0000-0000-0000-000000000001"}"#,
        "the receiver always learns who sent it"
    );
    assert_eq!((world.tally().frames_out, world.tally().receipts_pending), (2, 0));
}

#[test]
fn what_is_held_here_only_stays_here() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.subscribe(bob, "news");
    world.send(alice, &publish(2, "news", "1"));
    assert_eq!(world.read(bob), [push("news", "1", "alice", alice)]);
    assert_eq!(world.sent(), []);

    world.tell_elsewhere("news", true, 0);
    world.send(alice, &publish(3, "news", "2"));
    assert_eq!(world.read(bob), [push("news", "2", "alice", alice)]);
    assert_eq!(world.sent_one().data, "2");
}

#[test]
fn without_a_link_what_may_have_to_leave_is_refused_before_anybody_gets_it() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.subscribe(bob, "news");
    world.tell_elsewhere("news", true, 0);
    world.close_link();
    world.send(alice, &publish(2, "news", "1"));
    world.send(alice, &publish(3, "chat", "1"));
    assert_eq!(world.read(alice), [error(2, 100), error(3, 100)]);
    assert!(world.read(bob).is_empty());
    world.send(alice, &publish(4, "#bob", "1"));
    assert_eq!(world.read(alice), [r#"{"id":4,"publish":{}}"#], "bob was here only");
    assert_eq!(world.tally().messages, [1, 0, 0, 0, 2]);
}

#[test]
fn a_full_lane_refuses_before_anybody_gets_anything() {
    let mut world = World::unlinked();
    world.lane_bytes_max = 200;
    world.link();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.subscribe(bob, "news");
    world.tell_elsewhere("news", true, 0);
    let large = format!(r#""{}""#, "x".repeat(200));
    world.send(alice, &publish(2, "news", &large));
    assert_eq!((world.read(alice), world.read(bob)), (vec![error(2, 100)], vec![]));

    world.send(alice, &publish(3, "news", "1"));
    assert_eq!((world.read(alice).len(), world.read(bob).len()), (1, 1));
    assert_eq!(world.sent_one().ticket.number, 1, "what was refused has no number");
}

#[test]
fn publications_from_elsewhere_are_delivered_and_answered_if_an_answer_is_wanted() {
    let mut world = World::linked();
    let (first, second) = (world.log_in("bob"), world.log_in("bob"));
    world.arrives("#bob", 1, "1", true);
    world.arrives("#bob", 2, "2", false);
    world.arrives("#carol", 3, "3", true);
    world.arrives("#carol", 4, "4", false);
    for client in [first, second] {
        assert_eq!(world.read(client), [push_of_zoe("#bob", "1"), push_of_zoe("#bob", "2")]);
    }
    assert_eq!(world.answers(), ["lane 11: 2.1 Took(2)", "lane 6: 2.3 NotHere(edge-1.7)"]);
    assert_eq!((world.tally().frames_in, world.tally().pushes), (4, 4));
    assert_eq!(world.tally().messages_received, 0, "they count where they were sent");
}

#[test]
fn nobody_can_say_whether_a_slow_reader_has_got_it() {
    let mut world = World::linked();
    let bob = world.log_in("bob");
    let large = format!(r#""{}""#, "x".repeat(64 << 10));
    for number in 1..=4 {
        world.arrives("#bob", number, &large, true);
    }
    assert_eq!(world.ended(bob), Some(3008));
    let expected = [1, 2, 3].map(|number| format!("lane 11: 2.{number} Took(1)"));
    let answers = world.answers();
    assert_eq!(answers[..3], expected);
    assert_eq!(answers[3], "lane 11: 2.4 Unknown");
    world.arrives("#bob", 5, "1", true);
    assert_eq!(world.answers(), ["lane 11: 2.5 NotHere(edge-1.7)"]);
}

#[test]
fn many_frames_come_at_once_and_in_order() {
    let mut world = World::linked();
    let bob = world.log_in("bob");
    let frames = (1..=5).map(|n| publication_of_zoe("#bob", n, &n.to_string(), false)).collect();
    world.lane(proto::link::lane_of("#bob"), frames);
    let expected: Vec<String> = (1..=5).map(|n| push_of_zoe("#bob", &n.to_string())).collect();
    assert_eq!(world.read(bob), expected);
}

#[test]
fn what_is_not_offered_is_not_available() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    for command in [
        r#"{"id":2,"presence":{"channel":"news"}}"#,
        r#"{"id":2,"presence_stats":{"channel":"news"}}"#,
        r#"{"id":2,"history":{"channel":"news","limit":10}}"#,
        r#"{"id":2,"rpc":{"method":"x","data":{}}}"#,
        r#"{"id":2,"rpc":{"data":{}}}"#,
    ] {
        world.send(alice, command);
        assert_eq!(world.read(alice), [error(2, 108)], "{command}");
    }
    world.send(alice, r#"{"id":2,"history":{"channel":":"}}"#);
    assert_eq!(world.read(alice), [error(2, 107)]);
    assert_eq!((world.tally().messages_received, world.tally().errors), (0, 6));
}

#[test]
fn no_subscription_has_a_token_to_refresh() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    world.subscribe(alice, "news");
    for (name, code) in [("news", 108), ("#alice", 108), ("chat", 103), (":", 107)] {
        world.send(alice, &format!(r#"{{"id":2,"sub_refresh":{{"channel":"{name}","token":"t"}}}}"#));
        assert_eq!(world.read(alice), [error(2, code)], "{name}");
    }
}

#[test]
fn a_message_without_reply_is_not_available_for_good() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    world.send(alice, r#"{"send":{"data":1}}"#);
    assert_eq!((world.read(alice), world.ended(alice)), (vec![], Some(3508)));
}
