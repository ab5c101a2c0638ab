//! After the edge stood still: no link, no lease, nothing that waits for either, and patience with clients.

use bytes::Bytes;
use proto::link::{CloseCode, LaneFrame, ToEdge};

use super::super::{Encoding, Event};
use super::world::*;

#[test]
fn a_freeze_ends_the_link_and_all_that_came_by_it() {
    let mut world = World::linked();
    let generation = world.generation();
    let alice = world.log_in("alice");
    world.send(alice, &[subscribe(2, "news"), direct(3, "bob", "1")].join("\n"));
    let ticket = world.sent_one().ticket;
    world.freeze(millis(2_001));
    let reason = "this edge stood still for 2.0 s".to_owned();
    assert_eq!(world.closed_links(), [(generation, CloseCode::Froze, reason)]);
    assert_eq!(world.read(alice), [r#"{"id":2,"subscribe":{}}"#.to_owned(), error(3, 100)]);
    let tally = world.tally();
    assert_eq!((tally.freezes, tally.is_leased, world.hub.is_linked()), (1, false, false));

    let frame = LaneFrame::Routed { source: THIS, number: ticket.number, holders: vec![], complete: true };
    world.tell(Event::Lane {
        generation,
        lane: ticket.lane,
        frames: vec![frame.encode(), Bytes::from_static(b"x")],
    });
    world.tell(Event::Control { generation, frame: ToEdge::Leased { epoch: this_edge().epoch } });
    world.tell(Event::LinkClosed { generation });
    world.store_writes();
    world.send(alice, &subscribe(4, "chat"));
    assert_eq!((world.look_ups(), world.under_way().len(), world.closed_links()), (vec![], 0, vec![]));

    world.link();
    assert_eq!(world.routes().len(), 3);
}

#[test]
fn without_a_link_a_freeze_is_only_counted() {
    let mut world = World::unlinked();
    let alice = world.log_in("alice");
    world.freeze(seconds(5));
    assert_eq!((world.closed_links(), world.tally().freezes, world.ended(alice)), (vec![], 1, None));
}

#[test]
fn a_pong_that_nobody_could_read_has_its_whole_time_again() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    world.wait(seconds(25));
    assert_eq!(world.read(alice), ["{}"]);
    world.freeze(seconds(60));
    world.wait(seconds(8) - millis(1));
    assert_eq!((world.ended(alice), world.read(alice)), (None, vec![]), "and no second ping meanwhile");
    world.send(alice, "{}");
    world.wait(millis(16_900));
    assert_eq!(world.read(alice), [""; 0]);
    world.wait(millis(101));
    assert_eq!(world.read(alice), ["{}"], "25 s of moving time after the first");

    world.freeze(seconds(3));
    world.wait(seconds(8));
    assert_eq!(world.ended(alice), Some(3012));
}

#[test]
fn no_second_ping_goes_out_before_the_first_is_answered() {
    let mut world = World::alone();
    world.hub.config.pong_timeout = seconds(20);
    let alice = world.log_in("alice");
    world.wait(seconds(44));
    assert_eq!(world.read(alice), ["{}"]);
    world.freeze(seconds(3));
    world.wait(seconds(19));
    assert_eq!(world.read(alice), [""; 0], "two pongs for one ping would break the protocol");
    world.send(alice, "{}");
    world.wait(seconds(1));
    assert_eq!((world.read(alice), world.ended(alice)), (vec!["{}".to_owned()], None));
}

#[test]
fn pings_keep_their_distance_from_each_other() {
    let mut world = World::alone();
    let clients = [0.2, 0.4, 0.6, 0.8].map(|chance| {
        let client = world.open_as(Encoding::Json, chance);
        world.send(client, &connect(1, &token_of("alice")));
        world.read(client);
        client
    });
    world.wait(seconds(14));
    world.freeze(seconds(60));
    for (client, at) in clients.into_iter().zip([1_000, 3_500, 6_000, 8_500]) {
        world.wait_until(seconds(74) + millis(at - 1));
        assert_eq!(world.read(client), [""; 0]);
        world.wait(millis(1));
        assert_eq!(world.read(client), ["{}"]);
    }
}

#[test]
fn whoever_has_not_logged_in_has_5_s_at_least() {
    for (asked_before, left) in [(seconds(7), seconds(5)), (seconds(1), seconds(5))] {
        let mut world = World::alone();
        let client = world.open();
        world.wait(asked_before);
        world.freeze(seconds(9));
        world.wait(left - millis(1));
        assert_eq!(world.ended(client), None);
        world.wait(millis(1));
        assert_eq!(world.ended(client), Some(3502));
    }
    let mut world = World::alone();
    let client = world.open();
    world.freeze(seconds(3));
    world.wait(seconds(7) - millis(1));
    assert_eq!(world.ended(client), None, "more than 5 s were left anyway");
    world.wait(millis(1));
    assert_eq!(world.ended(client), Some(3502));
}

#[test]
fn a_token_runs_out_while_its_edge_stands_still() {
    let mut world = World::alone();
    let client = world.open();
    world.send(client, &connect(1, &signed(&format!(r#"{{"sub":"alice","exp":{}}}"#, UNIX + 10))));
    world.freeze(seconds(35));
    assert_eq!(world.ended(client), Some(3005));
}
