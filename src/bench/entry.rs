//! How the clients of a run come in: opened a few at a time or at a rate, logged in, subscribed; and how long that took.
//!
//! A core: it says whom to connect next, and is told what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use proto::id::UserId;

use super::crowd::{ClientIndex, Core, Outboxes, Server};
use super::latency::Latency;
use super::line::{self, Line, Outcome};
use super::schedule::Schedule;
use super::socket::End;

/// How long a client may take from its first packet until it is in.
const ENTRY_MAX: Duration = Duration::from_secs(10);

const CONNECT_ID: u32 = 1;
const SUBSCRIBE_ID: u32 = 2;

/// What the floor says when both ends of a pair are there.
pub(super) const FLOOR_PAIRED: &[u8] = b"paired";

/// Somebody who is to come in.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) server: Rc<Server>,
    pub(super) login: Login,
}

#[derive(Debug)]
pub(super) enum Login {
    /// By a token; then it subscribes, if it is to.
    User { user: UserId, channel: Option<String> },
    /// At the floor, which pairs two of the same name.
    Floor { pair: String },
}

/// How many come at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Throng {
    /// So many are on their way in at once.
    AtOnce(usize),
    /// So many begin each second, whatever becomes of those before.
    Rate(u32),
}

/// The entry of a crowd.
#[derive(Debug)]
pub(super) struct Entry {
    guests: Vec<Guest>,
    secret: String,
    stages: Vec<Stage>,
    pace: Pace,
    /// The next one to begin.
    next: usize,
    /// Those on their way, in the order in which their time is up; some of them are in already.
    deadlines: VecDeque<(Instant, ClientIndex)>,
    under_way: usize,
    pub(super) entered: usize,
    /// From the intended beginning to the WebSocket, and to the last answer.
    pub(super) opened_after: Latency,
    pub(super) entered_after: Latency,
    /// At a rate: from the intended beginning to the real one.
    pub(super) lateness: Latency,
    /// How many failed for which reason.
    pub(super) failures: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Pace {
    AtOnce(usize),
    Rate(Schedule),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Outside,
    /// Since when it meant to come.
    UnderWay(Instant),
    In,
    Gone,
}

impl Entry {
    /// An entry of `guests`, with tokens signed by `secret`.
    pub(super) fn new(now: Instant, guests: Vec<Guest>, secret: &str, throng: Throng) -> Self {
        let stages = vec![Stage::Outside; guests.len()];
        let pace = match throng {
            Throng::AtOnce(count) => Pace::AtOnce(count),
            Throng::Rate(rate) => Pace::Rate(Schedule::new(now, rate)),
        };
        Self {
            guests,
            secret: secret.to_owned(),
            stages,
            pace,
            next: 0,
            deadlines: VecDeque::new(),
            under_way: 0,
            entered: 0,
            opened_after: Latency::default(),
            entered_after: Latency::default(),
            lateness: Latency::default(),
            failures: BTreeMap::new(),
        }
    }

    /// Whom to connect now, if anybody.
    pub(super) fn poll_connect(&mut self, now: Instant) -> Option<(ClientIndex, Rc<Server>)> {
        let guest = self.guests.get(self.next)?;
        let intended = match &mut self.pace {
            Pace::AtOnce(count) if self.under_way >= *count => return None,
            Pace::AtOnce(_) => now,
            Pace::Rate(schedule) => {
                let (_, intended) = schedule.take(now)?;
                self.lateness.record(now - intended);
                intended
            }
        };
        let client = ClientIndex(self.next);
        self.next += 1;
        self.under_way += 1;
        self.stages[client.0] = Stage::UnderWay(intended);
        self.deadlines.push_back((now + ENTRY_MAX, client));
        Some((client, Rc::clone(&guest.server)))
    }

    /// Whose time is up: his connection is to be ended.
    pub(super) fn poll_late(&mut self, now: Instant) -> Option<ClientIndex> {
        while let Some(&(deadline, client)) = self.deadlines.front() {
            if !matches!(self.stages[client.0], Stage::UnderWay(_)) {
                self.deadlines.pop_front();
            } else if deadline <= now {
                self.deadlines.pop_front();
                return Some(client);
            } else {
                break;
            }
        }
        None
    }

    /// When to ask again at the latest.
    pub(super) fn poll_timeout(&self, now: Instant) -> Instant {
        let next = match &self.pace {
            Pace::Rate(schedule) if self.next < self.guests.len() => Some(schedule.next_due()),
            Pace::Rate(_) | Pace::AtOnce(_) => None,
        };
        let deadline = self.deadlines.front().map(|&(deadline, _)| deadline);
        [next, deadline].into_iter().flatten().min().unwrap_or(now + ENTRY_MAX)
    }

    /// Whether everybody is in, or has failed.
    pub(super) fn is_over(&self) -> bool {
        self.next == self.guests.len() && self.under_way == 0
    }

    pub(super) fn late() -> End {
        End::Late(ENTRY_MAX.as_secs())
    }

    fn enter(&mut self, client: ClientIndex, since: Instant, now: Instant) {
        self.stages[client.0] = Stage::In;
        self.under_way -= 1;
        self.entered += 1;
        self.entered_after.record(now - since);
    }

    /// It said no: to nobody's surprise its connection will end, but what matters is why.
    fn refused(&mut self, client: ClientIndex, now: Instant, what: &str, outcome: &Outcome) {
        let Outcome::Refused(refusal) = outcome else { unreachable!("called for refusals only") };
        self.ended(client, now, End::Refused(format!("{what} with {refusal}")));
    }
}

impl Core for Entry {
    fn opened(&mut self, client: ClientIndex, now: Instant, outboxes: &mut Outboxes) {
        if let Stage::UnderWay(since) = self.stages[client.0] {
            self.opened_after.record(now - since);
        }
        match &self.guests[client.0].login {
            Login::User { user, .. } => {
                let token = edge::token::mint(&self.secret, user, None);
                outboxes.text(client, &[line::connect(CONNECT_ID, &token).as_bytes()]);
            }
            Login::Floor { pair } => outboxes.text(client, &[pair.as_bytes()]),
        }
    }

    fn heard(&mut self, client: ClientIndex, now: Instant, bytes: &[u8], outboxes: &mut Outboxes) {
        let read = line::read(bytes);
        if read == Line::Ping {
            return outboxes.text(client, &[line::PONG]);
        }
        let Stage::UnderWay(since) = self.stages[client.0] else { return };
        match (&self.guests[client.0].login, read) {
            (Login::Floor { .. }, _) if bytes == FLOOR_PAIRED => self.enter(client, since, now),
            (Login::User { .. }, Line::Answer { id, outcome: outcome @ Outcome::Refused(_) }) => {
                let what = if id == CONNECT_ID { "the token" } else { "the subscription" };
                self.refused(client, now, what, &outcome);
            }
            (Login::User { channel: Some(channel), .. }, Line::Answer { id: CONNECT_ID, .. }) => {
                outboxes.text(client, &[line::subscribe(SUBSCRIBE_ID, channel).as_bytes()]);
            }
            (Login::User { channel: None, .. }, Line::Answer { id: CONNECT_ID, .. })
            | (Login::User { .. }, Line::Answer { id: SUBSCRIBE_ID, .. }) => self.enter(client, since, now),
            (Login::User { .. } | Login::Floor { .. }, _) => {}
        }
    }

    fn ended(&mut self, client: ClientIndex, _now: Instant, end: End) {
        let stage = std::mem::replace(&mut self.stages[client.0], Stage::Gone);
        match stage {
            Stage::UnderWay(_) => self.under_way -= 1,
            Stage::In => self.entered -= 1,
            Stage::Outside | Stage::Gone => return,
        }
        let Guest { server, login } = &self.guests[client.0];
        let hint = match (&end, login) {
            (End::Closed { code: 3500, .. }, Login::User { .. }) => "; is --secret the one of the edges?",
            _ => "",
        };
        *self.failures.entry(format!("{}: {end}{hint}", server.address)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::*;

    fn guests(count: usize, channel: Option<&str>) -> Vec<Guest> {
        let address = Address::parse("ws://127.0.0.1:1").expect("valid");
        let socket_address = address.resolve().expect("no name");
        let server = Rc::new(Server { address, socket_address });
        let user = UserId::parse("u").expect("valid");
        let login = || Login::User { user: user.clone(), channel: channel.map(str::to_owned) };
        (0..count).map(|_| Guest { server: Rc::clone(&server), login: login() }).collect()
    }

    fn connecting(entry: &mut Entry, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| entry.poll_connect(now)).map(|(client, _)| client.0).collect()
    }

    const CONNECTED: &[u8] = br#"{"id":1,"connect":{"client":"c"}}"#;

    #[test]
    fn so_many_are_under_way_at_once_and_each_that_is_in_makes_room_for_the_next() {
        let now = Instant::now();
        let mut entry = Entry::new(now, guests(3, None), "s", Throng::AtOnce(2));
        let mut outboxes = Outboxes::new(3).expect("chance");

        assert_eq!(connecting(&mut entry, now), [0, 1]);
        entry.opened(ClientIndex(1), now, &mut outboxes);
        entry.heard(ClientIndex(1), now, CONNECTED, &mut outboxes);
        assert_eq!(connecting(&mut entry, now), [2]);
        assert!(!entry.is_over());
        for client in [0, 2] {
            entry.heard(ClientIndex(client), now, CONNECTED, &mut outboxes);
        }
        assert!(entry.is_over());
        assert_eq!((entry.entered, entry.failures.len()), (3, 0));
    }

    #[test]
    fn who_is_to_subscribe_is_in_when_that_is_answered() {
        let now = Instant::now();
        let mut entry = Entry::new(now, guests(1, Some("c")), "s", Throng::AtOnce(1));
        let mut outboxes = Outboxes::new(1).expect("chance");
        connecting(&mut entry, now);

        entry.heard(ClientIndex(0), now, CONNECTED, &mut outboxes);
        assert_eq!(entry.entered, 0);
        assert!(outboxes.bytes(ClientIndex(0)) > 0);
        entry.heard(ClientIndex(0), now, br#"{"id":2,"subscribe":{}}"#, &mut outboxes);
        assert_eq!(entry.entered, 1);
    }

    #[test]
    fn at_a_rate_each_has_his_time_and_waits_for_nobody() {
        let now = Instant::now();
        let mut entry = Entry::new(now, guests(3, None), "s", Throng::Rate(10));

        assert_eq!(connecting(&mut entry, now), [0]);
        assert_eq!(entry.poll_timeout(now), now + Duration::from_millis(100));
        assert_eq!(connecting(&mut entry, now + Duration::from_millis(250)), [1, 2]);
    }

    #[test]
    fn who_gets_no_answer_is_late_and_who_is_in_is_not() {
        let now = Instant::now();
        let mut entry = Entry::new(now, guests(2, None), "s", Throng::AtOnce(2));
        let mut outboxes = Outboxes::new(2).expect("chance");
        connecting(&mut entry, now);
        entry.heard(ClientIndex(0), now, CONNECTED, &mut outboxes);

        assert_eq!(entry.poll_late(now + ENTRY_MAX - Duration::from_millis(1)), None);
        assert_eq!(entry.poll_late(now + ENTRY_MAX), Some(ClientIndex(1)));
        entry.ended(ClientIndex(1), now, Entry::late());
        assert_eq!(entry.poll_late(now + ENTRY_MAX), None);
        assert!(entry.is_over());
        let reasons: Vec<_> = entry.failures.keys().collect();
        assert_eq!(reasons, ["ws://127.0.0.1:1/connection/websocket: no answer within 10 s"]);
    }

    #[test]
    fn a_refusal_names_what_was_refused_and_its_connections_end_counts_no_more() {
        let now = Instant::now();
        let mut entry = Entry::new(now, guests(2, None), "s", Throng::AtOnce(2));
        let mut outboxes = Outboxes::new(2).expect("chance");
        connecting(&mut entry, now);

        let refusal = br#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
        entry.heard(ClientIndex(0), now, refusal, &mut outboxes);
        entry.ended(ClientIndex(0), now, End::Gone);
        let closed = End::Closed { code: 3500, reason: "invalid token".to_owned() };
        entry.ended(ClientIndex(1), now, closed);

        let reasons: Vec<_> = entry.failures.iter().map(|(why, count)| format!("{count} {why}")).collect();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(reasons[0].contains("3500 \"invalid token\"; is --secret"), "{reasons:?}");
        assert!(reasons[1].ends_with("it refused the token with error 109, token expired"), "{reasons:?}");
    }
}
