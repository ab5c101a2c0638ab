//! An edge's process around its Hub: starts, dies, stands still, stops; the event loop's rules, without its tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use edge::core::{Action, ClientKey, Event, Generation, Hub, HubConfig};
use edge::token::Verifier;
use node::freeze::LATE_MAX;
use node::outbox::LinkOutboxes;
use proto::id::{EdgeId, NodeName};
use proto::link::{Lane, ToEdge};
use store::StoreError;

use super::client::SECRET;
use super::history::{FROZEN_FOR, Published};
use super::network::{CONTROL, HEARTBEAT, Link, Way, published};
use super::redis::{Asker, Client, Job};
use super::world::{MILLISECOND, Micros, SECOND, World};

/// The loop turns at least so often.
pub(crate) const TICK: Micros = 500 * MILLISECOND;

/// See the file.
pub(crate) struct EdgeNode {
    pub(crate) name: NodeName,
    pub(crate) relay: usize,
    /// How many processes it has been.
    pub(crate) life: u32,
    pub(crate) state: State,
    hub: Option<Hub>,
    inbox: VecDeque<Input>,
    /// What came by its link while it stood still.
    unread: Vec<Published>,
    next_tick: Micros,
    next_wake: Option<Micros>,
    pub(crate) generation: u64,
    pub(crate) failures: u32,
    pub(crate) link: Option<usize>,
    /// Up, down.
    pub(crate) cut: [bool; 2],
    /// Nothing leaves the queues at this end, or at the other.
    pub(crate) is_stalled: [bool; 2],
    pub(crate) store: Client,
    /// Which connection of the history each client is.
    pub(crate) clients: BTreeMap<ClientKey, usize>,
    next_client: u64,
    /// Every lease that this process was ever told.
    pub(crate) ids: BTreeSet<EdgeId>,
    pub(crate) gives_way: bool,
    /// As its Hub believes.
    pub(crate) is_leased: bool,
    pub(crate) is_stopping: bool,
    frozen_at: Micros,
    /// Since when it runs without having stood still.
    pub(crate) calm_since: Micros,
    /// Since when nothing was wrong with its links, if nothing is.
    pub(crate) links_calm_since: Micros,
    /// What its relay calls it, as of the last word that came by its link. Not always the last of `ids`: a freeze may have
    /// kept one from being read.
    pub(crate) called: Option<EdgeId>,
    /// Leases of this process that ended while it kept its link: it was told the next one.
    pub(crate) renewed: BTreeSet<EdgeId>,
    stop_by: Micros,
    /// What its wall clock is wrong by, in seconds.
    pub(crate) skew: i64,
    /// A newer process of its name ended this one.
    pub(crate) was_superseded: bool,
    /// It has no name yet.
    pub(crate) is_spare: bool,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Dead,
    Running,
    Frozen,
}

pub(crate) enum Input {
    Event(Event),
    LinkOpened(Generation, LinkOutboxes),
}

impl EdgeNode {
    pub(crate) fn new(name: &str, relay: usize) -> Self {
        Self {
            name: NodeName::parse(name).expect("valid"),
            relay,
            life: 0,
            state: State::Dead,
            hub: None,
            inbox: VecDeque::new(),
            unread: Vec::new(),
            next_tick: 0,
            next_wake: None,
            generation: 0,
            failures: 0,
            link: None,
            cut: [false; 2],
            is_stalled: [false; 2],
            store: Client::default(),
            clients: BTreeMap::new(),
            next_client: 0,
            ids: BTreeSet::new(),
            gives_way: false,
            is_leased: false,
            is_stopping: false,
            frozen_at: 0,
            calm_since: 0,
            links_calm_since: 0,
            called: None,
            renewed: BTreeSet::new(),
            stop_by: 0,
            skew: 0,
            was_superseded: false,
            is_spare: false,
        }
    }

    /// A process to come, whose name is not known yet.
    pub(crate) fn spare() -> Self {
        Self { is_spare: true, ..Self::new("spare", 0) }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state != State::Dead
    }

    pub(crate) fn hub(&mut self) -> Option<&mut Hub> {
        self.hub.as_mut()
    }

    pub(crate) fn next_client(&mut self) -> ClientKey {
        self.next_client += 1;
        ClientKey(self.next_client)
    }
}

impl World {
    pub(crate) fn edge_starts(&mut self, edge: usize) {
        let (instant, hash_seed) = (self.instant(), self.chance.next());
        let unix = self.unix(self.edges[edge].skew);
        let node = &mut self.edges[edge];
        assert!(node.state == State::Dead, "it runs");
        let config = HubConfig {
            name: node.name.clone(),
            capacity: 500,
            has_relay: true,
            verifier: Verifier::new(Some(SECRET)),
            ping_interval: Duration::from_secs(5),
            pong_timeout: Duration::from_secs(3),
            hash_seed,
        };
        let mut cut = [false; 2];
        std::mem::swap(&mut cut, &mut node.cut);
        *node = EdgeNode {
            life: node.life + 1,
            state: State::Running,
            hub: Some(Hub::new(config, instant, unix)),
            next_tick: self.now,
            calm_since: self.now,
            links_calm_since: node.links_calm_since,
            cut,
            skew: node.skew,
            ..EdgeNode::new(node.name.as_str(), node.relay)
        };
        let name = node.name.clone();
        self.trace(|| format!("{name} starts"));
        self.store_starts(Asker::Edge(edge));
        self.dial(edge);
        self.edge_turns(edge);
    }

    /// As a power failure: no word to anybody. The clients' connections break.
    pub(crate) fn edge_dies(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        if !node.is_alive() {
            return;
        }
        if node.state == State::Frozen {
            self.history.pauses.push((edge, node.frozen_at, self.now));
        }
        self.must_end_after_death(edge);
        let node = &mut self.edges[edge];
        node.state = State::Dead;
        node.hub = None;
        node.is_leased = false;
        node.inbox.clear();
        node.link = None;
        let clients = std::mem::take(&mut node.clients);
        let (life, name) = (node.life, node.name.clone());
        self.trace(|| format!("{name} dies"));
        self.drop_ends(|link| (link.edge == edge && link.edge_life == life).then_some(Way::Down));
        for connection in clients.into_values() {
            self.connection_breaks(connection);
        }
        self.note_lease_holders();
    }

    pub(crate) fn edge_freezes(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        if node.is_running() {
            node.state = State::Frozen;
            node.frozen_at = self.now;
            let name = node.name.clone();
            self.trace(|| format!("{name} stands still"));
        }
    }

    pub(crate) fn edge_thaws(&mut self, edge: usize) {
        if self.edges[edge].state != State::Frozen {
            return;
        }
        let node = &mut self.edges[edge];
        node.state = State::Running;
        node.calm_since = self.now;
        let (life, unread, name) = (node.life, std::mem::take(&mut node.unread), node.name.clone());
        self.history.pauses.push((edge, node.frozen_at, self.now));
        if self.now > node.frozen_at + FROZEN_FOR {
            self.history.old_at_edge(edge, life, unread);
        }
        self.trace(|| format!("{name} goes on"));
        self.store_thaws(Asker::Edge(edge));
        self.edge_turns(edge);
    }

    /// Asks it to stop in order.
    pub(crate) fn edge_stops(&mut self, edge: usize) {
        let (now, instant) = (self.now, self.instant());
        let node = &mut self.edges[edge];
        if !node.is_running() || node.is_stopping {
            return;
        }
        self.must_end_after_goodbye(edge);
        let node = &mut self.edges[edge];
        node.is_stopping = true;
        node.stop_by = now + 5 * SECOND;
        if let Some(hub) = &mut node.hub {
            hub.handle(instant, Event::Stop);
        }
        let name = node.name.clone();
        self.trace(|| format!("{name} stops"));
        self.edge_turns(edge);
    }

    /// The relay has decided for a newer process, though this one does not know yet.
    pub(crate) fn edge_gives_way(&mut self, link: usize) {
        let Link { edge, edge_life, .. } = self.links[link];
        if self.edges[edge].life == edge_life {
            self.edges[edge].gives_way = true;
            self.note_lease_holders();
        }
    }

    pub(crate) fn edge_superseded(&mut self, edge: usize, link: usize) {
        let node = &mut self.edges[edge];
        if node.life == self.links[link].edge_life && node.is_alive() {
            node.was_superseded = true;
            let newest = node.ids.last().cloned();
            self.count("superseded");
            // Whoever superseded it may not have been told of its epoch yet.
            self.after(SECOND, move |world| {
                if let Some(id) = newest {
                    world.history.superseded(&id);
                }
            });
            self.after(0, move |world| world.edge_stops(edge));
        }
    }

    pub(crate) fn edge_told(&mut self, edge: usize, input: Input) {
        self.edges[edge].inbox.push_back(input);
        if self.edges[edge].is_running() {
            self.edge_turns(edge);
        }
    }

    /// One turn of its event loop.
    pub(crate) fn edge_turns(&mut self, edge: usize) {
        if !self.edges[edge].is_running() {
            return;
        }
        let (now, instant) = (self.now, self.instant());
        let unix = self.unix(self.edges[edge].skew);
        let node = &mut self.edges[edge];
        let Some(hub) = &mut node.hub else { return };
        let late = Duration::from_micros(now.saturating_sub(node.next_tick));
        let inputs = std::mem::take(&mut node.inbox);
        if late > LATE_MAX {
            hub.handle(instant, Event::Froze { late });
            hub.handle(instant, Event::Clock { unix });
            self.count("edge freezes");
            self.edge_acts(edge);
            // Whoever went goes first.
            let gone: BTreeSet<ClientKey> = inputs.iter().filter_map(closed).collect();
            let is_departure =
                |input: &Input| closed(input).or(opened(input)).is_some_and(|client| gone.contains(&client));
            let (first, rest): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(is_departure);
            for input in first.into_iter().chain(rest) {
                self.edge_takes(edge, input);
            }
        } else {
            for input in inputs {
                self.edge_takes(edge, input);
            }
        }
        let node = &mut self.edges[edge];
        let hub = node.hub.as_mut().expect("it runs");
        if now >= node.next_tick {
            node.next_tick = now + if node.is_stopping { TICK / 10 } else { TICK };
            hub.handle(instant, Event::Clock { unix });
        }
        if hub.poll_timeout().is_some_and(|due| due <= instant) {
            hub.handle_timeout(instant);
        }
        self.edge_acts(edge);
        self.edge_writes(edge);
        let node = &mut self.edges[edge];
        let is_leased = node.hub.as_mut().is_some_and(|hub| hub.tally().is_leased);
        if is_leased != std::mem::replace(&mut node.is_leased, is_leased) {
            self.note_lease_holders();
        }
        self.edge_sleeps(edge);
    }

    fn edge_takes(&mut self, edge: usize, input: Input) {
        let instant = self.instant();
        let hub = self.edges[edge].hub.as_mut().expect("it runs");
        match input {
            Input::Event(event) => hub.handle(instant, event),
            Input::LinkOpened(generation, link) => {
                hub.handle(instant, Event::LinkOpened { generation, link: Box::new(link) });
            }
        }
    }

    fn edge_acts(&mut self, edge: usize) {
        while let Some(action) = self.edges[edge].hub.as_mut().and_then(Hub::poll_action) {
            let asker = Asker::Edge(edge);
            match action {
                Action::CloseLink { generation, code, reason } => {
                    let name = self.edges[edge].name.clone();
                    self.trace(|| format!("{name} closes its link: {code:?}, {reason}"));
                    let of_it = |link: &usize| self.links[*link].generation == generation;
                    if let Some(link) = self.edges[edge].link.filter(of_it) {
                        self.say_close(link, Way::Up, code);
                        self.edge_link_closed(edge, link);
                    }
                }
                Action::WriteRoutes { edge: id, writes, .. } => {
                    self.ask_store(asker, Job::WriteRoutes { edge: id, writes, is_open: false });
                }
                Action::ReadIndex { edge: id, cursor, count } => {
                    let page = store::IndexPage::default();
                    self.ask_store(asker, Job::ReadIndex { edge: id, cursor, count, page });
                }
                // There is room for everybody in here.
                Action::LoggedIn { .. } => {}
                Action::LookUp { ticket, channel } => {
                    self.count("look-ups");
                    self.ask_store(asker, Job::LookUp { ticket, channel, holders: Vec::new() });
                }
            }
        }
    }

    /// What the Hub has queued goes out, unless somebody does not read.
    fn edge_writes(&mut self, edge: usize) {
        let connections: Vec<usize> = self.edges[edge].clients.values().copied().collect();
        for connection in connections {
            self.client_reads(connection);
        }
        if let Some(link) = self.edges[edge].link {
            self.flush(link, Way::Up);
        }
    }

    fn edge_sleeps(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        let Some(hub) = &mut node.hub else { return };
        if node.is_stopping && (self.now >= node.stop_by || (node.clients.is_empty() && !hub.is_linked())) {
            return self.edge_ends(edge);
        }
        let (due, next_tick) = (hub.poll_timeout(), node.next_tick);
        let wake = due.map_or(next_tick, |due| self.micros(due).min(next_tick)).max(self.now + 1);
        let node = &mut self.edges[edge];
        if node.next_wake.is_some_and(|at| at > self.now && at <= wake) {
            return;
        }
        node.next_wake = Some(wake);
        let life = node.life;
        self.at(wake, move |world| {
            if world.edges[edge].life == life && world.edges[edge].next_wake == Some(world.now) {
                world.edge_turns(edge);
            }
        });
    }

    /// It has said all there was to say.
    fn edge_ends(&mut self, edge: usize) {
        if let Some(link) = self.edges[edge].link {
            self.say_close(link, Way::Up, proto::link::CloseCode::Goodbye);
        }
        self.count("edges stopped");
        self.edge_dies(edge);
    }

    // The link.

    pub(crate) fn edge_link_opened(&mut self, edge: usize, generation: Generation, link: LinkOutboxes) {
        self.edge_told(edge, Input::LinkOpened(generation, link));
    }

    pub(crate) fn edge_link_closed(&mut self, edge: usize, link: usize) {
        let Link { generation, edge_life, .. } = self.links[link];
        let node = &mut self.edges[edge];
        if node.life != edge_life || !node.is_alive() || node.link != Some(link) {
            return;
        }
        node.link = None;
        if !node.is_stopping {
            self.dial_later(edge);
        }
        self.after(0, move |world| {
            if world.edges[edge].life == edge_life && world.edges[edge].is_alive() {
                world.edge_told(edge, Input::Event(Event::LinkClosed { generation }));
            }
        });
    }

    pub(crate) fn edge_hears(&mut self, edge: usize, link: usize, stream: usize, frames: Vec<Bytes>) {
        let generation = self.links[link].generation;
        match stream {
            CONTROL => {
                for frame in frames {
                    let frame = ToEdge::decode(&frame).expect("what a Router says decodes");
                    self.edge_is_told(edge, &frame);
                    self.edge_told(edge, Input::Event(Event::Control { generation, frame }));
                }
            }
            HEARTBEAT => {
                for frame in frames {
                    let ping = frame[..].try_into().expect("a ping has its length");
                    self.edge_told(edge, Input::Event(Event::Echo { generation, ping }));
                }
            }
            lane => {
                if self.edges[edge].state == State::Frozen {
                    self.edges[edge].unread.extend(published(&frames));
                }
                let lane = Lane(u8::try_from(lane - 2).expect("there are few"));
                self.edge_told(edge, Input::Event(Event::Lane { generation, lane, frames }));
            }
        }
    }

    fn edge_is_told(&mut self, edge: usize, frame: &ToEdge) {
        let epoch = match frame {
            ToEdge::Welcome { epoch, .. } => *epoch,
            ToEdge::Ended { next } => {
                self.count("ended");
                let node = &mut self.edges[edge];
                node.renewed.extend(node.called.clone());
                *next
            }
            ToEdge::Elsewhere { elsewhere, .. } => {
                return self.count(if *elsewhere { "elsewhere" } else { "alone again" });
            }
            ToEdge::Leased { .. } => return self.count("leased"),
            ToEdge::Gone { .. } => return self.count("gone"),
            ToEdge::Joined { .. } | ToEdge::WhereIs { .. } | ToEdge::Others { .. } => return,
        };
        let name = self.edges[edge].name.clone();
        self.trace(|| format!("{name} is told epoch {epoch} ({frame:?})"));
        self.history.given(&name, epoch);
        let (id, node) = (EdgeId { name, epoch }, &mut self.edges[edge]);
        node.called = Some(id.clone());
        node.ids.insert(id);
        node.failures = 0;
        self.note_lease_holders();
    }

    // The store.

    pub(crate) fn edge_store_answers(&mut self, edge: usize, job: Job, error: Option<StoreError>) {
        let event = match job {
            Job::WriteRoutes { edge: id, writes, is_open } => {
                if error.is_some() {
                    self.history.unwritten.push((edge, self.now));
                }
                if error.is_none() && !is_open {
                    self.count("fenced");
                }
                Event::RoutesWritten { edge: id, writes, result: error.map_or(Ok(is_open), Err) }
            }
            Job::ReadIndex { edge, page, .. } => Event::IndexRead { edge, page: error.map_or(Ok(page), Err) },
            Job::LookUp { ticket, holders, .. } => {
                Event::LookedUp { ticket, holders: error.map_or(Ok(holders), Err) }
            }
            Job::Grant { .. } | Job::Beat { .. } | Job::End { .. } | Job::Remove { .. } | Job::Sweep => {
                unreachable!("relays ask that")
            }
        };
        self.edge_told(edge, Input::Event(event));
    }
}

fn closed(input: &Input) -> Option<ClientKey> {
    match input {
        Input::Event(Event::Closed { client, .. }) => Some(*client),
        Input::Event(_) | Input::LinkOpened(..) => None,
    }
}

fn opened(input: &Input) -> Option<ClientKey> {
    match input {
        Input::Event(Event::Opened(opened)) => Some(opened.client),
        Input::Event(_) | Input::LinkOpened(..) => None,
    }
}
