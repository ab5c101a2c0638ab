//! Users and their devices: they connect, write to each other, move to other edges, and note what they see.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use edge::core::{ClientKey, Encoding, Event, OUTBOX_BYTES_MAX, Opened};
use edge::token::mint;
use node::outbox::{Drain, outbox};
use proto::client::code::Disconnect;
use proto::client::{ClientId, json};
use proto::id::UserId;
use proto::link::Door;
use serde_json::Value;

use super::edge::Input;
use super::history::{Connection, Published, Sent, Verdict};
use super::world::{MILLISECOND, Micros, SECOND, World};

pub(crate) const SECRET: &str = "secret";

/// How long a device waits for its log-in before it tries elsewhere.
const LOGIN_MAX: Micros = 2 * SECOND;

/// When the first users come: an edge that has not found its relay yet knows nothing of others.
const START: Micros = 2 * SECOND;

/// Makes whoever does not read slow after a few messages.
const LARGE: usize = 50_000;

/// Something that a user is connected with.
pub(crate) struct Device {
    pub(crate) user: usize,
    pub(crate) moves: bool,
    /// It stops reading at times.
    pub(crate) is_slow: bool,
    pub(crate) connection: Option<usize>,
    tries_since: Micros,
}

/// Both ends of a connection; what its user sees of it is in the history, under the same number.
pub(crate) struct Wire {
    device: usize,
    edge: usize,
    life: u32,
    key: Option<ClientKey>,
    drain: Option<Drain<Disconnect>>,
    /// The client's end is open.
    is_open: bool,
    reads: bool,
    last_arrival: [Micros; 2],
    next_id: u32,
    asked: BTreeMap<u32, Asked>,
    rooms: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Connect,
    Subscribe(usize),
    Send(usize),
    Publish,
}

impl Device {
    pub(crate) fn new(user: usize, moves: bool, is_slow: bool) -> Self {
        Self { user, moves, is_slow, connection: None, tries_since: 0 }
    }
}

pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}

fn room_name(room: usize) -> String {
    format!("room{room}")
}

impl World {
    pub(crate) fn rooms_of(&self, connection: usize) -> Vec<String> {
        self.wires[connection].rooms.keys().cloned().collect()
    }

    /// A device begins to live.
    pub(crate) fn device_starts(&mut self, device: usize) {
        let pause = START + self.chance.below(500 * MILLISECOND);
        self.after(pause, move |world| world.device_acts(device));
    }

    fn device_acts(&mut self, device: usize) {
        let pause = self.chance.between(40, 300) * MILLISECOND;
        self.after(pause, move |world| world.device_acts(device));
        let Some(connection) = self.devices[device].connection else {
            if !self.is_over {
                self.device_connects(device);
            }
            return;
        };
        if self.history.connections[connection].opened.is_none() {
            if self.now > self.devices[device].tries_since + LOGIN_MAX {
                self.client_leaves(connection);
            }
            return;
        }
        if self.is_quiet {
            return;
        }
        match self.chance.below(40) {
            0..=19 => self.client_tells_somebody(connection),
            20..=23 => self.client_publishes(connection),
            24 if self.devices[device].moves => {
                self.count("moves");
                self.client_leaves(connection);
            }
            25 if self.devices[device].moves => {
                // The new one is there before the old one goes.
                self.count("overlaps");
                self.devices[device].connection = None;
                let pause = self.chance.below(SECOND);
                self.after(pause, move |world| world.client_leaves(connection));
            }
            26 if self.devices[device].is_slow => {
                self.wires[connection].reads = false;
                self.history.connections[connection].is_slow = true;
            }
            27 if self.devices[device].is_slow => self.wires[connection].reads = true,
            _ => {}
        }
    }

    fn device_connects(&mut self, device: usize) {
        let edge = self.chance.index(self.edges.len());
        let node = &self.edges[edge];
        if !node.is_alive() || node.is_stopping {
            return;
        }
        let (user, life) = (self.devices[device].user, node.life);
        let connection = self.wires.len();
        self.devices[device].connection = Some(connection);
        self.devices[device].tries_since = self.now;
        self.history.connections.push(Connection {
            user,
            edge,
            life,
            opened: None,
            gone: None,
            is_slow: false,
        });
        self.wires.push(Wire {
            device,
            edge,
            life,
            key: None,
            drain: None,
            is_open: true,
            reads: true,
            last_arrival: [0; 2],
            next_id: 0,
            asked: BTreeMap::new(),
            rooms: BTreeMap::new(),
        });
        let delay = self.delay();
        self.after(delay, move |world| world.edge_accepts(connection));
    }

    fn edge_accepts(&mut self, connection: usize) {
        let Wire { edge, life, is_open, .. } = self.wires[connection];
        let node = &mut self.edges[edge];
        if !is_open {
            return;
        }
        if node.life != life || !node.is_alive() || node.is_stopping {
            return self.connection_breaks(connection);
        }
        let client = node.next_client();
        node.clients.insert(client, connection);
        let (outbox, drain) = outbox(OUTBOX_BYTES_MAX);
        let wire = &mut self.wires[connection];
        (wire.key, wire.drain) = (Some(client), Some(drain));
        let id = ClientId(u128::from(self.chance.next()));
        let opened = Opened {
            client,
            id,
            door: Door::WebSocket,
            encoding: Encoding::Json,
            pings: true,
            patience: Duration::from_secs(10),
            chance: self.chance.fraction(),
            outbox,
        };
        self.edge_told(edge, Input::Event(Event::Opened(opened)));
        let user = UserId::parse(&user_name(self.history.connections[connection].user)).expect("a user");
        let token = mint(SECRET, &user, None);
        self.client_asks(connection, Asked::Connect, &format!(r#""connect":{{"token":"{token}"}}"#));
    }

    fn client_tells_somebody(&mut self, connection: usize) {
        let to = self.chance.index(self.users);
        self.client_tells(connection, to);
    }

    pub(crate) fn client_tells(&mut self, connection: usize, to: usize) {
        let id = self.history.sent.len();
        self.trace(|| format!("{} sends message {id} to u{to}", self.shown(connection)));
        self.history.sent.push(Sent {
            connection,
            to,
            at: self.now,
            verdicts: Vec::new(),
            receivers: Vec::new(),
        });
        let is_large = self.devices.iter().any(|device| device.user == to && device.is_slow);
        let padding = if is_large && !self.is_quiet { "x".repeat(LARGE) } else { String::new() };
        let request = format!(
            r#""rpc":{{"method":"send","data":{{"to":"{}","data":[{id},"{padding}"]}}}}"#,
            user_name(to)
        );
        self.client_asks(connection, Asked::Send(id), &request);
    }

    fn client_publishes(&mut self, connection: usize) {
        let room = room_name(self.chance.index(self.settings.rooms));
        if self.wires[connection].rooms.contains_key(&room) {
            self.published += 1;
            let number = self.published;
            let request = format!(r#""publish":{{"channel":"{room}","data":[{number},""]}}"#);
            self.client_asks(connection, Asked::Publish, &request);
        }
    }

    fn client_asks(&mut self, connection: usize, asked: Asked, request: &str) {
        let wire = &mut self.wires[connection];
        wire.next_id += 1;
        let id = wire.next_id;
        wire.asked.insert(id, asked);
        self.client_sends(connection, format!(r#"{{"id":{id},{request}}}"#));
    }

    fn client_sends(&mut self, connection: usize, frame: String) {
        let delay = self.delay();
        let now = self.now;
        let wire = &mut self.wires[connection];
        let (edge, life, key) = (wire.edge, wire.life, wire.key);
        wire.last_arrival[0] = wire.last_arrival[0].max(now + delay);
        let arrival = wire.last_arrival[0];
        self.at(arrival, move |world| {
            let node = &world.edges[edge];
            if let Some(client) = key.filter(|key| node.life == life && node.clients.contains_key(key)) {
                for (at, frame) in json::slices(Bytes::from(frame)).enumerate() {
                    world.edge_told(edge, Input::Event(Event::Frame { client, frame, is_rest: at > 0 }));
                }
            }
        });
    }

    fn shown(&self, connection: usize) -> String {
        let Connection { user, edge, .. } = self.history.connections[connection];
        format!("u{user} on {} (connection {connection})", self.edges[edge].name)
    }

    /// The client goes by itself.
    fn client_leaves(&mut self, connection: usize) {
        if !self.wires[connection].is_open {
            return;
        }
        self.trace(|| format!("{} leaves", self.shown(connection)));
        let wire = &mut self.wires[connection];
        wire.is_open = false;
        let (device, edge, life, key) = (wire.device, wire.edge, wire.life, wire.key);
        self.is_gone(connection);
        if self.devices[device].connection == Some(connection) {
            self.devices[device].connection = None;
        }
        let Some(client) = key else { return };
        let delay = self.delay();
        let arrival = self.wires[connection].last_arrival[0].max(self.now + delay);
        self.at(arrival, move |world| {
            let node = &mut world.edges[edge];
            if node.life == life && node.clients.remove(&client).is_some() {
                world.wires[connection].drain = None;
                world.edge_told(edge, Input::Event(Event::Closed { client, why: Disconnect::Closed }));
            }
        });
    }

    pub(crate) fn all_leave(&mut self) {
        for connection in 0..self.wires.len() {
            self.client_leaves(connection);
        }
    }

    /// Its edge died, or would not have it.
    pub(crate) fn connection_breaks(&mut self, connection: usize) {
        self.is_gone(connection);
        self.wires[connection].drain = None;
        let delay = self.delay();
        self.after(delay, move |world| world.client_is_closed(connection));
    }

    fn is_gone(&mut self, connection: usize) {
        let now = self.now;
        self.history.connections[connection].gone.get_or_insert(now);
    }

    fn client_is_closed(&mut self, connection: usize) {
        let wire = &mut self.wires[connection];
        wire.is_open = false;
        let device = wire.device;
        if self.devices[device].connection == Some(connection) {
            self.devices[device].connection = None;
        }
    }

    /// What the edge has written arrives, unless the client does not read.
    pub(crate) fn client_reads(&mut self, connection: usize) {
        let delay = self.delay();
        let now = self.now;
        let wire = &mut self.wires[connection];
        let Some(drain) = &mut wire.drain else { return };
        let closed = drain.closed();
        let mut frames = Vec::new();
        if wire.reads || closed.is_some() {
            drain.try_take(&mut frames, usize::MAX);
        }
        if frames.is_empty() && closed.is_none() {
            return;
        }
        wire.last_arrival[1] = wire.last_arrival[1].max(now + delay);
        let arrival = wire.last_arrival[1];
        if !frames.is_empty() {
            self.at(arrival, move |world| world.client_gets(connection, &frames));
        }
        let Some(why) = closed else { return };
        let wire = &mut self.wires[connection];
        wire.drain = None;
        let (edge, key) = (wire.edge, wire.key);
        if let Some(key) = key {
            self.edges[edge].clients.remove(&key);
        }
        self.is_gone(connection);
        match why {
            Disconnect::Slow => self.count("slow clients"),
            Disconnect::NoPong => self.count("no pong"),
            Disconnect::Shutdown => self.count("shutdowns"),
            _ => self.history.wrong(format!("connection {connection} was let go: {why:?}")),
        }
        self.at(arrival, move |world| world.client_is_closed(connection));
    }

    fn client_gets(&mut self, connection: usize, frames: &[Bytes]) {
        for frame in frames {
            if !self.wires[connection].is_open {
                return;
            }
            if frame.as_ref() == b"{}" {
                self.client_sends(connection, "{}".to_owned());
                continue;
            }
            let value: Value = serde_json::from_slice(frame).expect("an edge speaks JSON");
            match value.get("push") {
                Some(push) => self.client_is_pushed(connection, push),
                None => self.client_is_answered(connection, &value),
            }
        }
    }

    fn client_is_pushed(&mut self, connection: usize, push: &Value) {
        let (channel, from) = (&push["channel"], &push["pub"]["info"]["user"]);
        let (Some(channel), Some(from)) = (channel.as_str(), from.as_str()) else {
            return self.history.wrong(format!("a push without channel or user: {push}"));
        };
        let number = push["pub"]["data"][0].as_u64().expect("our own data");
        let is_direct = channel.starts_with('#');
        self.history
            .came(connection, if is_direct { Published::Direct(number) } else { Published::InRoom(number) });
        if is_direct {
            self.trace(|| format!("{} gets message {number}", self.shown(connection)));
            return self.history.received(connection, number as usize, from, user_name);
        }
        let Some(senders) = self.wires[connection].rooms.get_mut(channel) else {
            return self
                .history
                .wrong(format!("I5: {channel} on connection {connection}, which does not receive it"));
        };
        let last = senders.insert(from.to_owned(), number).unwrap_or(0);
        // A user with two devices is two senders.
        let has_one_device = self.devices.iter().filter(|device| user_name(device.user) == from).count() == 1;
        if last >= number
            && has_one_device
            && !self.devices.iter().any(|d| d.moves && user_name(d.user) == from)
        {
            self.history
                .wrong(format!("I4: {number} of {from} came after {last} on connection {connection}"));
        }
    }

    fn client_is_answered(&mut self, connection: usize, reply: &Value) {
        let id = reply["id"].as_u64().expect("a reply has an id") as u32;
        let Some(asked) = self.wires[connection].asked.remove(&id) else {
            return self
                .history
                .wrong(format!("I1: a second reply to {id} on connection {connection}: {reply}"));
        };
        let error = reply.get("error").map(|error| error["code"].as_u64().expect("a code"));
        let now = self.now;
        match (asked, error) {
            (Asked::Connect, None) => {
                self.trace(|| format!("{} is logged in", self.shown(connection)));
                self.history.connections[connection].opened = Some(now);
                self.client_subscribes(connection);
            }
            (Asked::Subscribe(room), None) => {
                self.wires[connection].rooms.insert(room_name(room), BTreeMap::new());
            }
            (Asked::Send(id), None) => {
                let n = reply["rpc"]["data"]["delivered"].as_u64().expect("how many") as u32;
                let verdict = if n == 0 { Verdict::Offline } else { Verdict::Delivered(n) };
                self.count(if n == 0 { "offline" } else { "delivered" });
                self.trace(|| format!("{}: message {id} is {verdict:?}", self.shown(connection)));
                self.history.sent[id].verdicts.push((now, verdict));
            }
            (Asked::Send(id), Some(100)) => {
                self.count("unknown");
                self.trace(|| format!("{}: message {id} is Unknown", self.shown(connection)));
                self.history.sent[id].verdicts.push((now, Verdict::Unknown));
            }
            (Asked::Publish, None) => self.count("publications"),
            (Asked::Publish, Some(100)) => self.count("publications refused"),
            (Asked::Connect | Asked::Subscribe(_) | Asked::Send(_) | Asked::Publish, Some(_)) => {
                self.history.wrong(format!("connection {connection}: {asked:?} was answered {reply}"));
            }
        }
    }

    fn client_subscribes(&mut self, connection: usize) {
        for room in 0..self.settings.rooms {
            if self.chance.one_in(2) {
                let request = format!(r#""subscribe":{{"channel":"{}"}}"#, room_name(room));
                self.client_asks(connection, Asked::Subscribe(room), &request);
            }
        }
    }
}
