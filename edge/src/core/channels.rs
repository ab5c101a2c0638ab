//! Who receives what on this edge: holding and releasing channels, delivery, and replies that wait until whoever is
//! told of a client can reach it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::client::{Connected, Publication, Reply};
use proto::id::Channel;
use proto::link::ToRelay;

use super::hub::Hub;
use super::session::{Phase, Subscription};
use super::{ClientKey, Encoding};

/// How long a reply waits for the store, for all of a client's channels together.
const ROUTE_WAIT_MAX: Duration = Duration::from_millis(250);

/// A channel that this edge holds.
///
/// # Invariants
/// There is at least one subscriber.
#[derive(Debug)]
pub(super) struct Held {
    subscribers: Vec<Subscriber>,
    join: Join,
    /// What the relay last told; false if it never told anything.
    elsewhere: bool,
}

#[derive(Debug)]
struct Subscriber {
    client: ClientKey,
    /// Whether its subscription is answered, so that publications may go out.
    is_settled: bool,
    /// Whether it has waited for the store long enough.
    is_past_route_wait: bool,
}

/// How far this link's join of a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// There is no link to join by.
    Unlinked,
    /// The relay has not answered this join.
    Sent(u32),
    /// Whoever else holds the channel knows it.
    Answered,
}

/// A subscription that does not wait for the store any longer from then on.
#[derive(Debug)]
pub(super) struct RouteWait {
    pub(super) until: Instant,
    client: ClientKey,
    channel: Channel,
}

impl Hub {
    /// Makes `client` a subscriber of `channel`, which it is not yet; the reply goes out when it may.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        client: ClientKey,
        channel: &Channel,
        subscription: Subscription,
    ) {
        let session = self.sessions.get_mut(&client).expect("only sessions subscribe");
        session.channels.insert(channel.clone(), subscription);
        let subscriber = Subscriber { client, is_settled: false, is_past_route_wait: false };
        match self.channels.get_mut(channel) {
            Some(held) => held.subscribers.push(subscriber),
            None => {
                let held = Held { subscribers: vec![subscriber], join: Join::Unlinked, elsewhere: false };
                self.channels.insert(channel.clone(), held);
                self.tally.joins += 1;
                self.join(channel);
                self.routes.want(channel, true);
            }
        }
        self.settle(channel);
        // Also where the relay alone is waited for: a lease may come before its answer, and the store's turn with it.
        let waits = |held: &Held| held.subscribers.last().is_some_and(|subscriber| !subscriber.is_settled);
        if self.channels.get(channel).is_some_and(waits) {
            self.route_waits.push_back(RouteWait {
                until: now + ROUTE_WAIT_MAX,
                client,
                channel: channel.clone(),
            });
        }
    }

    /// Makes `client` no subscriber of `channel` any more; answers whether its subscription was settled.
    pub(super) fn release(&mut self, client: ClientKey, channel: &Channel) -> bool {
        let Some(held) = self.channels.get_mut(channel) else { return false };
        let Some(at) = held.subscribers.iter().position(|subscriber| subscriber.client == client) else {
            return false;
        };
        let was_settled = held.subscribers.remove(at).is_settled;
        if held.subscribers.is_empty() {
            self.channels.remove(channel);
            self.tally.leaves += 1;
            self.routes.want(channel, false);
            if self.is_linked() {
                self.say(&ToRelay::Leave { channel: channel.clone() });
            }
        }
        was_settled
    }

    /// Pushes a publication to all subscribers here; answers how many outboxes have it, `None` without subscribers.
    pub(super) fn deliver(&mut self, channel: &str, publication: Publication<'_>) -> Option<u32> {
        let held = self.channels.get(channel)?;
        let mut encoded: [Option<Bytes>; 2] = [None, None];
        let mut took = 0;
        for subscriber in &held.subscribers {
            let Some(session) = self.sessions.get_mut(&subscriber.client) else { continue };
            let encoding = session.encoding;
            let slot = match encoding {
                Encoding::Json => &mut encoded[0],
                Encoding::Line => &mut encoded[1],
            };
            let frame = slot.get_or_insert_with(|| encoding.publication(channel, publication)).clone();
            let queued =
                if subscriber.is_settled { session.emit(frame) } else { session.park(channel, frame) };
            match queued {
                Ok(()) => {
                    took += 1;
                    self.tally.parked += u64::from(!subscriber.is_settled);
                }
                Err(_) => self.slow.push(subscriber.client),
            }
        }
        self.tally.pushes += u64::from(took);
        Some(took)
    }

    /// Whether somebody else may hold `channel`, which is held here.
    pub(super) fn is_elsewhere(&self, channel: &str) -> bool {
        let Some(held) = self.channels.get(channel) else { return true };
        match held.join {
            Join::Sent(_) => true,
            Join::Unlinked | Join::Answered => held.elsewhere,
        }
    }

    pub(super) fn held_channels(&self) -> Vec<Channel> {
        self.channels.keys().cloned().collect()
    }

    pub(super) fn join_sent(&mut self, channel: &Channel, number: u32) {
        if let Some(held) = self.channels.get_mut(channel) {
            held.join = Join::Sent(number);
        }
    }

    pub(super) fn joined(&mut self, channel: &Channel, number: u32, elsewhere: bool) {
        let Some(held) = self.channels.get_mut(channel) else { return };
        if held.join == Join::Sent(number) {
            held.join = Join::Answered;
            held.elsewhere = elsewhere;
            self.settle(channel);
        }
    }

    /// A telling that is older than our join says nothing about it; `joined` will.
    pub(super) fn told_elsewhere(&mut self, channel: &Channel, elsewhere: bool) {
        if let Some(held) = self.channels.get_mut(channel).filter(|held| held.join == Join::Answered) {
            held.elsewhere = elsewhere;
        }
    }

    /// The link ended, and with it the waiting for its answers.
    pub(super) fn forget_joins(&mut self) {
        for held in self.channels.values_mut() {
            held.join = Join::Unlinked;
        }
        for channel in self.held_channels() {
            self.settle(&channel);
        }
    }

    /// Lets go of those who have waited for the store long enough.
    pub(super) fn end_route_waits(&mut self, now: Instant) {
        while self.route_waits.front().is_some_and(|wait| wait.until <= now) {
            let Some(RouteWait { client, channel, .. }) = self.route_waits.pop_front() else { return };
            let Some(held) = self.channels.get_mut(&channel) else { continue };
            if let Some(subscriber) =
                held.subscribers.iter_mut().find(|subscriber| subscriber.client == client)
            {
                subscriber.is_past_route_wait = true;
                self.settle(&channel);
            }
        }
    }

    /// Nobody waits for the store any more, whether it could answer or not.
    pub(super) fn settle_waiting(&mut self) {
        let channels: Vec<Channel> = self.route_waits.iter().map(|wait| wait.channel.clone()).collect();
        for channel in channels {
            self.settle(&channel);
        }
    }

    /// Answers the subscribers of `channel` that wait for nothing any more.
    pub(super) fn settle(&mut self, channel: &Channel) {
        let is_written = self.routes.is_settled(channel);
        let Some(held) = self.channels.get_mut(channel) else { return };
        if matches!(held.join, Join::Sent(_)) {
            return;
        }
        let mut settled = Vec::new();
        for subscriber in &mut held.subscribers {
            if !subscriber.is_settled && (is_written || subscriber.is_past_route_wait) {
                subscriber.is_settled = true;
                settled.push(subscriber.client);
            }
        }
        for client in settled {
            self.answer_subscription(client, channel);
        }
    }

    fn answer_subscription(&mut self, client: ClientKey, channel: &Channel) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(subscription) = session.channels.get_mut(channel) else { return };
        match subscription {
            Subscription::Server => self.greet(client),
            Subscription::Active => {}
            Subscription::Pending { .. } => {
                let Subscription::Pending { reply_id, parked } =
                    std::mem::replace(subscription, Subscription::Active)
                else {
                    return;
                };
                self.reply(client, reply_id, &Reply::Subscribe);
                for frame in parked.into_frames() {
                    self.emit(client, frame);
                }
            }
        }
    }

    /// Sends the connect reply once the last server-side subscription is settled, and all that waited behind it.
    pub(super) fn greet(&mut self, client: ClientKey) {
        let ping_seconds = u32::try_from(self.config.ping_interval.as_secs()).unwrap_or(u32::MAX);
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Phase::Live(login) = &mut session.phase else { return };
        let Some(greeting) = &mut login.greeting else { return };
        greeting.unsettled -= 1;
        if greeting.unsettled > 0 {
            return;
        }
        let Some(greeting) = login.greeting.take() else { return };
        let mut channels = vec![login.user.personal_channel()];
        channels.extend(login.token_channels.iter().cloned());
        let ping_seconds = if session.heart.is_some() { ping_seconds } else { 0 };
        let connected = Connected { client: session.id, ttl: greeting.ttl, channels, ping_seconds };
        self.reply(client, greeting.reply_id, &Reply::Connect(connected));
        for frame in greeting.parked.into_frames() {
            self.emit(client, frame);
        }
    }
}

impl Held {
    /// Who receives it, in the order in which they subscribed.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = ClientKey> {
        self.subscribers.iter().map(|subscriber| subscriber.client)
    }
}
