//! Subscribe and unsubscribe, by command and by token, in the order in which the client protocol checks them.

use proto::limits::CHANNELS_PER_CLIENT_MAX;

use super::world::*;

#[test]
fn a_subscriber_gets_what_is_published_until_it_unsubscribes() {
    let mut world = World::alone();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    world.send(bob, &publish(2, "news", "1"));
    world.send(alice, &unsubscribe(3, "news"));
    world.send(bob, &publish(3, "news", "2"));
    assert_eq!(
        world.read(alice),
        [
            r#"{"id":2,"subscribe":{}}"#.to_owned(),
            push("news", "1", "bob", bob),
            r#"{"id":3,"unsubscribe":{}}"#.to_owned(),
        ]
    );
    assert_eq!(world.tally().channels, 2, "the personal ones");
}

#[test]
fn an_empty_channel_breaks_the_protocol_whatever_is_asked_of_it() {
    for command in [
        subscribe(2, ""),
        unsubscribe(2, ""),
        publish(2, "", "1"),
        r#"{"id":2,"presence":{}}"#.to_owned(),
        r#"{"id":2,"presence_stats":{}}"#.to_owned(),
        r#"{"id":2,"history":{}}"#.to_owned(),
        r#"{"id":2,"sub_refresh":{}}"#.to_owned(),
    ] {
        let mut world = World::alone();
        let client = world.log_in("alice");
        world.send(client, &command);
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)), "{command}");
    }
}

#[test]
fn a_channel_of_255_bytes_can_be_subscribed_to_and_one_of_256_cannot() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.send(client, &subscribe(2, &"c".repeat(255)));
    world.send(client, &subscribe(3, &"c".repeat(256)));
    assert_eq!(world.read(client), [r#"{"id":2,"subscribe":{}}"#.to_owned(), error(3, 107)]);
}

#[test]
fn nobody_subscribes_twice() {
    let mut world = World::linked();
    let client = world.log_in("alice");
    world.subscribe(client, "news");
    world.send(client, &subscribe(2, "news"));
    world.send(client, &subscribe(3, "#alice"));
    assert_eq!(world.read(client), [error(2, 105), error(3, 105)]);

    world.send(client, &[subscribe(4, "chat"), subscribe(5, "chat")].join("\n"));
    world.settle();
    assert_eq!(
        world.read(client),
        [error(5, 105), r#"{"id":4,"subscribe":{}}"#.to_owned()],
        "not even while the first is not answered"
    );
}

#[test]
fn a_client_has_128_channels_and_its_personal_one_and_no_more() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    for n in 0..CHANNELS_PER_CLIENT_MAX {
        world.subscribe(client, &format!("room-{n}"));
    }
    world.send(client, &subscribe(2, "one-more"));
    assert_eq!(world.read(client), [error(2, 106)]);
    world.send(client, &subscribe(3, "room-0"));
    assert_eq!(world.read(client), [error(3, 105)], "who is in already is told so first");
    world.send(client, &subscribe(4, "no\u{e9}"));
    assert_eq!(world.read(client), [error(4, 106)], "and the limit is checked before the name");
    world.send(client, &[unsubscribe(5, "room-0"), subscribe(6, "one-more")].join("\n"));
    assert_eq!(world.read(client), [r#"{"id":5,"unsubscribe":{}}"#, r#"{"id":6,"subscribe":{}}"#]);
}

#[test]
fn a_channel_name_must_be_one() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    for name in ["caf\u{e9}", ":x", "a\\u0001b", "#a,b", "#"] {
        world.send(client, &subscribe(2, name));
        assert_eq!(world.read(client), [error(2, 107)], "{name}");
    }
}

#[test]
fn nobody_gets_into_private_or_foreign_channels_by_command() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    for (name, code) in [
        ("$secret", 103),
        ("#bob", 103),
        ("#alice", 105),
        ("dialog#bob,carol", 103),
        ("dialog#alicia,bob", 103),
        ("dialog#alice#bob", 103),
        ("dialog#", 103),
    ] {
        world.send(client, &subscribe(2, name));
        assert_eq!(world.read(client), [error(2, code)], "{name}");
    }
    for name in ["dialog#bob,alice", "dialog#alice", "x#bob#alice"] {
        world.subscribe(client, name);
    }
}

#[test]
fn what_is_not_offered_is_not_subscribed_to() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    for (fields, code) in [(r#""type":1"#, 103), (r#""tf":{"op":"and"}"#, 107)] {
        world.send(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"news",{fields}}}}}"#));
        assert_eq!(world.read(client), [error(2, code)], "{fields}");
    }
    let asks_for_much = r#""delta":"fossil","recover":true,"offset":9,"epoch":"x","positioned":true,"recoverable":true,"join_leave":true,"flag":1,"token":"t""#;
    world.send(client, &format!(r#"{{"id":3,"subscribe":{{"channel":"news",{asks_for_much}}}}}"#));
    assert_eq!(world.read(client), [r#"{"id":3,"subscribe":{}}"#], "what is granted is in the result");

    world.send(client, r#"{"id":4,"subscribe":{"channel":"chat","delta":"xdelta"}}"#);
    assert_eq!(world.ended(client), Some(3501));
}

#[test]
fn unsubscribe_is_answered_whoever_asks() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    for name in ["never", "caf\u{e9}", "#bob", &"c".repeat(256)] {
        world.send(client, &unsubscribe(2, name));
        assert_eq!(world.read(client), [r#"{"id":2,"unsubscribe":{}}"#], "{name}");
    }
}

#[test]
fn unsubscribe_of_a_pending_subscription_comes_behind_its_reply() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &subscribe(2, "news"));
    world.send(bob, &publish(2, "news", "1"));
    world.said();
    world.send(alice, &unsubscribe(3, "news"));
    assert_eq!(world.read(alice), [r#"{"id":2,"subscribe":{}}"#, r#"{"id":3,"unsubscribe":{}}"#]);
    assert_eq!(world.said(), ["leave news"]);
    world.settle();
    world.wait(seconds(1));
    assert!(world.read(alice).is_empty(), "and nothing comes of the answers that were under way");
}

#[test]
fn a_subscribe_behind_an_unsubscribe_counts() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.subscribe(alice, "news");
    world.said();
    world.send(alice, &[unsubscribe(2, "news"), subscribe(3, "news")].join("\n"));
    assert_eq!(world.said(), ["leave news", "join news 4"]);
    world.settle();
    world.send(bob, &publish(2, "news", "1"));
    assert_eq!(
        world.read(alice),
        [
            r#"{"id":2,"unsubscribe":{}}"#.to_owned(),
            r#"{"id":3,"subscribe":{}}"#.to_owned(),
            push("news", "1", "bob", bob)
        ]
    );
}

#[test]
fn nobody_can_leave_his_personal_channel() {
    let mut world = World::alone();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.send(alice, &unsubscribe(2, "#alice"));
    world.send(bob, &direct(2, "alice", "1"));
    assert_eq!(
        world.read(alice),
        [r#"{"id":2,"unsubscribe":{}}"#.to_owned(), push("#alice", "1", "bob", bob)]
    );
    assert_eq!(world.read(bob), [delivered(2, 1)]);
}

#[test]
fn a_token_subscribes_its_owner() {
    let mut world = World::alone();
    let alice = world.open();
    let token = signed(r##"{"sub":"alice","channels":["news","$board","dialog#bob","news","#alice"]}"##);
    world.send(alice, &connect(1, &token));
    let reply = world.read(alice).remove(0);
    assert!(
        reply.contains(r##""subs":{"#alice":{},"news":{},"$board":{},"dialog#bob":{}}"##),
        "each once, whatever its kind: {reply}"
    );
    let bob = world.log_in("bob");
    world.send(bob, &publish(2, "news", "1"));
    world.send(alice, &subscribe(2, "news"));
    assert_eq!(world.read(alice), [push("news", "1", "bob", bob), error(2, 105)]);

    world.send(alice, &unsubscribe(3, "news"));
    world.send(bob, &publish(3, "news", "2"));
    assert_eq!(world.read(alice), [r#"{"id":3,"unsubscribe":{}}"#]);
    world.subscribe(alice, "news");
}

#[test]
fn a_token_does_not_open_what_is_somebody_elses_or_nothing() {
    let mut world = World::alone();
    for (name, code) in [("#bob", 103), ("", 107), ("caf\u{e9}", 107), (&"c".repeat(256), 107)] {
        let client = world.open();
        let token = signed(&format!(r#"{{"sub":"alice","channels":["{name}"]}}"#));
        world.send(client, &[connect(1, &token), subscribe(2, "news")].join("\n"));
        assert_eq!((world.read(client), world.ended(client)), (vec![error(1, code)], None), "{name}");
    }
    assert_eq!(world.tally().channels, 0);
}

#[test]
fn a_token_names_128_channels_and_no_more() {
    let mut world = World::alone();
    let names = |n: usize| (0..n).map(|i| format!(r#""room-{i}""#)).collect::<Vec<_>>().join(",");
    let (full, over) = (world.open(), world.open());
    world.send(full, &connect(1, &signed(&format!(r#"{{"sub":"alice","channels":[{}]}}"#, names(128)))));
    world.send(over, &connect(1, &signed(&format!(r#"{{"sub":"alice","channels":[{}]}}"#, names(129)))));
    assert_eq!((world.read(full).len(), world.ended(full)), (1, None));
    assert_eq!((world.read(over), world.ended(over)), (vec![], Some(3505)));
    world.send(full, &subscribe(2, "one-more"));
    assert_eq!(world.read(full), [error(2, 106)]);

    let twice = world.open();
    let names = format!("{0},{0}", names(128));
    world.send(twice, &connect(1, &signed(&format!(r#"{{"sub":"alice","channels":[{names}]}}"#))));
    assert_eq!(world.ended(twice), None, "a channel that is named twice counts once");
}
