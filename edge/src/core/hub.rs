//! The Hub: everything that an edge knows and decides. Dispatch, time, and the life of a client are here; see
//! `core.rs` for the map of the rest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::client::code::Disconnect;
use proto::client::{Reply, json};
use proto::id::{Channel, EdgeId};
use proto::limits::LANES;
use proto::link::ToRelay;
use store::{RouteWrite, StoreError};

use super::channels::{Held, RouteWait};
use super::link::Link;
use super::receipts::{Looked, Receipts};
use super::routes::{Finished, Routes};
use super::session::{Heart, Phase, Session};
use super::{Action, ClientKey, Encoding, Event, HubConfig, Map, Opened, Tally, Ticket, Verdict};

/// An edge without IO, time or chance.
///
/// After each [`Self::handle`] and [`Self::handle_timeout`], [`Self::poll_action`] must be drained.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: HubConfig,
    /// What the first event's `now` was measured against: pings tell the time since then.
    pub(super) started: Instant,
    /// When the event or timeout came that is handled.
    pub(super) now: Instant,
    /// When the wall clock was last read, and what it showed.
    clock: (Instant, Duration),
    pub(super) sessions: Map<ClientKey, Session>,
    pub(super) channels: Map<Channel, Held>,
    pub(super) link: Option<Link>,
    /// The last number used on each lane, never used again in this life.
    pub(super) lane_numbers: [u64; LANES],
    pub(super) receipts: Receipts,
    pub(super) routes: Routes,
    /// In the order of their deadlines.
    pub(super) route_waits: VecDeque<RouteWait>,
    timers: BinaryHeap<Reverse<(Instant, ClientKey)>>,
    /// Clients whose outbox was full in this turn.
    pub(super) slow: Vec<ClientKey>,
    pub(super) actions: VecDeque<Action>,
    pub(super) tally: Tally,
    pub(super) is_stopping: bool,
    /// Whether balancers are told to send clients here; for operators.
    pub(super) is_ready: bool,
}

impl Hub {
    /// An edge without clients or link, at `now`, when the wall clock shows `unix`.
    pub fn new(config: HubConfig, now: Instant, unix: Duration) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(config.hash_seed);
        Self {
            config,
            started: now,
            now,
            clock: (now, unix),
            sessions: Map::with_hasher(hasher.clone()),
            channels: Map::with_hasher(hasher.clone()),
            link: None,
            lane_numbers: [0; LANES],
            receipts: Receipts::new(hasher.clone()),
            routes: Routes::new(hasher),
            route_waits: VecDeque::new(),
            timers: BinaryHeap::new(),
            slow: Vec::new(),
            actions: VecDeque::new(),
            tally: Tally::default(),
            is_stopping: false,
            is_ready: false,
        }
    }

    /// Takes one event. Never fails and never waits.
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.now = now;
        match event {
            Event::Clock { unix } => self.clock = (now, unix),
            Event::Ready { is_ready } => self.is_ready = is_ready,
            Event::Opened(opened) => self.opened(now, opened),
            Event::Frame { client, frame, is_rest } => self.frame(now, client, &frame, is_rest),
            Event::Command { client, command } => self.command(now, client, command),
            Event::Answered { client, frame } => self.emit(client, frame),
            Event::Closed { client, why } => self.disconnect(client, why),
            Event::LinkOpened { generation, link } => self.link_opened(now, generation, *link),
            Event::LinkClosed { generation } => self.link_closed(generation),
            Event::Control { generation, frame } => {
                if self.is_current(generation) {
                    self.control(now, frame);
                }
            }
            Event::Lane { generation, lane, frames } => {
                if self.is_current(generation) {
                    self.lane_frames(lane, &frames);
                }
            }
            Event::Echo { generation, ping } => {
                if self.is_current(generation) {
                    self.echo(now, ping);
                }
            }
            Event::RoutesWritten { edge, writes, result } => self.routes_written(now, &edge, &writes, result),
            Event::IndexRead { edge, page } => self.routes.page_read(&edge, page),
            Event::LookedUp { ticket, holders } => self.looked_up(ticket, holders),
            Event::Froze { late } => self.froze(now, late),
            Event::Stop => self.stop(),
        }
        self.drop_slow();
        self.write_routes(now);
    }

    /// What must be done now, until there is nothing more.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.timers.peek().map(|Reverse((due, _))| *due);
        let route_wait = self.route_waits.front().map(|wait| wait.until);
        let link = self.link.as_ref().map(Link::next_due);
        let (receipts, routes) = (self.receipts.next_due(), self.routes.next_due());
        [session, route_wait, link, receipts, routes].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.link_timeout(now);
        while let Some((pending, verdict)) = self.receipts.overdue(now) {
            self.give_verdict(&pending, verdict);
        }
        self.end_route_waits(now);
        while let Some(&Reverse((due, client))) = self.timers.peek() {
            if due > now {
                break;
            }
            self.timers.pop();
            self.client_timeout(now, client, due);
        }
        self.drop_slow();
        if let Some((edge, cursor, count)) = self.routes.next_page(now) {
            self.actions.push_back(Action::ReadIndex { edge, cursor, count });
        }
        self.write_routes(now);
    }

    /// What was counted, and the levels of this moment.
    pub fn tally(&mut self) -> &Tally {
        self.tally.channels = self.channels.len() as u64;
        self.tally.receipts_pending = self.receipts.len() as u64;
        self.tally.is_leased = self.routes.is_leased();
        self.tally.routes = self.routes.written_len() as u64;
        self.tally.routes_pending = self.routes.pending_len() as u64;
        self.tally.route_counts = self.routes.counts();
        &self.tally
    }

    fn opened(&mut self, now: Instant, opened: Opened) {
        let Opened { client, id, door, encoding, pings, patience, chance, outbox } = opened;
        if self.is_stopping {
            self.tally.disconnect(Disconnect::Shutdown);
            return outbox.close(Disconnect::Shutdown);
        }
        let interval = self.config.ping_interval;
        let heart =
            pings.then(|| Heart { next_ping: now + interval.mul_f64(0.5 + chance / 2.0), pong_due: None });
        let hasher = foldhash::fast::FixedState::with_seed(self.config.hash_seed);
        let session = Session {
            id,
            door,
            encoding,
            outbox,
            phase: Phase::New { stale_at: now + patience },
            channels: Map::with_hasher(hasher),
            heart,
            armed: None,
            receipts_awaited: 0,
        };
        self.sessions.insert(client, session);
        self.arm(client);
    }

    /// Sees to it that the timers look at `client` when something is due.
    pub(super) fn arm(&mut self, client: ClientKey) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(due) = session.due() else { return };
        // A far one is looked at again and again, so that no timer outlives its client for long.
        let due = due.min(self.clock.0 + ARMED_AHEAD_MAX);
        if session.armed.is_none_or(|armed| due < armed) {
            session.armed = Some(due);
            self.timers.push(Reverse((due, client)));
        }
    }

    fn client_timeout(&mut self, now: Instant, client: ClientKey, due: Instant) {
        let pong_timeout = self.config.pong_timeout;
        let ping_interval = self.config.ping_interval;
        let Some(session) = self.sessions.get_mut(&client) else { return };
        if session.armed == Some(due) {
            session.armed = None;
        }
        let ended = match &session.phase {
            Phase::New { stale_at } | Phase::Refused { stale_at } => {
                (*stale_at <= now).then_some(Disconnect::Stale)
            }
            Phase::Live(login) => {
                login.ends_at.is_some_and(|ends_at| ends_at <= now).then_some(Disconnect::Expired)
            }
        };
        if let Some(why) = ended {
            return self.disconnect(client, why);
        }
        if let (Phase::Live(_), Some(heart)) = (&session.phase, &mut session.heart) {
            if heart.pong_due.is_some_and(|pong_due| pong_due <= now) {
                return self.disconnect(client, Disconnect::NoPong);
            }
            if heart.next_ping <= now {
                heart.next_ping = now + ping_interval;
                heart.pong_due = Some(now + pong_timeout);
                self.emit(client, Bytes::from_static(json::PING));
            }
        }
        self.arm(client);
    }

    /// What changed goes to the store as soon as it is idle, and what changes until then goes along.
    fn write_routes(&mut self, now: Instant) {
        if let Some((edge, writes)) = self.routes.next_batch(now) {
            let clients = self.tally.clients;
            self.actions.push_back(Action::WriteRoutes { edge, clients, writes });
        }
    }

    fn routes_written(
        &mut self,
        now: Instant,
        edge: &EdgeId,
        writes: &[RouteWrite],
        result: Result<bool, StoreError>,
    ) {
        match self.routes.written(now, edge, writes, result) {
            Finished::Written => writes.iter().for_each(|write| self.settle(&write.channel)),
            Finished::Failed => self.settle_waiting(),
            Finished::Fenced => {
                self.say(&ToRelay::Unleased { epoch: edge.epoch });
                self.settle_waiting();
            }
        }
    }

    fn looked_up(&mut self, ticket: Ticket, holders: Result<Vec<EdgeId>, StoreError>) {
        let Some((pending, looked)) = self.receipts.looked_up(ticket, holders, self.routes.edge()) else {
            return;
        };
        self.tally.lookups[looked as usize] += 1;
        let verdict = match looked {
            // A store that cannot be asked contradicts nobody, and the relay was complete.
            Looked::Nobody | Looked::Away => Verdict::Offline,
            Looked::Unanswered => Verdict::Unknown,
            Looked::Somebody => {
                self.tally.memories_differ += 1;
                Verdict::Unknown
            }
        };
        self.give_verdict(&pending, verdict);
    }

    pub(super) fn unix(&self, now: Instant) -> Duration {
        let (read_at, unix) = self.clock;
        unix + now.saturating_duration_since(read_at)
    }

    pub(super) fn encoding_of(&self, client: ClientKey) -> Option<Encoding> {
        self.sessions.get(&client).map(|session| session.encoding)
    }

    pub(super) fn reply(&mut self, client: ClientKey, id: u32, reply: &Reply) {
        if matches!(reply, Reply::Error(_)) {
            self.tally.errors += 1;
        }
        let Some(encoding) = self.encoding_of(client) else { return };
        self.emit(client, encoding.reply(id, reply));
    }

    /// Queues `frame` for `client`; one that is too slow is let go at the end of this turn.
    pub(super) fn emit(&mut self, client: ClientKey, frame: Bytes) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        if session.emit(frame).is_err() {
            self.slow.push(client);
        }
    }

    fn drop_slow(&mut self) {
        while let Some(client) = self.slow.pop() {
            self.disconnect(client, Disconnect::Slow);
        }
    }

    pub(super) fn disconnect(&mut self, client: ClientKey, why: Disconnect) {
        let Some(session) = self.sessions.remove(&client) else { return };
        self.tally.disconnect(why);
        if session.login().is_some() {
            self.tally.clients -= 1;
        }
        match why {
            Disconnect::Slow => session.outbox.abort(why),
            _ => session.outbox.close(why),
        }
        for channel in session.channels.keys() {
            self.release(client, channel);
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        // The relay reaps this edge when it hears the goodbye; removals of our own would only meet with the fence.
        self.routes.unleased();
        let mut clients: Vec<ClientKey> = self.sessions.keys().copied().collect();
        clients.sort_unstable();
        for client in clients {
            self.disconnect(client, Disconnect::Shutdown);
        }
        self.say_goodbye();
    }
}

/// Timers are armed this far ahead at most.
const ARMED_AHEAD_MAX: Duration = Duration::from_secs(3_600);
