//! The Router's surroundings, played by hand: edges whose queues a script drains and decodes, a shell that does nothing
//! but write down, and a clock that a script moves.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::outbox::{Drain, outbox};
use proto::id::{Channel, EdgeId, Epoch, NodeName};
use proto::limits::{CONTROL_BYTES_MAX, LANE_BYTES_MAX, LANES};
use proto::link::{
    Answer, CloseCode, HEARTBEAT_BYTES, Lane, LaneFrame, Member, PublicationFrame, ToEdge, ToRelay, lane_of,
};

use store::{Beat, Lease, Score, Store, StoreError};

use super::super::{Action, Event, LinkKey, LinkOutboxes, Router};

/// What the wall clock shows when a script begins, in milliseconds.
pub(super) const UNIX_MS: u64 = 1_800_000_000_000;

pub(super) struct World {
    pub(super) router: Router,
    pub(super) now: Instant,
    pub(super) started: Instant,
    edges: BTreeMap<LinkKey, Edge>,
    /// Of links that are opened from now on.
    pub(super) control_bytes_max: usize,
    /// Of links that are opened from now on.
    pub(super) lane_bytes_max: usize,
    done: Vec<Action>,
    pub(super) store: Store,
    pub(super) store_mood: StoreMood,
    /// Answers that a slow store has not given.
    withheld: VecDeque<Event>,
    /// How often the store was to remove an edge's routes.
    pub(super) removals: u32,
    pub(super) fails_removals: bool,
    /// The store does not know the cluster, or did not until a relay set the mark.
    is_unsettled: bool,
    pub(super) has_settled: bool,
}

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreMood {
    Well,
    /// Nothing is done.
    Away,
    /// Everything is done, and nothing answered.
    Deaf,
    /// Everything is done, and answered when the script says so.
    Slow,
}

/// One end of a link.
struct Edge {
    name: NodeName,
    control: Drain<CloseCode>,
    heartbeat: Drain<CloseCode>,
    lanes: Vec<Drain<CloseCode>>,
    welcome: Option<(Epoch, Member)>,
    leased: Vec<u64>,
    last_join: u32,
    lane_numbers: [u64; LANES],
}

impl World {
    /// A relay without edges.
    pub(super) fn new() -> Self {
        Self::with_seed(1)
    }

    pub(super) fn with_seed(hash_seed: u64) -> Self {
        let mut world = Self::unstarted(hash_seed);
        world.wait(ms(0));
        world
    }

    /// A relay that has not asked the store anything yet.
    pub(super) fn unstarted(hash_seed: u64) -> Self {
        let now = Instant::now();
        Self {
            router: Router::new(hash_seed, now, Duration::from_millis(UNIX_MS)),
            now,
            started: now,
            edges: BTreeMap::new(),
            control_bytes_max: CONTROL_BYTES_MAX,
            lane_bytes_max: LANE_BYTES_MAX,
            done: Vec::new(),
            store: Store::memory(),
            store_mood: StoreMood::Well,
            withheld: VecDeque::new(),
            removals: 0,
            fails_removals: false,
            is_unsettled: false,
            has_settled: false,
        }
    }

    /// Edges of these names, linked and synced, and the script has seen how.
    pub(super) fn linked<const N: usize>(names: [&str; N]) -> (Self, [LinkKey; N]) {
        let mut world = Self::new();
        let links = names.map(|name| world.link(name));
        (world, links)
    }

    /// An edge that starts, links and has nothing to join.
    pub(super) fn link(&mut self, name: &str) -> LinkKey {
        let link = self.open(name);
        self.hello(link, None);
        self.says(link, ToRelay::Synced);
        self.heard(link);
        self.done();
        link
    }

    /// A link whose edge has said nothing yet.
    pub(super) fn open(&mut self, name: &str) -> LinkKey {
        let link = LinkKey(self.edges.len() as u64 + 1);
        let (control_outbox, control) = outbox(self.control_bytes_max);
        let (heartbeat_outbox, heartbeat) = outbox(64 * HEARTBEAT_BYTES);
        let (lane_outboxes, lanes): (Vec<_>, Vec<_>) =
            (0..LANES).map(|_| outbox(self.lane_bytes_max)).unzip();
        let outboxes = LinkOutboxes {
            control: control_outbox,
            heartbeat: heartbeat_outbox,
            lanes: lane_outboxes.try_into().expect("one for each lane"),
        };
        let name = node_name(name);
        let edge = Edge {
            name: name.clone(),
            control,
            heartbeat,
            lanes,
            welcome: None,
            leased: Vec::new(),
            last_join: 0,
            lane_numbers: [0; LANES],
        };
        self.edges.insert(link, edge);
        self.tell(Event::LinkOpened { link, certificate: name, outboxes });
        link
    }

    /// One turn of the event loop.
    pub(super) fn tell(&mut self, event: Event) {
        self.router.handle(self.now, event);
        self.act();
    }

    /// Plays the store; the rest is for the script.
    fn act(&mut self) {
        while let Some(action) = self.router.poll_action() {
            let Some(event) = self.ask_store(&action) else {
                self.done.push(action);
                continue;
            };
            if let Action::EndLease { edge, .. } = action {
                self.done.push(ends(edge));
            }
            match self.store_mood {
                StoreMood::Slow => self.withheld.push_back(event),
                StoreMood::Well | StoreMood::Away | StoreMood::Deaf => self.router.handle(self.now, event),
            }
        }
    }

    fn ask_store(&mut self, action: &Action) -> Option<Event> {
        let store = self.store.clone();
        let is_reached = self.store_mood != StoreMood::Away;
        Some(match action.clone() {
            Action::GrantLease { edge, capacity, version, score, .. } => {
                let (relay, address) = (node_name("relay-1"), String::new());
                let lease = Lease { edge: edge.clone(), relay, address, capacity, version, since: 0 };
                let result = is_reached.then(|| now_or_never(store.grant_lease(&lease, score)));
                Event::Granted { edge, score, result: self.told(result) }
            }
            Action::Beat(beat) => {
                let mut result = is_reached.then(|| now_or_never(store.beat(&beat)));
                self.has_settled |= is_reached && beat.settles;
                if let Some(Ok(leases)) = &mut result {
                    leases.is_settled = !self.is_unsettled || self.has_settled;
                }
                Event::Beaten { beat, result: self.told(result) }
            }
            Action::EndLease { edge, score } => {
                let result = is_reached.then(|| now_or_never(store.end_lease(&edge, score)));
                Event::LeaseEnded { edge, result: self.told(result) }
            }
            Action::RemoveRoutes { edge } => {
                self.removals += 1;
                if self.fails_removals {
                    return Some(Event::RoutesRemoved { edge, result: Err(StoreError::Unanswered) });
                }
                let result = is_reached.then(|| now_or_never(store.remove_routes(&edge)));
                Event::RoutesRemoved { edge, result: self.told(result) }
            }
            Action::Admit { .. } | Action::Close { .. } | Action::Found { .. } | Action::Sweep => {
                return None;
            }
        })
    }

    fn told<T>(&self, result: Option<Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.store_mood {
            StoreMood::Well | StoreMood::Slow => result.expect("it was reached"),
            StoreMood::Away => Err(StoreError::Away),
            StoreMood::Deaf => Err(StoreError::Unanswered),
        }
    }

    /// Gives what the store owes, in order.
    pub(super) fn store_answers(&mut self) {
        while let Some(event) = self.withheld.pop_front() {
            self.tell(event);
        }
    }

    /// Who has a lease, as the store says.
    pub(super) fn leases(&self) -> Vec<String> {
        let read = Beat { renewed: Vec::new(), score: Score(0), settles: false };
        let leases = now_or_never(self.store.beat(&read)).expect("memory never fails");
        leases.scores.keys().map(ToString::to_string).collect()
    }

    /// The mark that the store knows the cluster is gone.
    pub(super) fn unsettle(&mut self) {
        self.is_unsettled = true;
        self.has_settled = false;
    }

    /// Another relay hears this edge.
    pub(super) fn renew_elsewhere(&self, name: &str, epoch: u64, score: u64) {
        let beat = Beat { renewed: vec![edge_id(name, epoch)], score: Score(score), settles: false };
        now_or_never(self.store.beat(&beat)).expect("memory never fails");
    }

    /// Somebody else gives a lease, or what is left of another time.
    pub(super) fn plant(&self, edge: EdgeId, score: u64) {
        let (relay, version) = (node_name("relay-2"), "1".to_owned());
        let lease = Lease { edge, relay, address: String::new(), capacity: 500, version, since: 0 };
        now_or_never(self.store.grant_lease(&lease, Score(score))).expect("memory never fails");
    }

    /// Lets `duration` pass; what is due in it is done when it is due.
    pub(super) fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.router.poll_timeout().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.act();
            assert!(self.router.poll_timeout().is_none_or(|next| next > self.now), "what was due is done");
        }
        self.now = until;
    }

    /// Lets `duration` pass, while these edges ping every second, and at its end.
    pub(super) fn wait_pinging(&mut self, duration: Duration, links: &[LinkKey]) {
        let until = self.now + duration;
        while self.now < until {
            self.wait(Duration::from_secs(1).min(until - self.now));
            for &link in links {
                self.ping(link);
            }
        }
    }

    // What edges say.

    pub(super) fn says(&mut self, link: LinkKey, frame: ToRelay) {
        self.tell(Event::Control { link, frame });
    }

    pub(super) fn hello(&mut self, link: LinkKey, epoch: Option<Epoch>) {
        let name = self.edge(link).name.clone();
        self.says(link, hello(name.as_str(), epoch));
    }

    /// Joins, and returns the number that the answer must bring back.
    pub(super) fn join(&mut self, link: LinkKey, channel: &str) -> u32 {
        let edge = self.edge(link);
        edge.last_join += 1;
        let number = edge.last_join;
        self.says(link, ToRelay::Join { channel: self::channel(channel), number });
        number
    }

    /// Joins, where nobody needs to be told first.
    #[track_caller]
    pub(super) fn holds(&mut self, link: LinkKey, channel: &str, elsewhere: bool) {
        let number = self.join(link, channel);
        self.hears(link, &[joined(channel, number, elsewhere)]);
    }

    /// Both edges hold the channel, and know of each other.
    #[track_caller]
    pub(super) fn both_hold(&mut self, first: LinkKey, second: LinkKey, channel: &str) {
        self.holds(first, channel, false);
        let number = self.join(second, channel);
        self.acknowledges(first);
        self.hears(second, &[joined(channel, number, true)]);
    }

    pub(super) fn leave(&mut self, link: LinkKey, channel: &str) {
        self.says(link, ToRelay::Leave { channel: self::channel(channel) });
    }

    /// Reads its control stream and acknowledges the one telling in it.
    #[track_caller]
    pub(super) fn acknowledges(&mut self, link: LinkKey) {
        let heard = self.heard(link);
        let [ToEdge::Elsewhere { elsewhere: true, telling, .. }] = heard[..] else {
            panic!("no telling: {heard:?}");
        };
        self.says(link, ToRelay::Told { telling });
    }

    pub(super) fn ping(&mut self, link: LinkKey) {
        self.tell(Event::Ping { link, ping: *b"pingping" });
    }

    pub(super) fn close(&mut self, link: LinkKey) {
        self.tell(Event::LinkClosed { link });
    }

    /// Publishes under the next number of the lane, and returns it.
    pub(super) fn publish(&mut self, link: LinkKey, channel: &str, wants_receipt: bool) -> u64 {
        let lane = lane_of(channel);
        let source = self.member(link);
        let number = &mut self.edge(link).lane_numbers[lane.index()];
        *number += 1;
        let number = *number;
        self.sends(link, lane, &publication(source, number, channel, wants_receipt));
        number
    }

    pub(super) fn sends(&mut self, link: LinkKey, lane: Lane, frame: &LaneFrame<'_>) {
        self.tell(Event::Lane { link, lane, frames: vec![frame.encode()] });
    }

    // What edges hear.

    /// Takes what waits in the control stream, words about leases left out: [`Self::leased`] has them.
    #[track_caller]
    pub(super) fn heard(&mut self, link: LinkKey) -> Vec<ToEdge> {
        let edge = self.edge(link);
        let mut batch = Vec::new();
        while edge.control.try_take(&mut batch, usize::MAX) {}
        let heard: Vec<ToEdge> =
            batch.iter().map(|frame| ToEdge::decode(frame).expect("relays speak well")).collect();
        for frame in &heard {
            match *frame {
                ToEdge::Welcome { epoch, member } => edge.welcome = Some((epoch, member)),
                ToEdge::Leased { epoch } => edge.leased.push(epoch.0),
                ToEdge::Ended { next } => edge.welcome = edge.welcome.map(|(_, member)| (next, member)),
                ToEdge::Joined { .. }
                | ToEdge::Elsewhere { .. }
                | ToEdge::Gone { .. }
                | ToEdge::Others { .. }
                | ToEdge::WhereIs { .. } => {}
            }
        }
        heard.into_iter().filter(|frame| !matches!(frame, ToEdge::Leased { .. })).collect()
    }

    /// The leases that it was told of since the last look, what it has heard by now included.
    pub(super) fn leased(&mut self, link: LinkKey) -> Vec<u64> {
        self.heard(link);
        std::mem::take(&mut self.edge(link).leased)
    }

    /// Exactly this waits in the control stream.
    #[track_caller]
    pub(super) fn hears(&mut self, link: LinkKey, expected: &[ToEdge]) {
        assert_eq!(self.heard(link), expected);
    }

    /// Takes what waits in a channel's lane.
    pub(super) fn got(&mut self, link: LinkKey, channel: &str) -> Vec<Bytes> {
        self.waits_in(link, lane_of(channel))
    }

    /// What waits in a lane.
    pub(super) fn waits_in(&mut self, link: LinkKey, lane: Lane) -> Vec<Bytes> {
        let lane = &mut self.edge(link).lanes[lane.index()];
        let mut batch = Vec::new();
        while lane.try_take(&mut batch, usize::MAX) {}
        batch
    }

    /// Exactly this waits in the channel's lane, and nothing in any other.
    #[track_caller]
    pub(super) fn gets(&mut self, link: LinkKey, channel: &str, expected: &[LaneFrame<'_>]) {
        let got = self.got(link, channel);
        let frames: Vec<LaneFrame<'_>> =
            got.iter().map(|frame| LaneFrame::decode(frame).expect("relays speak well")).collect();
        assert_eq!(frames, expected);
        for lane in &mut self.edge(link).lanes {
            let mut batch = Vec::new();
            assert!(!lane.try_take(&mut batch, usize::MAX), "in another lane: {batch:?}");
        }
    }

    /// How many pings were echoed, as they were.
    pub(super) fn echoes(&mut self, link: LinkKey) -> usize {
        let mut batch = Vec::new();
        while self.edge(link).heartbeat.try_take(&mut batch, usize::MAX) {}
        assert!(batch.iter().all(|echo| echo == &b"pingping"[..]), "{batch:?}");
        batch.len()
    }

    /// Takes what the shell was asked to do.
    pub(super) fn done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.done)
    }

    /// The shell was asked for exactly this.
    #[track_caller]
    pub(super) fn does(&mut self, expected: &[Action]) {
        assert_eq!(self.done(), expected);
    }

    /// Whether the relay would call itself complete in a receipt.
    pub(super) fn is_complete(&mut self) -> bool {
        self.router.tally(self.now).is_complete
    }

    /// Its number on the lanes, once it has read its welcome.
    pub(super) fn member(&mut self, link: LinkKey) -> Member {
        self.edge(link).welcome.expect("welcomed").1
    }

    /// Its present life, once it has read its welcome.
    pub(super) fn id(&mut self, link: LinkKey) -> EdgeId {
        let edge = self.edge(link);
        EdgeId { name: edge.name.clone(), epoch: edge.welcome.expect("welcomed").0 }
    }

    fn edge(&mut self, link: LinkKey) -> &mut Edge {
        self.edges.get_mut(&link).expect("this link was opened")
    }
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn node_name(name: &str) -> NodeName {
    NodeName::parse(name).expect("valid")
}

pub(super) fn channel(channel: &str) -> Channel {
    Channel::parse(channel).expect("valid")
}

pub(super) fn edge_id(name: &str, epoch: u64) -> EdgeId {
    EdgeId { name: node_name(name), epoch: Epoch(epoch) }
}

pub(super) fn hello(name: &str, epoch: Option<Epoch>) -> ToRelay {
    ToRelay::Hello { name: node_name(name), epoch, capacity: 500, version: "1".to_owned() }
}

pub(super) fn welcome(epoch: u64, member: u32) -> ToEdge {
    ToEdge::Welcome { epoch: Epoch(epoch), member: Member(member) }
}

pub(super) fn joined(name: &str, number: u32, elsewhere: bool) -> ToEdge {
    ToEdge::Joined { channel: channel(name), number, elsewhere }
}

/// A telling that must be acknowledged.
pub(super) fn held_elsewhere(name: &str, telling: u64) -> ToEdge {
    ToEdge::Elsewhere { channel: channel(name), elsewhere: true, telling }
}

/// A telling that must not.
pub(super) fn held_here_only(name: &str) -> ToEdge {
    ToEdge::Elsewhere { channel: channel(name), elsewhere: false, telling: 0 }
}

pub(super) fn publication(source: Member, number: u64, channel: &str, wants_receipt: bool) -> LaneFrame<'_> {
    let (info, data) = (&b"{\"user\":\"alice\"}"[..], &b" {  \"hi\" : 1 } "[..]);
    LaneFrame::Publication(PublicationFrame { source, number, wants_receipt, channel, info, data })
}

pub(super) fn routed(source: Member, number: u64, holders: &[Member], complete: bool) -> LaneFrame<'static> {
    LaneFrame::Routed { source, number, holders: holders.to_vec(), complete }
}

pub(super) fn answer(source: Member, number: u64, holder: Member, answer: Answer) -> LaneFrame<'static> {
    LaneFrame::Answer { source, number, holder, answer }
}

/// A lease is ended, whatever its score.
pub(super) fn ends(edge: EdgeId) -> Action {
    Action::EndLease { edge, score: Score(0) }
}

/// Memory never waits.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory waits"),
    }
}

pub(super) fn closed(link: LinkKey, code: CloseCode, reason: &str) -> Action {
    Action::Close { link, code, reason: reason.to_owned() }
}
