//! Publications and answers, full lanes, and frames that must not be.

use bytes::Bytes;
use proto::link::{Answer, CloseCode, Lane, LaneFrame, Member, ToEdge, lane_of};

use super::super::Event;
use super::world::{World, answer, closed, ms, publication, routed};

#[test]
fn a_publication_goes_to_the_other_holders_only() {
    let (mut world, [a, b, c, d]) = World::linked(["a", "b", "c", "d"]);
    world.both_hold(a, b, "room");
    world.holds(c, "room", true);
    world.holds(d, "elsewhere", false);
    world.publish(a, "room", false);
    let expected = publication(Member(1), 1, "room", false);
    world.gets(a, "room", &[]);
    for holder in [b, c] {
        world.gets(holder, "room", std::slice::from_ref(&expected));
    }
    world.gets(d, "room", &[]);
    let tally = world.router.tally(world.now);
    assert_eq!((tally.publications, tally.forwarded, tally.unheld), (1, 2, 0));
}

#[test]
fn a_source_needs_not_hold_the_channel() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(b, "#bob", false);
    world.publish(a, "#bob", true);
    world.gets(a, "#bob", &[routed(Member(1), 1, &[Member(2)], true)]);
    world.gets(b, "#bob", &[publication(Member(1), 1, "#bob", true)]);
}

#[test]
fn a_publication_is_forwarded_untouched_and_not_even_copied() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(b, "c", false);
    // Flags that this version does not know are the holders' affair.
    let mut frame = publication(Member(1), 1, "c", false).encode().to_vec();
    frame[5] = 0xfe;
    let frame = Bytes::from(frame);
    world.tell(Event::Lane { link: a, lane: lane_of("c"), frames: vec![frame.clone()] });
    let got = world.got(b, "c");
    assert_eq!((got.len(), &got[0]), (1, &frame));
    assert_eq!(got[0].as_ptr(), frame.as_ptr());
}

#[test]
fn a_channel_keeps_its_order_on_its_lane() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(b, "c", false);
    let sent: Vec<Bytes> =
        (1..=9).map(|number| publication(Member(1), number, "c", number % 2 == 0).encode()).collect();
    world.tell(Event::Lane { link: a, lane: lane_of("c"), frames: sent.clone() });
    assert_eq!(world.got(b, "c"), sent);
    let expected: Vec<LaneFrame<'_>> =
        [2, 4, 6, 8].map(|number| routed(Member(1), number, &[Member(2)], true)).into();
    world.gets(a, "c", &expected);
}

#[test]
fn a_source_that_wants_a_receipt_is_told_who_gets_it() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(b, c, "room");
    world.publish(a, "room", true);
    world.gets(a, "room", &[routed(Member(1), 1, &[Member(2), Member(3)], true)]);
}

#[test]
fn who_gets_it_is_told_before_what_became_of_it_and_on_the_same_lane() {
    let (mut world, [a]) = World::linked(["a"]);
    world.lane_bytes_max = 0;
    let b = world.link("b");
    world.holds(b, "c", false);
    world.publish(a, "c", true);
    world.gets(
        a,
        "c",
        &[routed(Member(1), 1, &[Member(2)], true), answer(Member(1), 1, Member(2), Answer::Unknown)],
    );
}

#[test]
fn a_source_that_wants_no_receipt_is_told_nothing() {
    let (mut world, [a]) = World::linked(["a"]);
    world.publish(a, "nowhere", false);
    world.lane_bytes_max = 0;
    let b = world.link("b");
    world.holds(b, "c", false);
    world.publish(a, "c", false);
    world.gets(a, "c", &[]);
    world.gets(a, "nowhere", &[]);
    let tally = world.router.tally(world.now);
    assert_eq!((tally.publications, tally.unheld, tally.refused), (2, 1, 1));
}

#[test]
fn nobody_holds_it_and_the_source_itself_does_not_count() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "own", false);
    world.publish(a, "own", true);
    world.gets(a, "own", &[routed(Member(1), 1, &[], true)]);
    world.publish(b, "nowhere", true);
    world.gets(b, "nowhere", &[routed(Member(2), 1, &[], true)]);
    assert_eq!(world.router.tally(world.now).unheld, 2);
}

#[test]
fn nobody_holds_it_as_far_as_an_incomplete_relay_knows() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.close(b);
    world.publish(a, "c", true);
    world.gets(a, "c", &[routed(Member(1), 1, &[], false)]);
}

#[test]
fn one_that_left_gets_nothing_more() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "c");
    world.leave(b, "c");
    world.publish(a, "c", true);
    world.gets(b, "c", &[]);
    world.gets(a, "c", &[routed(Member(1), 1, &[], true)]);
}

#[test]
fn answers_are_passed_back_to_their_source_untouched() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(b, c, "room");
    let number = world.publish(a, "room", true);
    world.got(a, "room");
    world.got(b, "room");
    let took = answer(Member(1), number, Member(2), Answer::Took(3));
    let not_here = answer(Member(1), number, Member(3), Answer::NotHere(world.id(c)));
    let lane = lane_of("room");
    world.sends(b, lane, &took);
    world.sends(c, lane, &not_here);
    world.gets(a, "room", &[took, not_here]);
    world.gets(b, "room", &[]);
    assert_eq!(world.router.tally(world.now).answers, 2);
}

#[test]
fn an_answer_to_one_that_is_gone_is_lost_and_counted() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(b, "c", false);
    world.publish(a, "c", true);
    world.close(a);
    let again = world.link("a");
    world.done();
    world.sends(b, lane_of("c"), &answer(Member(1), 1, Member(2), Answer::Took(1)));
    world.does(&[]);
    world.gets(again, "c", &[]);
    let tally = world.router.tally(world.now);
    assert_eq!((tally.answers, tally.answers_lost), (0, 1));
}

#[test]
fn a_full_lane_of_a_holder_refuses_and_the_source_is_told_in_its_place() {
    let frame_bytes = publication(Member(1), 1, "room", true).encode().len();
    let (mut world, [a, c]) = World::linked(["a", "c"]);
    world.lane_bytes_max = frame_bytes;
    let b = world.link("b");
    world.both_hold(b, c, "room");
    for _ in 1..=2 {
        world.publish(a, "room", true);
    }
    let holders = [Member(3), Member(2)];
    world.gets(
        a,
        "room",
        &[
            routed(Member(1), 1, &holders, true),
            routed(Member(1), 2, &holders, true),
            answer(Member(1), 2, Member(3), Answer::Unknown),
        ],
    );
    world.gets(b, "room", &[publication(Member(1), 1, "room", true)]);
    assert_eq!(world.got(c, "room").len(), 2, "the others get it");
    world.does(&[]);
    let tally = world.router.tally(world.now);
    assert_eq!((tally.publications, tally.forwarded, tally.refused), (2, 3, 1));

    // There is room again.
    world.publish(a, "room", true);
    world.gets(b, "room", &[publication(Member(1), 3, "room", true)]);
}

#[test]
fn a_full_lane_does_not_fill_the_others() {
    let (mut world, [a]) = World::linked(["a"]);
    world.lane_bytes_max = publication(Member(1), 1, "c", true).encode().len();
    let b = world.link("b");
    assert_ne!(lane_of("c"), lane_of("d"));
    for channel in ["c", "d"] {
        world.holds(b, channel, false);
    }
    for channel in ["c", "c", "d"] {
        world.publish(a, channel, false);
    }
    assert_eq!((world.got(b, "c").len(), world.got(b, "d").len()), (1, 1));
}

#[test]
fn a_source_whose_lane_is_full_hears_nothing_and_the_holders_get_it_all_the_same() {
    let (mut world, [b]) = World::linked(["b"]);
    world.lane_bytes_max = 0;
    let a = world.link("a");
    world.holds(b, "c", false);
    let number = world.publish(a, "c", true);
    assert_eq!(world.got(b, "c").len(), 1);
    world.sends(b, lane_of("c"), &answer(Member(2), number, Member(1), Answer::Took(1)));
    world.gets(a, "c", &[]);
    world.does(&[]);
    let tally = world.router.tally(world.now);
    assert_eq!((tally.forwarded, tally.answers, tally.answers_lost), (1, 0, 2));
}

#[test]
fn a_frame_that_must_not_be_ends_its_link_and_no_other() {
    let foreign = "it speaks for another edge";
    let holder_for = |holder| answer(Member(2), 1, holder, Answer::Took(1)).encode();
    let cases = [
        (publication(Member(2), 1, "c", true).encode(), foreign),
        (publication(Member(0), 1, "c", true).encode(), foreign),
        (publication(Member(9), 1, "c", true).encode(), foreign),
        (holder_for(Member(2)), foreign),
        (holder_for(Member(9)), foreign),
        (LaneFrame::Canary { source: Member(2), number: 1 }.encode(), foreign),
        (routed(Member(1), 1, &[], true).encode(), "only relays route"),
        (Bytes::from_static(&[0, 0, 0, 1, 7]), "a frame of kind 7 is too short"),
        (Bytes::from_static(&[0; 18]), "unknown frame kind 0"),
        (Bytes::new(), "a frame of 0 bytes, allowed are 1 to 132096"),
        (publication(Member(1), 1, "c", true).encode().slice(..20), "a frame of kind 129 is too short"),
    ];
    for (frame, reason) in cases {
        let (mut world, [a, b]) = World::linked(["a", "b"]);
        world.both_hold(a, b, "c");
        let lane = lane_of("c");
        let good = publication(Member(1), 2, "c", false).encode();
        let early = publication(Member(1), 1, "c", false).encode();
        world.tell(Event::Lane { link: a, lane, frames: vec![early, frame, good] });
        world.does(&[closed(a, CloseCode::BadFrame, &format!("lane {}: {reason}", lane.0))]);
        assert_eq!(world.got(b, "c").len(), 1, "what came before it counts, what came after it does not");
        assert!(world.heard(b).contains(&ToEdge::Gone { member: Member(1) }));
        world.holds(b, "d", false);
        world.publish(b, "c", true);
        world.gets(b, "c", &[routed(Member(2), 1, &[], false)]);
    }
}

#[test]
fn a_publication_for_a_channel_that_cannot_exist_finds_nobody() {
    let (mut world, [a]) = World::linked(["a"]);
    for name in ["", " ", "#", "a\nb", "é"] {
        world.publish(a, name, true);
        let got = world.got(a, name);
        assert!(
            matches!(LaneFrame::decode(&got[0]), Ok(LaneFrame::Routed { holders, .. }) if holders.is_empty())
        );
    }
    world.does(&[]);
}

#[test]
fn missing_numbers_are_counted_by_source_and_lane() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    let mut send = |link, lane, source, number| {
        world.sends(link, Lane(lane), &publication(Member(source), number, "c", false));
        world.router.tally(world.now).gaps
    };
    assert_eq!(send(a, 0, 1, 40), 0, "nobody knows what was before the first");
    assert_eq!(send(a, 0, 1, 41), 0);
    assert_eq!(send(a, 0, 1, 43), 1);
    assert_eq!(send(a, 0, 1, 47), 4);
    assert_eq!(send(a, 1, 1, 60), 4, "another lane");
    assert_eq!(send(b, 0, 2, 80), 4, "another source");
    assert_eq!(send(a, 0, 1, 48), 4);
}

#[test]
fn a_number_that_goes_back_is_no_gap_and_neither_is_what_follows() {
    let (mut world, [a]) = World::linked(["a"]);
    for number in [5, 6, 5, 7, 7, 1, 8] {
        world.sends(a, Lane(0), &publication(Member(1), number, "c", false));
    }
    assert_eq!(world.router.tally(world.now).gaps, 0);
}

#[test]
fn numbers_at_the_end_of_their_range_break_nothing() {
    let (mut world, [a]) = World::linked(["a"]);
    for number in [1, u64::MAX, 1, u64::MAX, 0] {
        for lane in Lane::all() {
            world.sends(a, lane, &publication(Member(1), number, "c", false));
        }
    }
    world.does(&[]);
}

#[test]
fn a_new_link_of_an_edge_begins_its_numbers_where_it_likes() {
    let (mut world, [a]) = World::linked(["a"]);
    world.sends(a, Lane(0), &publication(Member(1), 5, "c", false));
    world.close(a);
    let again = world.link("a");
    world.sends(again, Lane(0), &publication(Member(2), 9, "c", false));
    assert_eq!(world.router.tally(world.now).gaps, 0);
}

#[test]
fn lanes_go_on_while_an_edge_is_silent() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(b, "c", false);
    world.wait(ms(3_299));
    world.publish(a, "c", true);
    world.gets(a, "c", &[routed(Member(1), 1, &[Member(2)], false)]);
    assert_eq!(world.got(b, "c").len(), 1);
}

#[test]
fn an_edges_message_to_itself_comes_back_by_its_lane_and_to_nobody_else() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    let canary = LaneFrame::Canary { source: Member(1), number: 7 };
    world.tell(Event::Lane { link: a, lane: Lane(5), frames: vec![canary.encode()] });
    assert_eq!(world.waits_in(a, Lane(5)), [canary.encode()]);
    assert!(world.waits_in(b, Lane(5)).is_empty());
    assert_eq!(world.router.tally(world.now).canaries, 1);
}
