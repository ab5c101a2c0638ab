//! Leases: granted, renewed, lost, ended; what a relay does about those of others, and when it may call itself complete.

use proto::id::Epoch;
use proto::limits::EPOCH_MAX;
use proto::link::{CloseCode, ToEdge, ToRelay};

use super::super::{Action, Event, LOST_AFTER, LinkKey, PATIENCE, WATCH_ANEW};
use super::world::{StoreMood, UNIX_MS, World, closed, edge_id, ends, ms, welcome};

const NOBODY: [&str; 0] = [];

#[test]
fn a_lease_is_told_when_it_is_written_and_not_before() {
    let mut world = World::new();
    world.store_mood = StoreMood::Slow;
    let a = world.open("a");
    world.hello(a, None);
    assert!(world.leased(a).is_empty());
    world.store_answers();
    assert_eq!(world.leased(a), [UNIX_MS]);
    world.store_answers();
    assert!(world.leased(a).is_empty(), "and once");
}

#[test]
fn a_lease_that_cannot_be_written_is_asked_for_until_it_can() {
    let mut world = World::new();
    world.store_mood = StoreMood::Away;
    let a = world.open("a");
    world.hello(a, None);
    world.wait_pinging(ms(5_000), &[a]);
    assert!(world.leased(a).is_empty());
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(1_000), &[a]);
    assert_eq!(world.leased(a), [UNIX_MS]);
    assert_eq!(world.leases(), [format!("a.{UNIX_MS}")]);
}

#[test]
fn a_lease_that_was_written_unheard_is_asked_for_again_and_is_the_same() {
    let mut world = World::new();
    world.store_mood = StoreMood::Deaf;
    let a = world.open("a");
    world.hello(a, None);
    assert_eq!((world.leased(a), world.leases()), (vec![], vec![format!("a.{UNIX_MS}")]));
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(1_000), &[a]);
    assert_eq!((world.leased(a), world.leases()), (vec![UNIX_MS], vec![format!("a.{UNIX_MS}")]));
}

#[test]
fn the_store_forgets_everything_and_every_edge_takes_the_next_epoch() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "c", false);
    world.leased(a);
    world.store = store::Store::memory();
    world.wait_pinging(ms(1_000), &[a, b]);
    world.hears(a, &[ToEdge::Ended { next: Epoch(UNIX_MS + 1_000) }]);
    assert_eq!(world.leased(a), [UNIX_MS + 1_000]);
    world.hears(b, &[ToEdge::Ended { next: Epoch(UNIX_MS + 1_000) }]);
    assert_eq!(world.leases(), [format!("a.{}", UNIX_MS + 1_000), format!("b.{}", UNIX_MS + 1_000)]);
    let number = world.join(b, "c");
    world.acknowledges(a);
    world.hears(b, &[super::world::joined("c", number, true)]);
    world.wait_pinging(ms(5_000), &[a, b]);
    world.hears(a, &[]);
}

#[test]
fn what_the_store_has_of_an_edge_whose_lease_it_lost_is_removed_once() {
    let (mut world, [a]) = World::linked(["a"]);
    world.leased(a);
    world.store = store::Store::memory();
    world.wait_pinging(ms(1_000), &[a]);
    world.hears(a, &[ToEdge::Ended { next: Epoch(UNIX_MS + 1_000) }]);
    assert_eq!(world.removals, 1);
    world.wait_pinging(ms(5_000), &[a]);
    assert_eq!(world.removals, 1);
}

#[test]
fn an_edge_whose_routes_the_store_refuses_takes_the_next_epoch_and_only_for_its_present_one() {
    let (mut world, [a]) = World::linked(["a"]);
    world.says(a, ToRelay::Unleased { epoch: Epoch(UNIX_MS - 1) });
    world.hears(a, &[]);
    world.says(a, ToRelay::Unleased { epoch: Epoch(UNIX_MS) });
    world.hears(a, &[]);
    world.wait_pinging(ms(1_000), &[a]);
    world.hears(a, &[ToEdge::Ended { next: Epoch(UNIX_MS + 1_000) }]);
    world.does(&[ends(edge_id("a", UNIX_MS))]);
    assert_eq!(world.leases(), [format!("a.{}", UNIX_MS + 1_000)]);
    world.says(a, ToRelay::Unleased { epoch: Epoch(UNIX_MS) });
    world.wait_pinging(ms(2_000), &[a]);
    world.hears(a, &[]);
}

#[test]
fn an_edge_whose_routes_the_store_refuses_for_ever_costs_an_epoch_a_second() {
    let (mut world, [a]) = World::linked(["a"]);
    for _ in 0..100 {
        for _ in 0..100 {
            let epoch = world.id(a).epoch;
            world.says(a, ToRelay::Unleased { epoch });
        }
        world.wait_pinging(ms(1_000), &[a]);
        assert_eq!(world.heard(a).len(), 1);
    }
}

#[test]
fn a_goodbye_while_a_beat_is_under_way_ends_the_lease_at_once() {
    let (mut world, [a]) = World::linked(["a"]);
    world.store_mood = StoreMood::Slow;
    world.wait_pinging(ms(1_000), &[a]);
    world.says(a, ToRelay::Goodbye);
    world.store_mood = StoreMood::Well;
    world.store_answers();
    assert!(world.leases().is_empty());
}

#[test]
fn an_edge_that_was_lost_here_and_is_heard_by_another_relay_keeps_its_lease() {
    for phase in [100, 400, 700, 999] {
        let (mut world, [a]) = World::linked(["a"]);
        world.wait(ms(phase));
        world.close(a);
        for beat in 1..=20 {
            world.renew_elsewhere("a", UNIX_MS, UNIX_MS + 9_000 + beat);
            world.wait(ms(1_000));
        }
        assert_eq!(world.leases(), [format!("a.{UNIX_MS}")], "{phase}");
    }
}

#[test]
fn short_absences_of_the_store_do_not_keep_the_dead_alive() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("dead", 7), 70);
    for second in 0..20 {
        world.store_mood = if second % 4 == 3 { StoreMood::Away } else { StoreMood::Well };
        world.wait(ms(1_000));
    }
    assert!(world.leases().is_empty());
}

#[test]
fn an_epoch_that_nobody_was_given_ends_after_a_while_and_harms_nobody() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("a", EPOCH_MAX), 90);
    world.wait(ms(0));
    let a = world.open("a");
    world.hello(a, None);
    world.wait_pinging(ms(10_000), &[a]);
    world.heard(a);
    assert_eq!(world.leases(), [world.id(a).to_string()]);
    assert!(world.id(a).epoch.0 < UNIX_MS + 10_000);
}

#[test]
fn whoever_did_not_hear_that_its_lease_ended_is_not_taken_for_another() {
    let (mut world, [a]) = World::linked(["a"]);
    for _ in 0..2 {
        world.store = store::Store::memory();
        world.wait_pinging(ms(1_000), &[a]);
    }
    world.close(a);
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.hears(again, &[welcome(UNIX_MS + 2_001, 2)]);
}

#[test]
fn an_edge_keeps_the_epoch_of_a_former_relay_if_the_store_has_it() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("a", 7), 70);
    world.wait(ms(0));
    let a = world.open("a");
    world.hello(a, Some(Epoch(7)));
    world.hears(a, &[welcome(7, 1)]);
    world.wait(ms(0));
    assert_eq!(world.leased(a), [7], "the beat that confirms it does not wait for its second");

    let b = world.open("b");
    world.hello(b, Some(Epoch(7)));
    world.hears(b, &[welcome(UNIX_MS, 2)]);
}

#[test]
fn an_edge_keeps_its_epoch_while_the_store_cannot_say_and_loses_it_if_that_is_gone() {
    let mut world = World::unstarted(1);
    world.store_mood = StoreMood::Away;
    world.plant(edge_id("a", 7), 70);
    world.wait(ms(0));
    let [a, b] = ["a", "b"].map(|name| {
        let link = world.open(name);
        world.hello(link, Some(Epoch(7)));
        link
    });
    world.hears(a, &[welcome(7, 1)]);
    world.hears(b, &[welcome(7, 2)]);
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(1_000), &[a, b]);
    assert_eq!(world.leased(a), [7]);
    world.hears(b, &[ToEdge::Ended { next: Epoch(UNIX_MS) }]);
}

#[test]
fn a_lease_that_nobody_renews_is_ended_when_it_has_stood_still_for_long_enough() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("dead", 7), 70);
    world.wait(WATCH_ANEW - ms(1));
    world.does(&[]);
    world.wait(ms(1_000));
    world.does(&[ends(edge_id("dead", 7))]);
    assert_eq!(world.leases(), NOBODY);

    world.plant(edge_id("later", 7), 70);
    world.wait(LOST_AFTER);
    world.does(&[]);
    world.wait(ms(2_000));
    world.does(&[ends(edge_id("later", 7))]);
}

#[test]
fn a_lease_that_another_relay_renews_is_left_alone() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("other", 7), 70);
    for score in 0..20 {
        world.wait(ms(1_000));
        world.renew_elsewhere("other", 7, 1_000 - score);
    }
    world.does(&[]);
    world.wait(ms(5_000));
    world.does(&[ends(edge_id("other", 7))]);
}

#[test]
fn a_lease_whose_score_has_moved_since_is_not_ended() {
    let (mut world, [a]) = World::linked(["a"]);
    world.wait_pinging(ms(1_500), &[a]);
    world.renew_elsewhere("a", UNIX_MS, 5);
    world.says(a, ToRelay::Goodbye);
    assert_eq!(world.leases(), [format!("a.{UNIX_MS}")], "another relay has it");
    world.wait(ms(10_000));
    assert_eq!(world.leases(), NOBODY, "and has lost it");
}

#[test]
fn what_died_while_the_store_was_away_is_ended_after_its_return() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait_pinging(ms(1_000), &[a, b]);
    world.store_mood = StoreMood::Away;
    world.wait_pinging(ms(20_000), &[b]);
    world.done();
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(4_000), &[b]);
    assert_eq!(world.leases().len(), 2, "it is watched anew");
    world.wait_pinging(ms(3_000), &[b]);
    assert_eq!(world.leases(), [format!("b.{UNIX_MS}")]);
}

#[test]
fn a_removal_that_failed_is_begun_again_and_one_that_is_under_way_is_not() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.store_mood = StoreMood::Slow;
    world.says(a, ToRelay::Goodbye);
    world.store_answers();
    world.wait_pinging(ms(2_500), &[b]);
    assert_eq!(world.removals, 1, "the next beat shows that it is still among the ended");
    world.store_mood = StoreMood::Well;
    world.store_answers();
    assert_eq!(world.removals, 1);

    world.says(b, ToRelay::Goodbye);
    let c = world.link("c");
    world.removals = 0;
    world.fails_removals = true;
    world.says(c, ToRelay::Goodbye);
    world.wait(ms(1_000));
    world.fails_removals = false;
    world.wait(ms(2_000));
    assert!(world.removals > 2, "tried again: {}", world.removals);
    let removals = world.removals;
    world.wait(ms(3_000));
    assert_eq!(world.removals, removals, "and done");
}

#[test]
fn an_older_process_that_comes_while_the_newer_is_lost_is_superseded() {
    let (mut world, []) = World::linked([]);
    let older = world.open("a");
    world.hello(older, None);
    world.wait(ms(1_000));
    let newer = world.open("a");
    world.hello(newer, None);
    world.close(newer);
    world.done();
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.does(&[closed(again, CloseCode::Superseded, "a newer edge of this name has come")]);
}

#[test]
fn an_older_process_is_superseded_by_a_newer_one_that_another_relay_hears() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("a", 9), 90);
    world.wait(ms(500));
    world.renew_elsewhere("a", 9, 91);
    world.wait(ms(1_000));
    let older = world.open("a");
    world.hello(older, Some(Epoch(7)));
    world.does(&[closed(older, CloseCode::Superseded, "a newer edge of this name has come")]);
}

#[test]
fn an_older_process_that_came_first_gives_way_when_another_relay_hears_the_newer() {
    let mut world = World::new();
    let older = world.open("a");
    world.hello(older, Some(Epoch(7)));
    world.wait_pinging(ms(500), &[older]);
    world.done();
    world.plant(edge_id("a", UNIX_MS + 900), 90);
    world.wait_pinging(ms(1_000), &[older]);
    world.renew_elsewhere("a", UNIX_MS + 900, 91);
    world.wait_pinging(ms(1_000), &[older]);
    let reason = "a newer edge of this name is linked elsewhere";
    assert!(world.done().contains(&closed(older, CloseCode::Superseded, reason)));
}

#[test]
fn a_later_lease_that_nobody_hears_may_have_been_its_own_and_refuses_nobody() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("a", UNIX_MS + 900), 90);
    world.wait(ms(0));
    let a = world.open("a");
    world.hello(a, Some(Epoch(7)));
    world.hears(a, &[welcome(UNIX_MS + 901, 1)]);
    world.wait_pinging(ms(1_000), &[a]);
    assert_eq!(world.leases(), [format!("a.{}", UNIX_MS + 901)]);
}

#[test]
fn an_older_process_that_came_before_the_store_could_say_waits_for_the_newer_or_its_end() {
    let mut world = World::unstarted(1);
    world.store_mood = StoreMood::Away;
    world.plant(edge_id("a", 9), 90);
    world.wait(ms(0));
    let older = world.open("a");
    world.hello(older, Some(Epoch(7)));
    world.heard(older);
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(4_000), &[older]);
    world.hears(older, &[]);
    assert!(!world.is_complete(), "somebody has a lease who is not here");
    world.wait_pinging(ms(4_000), &[older]);
    let heard = world.heard(older);
    assert!(matches!(heard[..], [ToEdge::Ended { .. }]), "the newer one did not come: {heard:?}");
    assert_eq!(world.leases(), [world.id(older).to_string()]);
}

#[test]
fn a_new_process_is_never_refused_however_the_clock_has_gone() {
    let mut world = World::unstarted(1);
    world.store_mood = StoreMood::Away;
    world.plant(edge_id("a", UNIX_MS + 500_000), 90);
    world.wait(ms(0));
    let a = world.open("a");
    world.hello(a, None);
    world.hears(a, &[welcome(UNIX_MS, 1)]);
    world.store_mood = StoreMood::Well;
    world.wait_pinging(ms(2_000), &[a]);
    world.hears(a, &[ToEdge::Ended { next: Epoch(UNIX_MS + 500_001) }]);
    assert_eq!(world.leases(), [format!("a.{}", UNIX_MS + 500_001)], "the older ended at once");
}

#[test]
fn a_new_process_ends_at_once_what_a_former_relay_knew_of_its_name() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("a", 7), 70);
    world.plant(edge_id("a", 8), 70);
    world.plant(edge_id("b", 8), 70);
    world.wait(ms(0));
    let a = world.open("a");
    world.hello(a, None);
    let edge = edge_id("a", UNIX_MS);
    world.does(&[Action::Admit { link: a, edge }, ends(edge_id("a", 7)), ends(edge_id("a", 8))]);
    assert_eq!(world.leases(), [format!("a.{UNIX_MS}"), "b.8".to_owned()]);
}

// Complete.

#[test]
fn a_relay_is_not_complete_while_somebody_has_a_lease_who_is_not_linked() {
    let mut world = World::unstarted(1);
    world.plant(edge_id("b", 7), 70);
    world.wait(ms(0));
    let a = world.link("a");
    assert!(!world.is_complete());
    let b = world.open("b");
    world.hello(b, Some(Epoch(7)));
    assert!(!world.is_complete(), "not synced");
    world.says(b, ToRelay::Synced);
    assert!(world.is_complete());
    world.wait_pinging(ms(6_000), &[a, b]);
    assert!(world.is_complete());
}

#[test]
fn a_relay_that_could_never_ask_the_store_waits_for_those_whom_it_does_not_know() {
    let mut world = World::unstarted(1);
    world.store_mood = StoreMood::Away;
    world.wait(ms(0));
    let a = world.link("a");
    world.wait_pinging(PATIENCE - ms(1), &[a]);
    assert!(!world.is_complete());
    world.wait_pinging(ms(1), &[a]);
    assert!(world.is_complete());
}

#[test]
fn a_relay_that_loses_the_store_waits_once_and_then_goes_on_without() {
    let (mut world, [a]) = World::linked(["a"]);
    world.wait_pinging(ms(1_500), &[a]);
    assert!(world.is_complete());
    world.store_mood = StoreMood::Away;
    world.wait_pinging(ms(600), &[a]);
    assert!(!world.is_complete());
    world.wait_pinging(PATIENCE, &[a]);
    assert!(world.is_complete());
    world.wait_pinging(ms(60_000), &[a]);
    assert!(world.is_complete(), "one loss, one wait");
}

#[test]
fn an_edge_that_dies_while_the_store_is_away_does_not_keep_the_relay_incomplete() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.wait_pinging(ms(1_500), &[a, b]);
    world.store_mood = StoreMood::Away;
    world.wait_pinging(ms(10_000), &[a]);
    assert!(world.is_complete());
}

#[test]
fn a_store_that_does_not_know_the_cluster_is_settled_after_a_while() {
    let (mut world, [a]) = World::linked(["a"]);
    world.unsettle();
    world.wait_pinging(ms(1_000), &[a]);
    assert!(!world.is_complete());
    world.does(&[]);
    world.wait_pinging(PATIENCE - ms(1), &[a]);
    assert!(!world.is_complete());
    assert!(!world.has_settled);
    world.wait_pinging(ms(1_001), &[a]);
    assert!(world.is_complete());
    world.wait_pinging(ms(1_000), &[a]);
    assert!(world.has_settled, "and so the next relay knows");
    world.does(&[Action::Sweep]);
    assert!(world.is_complete());
}

// A freeze.

#[test]
fn a_relay_that_stood_still_drops_its_links_and_reaps_nobody_who_comes_back() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.now += ms(60_000);
    world.tell(Event::Froze);
    let froze =
        |link: LinkKey| closed(link, CloseCode::Froze, "the relay stood still; what it had read is old");
    world.does(&[froze(a), froze(b)]);
    world.wait(WATCH_ANEW - ms(1));
    world.does(&[]);
    let again = world.open("a");
    world.hello(again, Some(Epoch(UNIX_MS)));
    world.hears(again, &[welcome(UNIX_MS, 3)]);
    world.says(again, ToRelay::Synced);
    assert!(!world.is_complete(), "b may come yet");
    world.done();
    world.wait(ms(1));
    world.does(&[ends(edge_id("b", UNIX_MS))]);
    assert!(world.is_complete());
}

#[test]
fn what_the_store_answered_before_a_freeze_is_too_old() {
    let (mut world, [a]) = World::linked(["a"]);
    world.wait_pinging(ms(500), &[a]);
    world.store_mood = StoreMood::Slow;
    world.wait_pinging(ms(500), &[a]);
    world.now += ms(60_000);
    world.tell(Event::Froze);
    world.plant(edge_id("b", 7), 70);
    world.store_answers();
    let again = world.link("a");
    assert!(!world.is_complete(), "nothing was read since");
    world.store_mood = StoreMood::Well;
    world.store_answers();
    world.wait_pinging(ms(1), &[again]);
    assert!(!world.is_complete(), "and now b is known");
}
