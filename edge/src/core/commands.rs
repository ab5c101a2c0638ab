//! What a client's commands do, in the order in which the client protocol checks them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::client::code::{Disconnect, ErrorCode};
use proto::client::{Command, DirectMessage, NamedChannel, Publication, Reply, Request, Subscribe, json};
use proto::id::{Channel, ChannelKind, InvalidChannel, UserId};
use proto::limits::CHANNELS_PER_CLIENT_MAX;

use super::hub::Hub;
use super::receipts::{Pending, RECEIPTS_PER_CLIENT_MAX};
use super::session::{Greeting, Login, Parked, Phase, Subscription, ttl};
use super::{Action, ClientKey, Encoding, Outcome, Verdict};
use crate::token::{Claims, TokenError, same_channels};

/// How long a session outlives its token, so that a refresh may come late.
const EXPIRED_GRACE: Duration = Duration::from_secs(25);

/// How a command failed.
enum Refusal {
    /// The connection stays.
    Error(ErrorCode),
    /// It does not.
    Disconnect(Disconnect),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

const PROTOCOL_BROKEN: Refusal = Refusal::Disconnect(Disconnect::BadRequest);

impl Hub {
    /// Executes the commands of a JSON frame, or of a slice of one, in order, as long as the client is there.
    pub(super) fn frame(&mut self, now: Instant, client: ClientKey, frame: &Bytes, is_rest: bool) {
        let mut is_behind = is_rest;
        for command in json::commands(frame) {
            // What stands behind a failing connect in its frame was sent in good faith.
            match self.sessions.get(&client).map(|session| &session.phase) {
                None => return,
                Some(Phase::Refused { .. }) if is_behind => return,
                Some(Phase::New { .. } | Phase::Refused { .. } | Phase::Live(_)) => {}
            }
            self.command(now, client, command);
            is_behind = true;
        }
    }

    pub(super) fn command(&mut self, now: Instant, client: ClientKey, command: Command) {
        let Some(session) = self.sessions.get(&client) else { return };
        let Command { id, request } = command;
        let done = match &session.phase {
            Phase::New { .. } => match request {
                Request::Connect { token } => self.connect(now, client, id, token),
                _ if session.encoding == Encoding::Line => Err(ErrorCode::Unauthorized.into()),
                _ => Err(PROTOCOL_BROKEN),
            },
            Phase::Refused { .. } => Err(PROTOCOL_BROKEN),
            Phase::Live(_) => self.request(now, client, id, request),
        };
        match done {
            Ok(()) => {}
            Err(Refusal::Error(code)) => self.reply(client, id, &Reply::Error(code)),
            Err(Refusal::Disconnect(why)) => self.disconnect(client, why),
        }
    }

    fn request(&mut self, now: Instant, client: ClientKey, id: u32, request: Request) -> Result<(), Refusal> {
        match request {
            Request::Pong => self.pong(client),
            Request::Subscribe(subscribe) => self.subscribe(now, client, id, *subscribe),
            Request::Unsubscribe { channel } => self.unsubscribe(client, id, channel),
            Request::Publish { channel, data, is_map } => {
                self.tally.messages_received += 1;
                let done = self.publish(client, channel, data, is_map);
                self.publish_answered(client, id, &done);
                done
            }
            Request::Direct(message) => {
                self.tally.messages_received += 1;
                self.direct(now, client, id, message)
            }
            Request::Ping => {
                self.reply(client, id, &Reply::Ping);
                Ok(())
            }
            Request::Refresh { token } => self.refresh(now, client, id, token),
            Request::Presence { channel }
            | Request::PresenceStats { channel }
            | Request::History { channel } => {
                named(channel)?;
                Err(ErrorCode::NotAvailable.into())
            }
            Request::SubRefresh { channel } => {
                let channel = named(channel)?;
                let is_subscribed =
                    self.sessions.get(&client).is_some_and(|session| session.channels.contains_key(&channel));
                // No subscription has a token of its own, so none can be refreshed.
                Err(if is_subscribed { ErrorCode::NotAvailable } else { ErrorCode::PermissionDenied }.into())
            }
            Request::Rpc => Err(ErrorCode::NotAvailable.into()),
            Request::Send => Err(Refusal::Disconnect(Disconnect::NotAvailable)),
            Request::Connect { .. } if self.encoding_of(client) == Some(Encoding::Line) => {
                Err(ErrorCode::BadRequest.into())
            }
            Request::Connect { .. } | Request::Malformed => Err(PROTOCOL_BROKEN),
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        client: ClientKey,
        id: u32,
        token: Option<String>,
    ) -> Result<(), Refusal> {
        let token = token.ok_or(PROTOCOL_BROKEN)?;
        let unix = self.unix(now);
        let claims = match self.config.verifier.verify(&token, unix.as_secs()) {
            Ok(claims) => claims,
            Err(TokenError::Invalid) => return Err(Refusal::Disconnect(Disconnect::InvalidToken)),
            Err(TokenError::Expired) => return self.refuse_connect(client, ErrorCode::TokenExpired),
        };
        let token_channels = match server_side(&claims) {
            Ok(channels) => channels,
            Err(code) => return self.refuse_connect(client, code),
        };
        if token_channels.len() > CHANNELS_PER_CLIENT_MAX {
            return Err(Refusal::Disconnect(Disconnect::ChannelLimit));
        }
        self.log_in(now, client, id, claims, &token_channels);
        Ok(())
    }

    /// An error reply to connect leaves the connection unusable, except for a person, who may try again.
    fn refuse_connect(&mut self, client: ClientKey, code: ErrorCode) -> Result<(), Refusal> {
        if let Some(session) = self.sessions.get_mut(&client)
            && let (Phase::New { stale_at }, Encoding::Json) = (&session.phase, session.encoding)
        {
            session.phase = Phase::Refused { stale_at: *stale_at };
        }
        Err(code.into())
    }

    fn log_in(
        &mut self,
        now: Instant,
        client: ClientKey,
        id: u32,
        claims: Claims,
        token_channels: &[Channel],
    ) {
        let unix = self.unix(now);
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let personal = claims.user.personal_channel();
        let greeting = Greeting {
            reply_id: id,
            ttl: claims.expires.map(|expires| ttl(expires, unix)),
            unsettled: 1 + token_channels.len(),
            parked: Parked::default(),
        };
        session.phase = Phase::Live(Box::new(Login {
            info: json::client_info(&claims.user, session.id, claims.info.as_deref()),
            user: claims.user,
            since: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            token_channels: token_channels.to_vec(),
            ends_at: claims.expires.map(|expires| ends_at(now, expires, unix)),
            greeting: Some(greeting),
        }));
        session.start_heart(now, self.config.ping_interval);
        self.actions.push_back(Action::LoggedIn { client });
        self.tally.clients += 1;
        self.arm(client);
        for channel in [personal].iter().chain(token_channels) {
            self.hold(now, client, channel, Subscription::Server);
        }
    }

    fn refresh(
        &mut self,
        now: Instant,
        client: ClientKey,
        id: u32,
        token: Option<String>,
    ) -> Result<(), Refusal> {
        let token = token.ok_or(PROTOCOL_BROKEN)?;
        let unix = self.unix(now);
        let claims = self.config.verifier.verify(&token, unix.as_secs()).map_err(|error| match error {
            TokenError::Invalid => Refusal::Disconnect(Disconnect::InvalidToken),
            TokenError::Expired => Refusal::Disconnect(Disconnect::Expired),
        })?;
        let session = self.sessions.get_mut(&client).expect("commands come from sessions");
        let Phase::Live(login) = &mut session.phase else { return Err(PROTOCOL_BROKEN) };
        if claims.user != login.user {
            return Err(Refusal::Disconnect(Disconnect::InvalidToken));
        }
        let personal = login.user.personal_channel();
        let named: Vec<String> =
            claims.channels.into_iter().filter(|channel| *channel != personal.as_str()).collect();
        if !same_channels(&named, &login.token_channels) {
            return Err(Refusal::Disconnect(Disconnect::InsufficientState));
        }
        login.ends_at = claims.expires.map(|expires| ends_at(now, expires, unix));
        let reply =
            Reply::Refresh { client: session.id, ttl: claims.expires.map(|expires| ttl(expires, unix)) };
        self.arm(client);
        self.reply(client, id, &reply);
        Ok(())
    }

    fn subscribe(
        &mut self,
        now: Instant,
        client: ClientKey,
        id: u32,
        subscribe: Subscribe,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(&client).expect("commands come from sessions");
        let login = session.login().expect("checked by the caller");
        match &subscribe.channel {
            Err(InvalidChannel::Empty) => return Err(PROTOCOL_BROKEN),
            Err(InvalidChannel::Long) => return Err(ErrorCode::BadRequest.into()),
            Ok(channel) if session.channels.contains_key(channel) => {
                return Err(ErrorCode::AlreadySubscribed.into());
            }
            Ok(_) | Err(InvalidChannel::Malformed) => {}
        }
        // The personal channel does not count.
        if session.channels.len() > CHANNELS_PER_CLIENT_MAX {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let channel = named(subscribe.channel)?;
        if subscribe.is_map {
            return Err(ErrorCode::PermissionDenied.into());
        }
        may_subscribe(&channel, &login.user)?;
        if subscribe.delta.is_some_and(|delta| delta != "fossil") {
            return Err(PROTOCOL_BROKEN);
        }
        if subscribe.has_filter {
            return Err(ErrorCode::BadRequest.into());
        }
        let subscription = Subscription::Pending { reply_id: id, parked: Parked::default() };
        self.hold(now, client, &channel, subscription);
        Ok(())
    }

    fn unsubscribe(&mut self, client: ClientKey, id: u32, channel: NamedChannel) -> Result<(), Refusal> {
        if channel == Err(InvalidChannel::Empty) {
            return Err(PROTOCOL_BROKEN);
        }
        if let Ok(channel) = channel {
            self.leave_channel(client, &channel);
        }
        self.reply(client, id, &Reply::Unsubscribe);
        Ok(())
    }

    fn leave_channel(&mut self, client: ClientKey, channel: &Channel) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let is_own = session.login().is_some_and(|login| login.user.personal_channel() == *channel);
        if is_own {
            // Whoever is here can be reached; a client can no more leave its personal channel than its name.
            return;
        }
        let Some(subscription) = session.channels.remove(channel) else { return };
        let was_settled = self.release(client, channel);
        match subscription {
            // Its reply comes first; publications that waited for it have no reader any more.
            Subscription::Pending { reply_id, .. } => self.reply(client, reply_id, &Reply::Subscribe),
            Subscription::Active => {}
            // The connect reply waited for it, unless it was settled and counted already.
            Subscription::Server if !was_settled => self.greet(client),
            Subscription::Server => {}
        }
    }

    fn publish(
        &mut self,
        client: ClientKey,
        channel: NamedChannel,
        data: Option<Bytes>,
        is_map: bool,
    ) -> Result<(), Refusal> {
        let login =
            self.sessions.get(&client).and_then(|session| session.login()).expect("checked by the caller");
        let channel = named(channel)?;
        let data = data.ok_or(ErrorCode::BadRequest)?;
        if is_map {
            return Err(ErrorCode::NotAvailable.into());
        }
        may_publish(&channel, &login.user)?;
        let info = login.info.clone();
        let publication = Publication { data: &data, info: &info };
        if self.goes_to_relay(&channel) {
            self.send_out(channel.as_str(), publication, false).ok_or(ErrorCode::Internal)?;
        }
        self.deliver(channel.as_str(), publication);
        Ok(())
    }

    fn publish_answered(&mut self, client: ClientKey, id: u32, done: &Result<(), Refusal>) {
        let outcome = match done {
            Ok(()) => Outcome::Accepted,
            Err(Refusal::Error(code)) if code.is_temporary() => Outcome::Unknown,
            Err(_) => Outcome::Rejected,
        };
        self.tally.message(outcome);
        if done.is_ok() {
            self.reply(client, id, &Reply::Publish);
        }
    }

    fn direct(
        &mut self,
        now: Instant,
        client: ClientKey,
        id: u32,
        message: Option<DirectMessage>,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(&client).expect("checked by the caller");
        let login = session.login().expect("checked by the caller");
        let has_share = session.receipts_awaited < RECEIPTS_PER_CLIENT_MAX;
        let Some(DirectMessage { to, data }) = message else {
            self.tally.message(Outcome::Rejected);
            return Err(ErrorCode::BadRequest.into());
        };
        let info = login.info.clone();
        let publication = Publication { data: &data, info: &info };
        let channel = to.personal_channel();
        if !self.goes_to_relay(&channel) {
            let verdict = match self.deliver(channel.as_str(), publication) {
                None => Verdict::Offline,
                // Somebody is here, but so slow that he was just let go.
                Some(0) => Verdict::Unknown,
                Some(n) => Verdict::Delivered(n),
            };
            self.answer_direct(client, id, verdict);
            return Ok(());
        }
        let ticket = if has_share && self.receipts.has_room() {
            self.send_out(channel.as_str(), publication, true)
        } else {
            None
        };
        let Some(ticket) = ticket else {
            self.answer_direct(client, id, Verdict::Unknown);
            return Ok(());
        };
        let took_here = self.deliver(channel.as_str(), publication);
        self.receipts.insert(ticket, Pending::new(now, client, id, channel, took_here));
        if let Some(session) = self.sessions.get_mut(&client) {
            session.receipts_awaited += 1;
        }
        Ok(())
    }

    /// Whether others than this edge's clients may have to get what is sent to `channel`.
    fn goes_to_relay(&self, channel: &Channel) -> bool {
        self.config.has_relay && self.is_elsewhere(channel.as_str())
    }

    pub(super) fn give_verdict(&mut self, pending: &Pending, verdict: Verdict) {
        if let Some(session) = self.sessions.get_mut(&pending.client) {
            session.receipts_awaited -= 1;
        }
        self.tally.receipt_came(verdict, self.now.saturating_duration_since(pending.sent));
        self.answer_direct(pending.client, pending.reply_id, verdict);
    }

    fn answer_direct(&mut self, client: ClientKey, id: u32, verdict: Verdict) {
        self.tally.receipt(verdict);
        let reply = match verdict {
            Verdict::Delivered(n) => Reply::Delivered(n),
            Verdict::Offline => Reply::Delivered(0),
            Verdict::Unknown => Reply::Error(ErrorCode::Internal),
        };
        self.reply(client, id, &reply);
    }

    fn pong(&mut self, client: ClientKey) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&client).expect("commands come from sessions");
        let awaited = session.heart.as_mut().and_then(|heart| heart.pong_due.take());
        awaited.map(|_| ()).ok_or(PROTOCOL_BROKEN)
    }
}

/// What the server subscribes the owner of a token to, besides his personal channel. Whoever signs tokens may let a
/// user listen anywhere, but not to what is meant for another user alone.
fn server_side(claims: &Claims) -> Result<Vec<Channel>, ErrorCode> {
    let mut channels = Vec::with_capacity(claims.channels.len());
    for name in &claims.channels {
        let channel = Channel::parse(name).map_err(|_| ErrorCode::BadRequest)?;
        match channel.kind() {
            ChannelKind::Personal(user) if user == claims.user.as_str() => {}
            ChannelKind::Personal(_) => return Err(ErrorCode::PermissionDenied),
            ChannelKind::Open | ChannelKind::UserLimited(_) | ChannelKind::Private => {
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
        }
    }
    Ok(channels)
}

fn named(channel: NamedChannel) -> Result<Channel, Refusal> {
    channel.map_err(|invalid| match invalid {
        InvalidChannel::Empty => PROTOCOL_BROKEN,
        InvalidChannel::Long | InvalidChannel::Malformed => ErrorCode::BadRequest.into(),
    })
}

fn may_subscribe(channel: &Channel, user: &UserId) -> Result<(), ErrorCode> {
    match channel.kind() {
        ChannelKind::Personal(_) => Err(ErrorCode::PermissionDenied),
        ChannelKind::Open | ChannelKind::UserLimited(_) | ChannelKind::Private => may_publish(channel, user),
    }
}

fn may_publish(channel: &Channel, user: &UserId) -> Result<(), ErrorCode> {
    match channel.kind() {
        ChannelKind::Open | ChannelKind::Personal(_) => Ok(()),
        ChannelKind::UserLimited(users) if ChannelKind::lists(users, user) => Ok(()),
        ChannelKind::UserLimited(_) | ChannelKind::Private => Err(ErrorCode::PermissionDenied),
    }
}

/// A token that has expired within the leeway still gets the whole grace.
fn ends_at(now: Instant, expires: u64, unix: Duration) -> Instant {
    let left = Duration::from_secs(expires).saturating_sub(unix).min(FAR_AWAY);
    now + left + EXPIRED_GRACE
}

/// Ten years: tokens that live longer need no timer that could overflow.
const FAR_AWAY: Duration = Duration::from_secs(10 * 365 * 86_400);
