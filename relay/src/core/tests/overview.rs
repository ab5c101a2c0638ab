//! What operators see: how edges do, and what happened last.

use std::time::Duration;

use proto::link::{Status, ToEdge, ToRelay};

use super::super::{ENTRIES_MAX, EdgeOverview, EntryKind, Event, Overview, Traffic};
use super::world::{StoreMood, UNIX_MS, World, edge_id, ms, publication};

#[test]
fn an_edge_is_seen_with_what_it_says_of_itself() {
    let (mut world, [b, a]) = World::linked(["b", "a"]);
    world.ping(a);
    let status = Status {
        clients: 3,
        is_ready: true,
        carries: true,
        rtt_micros: 250,
        received: 5,
        pushes: 7,
        unknown: 1,
    };
    world.says(a, ToRelay::Status(status));
    world.holds(a, "c", false);
    world.wait(ms(400));
    let [first, second] = &world.overview().edges[..] else { panic!("two edges") };
    let expected = EdgeOverview {
        edge: edge_id("a", UNIX_MS),
        link: Some(a),
        since: Duration::from_millis(UNIX_MS),
        heard: ms(400),
        capacity: 500,
        version: "1".to_owned(),
        is_leased: true,
        is_synced: true,
        status: Some((ms(400), status)),
        channels: 1,
        traffic: Traffic::default(),
        queued_bytes: 0,
    };
    assert_eq!(*first, expected);
    assert_eq!((second.link, second.status, second.channels), (Some(b), None, 0));
}

#[test]
fn what_goes_over_each_link_is_counted_by_its_way() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(a, b, "room");
    let source = world.member(a);
    let bytes = publication(source, 1, "room", false).encode().len() as u64;
    world.publish(a, "room", false);
    world.publish(c, "room", true);
    let traffic = |publications_in, copies_out| Traffic {
        publications_in,
        bytes_in: publications_in * bytes,
        copies_out,
        bytes_out: copies_out * bytes,
    };
    let seen: Vec<Traffic> = world.overview().edges.iter().map(|edge| edge.traffic).collect();
    assert_eq!(seen, [traffic(1, 1), traffic(0, 2), traffic(1, 0)]);
    assert!(world.overview().edges[1].queued_bytes >= 2 * bytes, "nobody reads them");
    world.got(b, "room");
    world.heard(b);
    assert_eq!(world.overview().edges[1].queued_bytes, 0);
}

#[test]
fn a_lost_edge_is_seen_until_it_is_reaped_or_back() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    let status = Status { clients: 3, ..Status::default() };
    world.says(a, ToRelay::Status(status));
    world.wait(ms(100));
    world.close(a);
    world.wait(ms(200));
    let lost = &world.overview().edges[0];
    assert_eq!((lost.link, lost.since, lost.heard), (None, Duration::from_millis(UNIX_MS + 100), ms(300)));
    assert_eq!(lost.status, Some((ms(300), status)), "how many clients it took with it");
    world.wait_pinging(ms(3_200), &[b]);
    assert_eq!(world.overview().edges.len(), 1);
    let kinds =
        [EntryKind::Started, EntryKind::Linked, EntryKind::Linked, EntryKind::Lost, EntryKind::Reaped];
    assert_eq!(world.kinds(), kinds);
    let last = world.overview().journal.pop().expect("an entry");
    assert_eq!((last.edge, last.unix), (Some(edge_id("a", 0).name), Duration::from_millis(UNIX_MS + 3_300)));
}

#[test]
fn the_journal_tells_who_came_back_left_and_gave_way() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.kinds();
    world.close(a);
    let again = world.open("a");
    world.hello(again, Some(edge_id("a", UNIX_MS).epoch));
    world.says(b, ToRelay::Goodbye);
    let newer = world.open("c");
    world.hello(newer, None);
    world.close(c);
    let stranger = world.open("d");
    world.says(stranger, ToRelay::Synced);
    let journal = world.overview().journal;
    let told: Vec<String> = journal
        .iter()
        .skip(4)
        .map(|entry| {
            format!("{} {}", entry.edge.as_ref().map_or("", |name| name.as_str()), entry.kind.label())
        })
        .collect();
    let expected =
        ["a lost", "a back", "b left", "b reaped", "c superseded", "c linked", "c reaped", "d refused"];
    assert_eq!(told, expected);
}

#[test]
fn whether_the_relay_is_complete_is_entered_with_the_next_tick() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.tick();
    world.wait_pinging(ms(1_000), &[a, b]);
    world.close(a);
    world.tick();
    world.tick();
    world.wait_pinging(ms(3_400), &[b]);
    world.tick();
    let complete = [
        EntryKind::Started,
        EntryKind::Linked,
        EntryKind::Linked,
        EntryKind::Complete,
        EntryKind::Lost,
        EntryKind::Incomplete,
    ];
    assert_eq!(world.kinds(), [&complete[..], &[EntryKind::Reaped, EntryKind::Complete]].concat());
}

#[test]
fn a_store_that_goes_and_comes_is_entered() {
    let (mut world, [a]) = World::linked(["a"]);
    world.tick();
    for mood in [StoreMood::Away, StoreMood::Well] {
        world.store_mood = mood;
        world.wait_pinging(ms(2_000), &[a]);
        world.tick();
    }
    let kinds = world.kinds();
    assert_eq!(
        kinds[2..],
        [
            EntryKind::Complete,
            EntryKind::StoreAway,
            EntryKind::Incomplete,
            EntryKind::StoreBack,
            EntryKind::Complete
        ]
    );
}

#[test]
fn a_freeze_is_one_entry_and_not_one_for_each_link() {
    let (mut world, _) = World::linked(["a", "b", "c"]);
    world.tell(Event::Froze);
    assert_eq!(world.kinds()[4..], [EntryKind::Froze]);
    assert!(world.overview().edges.iter().all(|edge| edge.link.is_none()), "all of them have to link again");
}

#[test]
fn the_oldest_entries_go() {
    let (mut world, [_a]) = World::linked(["a"]);
    for _ in 0..ENTRIES_MAX {
        world.tell(Event::Froze);
    }
    assert_eq!(world.kinds(), [EntryKind::Froze; ENTRIES_MAX]);
}

impl World {
    fn overview(&mut self) -> Overview {
        self.router.overview(self.now)
    }

    fn kinds(&mut self) -> Vec<EntryKind> {
        self.overview().journal.iter().map(|entry| entry.kind).collect()
    }

    fn tick(&mut self) {
        let passed = self.now - self.started;
        self.tell(Event::Clock { unix: Duration::from_millis(UNIX_MS) + passed });
    }
}

#[test]
fn an_edge_whose_canaries_are_lost_is_told_whether_anothers_come_back() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    let says = |world: &mut World, link, carries| {
        world.says(link, ToRelay::Status(Status { carries, ..Status::default() }));
        world.heard(link)
    };
    assert_eq!(says(&mut world, a, false), [ToEdge::Others { carry: false }], "nobody has said so");
    assert_eq!(says(&mut world, b, true), [], "who is well asks for nothing");
    assert_eq!(says(&mut world, a, false), [ToEdge::Others { carry: true }]);
    world.wait_pinging(ms(3_001), &[a, b]);
    assert_eq!(says(&mut world, a, false), [ToEdge::Others { carry: false }], "it has said so long ago");
}
