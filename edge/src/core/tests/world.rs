//! The Hub's surroundings, played by hand: clients that read when they are told to, a relay and a store that answer
//! when they are told to, and a clock that a script moves. What must hold at any time is checked after every event.

mod clients;
mod relay;
mod store;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::outbox::Drain;
use proto::client::code::Disconnect;
use proto::id::{Channel, NodeName};
use proto::limits::{CONTROL_BYTES_MAX, LANE_BYTES_MAX};
use proto::link::{CloseCode, HEARTBEAT_BYTES, Lane, LaneFrame, Member, Status, ToRelay};

use super::super::{Action, ClientKey, Event, Generation, Hub, HubConfig, Tally, Ticket};
use crate::token;
pub(super) use store::Stored;
pub(super) use words::*;

/// What the wall clock shows when a script begins.
pub(super) const UNIX: u64 = 1_800_000_000;
/// The lease that the relay gives.
pub(super) const EPOCH: u64 = 7;
/// This edge's number on the lanes.
pub(super) const THIS: Member = Member(1);
/// Another edge's.
pub(super) const THERE: Member = Member(2);
/// How long a client may take to log in.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) now: Instant,
    pub(super) started: Instant,
    clients: BTreeMap<ClientKey, Drain<Disconnect>>,
    relay: Option<Relay>,
    generation: u64,
    pub(super) control_bytes_max: usize,
    pub(super) lane_bytes_max: usize,
    /// Whether the relay echoes pings.
    pub(super) relay_echoes: bool,
    /// Whether the relay sends canaries back.
    pub(super) relay_returns_canaries: bool,
    /// Canaries that came in this turn.
    canaries: Vec<(Lane, Bytes)>,
    /// Pings that were not echoed.
    pub(super) pings: Vec<[u8; HEARTBEAT_BYTES]>,
    said: Vec<ToRelay>,
    /// What the edge has said of how it does.
    pub(super) statuses: Vec<Status>,
    unanswered: VecDeque<(Channel, u32)>,
    lanes: Vec<(Lane, Bytes)>,
    /// When the directed messages of the last 4 s went out.
    sent_at: VecDeque<Instant>,
    pub(super) store: Stored,
    look_ups: VecDeque<(Ticket, Channel)>,
    closed_links: Vec<(Generation, CloseCode, String)>,
    /// Whom the Hub has ever called logged in.
    logged_in: BTreeSet<ClientKey>,
}

struct Relay {
    control: Drain<CloseCode>,
    heartbeat: Drain<CloseCode>,
    lanes: Vec<Drain<CloseCode>>,
}

impl World {
    /// An edge that has a relay, and is not linked to it.
    pub(super) fn unlinked() -> Self {
        Self::with_seed(true, 1)
    }

    /// An edge that was told of no relay.
    pub(super) fn alone() -> Self {
        Self::with_seed(false, 1)
    }

    /// An edge with a link and a lease.
    pub(super) fn linked() -> Self {
        let mut world = Self::unlinked();
        world.link();
        world
    }

    pub(super) fn with_seed(has_relay: bool, hash_seed: u64) -> Self {
        let config = HubConfig {
            name: NodeName::parse("edge-1").expect("valid"),
            capacity: 500,
            has_relay,
            verifier: token::Verifier::new(Some("secret")),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            hash_seed,
        };
        let now = Instant::now();
        Self {
            hub: Hub::new(config, now, Duration::from_secs(UNIX)),
            now,
            started: now,
            clients: BTreeMap::new(),
            relay: None,
            generation: 0,
            control_bytes_max: CONTROL_BYTES_MAX,
            lane_bytes_max: LANE_BYTES_MAX,
            relay_echoes: true,
            relay_returns_canaries: true,
            canaries: Vec::new(),
            pings: Vec::new(),
            said: Vec::new(),
            statuses: Vec::new(),
            unanswered: VecDeque::new(),
            lanes: Vec::new(),
            sent_at: VecDeque::new(),
            store: Stored::default(),
            look_ups: VecDeque::new(),
            closed_links: Vec::new(),
            logged_in: BTreeSet::new(),
        }
    }

    /// One turn of the event loop.
    pub(super) fn tell(&mut self, event: Event) {
        self.hub.handle(self.now, event);
        self.pump();
    }

    /// Lets `duration` pass; what is due in it is done when it is due.
    pub(super) fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.hub.poll_timeout().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.hub.handle_timeout(self.now);
            self.pump();
            assert!(self.hub.poll_timeout().is_none_or(|next| next > self.now), "what was due is done");
        }
        self.now = until;
    }

    /// This edge stands still for `duration`, and finds out.
    pub(super) fn freeze(&mut self, duration: Duration) {
        self.now += duration;
        self.tell(Event::Froze { late: duration });
        self.wait(Duration::ZERO);
    }

    /// Lets time pass while everybody answers whatever is asked.
    pub(super) fn wait_and_settle(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.wait(millis(100).min(until - self.now));
            self.settle();
        }
    }

    /// Lets time pass until `moment` after the script's beginning.
    pub(super) fn wait_until(&mut self, moment: Duration) {
        self.wait(moment - (self.now - self.started));
    }

    /// Lets time pass while `client` answers its pings, and reads nothing else.
    pub(super) fn wait_with_pongs(&mut self, client: ClientKey, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.wait(seconds(1).min(until - self.now));
            for frame in self.read(client) {
                assert_eq!(frame, "{}");
                self.send(client, "{}");
            }
        }
    }

    pub(super) fn tally(&mut self) -> Tally {
        self.hub.tally().clone()
    }

    /// How many clients were let go for this reason.
    pub(super) fn disconnects(&mut self, why: Disconnect) -> u64 {
        let index = Disconnect::ALL.iter().position(|&code| code == why).expect("one of all");
        self.tally().disconnects[index]
    }

    fn pump(&mut self) {
        while let Some(action) = self.hub.poll_action() {
            self.take_action(action);
        }
        if let Some(relay) = &mut self.relay {
            let mut frames = Vec::new();
            relay.control.try_take(&mut frames, usize::MAX);
            for frame in frames {
                let frame = ToRelay::decode(&frame).expect("the edge's frames decode");
                if let ToRelay::Join { channel, number } = &frame {
                    self.unanswered.push_back((channel.clone(), *number));
                }
                match frame {
                    ToRelay::Status(status) => self.statuses.push(status),
                    frame => self.said.push(frame),
                }
            }
            for (lane, drain) in Lane::all().zip(&mut relay.lanes) {
                let mut frames = Vec::new();
                drain.try_take(&mut frames, usize::MAX);
                let is_canary =
                    |frame: &mut Bytes| matches!(LaneFrame::decode(frame), Ok(LaneFrame::Canary { .. }));
                self.canaries.extend(frames.extract_if(.., is_canary).map(|frame| (lane, frame)));
                let wants_receipt = |frame: &&Bytes| matches!(LaneFrame::decode(frame), Ok(LaneFrame::Publication(frame)) if frame.wants_receipt);
                self.sent_at.extend(frames.iter().filter(wants_receipt).map(|_| self.now));
                self.lanes.extend(frames.into_iter().map(|frame| (lane, frame)));
            }
        }
        self.check();
        self.beat();
        for (lane, canary) in std::mem::take(&mut self.canaries) {
            if self.relay_returns_canaries && self.relay.is_some() {
                self.lane(lane, vec![canary]);
            }
        }
    }

    fn beat(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        let mut frames = Vec::new();
        relay.heartbeat.try_take(&mut frames, usize::MAX);
        for frame in frames {
            let ping = frame[..].try_into().expect("a ping has its length");
            if self.relay_echoes {
                self.echo(ping);
            } else {
                self.pings.push(ping);
            }
        }
    }

    fn take_action(&mut self, action: Action) {
        match action {
            Action::CloseLink { generation, code, reason } => {
                self.closed_links.push((generation, code, reason));
                self.relay = None;
            }
            Action::WriteRoutes { edge, clients, writes } => {
                assert_eq!(clients, self.tally().clients);
                self.store.begins_to_write(edge, writes);
            }
            Action::ReadIndex { edge, cursor, count } => self.store.begins_to_read(edge, cursor, count),
            Action::LoggedIn { client } => assert!(self.logged_in.insert(client), "nobody logs in twice"),
            Action::LookUp { ticket, channel } => self.look_ups.push_back((ticket, channel)),
        }
    }

    /// What holds after every event.
    fn check(&mut self) {
        let tally = self.tally();
        let hub = &self.hub;
        let is_new = |client| !self.logged_in.contains(client);
        assert!(hub.sessions.iter().all(|(client, session)| session.login().is_none() == is_new(client)));
        let ended: u64 = tally.messages.iter().sum();
        assert_eq!(tally.messages_received, ended + tally.receipts_pending, "messages are conserved");
        let [_, was_delivered, offline, _, unknown] = tally.messages;
        assert_eq!(tally.receipts[..2], [was_delivered, offline]);
        assert!(tally.receipts[2] <= unknown, "a publication may be unknown as well, without a receipt");
        while self.sent_at.front().is_some_and(|&sent_at| sent_at + seconds(4) <= self.now) {
            self.sent_at.pop_front();
        }
        assert!(tally.receipts_pending <= self.sent_at.len() as u64, "a verdict comes within 4 s");
        let logged_in = hub.sessions.values().filter(|session| session.login().is_some()).count();
        assert_eq!(tally.clients, logged_in as u64);
        assert_eq!(
            tally.disconnects.iter().sum::<u64>(),
            self.clients.len() as u64 - hub.sessions.len() as u64
        );
        assert!(hub.slow.is_empty(), "slow clients are let go in the turn in which they were found");
        let subscribed: BTreeSet<(ClientKey, Channel)> = hub
            .sessions
            .iter()
            .flat_map(|(&client, session)| session.channels.keys().map(move |c| (client, c.clone())))
            .collect();
        let listed: Vec<(ClientKey, Channel)> = hub
            .channels
            .iter()
            .flat_map(|(channel, held)| held.subscribers().map(|client| (client, channel.clone())))
            .collect();
        assert_eq!(listed.len(), subscribed.len(), "nobody is listed twice");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), subscribed);
        for (channel, held) in &hub.channels {
            assert!(held.subscribers().next().is_some(), "{channel} is held for nobody");
        }
        for (client, drain) in &self.clients {
            assert_eq!(drain.closed().is_none(), hub.sessions.contains_key(client));
        }
    }
}
