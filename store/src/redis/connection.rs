//! One connection to Redis, and the breaker before it.
//!
//! A [`Connection`] is *live* or *away*. Whatever goes wrong on a live one ends it for good: its driver is stopped, so
//! that nothing that waits inside can be sent later, and all calls fail at once until [`keep_connected`] has made
//! another. That one first ends its predecessor at Redis, which else would go on with what it has received.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::config::RedisConfig;
use super::counts::Counts;
use super::dial::{Dialled, Identity, Purpose, dial};
use super::fault::{Fault, error_in};
use super::keys::key_of;
use super::told::Told;
use crate::{ClassStats, ErrorKind, StoreError};

/// How long an answer may take. A Redis in the same place answers within 1 ms; a client's connect waits this long.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a write waits for the one before it: that one's two round trips.
const TURN_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a Redis that refuses is left alone: what it lacks seldom comes back sooner. Its connection is given up as
/// well, for after a failover the address may lead to another Redis.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// Between tries to connect: anything up to this, which doubles. A restarted Redis is found soon …
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// … and a dead one is tried by each node at least once in two seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A connection that was good for this long and then closed had nothing wrong with it, even if nobody used it.
const PROOF_BY_AGE: Duration = Duration::from_secs(1);

/// How long nothing may be refused until a Redis that refused is called up again. A full one still removes: else each
/// leave would be told as its return, and each join as its going.
const CALM_AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// A foreign value may be met by every call; the log says so once in this time.
const WRONG_TYPE_LOG_EVERY: Duration = Duration::from_secs(60);

/// That the key of a command holds something of another type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrongType;

impl From<WrongType> for StoreError {
    fn from(_: WrongType) -> Self {
        Self::Away
    }
}

/// What became of one command.
pub(crate) type Reply = Result<Value, WrongType>;

/// One connection to Redis, and the breaker before it.
pub(crate) struct Connection {
    purpose: Purpose,
    config: RedisConfig,
    /// A key that everybody may read, to hear whether Redis serves us.
    probe: String,
    counts: Counts,
    told: Arc<Told>,
    state: Mutex<State>,
    /// Held by a write over its round trips, so that no other comes between them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// None is: away, the breaker is open.
    live: Option<Live>,
    generation: u64,
    /// The last one, which may have commands at Redis. There are never two: nobody becomes live before it is ended.
    abandoned: Option<Identity>,
    /// What was told last.
    is_up: Option<bool>,
    /// Whether connecting is not enough to be called up: Redis has accepted us before, and refused or ignored what we
    /// asked then. Without this each try of a call would be told as a return.
    needs_proof: bool,
    refused: Option<Instant>,
    rest: Duration,
    tries: u32,
    wrong_type_told: Option<Instant>,
}

struct Live {
    connection: MultiplexedConnection,
    driver: AbortHandle,
    identity: Identity,
    generation: u64,
    since: Instant,
    is_proved: bool,
}

impl Connection {
    pub(crate) fn new(purpose: Purpose, config: RedisConfig, probe: String, told: Arc<Told>) -> Arc<Self> {
        let counts = Counts::default();
        Arc::new(Self {
            purpose,
            config,
            probe,
            counts,
            told,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Waits until no other write is between its round trips.
    ///
    /// # Errors
    /// Nothing was asked.
    pub(crate) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, StoreError> {
        timeout(TURN_TIMEOUT, self.turn.lock()).await.map_err(|_| StoreError::Away)
    }

    /// Sends commands in one go and answers what became of each.
    ///
    /// # Errors
    /// [`StoreError::Away`]: Redis is away, nothing was sent. [`StoreError::Unanswered`]: it was sent, and refused or not
    /// answered; some of it may be done.
    pub(crate) async fn ask(&self, commands: &mut Pipeline) -> Result<Vec<Reply>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.live().ok_or(StoreError::Away)?;
        self.counts.asked(commands.len());
        let asked_at = Instant::now();
        let answer = commands.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection);
        let answer = timeout(ANSWER_TIMEOUT, answer).await;
        // After a stop of this process the answer may be there together with the timeout. Acting on it would be acting
        // on old news: a write's second half would come when others took us for dead.
        let is_late = asked_at.elapsed() > ANSWER_TIMEOUT;
        let fault = match answer {
            Ok(Ok(replies)) if !is_late => return self.judge(generation, commands, replies),
            Ok(Err(error)) if !is_late => error.into(),
            Ok(_) | Err(_) => Fault::new(ErrorKind::Timeout, "no answer in time"),
        };
        self.abandon(generation, &fault);
        Err(StoreError::Unanswered)
    }

    /// How it does.
    pub(crate) fn stats(&self) -> ClassStats {
        self.counts.snapshot(self.lock().is_up == Some(true))
    }

    fn judge(
        &self,
        generation: u64,
        commands: &Pipeline,
        replies: Vec<RedisResult<Value>>,
    ) -> Result<Vec<Reply>, StoreError> {
        let mut judged = Vec::with_capacity(replies.len());
        for (reply, command) in replies.into_iter().zip(commands.cmd_iter()) {
            let fault: Fault = match reply {
                Ok(value) => match error_in(&value) {
                    None => {
                        judged.push(Ok(value));
                        continue;
                    }
                    Some(error) => RedisError::from(error.clone()).into(),
                },
                Err(error) => error.into(),
            };
            if fault.kind != ErrorKind::WrongType {
                self.abandon(generation, &fault);
                return Err(StoreError::Unanswered);
            }
            self.note_wrong_type(command);
            judged.push(Err(WrongType));
        }
        self.note_proof(generation);
        Ok(judged)
    }

    fn live(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.lock();
        state.live.as_ref().map(|live| (live.connection.clone(), live.generation))
    }

    fn install(&self, dialled: &Dialled) -> u64 {
        let mut state = self.lock();
        state.generation += 1;
        state.abandoned = None;
        state.live = Some(Live {
            connection: dialled.connection.clone(),
            driver: dialled.driver.abort_handle(),
            identity: dialled.identity.clone(),
            generation: state.generation,
            since: Instant::now(),
            is_proved: false,
        });
        if state.generation > 1 {
            self.counts.reconnected();
        }
        if !state.needs_proof {
            self.tell_up(&mut state);
        }
        state.generation
    }

    /// Opens the breaker, if it is closed and `generation` still the connection behind it.
    fn abandon(&self, generation: u64, fault: &Fault) {
        let mut state = self.lock();
        let Some(live) = state.live.take_if(|live| live.generation == generation) else { return };
        live.driver.abort();
        if self.purpose == Purpose::Writes {
            state.abandoned = Some(live.identity);
        }
        state.needs_proof = fault.is_an_answer() || !live.is_proved;
        state.tries = if live.is_proved { 0 } else { state.tries };
        if fault.is_an_answer() {
            state.rest = REST_AFTER_REFUSAL;
            state.refused = Some(Instant::now());
        }
        self.counts.failed(fault.kind);
        self.tell_away(&mut state, fault);
    }

    /// Notes that the connection ended, if that is news: nobody gave it up.
    fn note_end(&self, generation: u64) {
        let has_lasted = |live: &Live| live.generation == generation && live.since.elapsed() >= PROOF_BY_AGE;
        if let Some(live) = self.lock().live.as_mut().filter(|live| has_lasted(live)) {
            live.is_proved = true;
        }
        self.abandon(generation, &Fault::new(ErrorKind::Unreachable, "the connection was closed"));
    }

    fn note_failed_try(&self, fault: &Fault) {
        self.counts.failed(fault.kind);
        self.tell_away(&mut self.lock(), fault);
    }

    fn note_proof(&self, generation: u64) {
        let mut state = self.lock();
        if let Some(live) = state.live.as_mut().filter(|live| live.generation == generation) {
            live.is_proved = true;
            state.tries = 0;
            if state.refused.is_none_or(|refused| refused.elapsed() >= CALM_AFTER_REFUSAL) {
                self.tell_up(&mut state);
            }
        }
    }

    /// Nothing went wrong for a while: Redis serves us, or was not asked what it would refuse.
    fn note_age(&self, generation: u64) {
        let mut state = self.lock();
        let is_calm = state.refused.is_none_or(|refused| refused.elapsed() >= CALM_AFTER_REFUSAL);
        if is_calm && state.live.as_ref().is_some_and(|live| live.generation == generation) {
            self.tell_up(&mut state);
        }
    }

    fn note_wrong_type(&self, command: &redis::Cmd) {
        self.counts.failed(ErrorKind::WrongType);
        let class = self.purpose.label();
        debug!(class, key = key_of(command), "a key of ours holds another type");
        let mut state = self.lock();
        if state.wrong_type_told.is_none_or(|told| told.elapsed() >= WRONG_TYPE_LOG_EVERY) {
            state.wrong_type_told = Some(Instant::now());
            warn!(class, "a key under our prefix holds another type: somebody else writes there");
        }
    }

    fn tell_up(&self, state: &mut State) {
        if state.is_up != Some(true) {
            state.is_up = Some(true);
            self.told.up(self.purpose, &self.config);
        }
    }

    fn tell_away(&self, state: &mut State, fault: &Fault) {
        if state.is_up != Some(false) {
            state.is_up = Some(false);
            self.told.away(self.purpose, &self.config, fault);
        }
    }

    /// How long to wait before the next try, and counts it.
    fn next_pause(&self) -> Duration {
        let mut state = self.lock();
        let ceiling = BACKOFF_FIRST.saturating_mul(1 << state.tries.min(16)).min(BACKOFF_MAX);
        state.tries += 1;
        std::mem::take(&mut state.rest) + ceiling.mul_f64(random_fraction())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock can panic")
    }
}

/// Makes `connection` live again and again, for as long as it is polled.
pub(crate) async fn keep_connected(connection: Arc<Connection>) {
    loop {
        let predecessor = connection.lock().abandoned.clone();
        match dial(&connection.config, connection.purpose, predecessor.as_ref(), &connection.probe).await {
            Ok(dialled) => {
                let generation = connection.install(&dialled);
                // Whoever abandons a connection ends its driver, so this is the one end that there is to wait for.
                drop(dialled.connection);
                let mut driver = dialled.driver;
                for age in [PROOF_BY_AGE, CALM_AFTER_REFUSAL] {
                    if timeout(age, &mut driver).await.is_ok() {
                        break;
                    }
                    connection.note_age(generation);
                }
                if !driver.is_finished() {
                    let _ = driver.await;
                }
                connection.note_end(generation);
            }
            Err(fault) => connection.note_failed_try(&fault),
        }
        tokio::time::sleep(connection.next_pause()).await;
    }
}

/// Spreads the tries of many nodes. Without randomness they all come at the middle.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}
