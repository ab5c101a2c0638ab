//! Who gets in, with which token, and for how long.

use super::super::{ClientKey, Event};
use super::world::*;

#[test]
fn a_good_token_opens_a_session_with_its_personal_channel() {
    let mut world = World::alone();
    let client = world.connect("alice");
    assert_eq!(
        world.read(client),
        [
            r##"{"id":1,"connect":{"client":"00000000-0000-0000-0000-000000000001","version":"Causeway 0.1.0","subs":{"#alice":{}},"ping":25,"pong":true}}"##
        ]
    );
    let tally = world.tally();
    assert_eq!((tally.clients, tally.channels, tally.errors), (1, 1, 0));
}

#[test]
fn connect_and_a_hundred_subscribes_fit_one_frame() {
    let mut world = World::linked();
    let client = world.open();
    let subscribes = (2..102).map(|id| subscribe(id, &format!("room-{id}")));
    let frame: Vec<String> = [connect(1, &token_of("alice"))].into_iter().chain(subscribes).collect();
    world.send(client, &frame.join("\n"));
    assert!(world.read(client).is_empty(), "nobody has answered the joins");
    world.settle();
    let replies = world.read(client);
    assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{}", replies[0]);
    let subscribed: Vec<String> = (2..102).map(|id| format!(r#"{{"id":{id},"subscribe":{{}}}}"#)).collect();
    let mut others = replies[1..].to_vec();
    others.sort_by_key(|reply| subscribed.iter().position(|expected| expected == reply));
    assert_eq!(others, subscribed);
    assert_eq!(world.tally().channels, 101);
}

#[test]
fn no_token_is_a_bad_request() {
    let mut world = World::alone();
    for frame in [r#"{"id":1,"connect":{}}"#, r#"{"id":1,"connect":{"token":""}}"#] {
        let client = world.open();
        world.send(client, frame);
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)), "{frame}");
    }
}

#[test]
fn an_invalid_token_is_told_for_good() {
    let mut world = World::alone();
    let unsigned = crate::token::sign("secret", r#"{"alg":"none"}"#, r#"{"sub":"alice"}"#);
    let foreign = crate::token::sign("other", r#"{"alg":"HS256"}"#, r#"{"sub":"alice"}"#);
    for token in ["nonsense", unsigned.as_str(), foreign.as_str()] {
        let client = world.open();
        world.send(client, &connect(1, token));
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3500)), "{token}");
    }
}

#[test]
fn user_ids_that_cannot_be_are_refused_for_good() {
    let mut world = World::alone();
    let long = "u".repeat(201);
    for user in ["", "a,b", "a#b", "a\\u0007b", long.as_str()] {
        let client = world.connect(user);
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3500)), "{user}");
    }
    let client = world.connect(&"u".repeat(200));
    assert_eq!((world.read(client).len(), world.ended(client)), (1, None));
}

#[test]
fn an_expired_token_is_told_and_the_rest_of_its_frame_is_ignored() {
    let mut world = World::alone();
    let client = world.open();
    let expired = signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX - 61));
    world.send(client, &[connect(1, &expired), subscribe(2, "news"), subscribe(3, "chat")].join("\n"));
    assert_eq!((world.read(client), world.ended(client)), (vec![error(1, 109)], None));
    assert_eq!((world.tally().errors, world.tally().clients), (1, 0));

    world.send(client, &connect(4, &token_of("alice")));
    assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)));
}

#[test]
fn the_rest_of_a_frame_with_an_expired_token_is_ignored_however_many_slices_it_has() {
    let mut world = World::alone();
    let client = world.open();
    let expired = signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX - 61));
    let subscribes = (2..130).map(|id| subscribe(id, &format!("news-{id}")));
    let frame: Vec<String> = std::iter::once(connect(1, &expired)).chain(subscribes).collect();
    world.send(client, &frame.join("\n"));
    assert_eq!((world.read(client), world.ended(client)), (vec![error(1, 109)], None));

    world.send(client, &subscribe(131, "news"));
    assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)), "another frame");
}

#[test]
fn whoever_stays_after_an_expired_token_is_stale() {
    let mut world = World::alone();
    let client = world.open();
    let expired = signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX - 61));
    world.wait(seconds(4));
    world.send(client, &connect(1, &expired));
    world.wait_until(PATIENCE - millis(1));
    assert_eq!(world.ended(client), None);
    world.wait(millis(1));
    assert_eq!(world.ended(client), Some(3502));
}

#[test]
fn whoever_says_nothing_is_stale_and_whoever_logs_in_is_not() {
    let mut world = World::alone();
    let silent = world.open();
    let late = world.open();
    world.wait(PATIENCE - millis(1));
    world.send(late, &connect(1, &token_of("late")));
    assert_eq!(world.ended(silent), None);
    world.wait(millis(1));
    assert_eq!((world.ended(silent), world.ended(late)), (Some(3502), None));
}

#[test]
fn commands_before_connect_break_the_protocol() {
    let mut world = World::alone();
    for frame in [
        subscribe(1, "news"),
        publish(1, "news", "1"),
        direct(1, "bob", "1"),
        r#"{"id":1,"ping":{}}"#.to_owned(),
        "{}".to_owned(),
        "nonsense".to_owned(),
        String::new(),
    ] {
        let client = world.open();
        world.send(client, &frame);
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)), "{frame}");
    }
    assert_eq!(world.tally().messages_received, 0);
}

#[test]
fn a_second_connect_breaks_the_protocol() {
    let mut world = World::alone();
    let client = world.log_in("alice");
    world.send(client, &connect(2, &token_of("alice")));
    assert_eq!((world.read(client), world.ended(client)), (vec![], Some(3501)));
    assert_eq!((world.tally().clients, world.tally().channels), (0, 0));
}

#[test]
fn the_connect_reply_says_when_the_token_expires() {
    let mut world = World::alone();
    for (expires, ttl) in [(UNIX + 600, 600), (UNIX, 1), (UNIX - 60, 1)] {
        let client = world.open();
        world.send(client, &connect(1, &signed(&format!(r#"{{"sub":"alice","exp":{expires}}}"#))));
        let reply = world.read(client).remove(0);
        assert!(reply.contains(&format!(r#","expires":true,"ttl":{ttl},"#)), "{reply}");
    }
}

#[test]
fn a_session_ends_25_s_after_its_token() {
    let mut world = World::alone();
    let client = expiring_in(&mut world, 10);
    world.wait_with_pongs(client, seconds(35) - millis(1));
    assert_eq!(world.ended(client), None);
    world.wait(millis(1));
    assert_eq!(world.ended(client), Some(3005));
}

#[test]
fn the_wall_clock_judges_tokens_and_does_not_end_sessions() {
    let mut world = World::alone();
    let client = expiring_in(&mut world, 10);
    world.tell(Event::Clock { unix: seconds(UNIX + 3_600) });
    world.wait_with_pongs(client, seconds(30));
    assert_eq!(world.ended(client), None);

    let late = world.open();
    world.send(late, &connect(1, &signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX + 10))));
    assert_eq!(world.read(late), [error(1, 109)]);
}

#[test]
fn a_refresh_lengthens_the_session() {
    let mut world = World::alone();
    let client = expiring_in(&mut world, 10);
    world.wait(seconds(5));
    world.send(client, &refresh(2, &signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX + 20))));
    assert_eq!(
        world.read(client),
        [r#"{"id":2,"refresh":{"client":"00000000-0000-0000-0000-000000000001","expires":true,"ttl":15}}"#]
    );
    world.wait_with_pongs(client, seconds(40) - millis(1));
    assert_eq!(world.ended(client), None);
    world.wait(millis(1));
    assert_eq!(world.ended(client), Some(3005));
}

#[test]
fn a_refresh_may_come_late_and_may_take_the_end_away() {
    let mut world = World::alone();
    let client = expiring_in(&mut world, 10);
    world.wait_with_pongs(client, seconds(30));
    world.send(client, &refresh(2, &token_of("alice")));
    assert_eq!(
        world.read(client),
        [r#"{"id":2,"refresh":{"client":"00000000-0000-0000-0000-000000000001"}}"#]
    );
    world.wait(seconds(10));
    assert_eq!(world.ended(client), None);
}

#[test]
fn a_refresh_with_another_token_than_ones_own_ends_the_session() {
    let expired = format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX - 61);
    for (token, code) in [
        (String::new(), 3501),
        ("nonsense".to_owned(), 3500),
        (token_of("bob"), 3500),
        (signed(&expired), 3005),
        (signed(r#"{"sub":"alice","channels":["news","more"]}"#), 3010),
        (token_of("alice"), 3010),
    ] {
        let mut world = World::alone();
        let client = world.open();
        world.send(client, &connect(1, &signed(r#"{"sub":"alice","channels":["news"]}"#)));
        world.read(client);
        world.send(client, &refresh(2, &token));
        assert_eq!((world.read(client), world.ended(client)), (vec![], Some(code)), "{token}");
    }
}

#[test]
fn a_refresh_may_name_the_same_channels_in_any_way() {
    let mut world = World::alone();
    let client = world.open();
    world.send(client, &connect(1, &signed(r#"{"sub":"alice","channels":["news","chat"]}"#)));
    world.read(client);
    world.send(
        client,
        &refresh(2, &signed(r##"{"sub":"alice","channels":["chat","news","chat","#alice"]}"##)),
    );
    assert_eq!((world.read(client).len(), world.ended(client)), (1, None));
}

/// A client of alice whose token expires so many seconds from now.
fn expiring_in(world: &mut World, ttl: u64) -> ClientKey {
    let client = world.open();
    world.send(client, &connect(1, &signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX + ttl))));
    world.read(client);
    client
}
