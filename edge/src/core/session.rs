//! One client's state: who it is, what it receives, what it waits for, when it must be looked at again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use node::outbox::{Full, Outbox};
use proto::client::code::Disconnect;
use proto::client::{ClientId, Publication, Reply, json, line};
use proto::id::{Channel, UserId};
use proto::link::Door;

use super::{Encoding, Map, OUTBOX_BYTES_MAX};

/// See the file.
///
/// # Invariants
/// `channels` has a channel exactly when the Hub lists this client as its subscriber.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: ClientId,
    /// By which way it came, for operators.
    pub(super) door: Door,
    pub(super) encoding: Encoding,
    pub(super) outbox: Outbox<Disconnect>,
    pub(super) phase: Phase,
    pub(super) channels: Map<Channel, Subscription>,
    pub(super) heart: Option<Heart>,
    /// The earliest time at which the Hub's timers will look at this session.
    pub(super) armed: Option<Instant>,
    /// Its directed messages that wait for their verdict.
    pub(super) receipts_awaited: u32,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// It has until then to log in.
    New { stale_at: Instant },
    /// Its connect got an error; it has until then to go.
    Refused { stale_at: Instant },
    /// It is logged in.
    Live(Box<Login>),
}

#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: UserId,
    /// When it logged in, in milliseconds since the unix epoch; for operators.
    pub(super) since: u64,
    /// Its `ClientInfo`, encoded once for all that it will publish.
    pub(super) info: Bytes,
    /// What its token subscribed it to, the personal channel not counted.
    pub(super) token_channels: Vec<Channel>,
    /// When the session ends unless a new token comes.
    pub(super) ends_at: Option<Instant>,
    /// Set until the connect reply is out: nothing else may go before it.
    pub(super) greeting: Option<Greeting>,
}

/// A connect that waits until this client can be reached in all of its channels.
#[derive(Debug)]
pub(super) struct Greeting {
    /// The connect's id.
    pub(super) reply_id: u32,
    pub(super) ttl: Option<u32>,
    /// Server-side subscriptions that are not settled.
    pub(super) unsettled: usize,
    /// What goes out behind the reply.
    pub(super) parked: Parked,
}

/// What a client has of one channel.
#[derive(Debug)]
pub(super) enum Subscription {
    /// The server's, made at connect; its publications wait with the connect reply.
    Server,
    /// Asked for, and not yet answered.
    Pending { reply_id: u32, parked: Parked },
    /// Asked for and answered.
    Active,
}

/// Frames that must wait behind a reply; all of a client's together are bounded like its outbox.
#[derive(Debug, Default)]
pub(super) struct Parked {
    frames: Vec<Bytes>,
    bytes: usize,
}

impl Parked {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    pub(super) fn into_frames(self) -> Vec<Bytes> {
        self.frames
    }
}

/// Pings, for clients that answer them.
#[derive(Debug)]
pub(super) struct Heart {
    pub(super) next_ping: Instant,
    /// Set while a ping is unanswered.
    pub(super) pong_due: Option<Instant>,
}

impl Session {
    /// Queues `frame`, behind the connect reply if that is not out yet.
    pub(super) fn emit(&mut self, frame: Bytes) -> Result<(), Full> {
        if self.greeting().is_none() {
            return self.outbox.push(frame);
        }
        self.check_room_to_park(&frame)?;
        if let Phase::Live(login) = &mut self.phase
            && let Some(greeting) = &mut login.greeting
        {
            greeting.parked.push(frame);
        }
        Ok(())
    }

    /// Queues a publication of `channel` behind the subscribe reply that is not out yet.
    pub(super) fn park(&mut self, channel: &str, frame: Bytes) -> Result<(), Full> {
        if !matches!(self.channels.get(channel), Some(Subscription::Pending { .. })) {
            return self.emit(frame);
        }
        self.check_room_to_park(&frame)?;
        if let Some(Subscription::Pending { parked, .. }) = self.channels.get_mut(channel) {
            parked.push(frame);
        }
        Ok(())
    }

    /// Walks over all channels, but only for a client that waits.
    fn check_room_to_park(&self, frame: &Bytes) -> Result<(), Full> {
        let greeting = self.greeting().map(|greeting| &greeting.parked);
        let pending = self.channels.values().filter_map(|subscription| match subscription {
            Subscription::Pending { parked, .. } => Some(parked),
            Subscription::Server | Subscription::Active => None,
        });
        let parked_bytes: usize = pending.chain(greeting).map(|parked| parked.bytes).sum();
        if parked_bytes + frame.len() > OUTBOX_BYTES_MAX { Err(Full) } else { Ok(()) }
    }

    fn greeting(&self) -> Option<&Greeting> {
        self.login()?.greeting.as_ref()
    }

    /// The first ping comes a whole interval later than it would have at the opening, at most.
    pub(super) fn start_heart(&mut self, now: Instant, interval: Duration) {
        if let Some(heart) = &mut self.heart {
            heart.next_ping = heart.next_ping.max(now + interval / 2);
        }
    }

    /// Puts off what ran out while nobody looked. A ping comes as much later as time stood still, so that pings keep
    /// their distance from each other; an answer to the last one has time to be read, and comes before the next.
    pub(super) fn thaw(&mut self, now: Instant, late: Duration, pong_timeout: Duration) {
        match &mut self.phase {
            Phase::New { stale_at } | Phase::Refused { stale_at } => {
                *stale_at = (*stale_at).max(now + THAWED_PATIENCE);
            }
            Phase::Live(_) => {}
        }
        let Some(heart) = &mut self.heart else { return };
        heart.next_ping += late;
        if let Some(pong_due) = &mut heart.pong_due {
            *pong_due = now + pong_timeout;
            heart.next_ping = heart.next_ping.max(*pong_due);
        }
    }

    pub(super) fn login(&self) -> Option<&Login> {
        match &self.phase {
            Phase::Live(login) => Some(login),
            Phase::New { .. } | Phase::Refused { .. } => None,
        }
    }

    /// When something is due: the log-in, the token's end, a ping, a pong.
    pub(super) fn due(&self) -> Option<Instant> {
        let (phase, heart) = match &self.phase {
            Phase::New { stale_at } | Phase::Refused { stale_at } => (Some(*stale_at), None),
            Phase::Live(login) => (login.ends_at, self.heart.as_ref()),
        };
        let heart =
            heart.map(|heart| heart.pong_due.map_or(heart.next_ping, |pong| pong.min(heart.next_ping)));
        [phase, heart].into_iter().flatten().min()
    }
}

/// How long a client may still take to log in after its edge froze, at least.
const THAWED_PATIENCE: Duration = Duration::from_secs(5);

/// Writes replies and pushes as a client reads them.
impl Encoding {
    pub(super) fn reply(self, id: u32, reply: &Reply) -> Bytes {
        match self {
            Self::Json => json::reply(id, reply),
            Self::Line => line::reply(reply),
        }
    }

    pub(super) fn publication(self, channel: &str, publication: Publication<'_>) -> Bytes {
        match self {
            Self::Json => json::publication(channel, publication),
            Self::Line => line::publication(channel, publication),
        }
    }
}

/// Seconds until a token expires, as clients are told: at least one, or they would think that it never does.
pub(super) fn ttl(expires: u64, unix: Duration) -> u32 {
    u32::try_from(expires.saturating_sub(unix.as_secs()).max(1)).unwrap_or(u32::MAX)
}
