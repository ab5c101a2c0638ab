//! Where a user's clients are.

use proto::id::UserId;
use proto::link::{Door, Found, ToEdge, ToRelay};

use super::super::{Action, Event, Place, SEARCH_MAX, Whereabouts};
use super::world::{World, channel, ms, node_name};

const BOBS: Found = Found { door: Door::WebTransport, since: 17 };

#[test]
fn the_holders_of_his_personal_channel_are_asked_and_nobody_else() {
    let (mut world, [a, b, c]) = World::linked(["a", "b", "c"]);
    world.both_hold(b, a, "#bob");
    world.holds(c, "#eve", false);
    world.look_for(5, "bob");
    for holder in [a, b] {
        world.hears(holder, &[ToEdge::WhereIs { query: 5, channel: channel("#bob") }]);
    }
    world.hears(c, &[]);
    world.does(&[]);
    world.says(b, here(5, 1, vec![BOBS]));
    world.says(c, here(5, 1, vec![BOBS]));
    world.says(b, here(5, 1, vec![BOBS]));
    world.says(a, here(6, 1, vec![BOBS]));
    world.does(&[]);
    world.says(a, here(5, 0, vec![]));
    world.does(&[found(5, [place("a", Some((0, vec![]))), place("b", Some((1, vec![BOBS])))])]);
    world.wait(SEARCH_MAX);
    world.says(a, here(5, 1, vec![BOBS]));
    world.does(&[]);
}

#[test]
fn who_is_nowhere_is_told_at_once() {
    let (mut world, [_a]) = World::linked(["a"]);
    world.look_for(1, "bob");
    world.does(&[found(1, [])]);
}

#[test]
fn an_edge_that_does_not_answer_for_a_second_is_said_not_to() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.both_hold(a, b, "#bob");
    world.look_for(1, "bob");
    world.says(a, here(1, 40, vec![BOBS]));
    world.wait(ms(999));
    world.does(&[]);
    world.wait(ms(1));
    world.does(&[found(1, [place("a", Some((40, vec![BOBS]))), place("b", None)])]);
}

#[test]
fn an_edge_whose_link_ends_meanwhile_does_not_answer() {
    let (mut world, [a]) = World::linked(["a"]);
    world.holds(a, "#bob", false);
    world.look_for(1, "bob");
    world.close(a);
    world.wait(SEARCH_MAX);
    let [Action::Found { whereabouts, .. }] = &world.done()[..] else { panic!("no answer") };
    assert_eq!(whereabouts.edges, [place("a", None)]);
    assert!(!whereabouts.is_complete, "a is lost, and may have others of his clients");
}

#[test]
fn an_edge_that_comes_while_others_are_asked_makes_no_search_complete() {
    let (mut world, [a, b]) = World::linked(["a", "b"]);
    world.holds(a, "#bob", false);
    world.close(b);
    world.look_for(1, "bob");
    world.link("b");
    assert!(world.is_complete());
    world.says(a, here(1, 1, vec![BOBS]));
    let edges = vec![place("a", Some((1, vec![BOBS])))];
    world.does(&[Action::Found { query: 1, whereabouts: Whereabouts { is_complete: false, edges } }]);
    world.look_for(2, "bob");
    world.says(a, here(2, 1, vec![BOBS]));
    world.does(&[found(2, [place("a", Some((1, vec![BOBS])))])]);
}

#[test]
fn searches_do_not_mix() {
    let (mut world, [a]) = World::linked(["a"]);
    world.holds(a, "#bob", false);
    world.look_for(1, "bob");
    world.wait(ms(10));
    world.look_for(2, "bob");
    world.says(a, here(2, 1, vec![BOBS]));
    world.does(&[found(2, [place("a", Some((1, vec![BOBS])))])]);
    world.wait(ms(990));
    world.does(&[found(1, [place("a", None)])]);
}

impl World {
    fn look_for(&mut self, query: u32, user: &str) {
        self.tell(Event::WhereIs { query, user: UserId::parse(user).expect("valid") });
    }
}

fn here(query: u32, total: u32, clients: Vec<Found>) -> ToRelay {
    ToRelay::Here { query, total, clients }
}

fn place(edge: &str, clients: Option<(u32, Vec<Found>)>) -> Place {
    Place { edge: node_name(edge), clients }
}

fn found<const N: usize>(query: u32, edges: [Place; N]) -> Action {
    Action::Found { query, whereabouts: Whereabouts { is_complete: true, edges: edges.into() } }
}
