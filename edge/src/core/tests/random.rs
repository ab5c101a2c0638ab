//! Any events in any order: nothing panics, [`World`]'s checks hold after each of them, every client reads a sound
//! story, and in the end everybody has his answers and the store is right.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use proto::link::{Answer, Lane, Member, ToEdge};
use serde_json::Value;
use store::StoreError;

use super::super::{ClientKey, Encoding, Event, Ticket};
use super::world::*;
use steps::{Begins, CHANNELS, Step, USERS, step};

proptest! {
    #[test]
    fn whatever_happens_everybody_gets_his_answers_and_nothing_is_miscounted(
        begins in prop_oneof![1 => Just(Begins::Alone), 2 => Just(Begins::Unlinked), 5 => Just(Begins::Linked)],
        script in prop::collection::vec(step(), 1..300),
    ) {
        Run::of(&script, begins, 1).end();
    }

    #[test]
    fn the_same_seed_gives_the_same_output(script in prop::collection::vec(step(), 1..100), seed in any::<u64>()) {
        let run = || Run::of(&script, Begins::Linked, seed).transcript;
        prop_assert_eq!(run(), run());
    }
}

struct Run {
    world: World,
    readers: Vec<Reader>,
    epoch: u64,
    last_id: u32,
    arrived: u64,
    tickets: Vec<Ticket>,
    look_ups: Vec<Ticket>,
    has_relay: bool,
    is_stopping: bool,
    /// All that came out, as far as it was looked at.
    transcript: Vec<String>,
}

/// A client that checks what it reads.
struct Reader {
    client: ClientKey,
    is_line: bool,
    asked: BTreeMap<u32, Asked>,
    is_in: bool,
    is_refused: bool,
    channels: BTreeSet<String>,
}

#[derive(Debug, Clone)]
enum Asked {
    Connect,
    Subscribe(&'static str),
    Unsubscribe(&'static str),
    Other,
}

impl Run {
    fn of(script: &[Step], begins: Begins, seed: u64) -> Self {
        let has_relay = begins != Begins::Alone;
        let mut run = Self {
            world: World::with_seed(has_relay, seed),
            readers: Vec::new(),
            epoch: EPOCH,
            last_id: 0,
            arrived: 0,
            tickets: Vec::new(),
            look_ups: Vec::new(),
            has_relay,
            is_stopping: false,
            transcript: Vec::new(),
        };
        if begins == Begins::Linked {
            run.world.link();
        }
        for step in script {
            run.step(step);
            run.look();
        }
        run
    }

    /// Ends all that is under way, and checks that nobody is left waiting.
    fn end(mut self) {
        for _ in 0..2 {
            (0..self.readers.len()).for_each(|reader| self.read(reader));
            self.world.close_link();
            self.world.store_writes();
            self.world.wait(seconds(4));
        }
        (0..self.readers.len()).for_each(|reader| self.read(reader));
        for reader in &self.readers {
            let is_here = self.world.ended(reader.client).is_none();
            if is_here && !reader.is_refused {
                assert!(reader.asked.is_empty(), "{:?} waits for {:?}", reader.client, reader.asked);
            }
        }
        assert_eq!(self.world.tally().receipts_pending, 0);
        if self.has_relay && !self.is_stopping {
            self.check_store();
        }
    }

    /// Once everything is quiet the store says what is held, and nothing else, whatever it lost or mixed up.
    fn check_store(&mut self) {
        self.world.open_link();
        self.world.welcome(self.epoch);
        self.world.lease(self.epoch);
        self.world.settle();
        let this_edge = edge("edge-1", self.epoch);
        self.world.store.routes.pop_first();
        self.world.store_mixes_up(&this_edge, "never-held");
        self.world.wait_and_settle(2 * ROUND + seconds(1));
        let held: BTreeSet<_> =
            self.world.hub.channels.keys().map(|channel| (this_edge.clone(), channel.clone())).collect();
        assert_eq!(self.world.store.routes, held);
        assert_eq!(self.world.store.index, held);
        let tally = self.world.tally();
        assert_eq!((tally.routes, tally.routes_pending), (held.len() as u64, 0));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { is_line } => self.open(is_line),
            Step::LogIn { is_line, user, token } => {
                self.open(is_line);
                self.connect(self.readers.len() - 1, user, token);
            }
            Step::Connect { client, user, token } => {
                if let Some(reader) = self.living(client) {
                    self.connect(reader, user, token);
                }
            }
            Step::Subscribe { client, channel } => {
                let name = CHANNELS[channel];
                self.ask_living(
                    client,
                    Asked::Subscribe(name),
                    |id| subscribe(id, name),
                    &format!("join {name}"),
                );
            }
            Step::Unsubscribe { client, channel } => {
                let name = CHANNELS[channel];
                self.ask_living(
                    client,
                    Asked::Unsubscribe(name),
                    |id| unsubscribe(id, name),
                    &format!("leave {name}"),
                );
            }
            Step::Publish { client, channel, is_large } => {
                let (name, data) = (CHANNELS[channel], payload(is_large));
                self.ask_living(
                    client,
                    Asked::Other,
                    |id| publish(id, name, &data),
                    &format!("say {name} {data}"),
                );
            }
            Step::Direct { client, user, is_large } => {
                let (user, data) = (USERS[user], payload(is_large));
                self.ask_living(
                    client,
                    Asked::Other,
                    |id| direct(id, user, &data),
                    &format!("send {user} {data}"),
                );
            }
            Step::Refresh { client, user, token } => {
                let token = token_with(user, token);
                self.ask_living(client, Asked::Other, |id| refresh(id, &token), "who news");
            }
            Step::Raw { client, frame } => {
                let reader = self.living(client).map(|reader| &mut self.readers[reader]);
                if let Some(reader) = reader.filter(|reader| !reader.is_line) {
                    if frame.contains("ID") {
                        self.last_id += 1;
                        reader.asked.insert(self.last_id, Asked::Other);
                    }
                    let frame = frame.replace("ID", &self.last_id.to_string());
                    self.world.send(reader.client, &frame);
                }
            }
            Step::Read { client } => {
                if let Some(reader) = self.living(client) {
                    self.read(reader);
                }
            }
            Step::Close { client } => {
                if let Some(reader) = self.living(client) {
                    self.world.close(self.readers[reader].client);
                }
            }
            Step::StoreWrites => self.world.store_writes(),
            Step::StoreDoes => self.world.store_does(),
            Step::StoreFails { is_away, done } => {
                let error = if is_away { StoreError::Away } else { StoreError::Unanswered };
                self.world.store_fails(error, done);
            }
            Step::StoreFences => self.world.store_fences(),
            Step::StoreLooks => self.world.store_looks(),
            Step::StoreReads { fails: false } => self.world.store_reads(),
            Step::StoreReads { fails: true } => self.world.store_fails_to_read(StoreError::Unanswered),
            Step::Freeze { millis: n } => self.world.freeze(millis(n)),
            Step::LookedUp { ticket, answer } => self.looked_up(ticket, answer),
            Step::Clock { seconds } => {
                let unix = std::time::Duration::from_secs(UNIX.saturating_add_signed(seconds));
                self.world.tell(Event::Clock { unix });
            }
            Step::Wait { millis: n } => self.world.wait(millis(n)),
            Step::Stop => {
                self.is_stopping = true;
                self.world.tell(Event::Stop);
            }
            _ if self.has_relay => self.relay_step(step),
            _ => {}
        }
    }

    fn relay_step(&mut self, step: &Step) {
        match *step {
            Step::OpenLink => {
                self.world.open_link();
            }
            Step::CloseLink => self.world.close_link(),
            Step::Welcome { is_new_epoch } => {
                self.epoch += u64::from(is_new_epoch);
                self.world.welcome(self.epoch);
            }
            Step::Lease => self.world.lease(self.epoch),
            Step::EndLease => {
                self.epoch += 1;
                self.world.end_lease(self.epoch);
            }
            Step::AnswerJoin { elsewhere } => self.world.answer_join(elsewhere),
            Step::OldJoined { channel, number } => {
                self.world.joined(CHANNELS[channel], number, true);
            }
            Step::Elsewhere { channel, elsewhere, telling } => {
                self.world.tell_elsewhere(CHANNELS[channel], elsewhere, telling);
            }
            Step::Gone { member } => self.world.relay_says(ToEdge::Gone { member: Member(member) }),
            Step::Arrives { channel, is_large, wants_receipt } => {
                self.arrived += 1;
                self.world.arrives(CHANNELS[channel], self.arrived, &payload(is_large), wants_receipt);
            }
            Step::Nonsense { lane } => {
                let lane = Lane(u8::try_from(lane).expect("below 16"));
                self.world.lane(lane, vec![Bytes::from_static(&[0, 0, 0, 1, 99])]);
            }
            Step::Routed { ticket, holders, complete } => {
                if let Some(&ticket) = self.tickets.iter().rev().nth(ticket) {
                    let holders: Vec<Member> = (2..2 + holders).map(Member).collect();
                    self.world.routed(ticket, &holders, complete);
                }
            }
            Step::Answered { ticket, holder, answer } => {
                if let Some(&ticket) = self.tickets.iter().rev().nth(ticket) {
                    let answer = match answer % 4 {
                        0 => Answer::Took(u32::from(answer / 4)),
                        1 => Answer::Unknown,
                        _ => Answer::NotHere(edge("edge-2", u64::from(holder))),
                    };
                    self.world.answered(ticket, Member(holder), answer);
                }
            }
            _ => {}
        }
    }

    fn looked_up(&mut self, ticket: usize, answer: u8) {
        if let Some(&ticket) = self.look_ups.iter().rev().nth(ticket) {
            let holders = match answer % 5 {
                0 => Err(StoreError::Away),
                4 => Err(StoreError::Unanswered),
                1 => Ok(vec![edge("edge-2", u64::from(answer / 4))]),
                2 => Ok(vec![edge("edge-1", self.epoch)]),
                _ => Ok(vec![]),
            };
            self.world.looked_up(ticket, holders);
        }
    }

    fn open(&mut self, is_line: bool) {
        let encoding = if is_line { Encoding::Line } else { Encoding::Json };
        let client = self.world.open_as(encoding, 0.5);
        let (asked, channels) = (BTreeMap::new(), BTreeSet::new());
        self.readers.push(Reader { client, is_line, asked, is_in: false, is_refused: false, channels });
    }

    /// The n-th of those who are here, counted round and round.
    fn living(&self, n: usize) -> Option<usize> {
        let is_here = |&reader: &usize| self.world.ended(self.readers[reader].client).is_none();
        let living: Vec<usize> = (0..self.readers.len()).filter(is_here).collect();
        living.get(n % living.len().max(1)).copied()
    }

    fn connect(&mut self, reader: usize, user: usize, token: u8) {
        let token = token_with(user, token);
        self.ask(reader, Asked::Connect, |id| connect(id, &token), &format!("login {token}"));
    }

    fn ask_living(&mut self, n: usize, asked: Asked, command: impl FnOnce(u32) -> String, line: &str) {
        if let Some(reader) = self.living(n) {
            self.ask(reader, asked, command, line);
        }
    }

    /// Sends a command of the protocol that the client speaks.
    fn ask(&mut self, reader: usize, asked: Asked, command: impl FnOnce(u32) -> String, line: &str) {
        let reader = &mut self.readers[reader];
        if reader.is_line {
            if !line.ends_with(' ') && !line.contains("  ") {
                self.world.type_line(reader.client, line);
            }
            return;
        }
        self.last_id += 1;
        reader.asked.insert(self.last_id, asked);
        self.world.send(reader.client, &command(self.last_id));
    }

    fn read(&mut self, reader: usize) {
        let reader = &mut self.readers[reader];
        let frames = self.world.read(reader.client);
        let pings = frames.iter().filter(|frame| *frame == "{}").count();
        if !reader.is_line {
            frames.iter().for_each(|frame| reader.takes(frame));
        }
        self.transcript.extend(frames);
        for _ in 0..pings {
            self.world.send(reader.client, "{}");
        }
    }

    /// Writes down what came out, and remembers what can be answered.
    fn look(&mut self) {
        self.look_ups.extend(self.world.look_ups().into_iter().map(|(ticket, _)| ticket));
        let sent = self.world.sent();
        self.tickets.extend(sent.iter().filter(|sent| sent.wants_receipt).map(|sent| sent.ticket));
        let came_out = (self.world.said(), sent, self.world.under_way(), self.world.closed_links());
        self.transcript.push(format!("{came_out:?} {:?}", self.world.tally()));
    }
}

impl Reader {
    fn takes(&mut self, frame: &str) {
        let value: Value = serde_json::from_str(frame).expect("frames are JSON");
        if let Some(push) = value.get("push") {
            let channel = push["channel"].as_str().expect("pushes have a channel");
            assert!(self.channels.contains(channel), "{channel} without being told: {frame:.200}");
            return;
        }
        let Some(id) = value.get("id").and_then(Value::as_u64) else {
            assert_eq!(frame, "{}");
            return assert!(self.is_in, "a ping before the connect reply");
        };
        let id = u32::try_from(id).expect("our own");
        let asked = self.asked.remove(&id).unwrap_or_else(|| panic!("nobody asked for {frame}"));
        if value.get("error").is_some() {
            self.is_refused |= !self.is_in;
            return;
        }
        assert!(self.is_in || matches!(asked, Asked::Connect), "before the connect reply: {frame}");
        match asked {
            Asked::Connect => {
                let subs = value["connect"]["subs"].as_object().expect("the personal channel at least");
                self.channels.extend(subs.keys().cloned());
                self.is_in = true;
            }
            Asked::Subscribe(channel) => assert!(self.channels.insert(channel.to_owned())),
            // The personal channel stays.
            Asked::Unsubscribe(channel) if channel.starts_with('#') => {}
            Asked::Unsubscribe(channel) => {
                self.channels.remove(channel);
            }
            Asked::Other => {}
        }
    }
}

/// Mostly one that opens.
fn token_with(user: usize, kind: u8) -> String {
    let user = USERS[user];
    match kind {
        0..=3 => "nonsense".to_owned(),
        4..=10 => signed(&format!(r#"{{"sub":"{user}","exp":{}}}"#, UNIX - 100)),
        11..=30 => signed(&format!(r#"{{"sub":"{user}","exp":{}}}"#, UNIX + u64::from(kind))),
        31..=40 => signed(&format!(r##"{{"sub":"{user}","channels":["#bob"]}}"##)),
        41..=120 => signed(&format!(r#"{{"sub":"{user}","channels":["news","chat","$x"]}}"#)),
        121..=u8::MAX => token_of(user),
    }
}

/// Large ones make whoever does not read slow.
fn payload(is_large: bool) -> String {
    if is_large { format!(r#""{}""#, "x".repeat(60_000)) } else { "1".to_owned() }
}
