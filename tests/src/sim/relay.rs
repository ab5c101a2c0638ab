//! A relay's process around its Router.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use node::freeze::LATE_MAX;
use node::outbox::LinkOutboxes;
use proto::link::{CloseCode, Lane, ToRelay};
use relay::core::{Action, Event, LinkKey, Router};
use store::{Leases, StoreError};

use super::edge::{State, TICK};
use super::history::{FROZEN_FOR, Published};
use super::network::{CONTROL, HEARTBEAT, Link, Way, published};
use super::redis::{Asker, Client, Job};
use super::world::{Micros, SECOND, World};

/// As in life.
const SWEEP_AFTER: Micros = 3 * SECOND;

/// See the file.
pub(crate) struct RelayNode {
    pub(crate) life: u32,
    pub(crate) state: State,
    router: Option<Router>,
    inbox: VecDeque<Input>,
    frozen_at: Micros,
    /// Since when it runs without having stood still.
    pub(crate) calm_since: Micros,
    /// What came while it stood still, and from which edge.
    unread: Vec<(usize, Published)>,
    next_tick: Micros,
    next_wake: Option<Micros>,
    links: BTreeMap<LinkKey, usize>,
    last_link: u64,
    pub(crate) store: Client,
    pub(crate) skew: i64,
}

enum Input {
    Event(Event),
    LinkOpened(usize, LinkOutboxes),
}

impl RelayNode {
    pub(crate) fn new() -> Self {
        Self {
            life: 0,
            state: State::Dead,
            router: None,
            inbox: VecDeque::new(),
            frozen_at: 0,
            calm_since: 0,
            unread: Vec::new(),
            next_tick: 0,
            next_wake: None,
            links: BTreeMap::new(),
            last_link: 0,
            store: Client::default(),
            skew: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    pub(crate) fn router(&mut self) -> Option<&mut Router> {
        self.router.as_mut()
    }

    pub(crate) fn next_link(&mut self) -> LinkKey {
        self.last_link += 1;
        LinkKey(self.last_link)
    }
}

impl World {
    pub(crate) fn relay_starts(&mut self, relay: usize) {
        let (instant, hash_seed) = (self.instant(), self.chance.next());
        let unix = self.unix(self.relays[relay].skew);
        let node = &mut self.relays[relay];
        *node = RelayNode {
            life: node.life + 1,
            state: State::Running,
            router: Some(Router::new(hash_seed, instant, unix)),
            next_tick: self.now,
            calm_since: self.now,
            skew: node.skew,
            ..RelayNode::new()
        };
        self.trace(|| format!("relay {relay} starts"));
        self.store_starts(Asker::Relay(relay));
        self.relay_turns(relay);
    }

    pub(crate) fn relay_dies(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if node.state == State::Dead {
            return;
        }
        let life = node.life;
        node.state = State::Dead;
        node.router = None;
        node.inbox.clear();
        node.links.clear();
        self.trace(|| format!("relay {relay} dies"));
        self.drop_ends(|link| (link.relay == relay && link.relay_life == life).then_some(Way::Up));
    }

    /// Stops in order: every edge is told.
    pub(crate) fn relay_stops(&mut self, relay: usize) {
        let instant = self.instant();
        let node = &mut self.relays[relay];
        if !node.is_running() {
            return;
        }
        if let Some(router) = &mut node.router {
            router.handle(instant, Event::Stop);
        }
        self.relay_acts(relay);
        self.relay_dies(relay);
    }

    pub(crate) fn relay_freezes(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if node.is_running() {
            node.state = State::Frozen;
            node.frozen_at = self.now;
            self.trace(|| format!("relay {relay} stands still"));
        }
    }

    pub(crate) fn relay_thaws(&mut self, relay: usize) {
        if self.relays[relay].state != State::Frozen {
            return;
        }
        let node = &mut self.relays[relay];
        node.state = State::Running;
        node.calm_since = self.now;
        let unread = std::mem::take(&mut node.unread);
        if self.now > node.frozen_at + FROZEN_FOR {
            self.history.old_at_relay(unread);
        }
        self.trace(|| format!("relay {relay} goes on"));
        self.store_thaws(Asker::Relay(relay));
        self.relay_turns(relay);
    }

    fn relay_told(&mut self, relay: usize, input: Input) {
        self.relays[relay].inbox.push_back(input);
        if self.relays[relay].is_running() {
            self.relay_turns(relay);
        }
    }

    fn relay_turns(&mut self, relay: usize) {
        if !self.relays[relay].is_running() {
            return;
        }
        let (now, instant) = (self.now, self.instant());
        let unix = self.unix(self.relays[relay].skew);
        let node = &mut self.relays[relay];
        let Some(router) = &mut node.router else { return };
        let mut inputs = std::mem::take(&mut node.inbox);
        if Duration::from_micros(now.saturating_sub(node.next_tick)) > LATE_MAX {
            router.handle(instant, Event::Froze);
            self.count("relay freezes");
            self.relay_acts(relay);
            let (opened, rest): (Vec<Input>, Vec<Input>) =
                inputs.into_iter().partition(|input| matches!(input, Input::LinkOpened(..)));
            for input in opened {
                if let Input::LinkOpened(link, _) = input {
                    self.say_close(link, Way::Down, CloseCode::Froze);
                }
            }
            inputs = rest.into();
        }
        for input in inputs {
            let node = &mut self.relays[relay];
            let router = node.router.as_mut().expect("it runs");
            match input {
                Input::Event(event) => router.handle(instant, event),
                Input::LinkOpened(link, outboxes) => {
                    let Link { key, edge, .. } = self.links[link];
                    node.links.insert(key, link);
                    let certificate = self.edges[edge].name.clone();
                    router.handle(instant, Event::LinkOpened { link: key, certificate, outboxes });
                }
            }
        }
        let node = &mut self.relays[relay];
        let router = node.router.as_mut().expect("it runs");
        if now >= node.next_tick {
            node.next_tick = now + TICK;
            router.handle(instant, Event::Clock { unix });
        }
        if router.poll_timeout().is_some_and(|due| due <= instant) {
            router.handle_timeout(instant);
        }
        self.relay_acts(relay);
        let links: Vec<usize> = self.relays[relay].links.values().copied().collect();
        for link in links {
            self.flush(link, Way::Down);
        }
        self.relay_sleeps(relay);
    }

    fn relay_acts(&mut self, relay: usize) {
        let asker = Asker::Relay(relay);
        while let Some(action) = self.relays[relay].router.as_mut().and_then(Router::poll_action) {
            match action {
                Action::Admit { link: key, edge } => {
                    self.history.given(&edge.name, edge.epoch);
                    self.relay_admits(relay, key);
                }
                Action::Close { link: key, code, reason } => {
                    self.trace(|| format!("relay {relay} closes {key:?}: {code:?}, {reason}"));
                    if let Some(link) = self.relays[relay].links.remove(&key) {
                        if code == CloseCode::Superseded {
                            self.edge_gives_way(link);
                        }
                        self.say_close(link, Way::Down, code);
                    }
                }
                Action::GrantLease { edge, score, .. } => self.ask_store(asker, Job::Grant { edge, score }),
                Action::Beat(beat) => self.ask_store(asker, Job::Beat { beat, leases: Leases::default() }),
                Action::EndLease { edge, score } => {
                    self.ask_store(asker, Job::End { edge, score, has_ended: false });
                }
                Action::Found { .. } => unreachable!("nobody looks for anybody"),
                Action::Sweep => {
                    let life = self.relays[relay].life;
                    self.after(SWEEP_AFTER, move |world| {
                        if world.relays[relay].life == life {
                            world.ask_store(asker, Job::Sweep);
                        }
                    });
                }
                Action::RemoveRoutes { edge } => {
                    self.ask_store(asker, Job::Remove { edge, found: Vec::new(), removed: 0, walks: 0 });
                }
            }
        }
    }

    fn relay_sleeps(&mut self, relay: usize) {
        let node = &self.relays[relay];
        let Some(router) = &node.router else { return };
        let wake = router.poll_timeout().map_or(node.next_tick, |due| self.micros(due).min(node.next_tick));
        let wake = wake.max(self.now + 1);
        let node = &mut self.relays[relay];
        if node.next_wake.is_some_and(|at| at > self.now && at <= wake) {
            return;
        }
        node.next_wake = Some(wake);
        let life = node.life;
        self.at(wake, move |world| {
            if world.relays[relay].life == life && world.relays[relay].next_wake == Some(world.now) {
                world.relay_turns(relay);
            }
        });
    }

    // Links.

    pub(crate) fn relay_link_opened(&mut self, relay: usize, link: usize, outboxes: LinkOutboxes) {
        self.relay_told(relay, Input::LinkOpened(link, outboxes));
    }

    pub(crate) fn relay_link_closed(&mut self, relay: usize, link: usize) {
        let Link { key, relay_life, .. } = self.links[link];
        if self.relays[relay].life == relay_life && self.relays[relay].state != State::Dead {
            self.relays[relay].links.remove(&key);
            self.relay_told(relay, Input::Event(Event::LinkClosed { link: key }));
        }
    }

    pub(crate) fn relay_hears(&mut self, relay: usize, link: usize, stream: usize, frames: Vec<Bytes>) {
        let Link { key, edge, .. } = self.links[link];
        if self.relays[relay].state == State::Frozen && stream != CONTROL && stream != HEARTBEAT {
            let unread = published(&frames).map(|published| (edge, published));
            self.relays[relay].unread.extend(unread);
        }
        match stream {
            CONTROL => {
                for frame in frames {
                    let frame = ToRelay::decode(&frame).expect("what a Hub says decodes");
                    if matches!(frame, ToRelay::Unleased { .. }) {
                        self.count("unleased");
                    }
                    self.relay_told(relay, Input::Event(Event::Control { link: key, frame }));
                }
            }
            HEARTBEAT => {
                for frame in frames {
                    let ping = frame[..].try_into().expect("a ping has its length");
                    self.relay_told(relay, Input::Event(Event::Ping { link: key, ping }));
                }
            }
            lane if self.links[link].is_admitted => self.relay_reads_lane(relay, key, lane, frames),
            lane => self.links[link].unread_lanes.push((lane, frames)),
        }
    }

    fn relay_reads_lane(&mut self, relay: usize, link: LinkKey, lane: usize, frames: Vec<Bytes>) {
        let lane = Lane(u8::try_from(lane - 2).expect("there are few"));
        self.relay_told(relay, Input::Event(Event::Lane { link, lane, frames }));
    }

    fn relay_admits(&mut self, relay: usize, key: LinkKey) {
        let Some(&link) = self.relays[relay].links.get(&key) else { return };
        self.links[link].is_admitted = true;
        let life = self.relays[relay].life;
        for (lane, frames) in std::mem::take(&mut self.links[link].unread_lanes) {
            self.after(0, move |world| {
                if world.relays[relay].life == life && world.relays[relay].state != State::Dead {
                    world.relay_reads_lane(relay, key, lane, frames);
                }
            });
        }
    }

    // The store.

    pub(crate) fn relay_store_answers(&mut self, relay: usize, job: Job, error: Option<StoreError>) {
        let event = match job {
            Job::Grant { edge, score } => Event::Granted { edge, score, result: error.map_or(Ok(()), Err) },
            Job::Beat { beat, leases } => Event::Beaten { beat, result: error.map_or(Ok(leases), Err) },
            Job::End { edge, has_ended, .. } => {
                if error.is_none() && has_ended {
                    self.count("reaped");
                }
                Event::LeaseEnded { edge, result: error.map_or(Ok(has_ended), Err) }
            }
            Job::Remove { edge, removed, .. } => {
                Event::RoutesRemoved { edge, result: error.map_or(Ok(removed), Err) }
            }
            Job::Sweep => return,
            Job::WriteRoutes { .. } | Job::ReadIndex { .. } | Job::LookUp { .. } => {
                unreachable!("edges ask that")
            }
        };
        self.relay_told(relay, Input::Event(event));
    }
}
