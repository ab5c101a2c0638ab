//! Directed messages: who gets them, and what their sender learns.

use proto::link::{Answer, LaneFrame, Member, ToEdge};
use store::StoreError;

use super::super::receipts::{LOOK_UPS_MAX, RECEIPTS_PER_CLIENT_MAX};
use super::super::{ClientKey, Event, OUTBOX_BYTES_MAX, Ticket};
use super::world::*;

/// A third edge.
const FAR: Member = Member(3);

#[test]
fn a_message_for_somebody_here_only_never_sees_the_relay() {
    let mut world = World::linked();
    let (alice, phone, laptop) = (world.log_in("alice"), world.log_in("bob"), world.log_in("bob"));
    world.send(alice, &direct(2, "bob", r#"{"text":"hi"}"#));
    assert_eq!(world.read(alice), [delivered(2, 2)]);
    for device in [phone, laptop] {
        assert_eq!(world.read(device), [push("#bob", r#"{"text":"hi"}"#, "alice", alice)]);
    }
    assert_eq!(world.sent(), []);
    let tally = world.tally();
    assert_eq!((tally.receipts, tally.messages, tally.frames_out), ([1, 0, 0], [0, 1, 0, 0, 0], 0));
}

#[test]
fn without_a_relay_to_ask_absent_is_offline() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    world.send(alice, &direct(2, "bob", "1"));
    assert_eq!(world.read(alice), [delivered(2, 0)]);
    assert_eq!((world.tally().receipts, world.tally().messages[2]), ([0, 1, 0], 1));
}

#[test]
fn one_may_write_to_oneself() {
    let mut world = World::alone();
    let alice = world.log_in("alice");
    world.send(alice, &direct(2, "alice", "1"));
    assert_eq!(world.read(alice), [push("#alice", "1", "alice", alice), delivered(2, 1)]);
}

#[test]
fn a_message_to_nobody_possible_is_a_bad_request() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    for argument in ["{}", r#"{"to":"bob"}"#, r#"{"to":"a,b","data":1}"#, r#"{"to":"","data":1}"#, "7"] {
        world.send(alice, &format!(r#"{{"id":2,"rpc":{{"method":"send","data":{argument}}}}}"#));
        assert_eq!(world.read(alice), [error(2, 107)], "{argument}");
    }
    assert_eq!((world.tally().messages, world.tally().receipts), ([0, 0, 0, 5, 0], [0, 0, 0]));
}

#[test]
fn while_the_link_is_away_nobody_knows_about_people_elsewhere() {
    let mut world = World::linked();
    let (alice, bob, carol) = (world.log_in("alice"), world.log_in("bob"), world.log_in("carol"));
    world.tell_elsewhere("#carol", true, 1);
    world.close_link();
    for to in ["dave", "carol"] {
        world.send(alice, &direct(2, to, "1"));
        assert_eq!(world.read(alice), [error(2, 100)], "{to}");
    }
    assert!(world.read(carol).is_empty(), "nobody gets what its sender will send again");
    world.send(alice, &direct(3, "bob", "1"));
    assert_eq!((world.read(alice), world.read(bob).len()), (vec![delivered(3, 1)], 1));
    assert_eq!((world.tally().receipts, world.tally().messages[4]), ([1, 0, 2], 2));
}

#[test]
fn before_the_relay_has_greeted_there_is_no_link() {
    let mut world = World::unlinked();
    world.open_link();
    let alice = world.connect("alice");
    world.read(alice);
    world.send(alice, &direct(2, "bob", "1"));
    assert_eq!(world.read(alice), [error(2, 100)]);
}

#[test]
fn devices_here_and_elsewhere_are_counted_together() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.tell_elsewhere("#bob", true, 1);
    let ticket = send_out(&mut world, alice);
    assert_eq!(world.read(bob), [push("#bob", "1", "alice", alice)], "he need not wait for the others");
    assert!(world.read(alice).is_empty());
    world.routed(ticket, &[THERE, FAR], true);
    world.answered(ticket, FAR, Answer::Took(2));
    assert!(world.read(alice).is_empty());
    world.answered(ticket, THERE, Answer::Took(3));
    assert_eq!(world.read(alice), [delivered(2, 6)]);
    assert_eq!(world.look_ups(), []);
}

#[test]
fn until_joined_others_may_hold_the_channel_too() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.connect("bob");
    let ticket = send_out(&mut world, alice);
    world.routed(ticket, &[], true);
    assert_eq!(world.read(alice), [delivered(2, 1)]);
}

#[test]
fn somebody_took_it_means_delivered_whatever_the_others_say() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE, FAR, Member(4)], false);
    world.answered(ticket, THERE, Answer::Unknown);
    world.answered(ticket, FAR, Answer::Took(1));
    world.answered(ticket, Member(4), Answer::NotHere(edge("edge-4", 1)));
    assert_eq!(world.read(alice), [delivered(2, 1)]);
    assert_eq!(world.look_ups(), []);
}

#[test]
fn one_who_cannot_say_makes_it_unknown() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE, FAR], true);
    world.answered(ticket, THERE, Answer::Unknown);
    world.answered(ticket, FAR, Answer::NotHere(edge("edge-3", 1)));
    assert_eq!(world.read(alice), [error(2, 100)]);
    assert_eq!(world.look_ups(), [], "whatever the store says, it may have been delivered");
}

#[test]
fn a_relay_that_does_not_know_every_edge_makes_it_unknown() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[], false);
    assert_eq!((world.read(alice), world.look_ups()), (vec![error(2, 100)], vec![]));
}

#[test]
fn it_takes_the_relay_and_the_store_to_call_somebody_offline() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[], true);
    assert!(world.read(alice).is_empty());
    assert_eq!(world.look_ups(), [(ticket, channel("#bob"))]);
    world.looked_up(ticket, Ok(vec![]));
    assert_eq!(world.read(alice), [delivered(2, 0)]);
    assert_eq!((world.tally().receipts, world.tally().memories_differ), ([0, 1, 0], 0));
}

#[test]
fn who_has_its_share_waiting_gets_no_more_and_others_do() {
    let (mut world, alice, first) = sent_to_bob();
    let carol = world.log_in("carol");
    let one_more = RECEIPTS_PER_CLIENT_MAX + 2;
    for id in 3..one_more {
        world.send(alice, &direct(id, "bob", "1"));
    }
    assert_eq!(world.sent().len(), one_more as usize - 3);
    world.send(alice, &direct(one_more, "bob", "1"));
    assert_eq!((world.sent().len(), world.read(alice)), (0, vec![error(one_more, 100)]));
    world.send(carol, &direct(2, "bob", "1"));
    assert_eq!(world.sent().len(), 1, "she has a share of her own");

    world.routed(first, &[], false);
    world.send(alice, &direct(one_more, "bob", "1"));
    assert_eq!(world.sent().len(), 1, "one has its verdict");
}

#[test]
fn so_many_are_looked_up_at_once_and_of_one_more_nobody_can_tell() {
    let (mut world, alice, first) = sent_to_bob();
    for id in 3..3 + u32::try_from(LOOK_UPS_MAX).expect("a small number") {
        world.send(alice, &direct(id, "bob", "1"));
    }
    let others: Vec<Ticket> = world.sent().iter().map(|sent| sent.ticket).collect();
    let (&last, others) = others.split_last().expect("there are some");
    for &ticket in [first].iter().chain(others) {
        world.routed(ticket, &[], true);
    }
    assert_eq!((world.look_ups().len(), world.read(alice)), (LOOK_UPS_MAX, vec![]));
    world.routed(last, &[], true);
    assert_eq!(world.look_ups(), []);
    assert_eq!(world.tally().receipts, [0, 0, 1]);

    world.looked_up(first, Ok(vec![]));
    world.send(alice, &direct(2, "bob", "1"));
    let next = world.sent()[0].ticket;
    world.routed(next, &[], true);
    assert_eq!(world.look_ups(), [(next, channel("#bob"))], "there is room again");
}

#[test]
fn routes_of_those_who_said_not_here_do_not_count() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE], true);
    world.answered(ticket, THERE, Answer::NotHere(edge("edge-2", 5)));
    assert_eq!(world.look_ups(), [(ticket, channel("#bob"))]);
    world.looked_up(ticket, Ok(vec![edge("edge-2", 5), this_edge()]));
    assert_eq!(world.read(alice), [delivered(2, 0)]);
}

#[test]
fn a_route_of_somebody_else_contradicts_the_relay() {
    for holder in [edge("edge-2", 6), edge("edge-9", 5), edge("edge-1", EPOCH - 1)] {
        let (mut world, alice, ticket) = sent_to_bob();
        world.routed(ticket, &[THERE], true);
        world.answered(ticket, THERE, Answer::NotHere(edge("edge-2", 5)));
        world.looked_up(ticket, Ok(vec![edge("edge-2", 5), holder.clone()]));
        assert_eq!(world.read(alice), [error(2, 100)], "{holder}");
        assert_eq!(world.tally().memories_differ, 1);
    }
}

#[test]
fn a_store_that_was_asked_and_did_not_answer_makes_it_unknown() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[], true);
    world.looked_up(ticket, Err(StoreError::Unanswered));
    assert_eq!(world.read(alice), [error(2, 100)]);
    assert_eq!((world.tally().memories_differ, world.tally().lookups), (0, [0, 0, 0, 1]));
}

#[test]
fn while_the_store_cannot_be_asked_the_complete_relays_word_suffices() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE], true);
    world.answered(ticket, THERE, Answer::NotHere(edge("edge-2", 5)));
    world.looked_up(ticket, Err(StoreError::Away));
    assert_eq!(world.read(alice), [delivered(2, 0)]);
    assert_eq!((world.tally().memories_differ, world.tally().lookups), (0, [0, 0, 1, 0]));
}

#[test]
fn look_ups_are_counted_by_their_answers_and_late_ones_are_not() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    for (id, holders) in [(2, vec![]), (3, vec![edge("edge-9", 1)]), (4, vec![this_edge()])] {
        world.send(alice, &direct(id, "bob", "1"));
        let ticket = world.sent_one().ticket;
        world.routed(ticket, &[], true);
        world.looked_up(ticket, Ok(holders.clone()));
        world.looked_up(ticket, Ok(holders));
    }
    assert_eq!((world.tally().lookups, world.tally().memories_differ), ([2, 1, 0, 0], 1));
}

#[test]
fn an_edge_knows_itself_after_the_links_end_and_by_its_newest_epoch() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[], true);
    world.close_link();
    world.looked_up(ticket, Ok(vec![this_edge()]));
    assert_eq!((world.read(alice), world.tally().memories_differ), (vec![delivered(2, 0)], 0));

    for (holder, verdict) in [(edge("edge-1", 8), delivered(2, 0)), (this_edge(), error(2, 100))] {
        let (mut world, alice, ticket) = sent_to_bob();
        world.routed(ticket, &[], true);
        world.end_lease(8);
        world.looked_up(ticket, Ok(vec![holder]));
        assert_eq!(world.read(alice), [verdict]);
    }
}

#[test]
fn a_freeze_is_a_verdict_for_those_that_are_looked_up_too() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.tell_elsewhere("#bob", true, 1);
    for (id, to) in [(2, "bob"), (3, "carol"), (4, "dave")] {
        world.send(alice, &direct(id, to, "1"));
    }
    let dave = world.sent().iter().find(|sent| sent.channel == "#dave").expect("sent").ticket;
    world.routed(dave, &[], true);
    world.read(bob);
    world.freeze(millis(2_001));
    let mut verdicts = world.read(alice);
    verdicts.sort_unstable();
    assert_eq!(verdicts, [delivered(2, 1), error(3, 100), error(4, 100)]);
    world.looked_up(dave, Ok(vec![]));
    assert!(world.read(alice).is_empty());
}

#[test]
fn a_verdict_comes_after_4_s_at_the_latest() {
    let (mut world, alice, _) = sent_to_bob();
    world.wait(millis(3_999));
    assert!(world.read(alice).is_empty());
    world.wait(millis(1));
    assert_eq!(world.read(alice), [error(2, 100)]);
    assert_eq!(world.tally().receipts_pending, 0);
}

#[test]
fn after_4_s_those_who_took_it_count_and_the_silent_do_not() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE, FAR], true);
    world.answered(ticket, THERE, Answer::Took(2));
    world.wait(seconds(4));
    assert_eq!(world.read(alice), [delivered(2, 2)]);
    world.answered(ticket, FAR, Answer::Took(1));
    world.routed(ticket, &[], true);
    assert!(world.read(alice).is_empty(), "a verdict is final");
}

#[test]
fn a_store_that_does_not_answer_in_time_makes_it_unknown() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.wait(seconds(3));
    world.routed(ticket, &[], true);
    world.wait(seconds(1));
    assert_eq!(world.read(alice), [error(2, 100)]);
    world.looked_up(ticket, Ok(vec![]));
    assert!(world.read(alice).is_empty());
}

#[test]
fn each_message_has_its_own_deadline() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    for id in 2..5 {
        world.send(alice, &direct(id, "bob", "1"));
        world.wait(seconds(1));
    }
    assert_eq!(world.tally().receipts_pending, 3);
    for id in 2..5 {
        world.wait(seconds(1) - millis(1));
        assert!(world.read(alice).is_empty());
        world.wait(millis(1));
        assert_eq!(world.read(alice), [error(id, 100)]);
    }
}

#[test]
fn an_edge_that_is_gone_will_not_answer() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE, FAR], true);
    world.answered(ticket, FAR, Answer::NotHere(edge("edge-3", 1)));
    world.relay_says(ToEdge::Gone { member: Member(4) });
    assert!(world.read(alice).is_empty());
    world.relay_says(ToEdge::Gone { member: THERE });
    assert_eq!(world.read(alice), [error(2, 100)]);
}

#[test]
fn an_edge_may_be_gone_before_it_is_known_to_be_a_holder() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.relay_says(ToEdge::Gone { member: THERE });
    world.routed(ticket, &[THERE, FAR], true);
    assert!(world.read(alice).is_empty());
    world.answered(ticket, FAR, Answer::NotHere(edge("edge-3", 1)));
    assert_eq!(world.read(alice), [error(2, 100)]);
}

#[test]
fn what_is_said_twice_or_by_somebody_who_was_not_asked_does_not_count() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.routed(ticket, &[THERE, FAR], true);
    world.answered(ticket, Member(9), Answer::Took(1));
    world.answered(ticket, THERE, Answer::Took(1));
    world.answered(ticket, THERE, Answer::Took(1));
    world.answered(Ticket { number: 99, ..ticket }, FAR, Answer::Took(1));
    world.routed(ticket, &[], true);
    assert!(world.read(alice).is_empty());
    world.answered(ticket, FAR, Answer::Took(1));
    assert_eq!(world.read(alice), [delivered(2, 2)]);
}

#[test]
fn the_end_of_the_link_is_a_verdict() {
    let mut world = World::linked();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.tell_elsewhere("#bob", true, 1);
    world.send(alice, &direct(2, "bob", "1"));
    world.send(alice, &direct(3, "carol", "1"));
    world.send(alice, &direct(4, "dave", "1"));
    let sent = world.sent();
    let ticket = |name: &str| sent.iter().find(|sent| sent.channel == name).expect("sent").ticket;
    let dave = ticket("#dave");
    world.routed(dave, &[], true);
    world.read(bob);
    world.close_link();
    let mut verdicts = world.read(alice);
    verdicts.sort_unstable();
    assert_eq!(verdicts, [delivered(2, 1), error(3, 100)], "one device has it, and nobody else can tell");

    assert_eq!(world.look_ups(), [(dave, channel("#dave"))]);
    world.looked_up(dave, Ok(vec![]));
    assert_eq!(world.read(alice), [delivered(4, 0)], "the relay had spoken, and the store still may");
}

#[test]
fn verdicts_of_a_lost_link_come_in_the_order_of_the_messages() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    for id in 2..30 {
        world.send(alice, &direct(id, "bob", "1"));
    }
    world.close_link();
    assert_eq!(world.read(alice), (2..30).map(|id| error(id, 100)).collect::<Vec<_>>());
}

#[test]
fn a_new_link_ends_the_old_one_and_its_numbers_go_on() {
    let (mut world, alice, old) = sent_to_bob();
    world.link();
    assert_eq!(world.read(alice), [error(2, 100)]);
    let new = send_out(&mut world, alice);
    assert_eq!((new.lane, new.number), (old.lane, old.number + 1));
}

#[test]
fn what_an_old_link_still_says_does_not_count() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    let old = world.generation();
    world.link();
    let ticket = send_out(&mut world, alice);
    let frame = LaneFrame::Routed { source: THIS, number: ticket.number, holders: vec![], complete: true };
    world.tell(Event::Lane { generation: old, lane: ticket.lane, frames: vec![frame.encode()] });
    world.tell(Event::LinkClosed { generation: old });
    assert_eq!((world.look_ups(), world.read(alice)), (vec![], vec![]));
    assert!(world.hub.is_linked());
}

#[test]
fn a_full_lane_refuses_a_message_before_anybody_gets_it() {
    let mut world = World::unlinked();
    world.lane_bytes_max = 200;
    world.link();
    let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
    world.tell_elsewhere("#bob", true, 1);
    world.send(alice, &direct(2, "bob", &format!(r#""{}""#, "x".repeat(200))));
    assert_eq!((world.read(alice), world.read(bob)), (vec![error(2, 100)], vec![]));
    assert_eq!((world.tally().receipts, world.tally().frames_out), ([0, 0, 1], 0));
}

#[test]
fn somebody_who_was_let_go_as_slow_is_not_offline() {
    for elsewhere in [false, true] {
        let mut world = World::linked();
        let (alice, bob) = (world.log_in("alice"), world.log_in("bob"));
        world.tell_elsewhere("#bob", elsewhere, 1);
        fill_outbox(&mut world, bob);
        world.send(alice, &direct(2, "bob", "1"));
        assert_eq!(world.ended(bob), Some(3008));
        for sent in world.sent() {
            world.routed(sent.ticket, &[THERE], true);
            world.answered(sent.ticket, THERE, Answer::NotHere(edge("edge-2", 1)));
        }
        assert_eq!(world.read(alice), [error(2, 100)], "held elsewhere too: {elsewhere}");
        assert_eq!(world.look_ups(), []);
    }
}

#[test]
fn a_sender_who_has_gone_is_answered_no_more_but_counted() {
    let (mut world, alice, ticket) = sent_to_bob();
    world.close(alice);
    world.routed(ticket, &[THERE], true);
    world.answered(ticket, THERE, Answer::Took(1));
    assert_eq!(world.tally().receipts, [1, 0, 0]);
    assert!(world.read(alice).is_empty());
}

#[test]
fn whatever_becomes_of_messages_none_is_lost_from_the_count() {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    world.send(alice, &direct(2, "alice", "1"));
    world.send(alice, &publish(3, "news", "1"));
    world.send(alice, &publish(4, "$x", "1"));
    for id in 5..8 {
        world.send(alice, &direct(id, "bob", "1"));
    }
    let tickets: Vec<Ticket> =
        world.sent().iter().filter(|sent| sent.wants_receipt).map(|sent| sent.ticket).collect();
    world.routed(tickets[0], &[], true);
    world.looked_up(tickets[0], Ok(vec![]));
    world.routed(tickets[1], &[], false);
    let tally = world.tally();
    assert_eq!((tally.messages_received, tally.receipts_pending), (6, 1));
    world.close_link();
    let tally = world.tally();
    assert_eq!((tally.messages_received, tally.receipts_pending), (6, 0));
    assert_eq!(tally.messages, [1, 1, 1, 1, 2]);
    assert_eq!(tally.receipts, [1, 1, 2]);
}

/// Alice, linked, has sent a message to bob, who is not here.
fn sent_to_bob() -> (World, ClientKey, Ticket) {
    let mut world = World::linked();
    let alice = world.log_in("alice");
    let ticket = send_out(&mut world, alice);
    assert!(world.read(alice).is_empty());
    (world, alice, ticket)
}

/// Sends a message to bob that goes to the relay.
fn send_out(world: &mut World, client: ClientKey) -> Ticket {
    world.send(client, &direct(2, "bob", "1"));
    let sent = world.sent_one();
    assert_eq!((sent.channel.as_str(), sent.data.as_str(), sent.wants_receipt), ("#bob", "1", true));
    assert_eq!(world.tally().receipts_pending, 1);
    sent.ticket
}

/// Leaves no room for another push in a client's outbox.
fn fill_outbox(world: &mut World, client: ClientKey) {
    let ping = r#"{"id":5,"ping":{}}"#;
    world.send(client, &vec![ping; OUTBOX_BYTES_MAX / ping.len()].join("\n"));
    assert_eq!(world.ended(client), None);
}
