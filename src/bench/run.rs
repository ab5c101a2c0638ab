//! The loops around the cores: let everybody in, drive the traffic, read the clocks, heed an interruption.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use proto::id::UserId;
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;

use super::address::Address;
use super::crowd::{Crowd, Server};
use super::entry::{Entry, Guest, Throng};
use super::meter::Meter;
use super::report::grouped;
use super::traffic::Traffic;

/// Open files of our own that are no client.
const OWN_FILES: u64 = 32;

/// Reasons of failure that are told; the rest is counted.
const REASONS_MAX: usize = 5;

/// What all modes share.
#[derive(Debug)]
pub(super) struct Run {
    /// Tells this run's users, channels and messages from those of others.
    pub(super) number: u32,
    stopped: watch::Receiver<bool>,
    is_quiet: bool,
    next_progress: Instant,
}

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

impl Run {
    /// A run that ends early when it is interrupted.
    ///
    /// # Errors
    /// The system gives no thread to hear signals on.
    pub(super) fn new(is_quiet: bool) -> anyhow::Result<Self> {
        let number = getrandom::u32().context("cannot draw a number for this run")?;
        let (stop, stopped) = watch::channel(false);
        let runtime = node::process::runtime()?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(node::process::obey_signals(stop)))?;
        Ok(Self { number, stopped, is_quiet, next_progress: Instant::now() + PROGRESS })
    }

    pub(super) fn is_interrupted(&self) -> bool {
        *self.stopped.borrow()
    }

    /// The name of the user `number` of this run.
    pub(super) fn user(&self, number: usize) -> UserId {
        UserId::parse(&format!("bench-{:08x}-{number}", self.number)).expect("a valid name")
    }

    /// Lets all `guests` in, as many as can be; the caller says goodbye to the crowd.
    ///
    /// # Errors
    /// There cannot be so many open files, or the system fails.
    pub(super) fn let_in(
        &mut self,
        guests: Vec<Guest>,
        secret: &str,
        throng: Throng,
    ) -> anyhow::Result<(Crowd, Entry)> {
        check_open_files(guests.len())?;
        let clients = guests.len();
        let mut crowd = Crowd::new(clients).context("cannot wait for sockets")?;
        let mut entry = Entry::new(Instant::now(), guests, secret, throng);
        while !entry.is_over() && !self.is_interrupted() {
            let now = Instant::now();
            while let Some(client) = entry.poll_late(now) {
                crowd.end(client, Entry::late(), &mut entry);
            }
            while let Some((client, server)) = entry.poll_connect(now) {
                crowd.connect(client, now, &server, &mut entry);
            }
            self.tell(now, || {
                format!("{} of {} clients are in", grouped(entry.entered as u64), grouped(clients as u64))
            });
            crowd.turn(entry.poll_timeout(now), &mut entry)?;
        }
        Ok((crowd, entry))
    }

    /// Stays with all clients for `duration`.
    ///
    /// # Errors
    /// The system fails.
    pub(super) fn hold(
        &mut self,
        crowd: &mut Crowd,
        entry: &mut Entry,
        duration: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        loop {
            let now = Instant::now();
            if now >= until || self.is_interrupted() {
                return Ok(());
            }
            self.tell(now, || {
                let seconds = (until - now).as_secs();
                format!("{} clients, {seconds} s to go", grouped(entry.entered as u64))
            });
            crowd.turn(until, entry)?;
        }
    }

    /// Drives `traffic` to its end.
    ///
    /// # Errors
    /// A process that is measured has ended, or the system fails.
    pub(super) fn drive(
        &mut self,
        crowd: &mut Crowd,
        traffic: &mut Traffic,
        meter: &mut Meter,
    ) -> anyhow::Result<()> {
        let mut delivered_before = 0;
        loop {
            let now = Instant::now();
            if self.is_interrupted() {
                traffic.phases.cut_short(now);
            }
            if traffic.phases.is_measured(now) {
                meter.begin()?;
            } else if !traffic.phases.is_sending(now) {
                meter.end()?;
            }
            traffic.handle_timeout(now, &mut crowd.outboxes);
            if traffic.is_over(now) || traffic.is_deserted() {
                return meter.end();
            }
            self.tell(now, || {
                let delivered = traffic.counts.delivered;
                let seconds = now.saturating_duration_since(traffic.phases.start).as_secs();
                let rate = grouped(delivered - std::mem::replace(&mut delivered_before, delivered));
                let part = if now < traffic.phases.measured_from { "warming up" } else { "measuring" };
                format!("{seconds} s, {part}: {rate} deliveries in the last second")
            });
            crowd.turn(traffic.poll_timeout(now), traffic)?;
        }
    }

    /// Shows progress, if it is time.
    fn tell(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if now < self.next_progress {
            return;
        }
        self.next_progress = (self.next_progress + PROGRESS).max(now);
        let text = text();
        if !self.is_quiet {
            eprintln!("{text}");
        }
    }
}

/// Everybody must be in before there can be traffic.
///
/// # Errors
/// Somebody is not; says why.
pub(super) fn all_in(entry: &Entry, clients: usize) -> anyhow::Result<()> {
    if entry.failures.is_empty() {
        ensure!(entry.entered == clients, "interrupted before all clients were in");
        return Ok(());
    }
    let failed: u64 = entry.failures.values().sum();
    bail!("{failed} of {clients} clients did not get in; {}", reasons(&entry.failures))
}

fn reasons(failures: &BTreeMap<String, u64>) -> String {
    let mut texts: Vec<_> =
        failures.iter().take(REASONS_MAX).map(|(reason, count)| format!("{count} times {reason}")).collect();
    if failures.len() > REASONS_MAX {
        texts.push("and more".to_owned());
    }
    texts.join("; ")
}

/// Asks for the network address of each server, once.
///
/// # Errors
/// A name is not known.
pub(super) fn servers(addresses: Vec<Address>) -> anyhow::Result<Vec<Rc<Server>>> {
    let server = |address: Address| {
        let socket_address = address.resolve()?;
        Ok(Rc::new(Server { address, socket_address }))
    };
    addresses.into_iter().map(server).collect()
}

fn check_open_files(clients: usize) -> anyhow::Result<()> {
    // What cannot be raised shows in the limit.
    let _ = node::files::raise();
    let needed = clients as u64 + OWN_FILES;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        needed <= limit,
        "{clients} clients need {needed} open files, the limit (ulimit -Hn) is {limit}; at most {} fit",
        limit.saturating_sub(OWN_FILES)
    );
    Ok(())
}
