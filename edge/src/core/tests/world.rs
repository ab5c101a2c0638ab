//! The Hub's surroundings, played by hand: clients that read when they are told to, a relay and a store that answer
//! when they are told to, and a clock that a script moves. What must hold at any time is checked after every event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::outbox::{Drain, outbox};
use proto::client::ClientId;
use proto::client::code::Disconnect;
use proto::id::{Channel, EdgeId, Epoch, NodeName};
use proto::limits::{CONTROL_BYTES_MAX, LANE_BYTES_MAX, LANES};
use proto::link::{
    Answer, CloseCode, HEARTBEAT_BYTES, Lane, LaneFrame, Member, PublicationFrame, ToEdge, ToRelay, lane_of,
};

use super::super::{
    Action, ClientKey, Encoding, Event, Generation, Hub, HubConfig, LinkOutboxes, LookUpFailed,
    OUTBOX_BYTES_MAX, Opened, Tally, Ticket,
};
use crate::token;

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
    /// Pings that were not echoed.
    pub(super) pings: Vec<[u8; HEARTBEAT_BYTES]>,
    said: Vec<ToRelay>,
    unanswered: VecDeque<(Channel, u32)>,
    lanes: Vec<(Lane, Bytes)>,
    under_way: VecDeque<(EdgeId, Channel, bool)>,
    /// What the store says.
    pub(super) routes: BTreeSet<(EdgeId, Channel)>,
    look_ups: VecDeque<(Ticket, Channel)>,
    closed_links: Vec<(Generation, CloseCode, String)>,
}

struct Relay {
    control: Drain<CloseCode>,
    heartbeat: Drain<CloseCode>,
    lanes: Vec<Drain<CloseCode>>,
}

/// A publication on its way to the relay, as a script looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) channel: String,
    pub(super) data: String,
    pub(super) info: String,
    pub(super) wants_receipt: bool,
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
            pings: Vec::new(),
            said: Vec::new(),
            unanswered: VecDeque::new(),
            lanes: Vec::new(),
            under_way: VecDeque::new(),
            routes: BTreeSet::new(),
            look_ups: VecDeque::new(),
            closed_links: Vec::new(),
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
                self.said.push(frame);
            }
            for (lane, drain) in Lane::all().zip(&mut relay.lanes) {
                let mut frames = Vec::new();
                drain.try_take(&mut frames, usize::MAX);
                self.lanes.extend(frames.into_iter().map(|frame| (lane, frame)));
            }
        }
        self.check();
        self.beat();
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
            Action::WriteRoute { edge, channel, held } => {
                let is_busy = self.under_way.iter().any(|(e, c, _)| (e, c) == (&edge, &channel));
                assert!(!is_busy, "two writes of {channel} at once");
                self.under_way.push_back((edge, channel, held));
            }
            Action::LookUp { ticket, channel } => self.look_ups.push_back((ticket, channel)),
        }
    }

    /// What holds after every event.
    fn check(&mut self) {
        let tally = self.tally();
        let hub = &self.hub;
        let ended: u64 = tally.messages.iter().sum();
        assert_eq!(tally.messages_received, ended + tally.receipts_pending, "messages are conserved");
        let [_, was_delivered, offline, _, unknown] = tally.messages;
        assert_eq!(tally.receipts[..2], [was_delivered, offline]);
        assert!(tally.receipts[2] <= unknown, "a publication may be unknown as well, without a receipt");
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

/// Clients.
impl World {
    pub(super) fn open(&mut self) -> ClientKey {
        self.open_as(Encoding::Json, 0.999)
    }

    pub(super) fn open_line(&mut self) -> ClientKey {
        self.open_as(Encoding::Line, 0.0)
    }

    pub(super) fn open_as(&mut self, encoding: Encoding, chance: f64) -> ClientKey {
        let n = self.clients.len() as u64 + 1;
        let (outbox, drain) = outbox(OUTBOX_BYTES_MAX);
        self.clients.insert(ClientKey(n), drain);
        self.tell(Event::Opened(Opened {
            client: ClientKey(n),
            id: ClientId(u128::from(n)),
            encoding,
            pings: encoding == Encoding::Json,
            patience: PATIENCE,
            chance,
            outbox,
        }));
        ClientKey(n)
    }

    /// A frame of commands.
    pub(super) fn send(&mut self, client: ClientKey, frame: &str) {
        self.tell(Event::Frame { client, frame: Bytes::copy_from_slice(frame.as_bytes()) });
    }

    /// What a client types at the line door.
    pub(super) fn type_line(&mut self, client: ClientKey, line: &str) {
        use proto::client::line::{Line, parse};
        use proto::client::{Command, Request};
        let request = match parse(line.as_bytes()) {
            Line::Login(token) => Request::Connect { token: Some(token) },
            Line::Request(request) => request,
            other => panic!("{other:?} is the door's own"),
        };
        self.tell(Event::Command { client, command: Command { id: 1, request } });
    }

    /// What a client got since it last read.
    pub(super) fn read(&mut self, client: ClientKey) -> Vec<String> {
        let mut frames = Vec::new();
        self.clients.get_mut(&client).expect("opened").try_take(&mut frames, usize::MAX);
        frames.iter().map(|frame| String::from_utf8(frame.to_vec()).expect("UTF-8")).collect()
    }

    /// The code with which a client was disconnected.
    pub(super) fn ended(&self, client: ClientKey) -> Option<u16> {
        self.clients[&client].closed().map(Disconnect::number)
    }

    pub(super) fn close(&mut self, client: ClientKey) {
        self.tell(Event::Closed { client, why: Disconnect::Closed });
    }

    /// Opens a client, sends a connect that nobody has answered yet, and reads nothing.
    pub(super) fn connect(&mut self, user: &str) -> ClientKey {
        let client = self.open();
        self.send(client, &connect(1, &token_of(user)));
        client
    }

    /// A client whose connect has been answered, and read.
    pub(super) fn log_in(&mut self, user: &str) -> ClientKey {
        let client = self.connect(user);
        self.settle();
        let replies = self.read(client);
        assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
        client
    }

    /// Subscribes a client, to the end.
    pub(super) fn subscribe(&mut self, client: ClientKey, channel: &str) {
        self.send(client, &subscribe(90, channel));
        self.settle();
        assert_eq!(self.read(client), [r#"{"id":90,"subscribe":{}}"#]);
    }
}

/// The relay.
impl World {
    /// A new link, greeted and leased.
    pub(super) fn link(&mut self) {
        self.open_link();
        self.welcome(EPOCH);
        self.lease(EPOCH);
        self.settle();
        self.said();
    }

    /// A new link that the relay has not greeted.
    pub(super) fn open_link(&mut self) -> Generation {
        self.generation += 1;
        let (control, control_drain) = outbox(self.control_bytes_max);
        let (heartbeat, heartbeat_drain) = outbox(64);
        let (lanes, lane_drains): (Vec<_>, Vec<_>) = (0..LANES).map(|_| outbox(self.lane_bytes_max)).unzip();
        let lanes = lanes.try_into().expect("as many as there are lanes");
        self.relay = Some(Relay { control: control_drain, heartbeat: heartbeat_drain, lanes: lane_drains });
        self.unanswered.clear();
        let link = LinkOutboxes { control, heartbeat, lanes };
        self.tell(Event::LinkOpened { generation: self.generation(), link });
        self.generation()
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    pub(super) fn close_link(&mut self) {
        self.relay = None;
        self.unanswered.clear();
        self.tell(Event::LinkClosed { generation: self.generation() });
    }

    pub(super) fn relay_says(&mut self, frame: ToEdge) {
        self.tell(Event::Control { generation: self.generation(), frame });
    }

    pub(super) fn welcome(&mut self, epoch: u64) {
        self.relay_says(ToEdge::Welcome { epoch: Epoch(epoch), member: THIS });
    }

    pub(super) fn lease(&mut self, epoch: u64) {
        self.relay_says(ToEdge::Leased { epoch: Epoch(epoch) });
    }

    pub(super) fn tell_elsewhere(&mut self, name: &str, elsewhere: bool, telling: u64) {
        self.relay_says(ToEdge::Elsewhere { channel: channel(name), elsewhere, telling });
    }

    pub(super) fn joined(&mut self, name: &str, number: u32, elsewhere: bool) {
        self.relay_says(ToEdge::Joined { channel: channel(name), number, elsewhere });
    }

    /// Answers the oldest join that is not answered, if there is one.
    pub(super) fn answer_join(&mut self, elsewhere: bool) {
        if let Some((channel, number)) = self.unanswered.pop_front() {
            self.relay_says(ToEdge::Joined { channel, number, elsewhere });
        }
    }

    /// Answers all joins that are not answered: nobody else holds those channels.
    pub(super) fn answer_joins(&mut self) {
        while !self.unanswered.is_empty() {
            self.answer_join(false);
        }
    }

    /// Everybody answers, until nothing is left to answer.
    pub(super) fn settle(&mut self) {
        while !(self.unanswered.is_empty() && self.under_way.is_empty()) {
            self.answer_joins();
            self.store_writes();
        }
    }

    /// What the edge has said on the control stream since this was last asked.
    pub(super) fn said(&mut self) -> Vec<String> {
        self.said.drain(..).map(|frame| control_in_words(&frame)).collect()
    }

    /// What the edge has put on lanes since this was last asked, publications not counted.
    pub(super) fn answers(&mut self) -> Vec<String> {
        let frames = std::mem::take(&mut self.lanes);
        frames.iter().filter_map(|(lane, frame)| answer_in_words(*lane, frame)).collect()
    }

    /// The publications that the edge has sent to the relay since this was last asked.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let frames = std::mem::take(&mut self.lanes);
        frames.iter().filter_map(|(lane, frame)| Sent::decode(*lane, frame)).collect()
    }

    /// The only publication that the edge has sent to the relay since this was last asked.
    pub(super) fn sent_one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    pub(super) fn lane(&mut self, lane: Lane, frames: Vec<Bytes>) {
        self.tell(Event::Lane { generation: self.generation(), lane, frames });
    }

    /// A publication of the user zoe at [`THERE`].
    pub(super) fn arrives(&mut self, channel: &str, number: u64, data: &str, wants_receipt: bool) {
        let frame = publication_of_zoe(channel, number, data, wants_receipt);
        self.lane(lane_of(channel), vec![frame]);
    }

    pub(super) fn routed(&mut self, ticket: Ticket, holders: &[Member], complete: bool) {
        let (number, holders) = (ticket.number, holders.to_vec());
        let frame = LaneFrame::Routed { source: THIS, number, holders, complete };
        self.lane(ticket.lane, vec![frame.encode()]);
    }

    pub(super) fn answered(&mut self, ticket: Ticket, holder: Member, answer: Answer) {
        let frame = LaneFrame::Answer { source: THIS, number: ticket.number, holder, answer };
        self.lane(ticket.lane, vec![frame.encode()]);
    }

    pub(super) fn echo(&mut self, ping: [u8; HEARTBEAT_BYTES]) {
        self.tell(Event::Echo { generation: self.generation(), ping });
    }

    /// The links that the edge has ended since this was last asked.
    pub(super) fn closed_links(&mut self) -> Vec<(Generation, CloseCode, String)> {
        std::mem::take(&mut self.closed_links)
    }
}

/// The store.
impl World {
    /// The writes that the store has not finished.
    pub(super) fn under_way(&self) -> Vec<String> {
        let words = |(edge, channel, held): &(EdgeId, Channel, bool)| {
            format!("{edge} {}{channel}", if *held { '+' } else { '-' })
        };
        self.under_way.iter().map(words).collect()
    }

    /// Finishes the oldest write.
    pub(super) fn store_writes_one(&mut self) {
        let (edge, channel, held) = self.under_way.pop_front().expect("a write is under way");
        let route = (edge.clone(), channel.clone());
        if held {
            self.routes.insert(route);
        } else {
            self.routes.remove(&route);
        }
        self.tell(Event::RouteWritten { edge, channel, held });
    }

    /// Finishes all writes, and those that come of it.
    pub(super) fn store_writes(&mut self) {
        while !self.under_way.is_empty() {
            self.store_writes_one();
        }
    }

    /// The look-ups asked for since this was last asked.
    pub(super) fn look_ups(&mut self) -> Vec<(Ticket, Channel)> {
        self.look_ups.drain(..).collect()
    }

    pub(super) fn looked_up(&mut self, ticket: Ticket, holders: Result<Vec<EdgeId>, LookUpFailed>) {
        self.tell(Event::LookedUp { ticket, holders });
    }
}

impl Sent {
    fn decode(lane: Lane, frame: &Bytes) -> Option<Self> {
        let LaneFrame::Publication(frame) = LaneFrame::decode(frame).expect("our own") else { return None };
        let PublicationFrame { source, number, wants_receipt, channel, info, data } = frame;
        assert_eq!((source, lane), (THIS, lane_of(channel)));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (data, info) = (text(data), text(info));
        let ticket = Ticket { lane, number };
        Some(Self { ticket, channel: channel.to_owned(), data, info, wants_receipt })
    }
}

fn control_in_words(frame: &ToRelay) -> String {
    match frame {
        ToRelay::Hello { name, epoch, capacity, .. } => {
            format!("hello {name} {} {capacity}", epoch.map_or("new".to_owned(), |epoch| epoch.to_string()))
        }
        ToRelay::Join { channel, number } => format!("join {channel} {number}"),
        ToRelay::Leave { channel } => format!("leave {channel}"),
        ToRelay::Synced => "synced".to_owned(),
        ToRelay::Told { telling } => format!("told {telling}"),
        ToRelay::Goodbye => "goodbye".to_owned(),
    }
}

fn answer_in_words(lane: Lane, frame: &Bytes) -> Option<String> {
    match LaneFrame::decode(frame).expect("our own") {
        LaneFrame::Publication(_) => None,
        LaneFrame::Routed { .. } => panic!("only relays route"),
        LaneFrame::Answer { source, number, holder, answer } => {
            assert_eq!(holder, THIS);
            Some(format!("lane {}: {}.{number} {answer:?}", lane.0, source.0))
        }
    }
}

pub(super) fn publication_of_zoe(channel: &str, number: u64, data: &str, wants_receipt: bool) -> Bytes {
    let (info, data) = (br#"{"user":"zoe","client":"z"}"#, data.as_bytes());
    PublicationFrame { source: THERE, number, wants_receipt, channel, info, data }.encode()
}

pub(super) fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("valid")
}

pub(super) fn edge(name: &str, epoch: u64) -> EdgeId {
    EdgeId { name: NodeName::parse(name).expect("valid"), epoch: Epoch(epoch) }
}

pub(super) fn this_edge() -> EdgeId {
    edge("edge-1", EPOCH)
}

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A token that never expires.
pub(super) fn token_of(user: &str) -> String {
    signed(&format!(r#"{{"sub":"{user}"}}"#))
}

/// A token with these claims.
pub(super) fn signed(claims: &str) -> String {
    token::sign("secret", r#"{"alg":"HS256"}"#, claims)
}

pub(super) fn connect(id: u32, token: &str) -> String {
    format!(r#"{{"id":{id},"connect":{{"token":"{token}"}}}}"#)
}

pub(super) fn refresh(id: u32, token: &str) -> String {
    format!(r#"{{"id":{id},"refresh":{{"token":"{token}"}}}}"#)
}

pub(super) fn subscribe(id: u32, channel: &str) -> String {
    format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#)
}

pub(super) fn unsubscribe(id: u32, channel: &str) -> String {
    format!(r#"{{"id":{id},"unsubscribe":{{"channel":"{channel}"}}}}"#)
}

pub(super) fn publish(id: u32, channel: &str, data: &str) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":{data}}}}}"#)
}

/// A directed message.
pub(super) fn direct(id: u32, to: &str, data: &str) -> String {
    format!(r#"{{"id":{id},"rpc":{{"method":"send","data":{{"to":"{to}","data":{data}}}}}}}"#)
}

pub(super) fn delivered(id: u32, n: u32) -> String {
    format!(r#"{{"id":{id},"rpc":{{"data":{{"delivered":{n}}}}}}}"#)
}

/// The error reply of `code` to the command `id`.
pub(super) fn error(id: u32, code: u32) -> String {
    let text = match code {
        100 => r#""internal server error","temporary":true"#,
        103 => r#""permission denied""#,
        105 => r#""already subscribed""#,
        106 => r#""limit exceeded""#,
        107 => r#""bad request""#,
        108 => r#""not available""#,
        109 => r#""token expired""#,
        other => panic!("nothing here answers {other}"),
    };
    format!(r#"{{"id":{id},"error":{{"code":{code},"message":{text}}}}}"#)
}

/// The push of a publication of `user`, who is the client of that number.
pub(super) fn push(channel: &str, data: &str, user: &str, client: ClientKey) -> String {
    let id = ClientId(u128::from(client.0));
    format!(
        r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data},"info":{{"user":"{user}","client":"{id}"}}}}}}}}"#
    )
}

/// The push of a publication that [`World::arrives`].
pub(super) fn push_of_zoe(channel: &str, data: &str) -> String {
    format!(
        r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data},"info":{{"user":"zoe","client":"z"}}}}}}}}"#
    )
}
