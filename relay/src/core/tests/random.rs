//! Any events in any order, against a model: who is linked, what each edge holds, what it was told, who looks for whom.
//!
//! *Eager* edges read all that they are told at once, so that every rule can be checked after every step; the others
//! read when they feel like it and have small queues, so that links end in the middle of everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use proto::id::{Channel, Epoch, NodeName, UserId};
use proto::link::{Answer, Door, Found, Lane, LaneFrame, Member, Status, ToEdge, ToRelay, lane_of};

use super::super::members::STATUS_FRESH;
use super::super::{Action, Event, LOST_AFTER, LinkKey, SEARCH_MAX, UNHEARD_MAX, WATCH_ANEW, Whereabouts};
use super::world::{StoreMood, World, answer, channel, ms, node_name};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const CHANNELS: [&str; 6] = ["c0", "c1", "c2", "c3", "#bob", "#eve"];
const USERS: [&str; 2] = ["bob", "eve"];

/// A queue that a few frames fill, so that slow readers are let go.
const SMALL_QUEUE_BYTES: usize = 90;

proptest! {
    #[test]
    fn whatever_happens_everybody_is_told_the_truth(seed: u64, steps in prop::collection::vec(step(), 1..150)) {
        run(World::with_seed(seed), true, steps);
    }

    #[test]
    fn whoever_is_let_go_in_the_middle_of_it_nobody_is_told_a_lie(
        seed: u64,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::with_seed(seed);
        world.control_bytes_max = SMALL_QUEUE_BYTES;
        world.lane_bytes_max = SMALL_QUEUE_BYTES;
        run(world, false, steps);
    }
}

#[test]
fn an_epoch_between_what_was_read_and_what_was_given_is_another_process() {
    let link = |epoch| Step::Link { edge: 1, epoch };
    let steps = vec![
        link(Claim::Nothing),
        Step::Wait { ms: 10 },
        Step::Freeze,
        link(Claim::Other(1)),
        Step::Wait { ms: 0 },
        link(Claim::Other(1)),
    ];
    run(World::with_seed(0), false, steps);
}

#[derive(Debug, Clone)]
enum Step {
    Link {
        edge: usize,
        epoch: Claim,
    },
    Close {
        edge: usize,
    },
    Goodbye {
        edge: usize,
    },
    Synced {
        edge: usize,
    },
    Join {
        edge: usize,
        channel: usize,
    },
    Leave {
        edge: usize,
        channel: usize,
    },
    Read {
        edge: usize,
    },
    Acknowledge {
        edge: usize,
    },
    AcknowledgeForeign {
        edge: usize,
        telling: u64,
    },
    Publish {
        edge: usize,
        channel: usize,
        wants_receipt: bool,
    },
    Garbage {
        edge: usize,
    },
    Ping {
        edge: usize,
    },
    Look {
        user: usize,
    },
    /// It says where those are that it was last asked for.
    Here {
        edge: usize,
    },
    Status {
        edge: usize,
        carries: bool,
    },
    Wait {
        ms: u64,
    },
    Store {
        mood: StoreMood,
    },
    Freeze,
}

/// Which epoch an edge says that it had.
#[derive(Debug, Clone)]
enum Claim {
    Nothing,
    Last,
    /// One that it was never given. Where its relay has gone further than it has read, that is another process, and late.
    Other(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let edge = 0..NAMES.len();
    let held = (0..NAMES.len(), 0..CHANNELS.len());
    let claim = prop_oneof![2 => Just(Claim::Nothing), 4 => Just(Claim::Last), 1 => (1..9_u16).prop_map(Claim::Other)];
    prop_oneof![
        8 => (edge.clone(), claim).prop_map(|(edge, epoch)| Step::Link { edge, epoch }),
        2 => edge.clone().prop_map(|edge| Step::Close { edge }),
        1 => edge.clone().prop_map(|edge| Step::Goodbye { edge }),
        4 => edge.clone().prop_map(|edge| Step::Synced { edge }),
        24 => held.clone().prop_map(|(edge, channel)| Step::Join { edge, channel }),
        12 => held.clone().prop_map(|(edge, channel)| Step::Leave { edge, channel }),
        12 => edge.clone().prop_map(|edge| Step::Read { edge }),
        16 => edge.clone().prop_map(|edge| Step::Acknowledge { edge }),
        1 => (edge.clone(), 0..20_u64).prop_map(|(edge, telling)| Step::AcknowledgeForeign { edge, telling }),
        8 => (held, any::<bool>())
            .prop_map(|((edge, channel), wants_receipt)| Step::Publish { edge, channel, wants_receipt }),
        1 => edge.clone().prop_map(|edge| Step::Garbage { edge }),
        8 => edge.clone().prop_map(|edge| Step::Ping { edge }),
        6 => (0..USERS.len()).prop_map(|user| Step::Look { user }),
        6 => edge.clone().prop_map(|edge| Step::Here { edge }),
        6 => (edge, any::<bool>()).prop_map(|(edge, carries)| Step::Status { edge, carries }),
        4 => (0..1_500_u64).prop_map(|ms| Step::Wait { ms }),
        1 => prop_oneof![2 => Just(StoreMood::Well), 1 => Just(StoreMood::Away), 1 => Just(StoreMood::Deaf)]
            .prop_map(|mood| Step::Store { mood }),
        1 => prop::bool::weighted(0.2).prop_map(|freezes| if freezes { Step::Freeze } else { Step::Wait { ms: 5 } }),
    ]
}

fn run(world: World, is_eager: bool, steps: Vec<Step>) {
    let mut model = Model::new(world, is_eager);
    for step in steps {
        model.step(step);
        model.check();
    }
    model.settle();
    model.rest();
    model.leave_the_house();
}

struct Model {
    world: World,
    is_eager: bool,
    edges: [Edge; NAMES.len()],
    /// Edges whose link ended, and when they are reaped.
    lost: BTreeMap<usize, Instant>,
    /// The store has never failed, and nobody stood still: then all is exactly known.
    is_plain: bool,
    /// Joins that were answered since the last check.
    answered: Vec<Channel>,
    /// Searches that are under way, by number.
    searches: BTreeMap<u32, Search>,
    last_query: u32,
}

struct Search {
    channel: Channel,
    until: Instant,
    was_complete: bool,
    /// Who held the channel then, and whether it has answered meanwhile.
    asked: BTreeMap<NodeName, bool>,
}

#[derive(Default)]
struct Edge {
    link: Option<Linked>,
    /// The last one that it was given.
    epoch: Option<Epoch>,
}

struct Linked {
    key: LinkKey,
    member: Member,
    is_synced: bool,
    heard: Instant,
    held: BTreeMap<Channel, Held>,
    unanswered: BTreeSet<(Channel, u32)>,
    tellings: VecDeque<(u64, Channel)>,
    /// Searches that it has heard of and not answered.
    asked: VecDeque<u32>,
    /// When it last said how it does, and whether its canaries come back.
    said: Option<(Instant, bool)>,
    /// What it must be told of others' canaries, and has not read.
    others: VecDeque<bool>,
    /// Whose end it must have been told, and was not.
    gone: BTreeSet<Member>,
}

/// A channel that an edge holds, as the Hub keeps it.
struct Held {
    join: u32,
    /// What it was last told, once its join was answered.
    elsewhere: Option<bool>,
}

impl Model {
    fn new(world: World, is_eager: bool) -> Self {
        Self {
            world,
            is_eager,
            edges: std::array::from_fn(|_| Edge::default()),
            lost: BTreeMap::new(),
            is_plain: true,
            answered: Vec::new(),
            searches: BTreeMap::new(),
            last_query: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Link { edge, epoch } => self.link(edge, &epoch),
            Step::Close { edge } => {
                if let Some(key) = self.key(edge) {
                    self.world.close(key);
                    self.ended(key);
                }
            }
            Step::Goodbye { edge } => self.goodbye(edge),
            Step::Synced { edge } => {
                if let Some(linked) = &mut self.edges[edge].link {
                    linked.is_synced = true;
                    self.world.says(linked.key, ToRelay::Synced);
                }
            }
            Step::Join { edge, channel } => self.join(edge, CHANNELS[channel]),
            Step::Leave { edge, channel } => {
                if let Some(linked) = &mut self.edges[edge].link {
                    linked.held.remove(CHANNELS[channel]);
                    self.world.leave(linked.key, CHANNELS[channel]);
                }
            }
            Step::Read { edge } => self.read(edge),
            Step::Acknowledge { edge } => self.acknowledge(edge),
            Step::AcknowledgeForeign { edge, telling } => {
                if let Some(linked) = &self.edges[edge].link
                    && linked.tellings.iter().all(|&(own, _)| own != telling)
                    && self.is_eager
                {
                    self.world.says(linked.key, ToRelay::Told { telling });
                }
            }
            Step::Publish { edge, channel, wants_receipt } => {
                self.publish(edge, CHANNELS[channel], wants_receipt);
            }
            Step::Garbage { edge } => {
                if let Some(key) = self.key(edge) {
                    let frames = vec![Bytes::from_static(b"garbage")];
                    self.world.tell(Event::Lane { link: key, lane: Lane(3), frames });
                }
            }
            Step::Ping { edge } => {
                if let Some(linked) = &mut self.edges[edge].link {
                    linked.heard = self.world.now;
                    self.world.ping(linked.key);
                    self.world.echoes(linked.key);
                }
            }
            Step::Look { user } => self.look(USERS[user]),
            Step::Here { edge } => self.here(edge),
            Step::Status { edge, carries } => self.status(edge, carries),
            Step::Wait { ms: duration } => self.world.wait(ms(duration)),
            Step::Store { mood } => {
                self.world.store_mood = mood;
                self.is_plain &= mood == StoreMood::Well;
            }
            Step::Freeze => {
                self.is_plain = false;
                self.world.tell(Event::Froze);
                self.act();
                let back_by = self.world.now + WATCH_ANEW;
                for reap_at in self.lost.values_mut() {
                    *reap_at = back_by.max(*reap_at);
                }
            }
        }
        self.act();
    }

    fn link(&mut self, edge: usize, epoch: &Claim) {
        let claimed = match epoch {
            Claim::Nothing => None,
            Claim::Last => self.edges[edge].epoch,
            Claim::Other(ahead) => self.edges[edge].epoch.map(|last| Epoch(last.0 + u64::from(*ahead))),
        };
        let keeps = self.lost.contains_key(&edge) || self.edges[edge].link.is_some();
        let keeps = keeps && claimed.is_some() && claimed == self.edges[edge].epoch;
        let key = self.world.open(NAMES[edge]);
        self.world.hello(key, claimed);
        self.act();
        let heard = self.world.heard(key);
        let [ToEdge::Welcome { epoch, member }] = heard[..] else {
            let may_be_late = !self.is_eager && matches!(epoch, Claim::Other(_));
            assert!(may_be_late && heard.is_empty(), "no welcome: {heard:?}");
            return;
        };
        self.lost.remove(&edge);
        if self.is_plain {
            assert_eq!(Some(epoch) == self.edges[edge].epoch, keeps, "a life goes on, or a new one begins");
        }
        assert!(Some(epoch) >= self.edges[edge].epoch);
        self.edges[edge].epoch = Some(epoch);
        self.edges[edge].link = Some(Linked {
            key,
            member,
            is_synced: false,
            heard: self.world.now,
            held: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            tellings: VecDeque::new(),
            asked: VecDeque::new(),
            said: None,
            others: VecDeque::new(),
            gone: BTreeSet::new(),
        });
    }

    fn goodbye(&mut self, edge: usize) {
        let Some(key) = self.key(edge) else { return };
        self.world.says(key, ToRelay::Goodbye);
        self.act();
        assert!(self.key(edge).is_none(), "its link is closed");
        self.lost.remove(&edge);
    }

    fn join(&mut self, edge: usize, name: &str) {
        let Some(linked) = &mut self.edges[edge].link else { return };
        let number = self.world.join(linked.key, name);
        linked.held.insert(channel(name), Held { join: number, elsewhere: None });
        linked.unanswered.insert((channel(name), number));
    }

    fn acknowledge(&mut self, edge: usize) {
        let Some(linked) = &mut self.edges[edge].link else { return };
        let Some((telling, _)) = linked.tellings.pop_front() else { return };
        self.world.says(linked.key, ToRelay::Told { telling });
        self.act();
    }

    fn look(&mut self, user: &str) {
        let user = UserId::parse(user).expect("valid");
        let channel = user.personal_channel();
        let is_holder = |edge: &Edge| edge.link.as_ref().is_some_and(|link| link.held.contains_key(&channel));
        let holders = NAMES.into_iter().zip(&self.edges).filter(|(_, edge)| is_holder(edge));
        let asked = holders.map(|(name, _)| (node_name(name), false)).collect();
        let (until, was_complete) = (self.world.now + SEARCH_MAX, self.is_complete());
        self.last_query += 1;
        self.searches.insert(self.last_query, Search { channel, until, was_complete, asked });
        self.world.tell(Event::WhereIs { query: self.last_query, user });
    }

    fn here(&mut self, edge: usize) {
        let Some(linked) = &mut self.edges[edge].link else { return };
        let Some(query) = linked.asked.pop_front() else { return };
        if let Some(search) = self.searches.get_mut(&query) {
            search.asked.insert(node_name(NAMES[edge]), true);
        }
        let clients = vec![Found { door: Door::Line, since: edge as u64 }];
        self.world.says(linked.key, ToRelay::Here { query, total: 1, clients });
    }

    fn found(&mut self, query: u32, whereabouts: &Whereabouts) {
        let search = self.searches.remove(&query).expect("under way, and not answered before");
        let told: BTreeMap<NodeName, bool> =
            whereabouts.edges.iter().map(|place| (place.edge.clone(), place.clients.is_some())).collect();
        assert_eq!(told, search.asked, "who was asked, and who answered");
        assert!(search.was_complete || !whereabouts.is_complete, "it was not complete when it asked");
    }

    fn status(&mut self, edge: usize, carries: bool) {
        let now = self.world.now;
        let others = self.edges.iter().enumerate().filter(|&(other, _)| other != edge);
        let said = others.filter_map(|(_, other)| other.link.as_ref()?.said);
        let others_carry = said.into_iter().any(|(at, carries)| carries && now <= at + STATUS_FRESH);
        let Some(linked) = &mut self.edges[edge].link else { return };
        linked.said = Some((now, carries));
        linked.others.extend((!carries).then_some(others_carry));
        self.world.says(linked.key, ToRelay::Status(Status { carries, ..Status::default() }));
    }

    fn publish(&mut self, edge: usize, name: &str, wants_receipt: bool) {
        let Some(key) = self.key(edge) else { return };
        let complete = self.check_complete();
        let source = self.world.member(key);
        let number = self.world.publish(key, name, wants_receipt);
        if !self.is_eager {
            return;
        }
        let holders: Vec<(LinkKey, Member)> = self
            .edges
            .iter()
            .flat_map(|edge| &edge.link)
            .filter(|linked| linked.key != key && linked.held.contains_key(name))
            .map(|linked| (linked.key, linked.member))
            .collect();
        for &(holder, member) in &holders {
            assert_eq!(self.world.got(holder, name).len(), 1);
            let took = answer(source, number, member, Answer::Took(1));
            self.world.sends(holder, lane_of(name), &took);
        }
        let got = self.world.got(key, name);
        if wants_receipt {
            let Ok(LaneFrame::Routed { holders: mut routed, complete: said, .. }) =
                LaneFrame::decode(&got[0])
            else {
                panic!("routed comes first");
            };
            routed.sort_unstable();
            let mut members: Vec<Member> = holders.iter().map(|&(_, member)| member).collect();
            members.sort_unstable();
            assert_eq!((routed, said), (members, complete));
        }
        assert_eq!(got.len(), usize::from(wants_receipt) + holders.len(), "and each answer once");
    }

    /// Does what the shell is asked to do.
    fn act(&mut self) {
        for action in self.world.done() {
            match action {
                Action::Admit { .. } | Action::Sweep => {}
                Action::Found { query, whereabouts } => self.found(query, &whereabouts),
                Action::Close { link, .. } => {
                    self.ended(link);
                    // The shell says so, sooner or later.
                    self.world.close(link);
                }
                Action::EndLease { edge, .. } => {
                    let name = NAMES.iter().position(|name| *name == edge.name.as_str()).expect("ours");
                    let living = self.edges[name].link.is_some().then_some(self.edges[name].epoch).flatten();
                    assert!(!self.is_plain || living != Some(edge.epoch), "{edge} lives");
                }
                Action::GrantLease { .. } | Action::Beat(_) | Action::RemoveRoutes { .. } => {
                    unreachable!("the world's store does that");
                }
            }
        }
        let now = self.world.now;
        self.lost.retain(|_, &mut reap_at| reap_at > now);
        assert!(self.searches.values().all(|search| search.until > now), "a search that is too long");
    }

    fn ended(&mut self, key: LinkKey) {
        let of_key = |edge: &Edge| edge.link.as_ref().is_some_and(|linked| linked.key == key);
        let Some(edge) = self.edges.iter().position(of_key) else { return };
        let linked = self.edges[edge].link.take().expect("just found");
        self.lost.insert(edge, linked.heard + LOST_AFTER);
        for other in self.edges.iter_mut().flat_map(|edge| &mut edge.link) {
            other.gone.insert(linked.member);
        }
    }

    /// The edge reads its control stream to its end: now it knows what is so now.
    fn read(&mut self, edge: usize) {
        let Some(linked) = &mut self.edges[edge].link else { return };
        for frame in self.world.heard(linked.key) {
            match frame {
                ToEdge::Welcome { .. } => panic!("welcomed twice"),
                ToEdge::Leased { .. } => unreachable!("the world keeps these apart"),
                ToEdge::Ended { next } => {
                    assert!(Some(next) > self.edges[edge].epoch, "epochs grow");
                    self.edges[edge].epoch = Some(next);
                }
                ToEdge::Joined { channel, number, elsewhere } => {
                    assert!(linked.unanswered.remove(&(channel.clone(), number)), "answered twice");
                    self.answered.push(channel.clone());
                    if let Some(held) = linked.held.get_mut(&channel).filter(|held| held.join == number) {
                        held.elsewhere = Some(elsewhere);
                    }
                }
                ToEdge::Elsewhere { channel, elsewhere, telling } => {
                    assert_eq!(telling != 0, elsewhere, "only news of others is acknowledged");
                    if telling != 0 {
                        linked.tellings.push_back((telling, channel.clone()));
                    }
                    if let Some(held) = linked.held.get_mut(&channel).filter(|held| held.elsewhere.is_some())
                    {
                        held.elsewhere = Some(elsewhere);
                    }
                }
                ToEdge::WhereIs { query, channel } => {
                    if let Some(search) = self.searches.get(&query) {
                        assert_eq!(search.channel, channel);
                    }
                    linked.asked.push_back(query);
                }
                ToEdge::Others { carry } => assert_eq!(linked.others.pop_front(), Some(carry)),
                ToEdge::Gone { member } => assert!(linked.gone.remove(&member), "{member:?} is not gone"),
            }
        }
        assert!(linked.gone.is_empty(), "nobody told of {:?}", linked.gone);
        assert!(linked.others.is_empty(), "nobody told it of others: {:?}", linked.others);
        self.check_elsewhere(edge);
    }

    fn check_elsewhere(&self, edge: usize) {
        let Some(linked) = &self.edges[edge].link else { return };
        for (channel, held) in &linked.held {
            let others = self.edges.iter().flat_map(|edge| &edge.link);
            let is_elsewhere =
                others.filter(|other| other.key != linked.key).any(|other| other.held.contains_key(channel));
            match held.elsewhere {
                Some(told) => assert_eq!(told, is_elsewhere, "{} of {channel}", NAMES[edge]),
                None => assert!(linked.unanswered.contains(&(channel.clone(), held.join))),
            }
        }
    }

    /// What must be so after every step, if everybody has read everything.
    fn check(&mut self) {
        if !self.is_eager {
            return;
        }
        for edge in 0..NAMES.len() {
            self.read(edge);
        }
        let linked = || self.edges.iter().flat_map(|edge| &edge.link);
        let told: BTreeSet<&Channel> =
            linked().flat_map(|linked| linked.tellings.iter().map(|(_, channel)| channel)).collect();
        let waiting: BTreeSet<&Channel> =
            linked().flat_map(|linked| linked.unanswered.iter().map(|(channel, _)| channel)).collect();
        assert!(waiting.is_subset(&told), "a join waits for nothing");
        for channel in &self.answered {
            assert!(!told.contains(channel), "a join did not wait for those who were told");
        }
        self.answered.clear();
        self.check_complete();
        self.check_overview();
    }

    fn check_overview(&mut self) {
        let seen = self.world.router.overview(self.world.now);
        let seen: BTreeMap<LinkKey, u64> =
            seen.edges.iter().filter_map(|edge| Some((edge.link?, edge.channels))).collect();
        let linked = self.edges.iter().flat_map(|edge| &edge.link);
        assert_eq!(seen, linked.map(|linked| (linked.key, linked.held.len() as u64)).collect());
    }

    fn check_complete(&mut self) -> bool {
        let (is_complete, expected) = (self.world.is_complete(), self.is_complete());
        assert!(expected || !is_complete, "it calls itself complete");
        assert!(is_complete || !expected || !self.is_plain, "it is complete");
        is_complete
    }

    /// Whether everybody who may be there is linked, as far as links tell.
    fn is_complete(&self) -> bool {
        let now = self.world.now;
        let mut linked = self.edges.iter().flat_map(|edge| &edge.link).peekable();
        self.lost.is_empty()
            && linked.peek().is_some()
            && linked.all(|linked| linked.is_synced && now - linked.heard <= UNHEARD_MAX)
    }

    /// Everybody reads and acknowledges everything.
    fn settle(&mut self) {
        for _ in 0..2 + NAMES.len() {
            for edge in 0..NAMES.len() {
                self.read(edge);
                while self.edges[edge].link.as_ref().is_some_and(|linked| !linked.tellings.is_empty()) {
                    self.acknowledge(edge);
                }
            }
        }
        for edge in 0..NAMES.len() {
            self.read(edge);
            if let Some(linked) = &self.edges[edge].link {
                assert!(linked.unanswered.is_empty(), "not answered: {:?}", linked.unanswered);
            }
        }
    }

    /// The store is well for long enough: it has the leases of those who are linked, and no others.
    fn rest(&mut self) {
        self.step(Step::Store { mood: StoreMood::Well });
        for _ in 0..9 {
            for edge in 0..NAMES.len() {
                self.step(Step::Ping { edge });
                self.read(edge);
            }
            self.step(Step::Wait { ms: 1_000 });
        }
        for edge in 0..NAMES.len() {
            self.read(edge);
        }
        let name =
            |(name, edge): (&str, &Edge)| Some(format!("{name}.{}", edge.link.as_ref().and(edge.epoch)?));
        let linked: Vec<String> = NAMES.into_iter().zip(&self.edges).filter_map(name).collect();
        assert_eq!(self.world.leases(), linked);
    }

    /// Some say goodbye, the rest falls silent, and nothing of anybody is left.
    fn leave_the_house(&mut self) {
        self.goodbye(0);
        self.step(Step::Close { edge: 1 });
        self.step(Step::Wait { ms: 3_300 });
        assert!(self.searches.is_empty(), "each search ends");
        assert_eq!(self.world.leases(), Vec::<String>::new());
        let left = format!("{:?}", self.world.router);
        for table in [
            "links",
            "by_number",
            "by_name",
            "holders_by_channel",
            "channel_by_telling",
            "known",
            "watched",
            "searches",
        ] {
            assert!(left.contains(&format!(" {table}: {{}}")), "{table} of {left}");
        }
        for set in ["ending", "removing"] {
            assert!(left.contains(&format!(" {set}: {{}}")), "{set} of {left}");
        }
        assert!(left.contains(" lost: []"), "{left}");
    }

    fn key(&self, edge: usize) -> Option<LinkKey> {
        self.edges[edge].link.as_ref().map(|linked| linked.key)
    }
}
