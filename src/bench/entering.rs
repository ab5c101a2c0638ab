//! `bench idle` and `bench connect`: clients come in and do nothing. What did that cost, and how long did it take?

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::entry::{Guest, Login, Throng};
use super::meter::{Meter, ProcessUse, own_limits};
use super::process::{Processes, Usage};
use super::report::{EntryReport, Generator, ProcessGrowth};
use super::run::{self, Run};
use super::settings::{Connect, Idle, Target};

pub(super) fn idle(settings: &Idle) -> anyhow::Result<EntryReport> {
    let throng = Throng::AtOnce(settings.at_once as usize);
    measure("idle", settings.clients as usize, throng, settings.hold, &settings.target)
}

pub(super) fn connect(settings: &Connect) -> anyhow::Result<EntryReport> {
    let throng = settings.rate.map_or(Throng::AtOnce(settings.at_once as usize), Throng::Rate);
    measure("connect", settings.clients as usize, throng, Duration::ZERO, &settings.target)
}

fn measure(
    mode: &'static str,
    clients: usize,
    throng: Throng,
    hold: Duration,
    target: &Target,
) -> anyhow::Result<EntryReport> {
    let processes = Processes::new(&target.pids)?;
    let mut meter = Meter::new(Processes::new(&target.pids)?);
    let mut run = Run::new(target.quiet)?;
    let servers = run::servers(target.urls())?;
    let guest = |client: usize| {
        let server = Rc::clone(&servers[client % servers.len()]);
        Guest { server, login: Login::User { user: run.user(client), channel: None } }
    };
    let guests = (0..clients).map(guest).collect();
    let before = processes.usage()?;
    meter.begin()?;
    let (mut crowd, mut entry) = run.let_in(guests, target.secret(), throng)?;
    meter.end()?;
    let came_in = entry.entered;
    let since = Instant::now();
    run.hold(&mut crowd, &mut entry, hold)?;
    let held = since.elapsed();
    let after = processes.usage()?;
    crowd.close();

    let used = meter.used()?.expect("begun and ended");
    let cpu_us: f64 = used.processes.iter().map(|process| process.cpu_seconds * 1e6).sum();
    let grown: Vec<_> = before.into_iter().zip(after).zip(used.processes).map(growth).collect();
    let grown_bytes: f64 = grown.iter().map(|it| it.rss_bytes as f64 - it.rss_bytes_before as f64).sum();
    let is_measured = !grown.is_empty();
    let lateness = entry.lateness.percentiles();
    Ok(EntryReport {
        mode,
        servers: servers.iter().map(|server| server.address.to_string()).collect(),
        clients,
        was_interrupted: run.is_interrupted(),
        entered: entry.entered,
        failed: entry.failures,
        entry_seconds: used.seconds,
        held_seconds: held.as_secs_f64(),
        entered_per_second: came_in as f64 / used.seconds,
        opened_after: entry.opened_after.percentiles(),
        entered_after: entry.entered_after.percentiles(),
        cpu_us_per_entry: (is_measured && came_in > 0).then(|| cpu_us / came_in as f64),
        rss_bytes_per_client: (is_measured && entry.entered > 0).then(|| grown_bytes / entry.entered as f64),
        processes: grown,
        generator: Generator {
            cpu_cores: used.own_cores,
            bottleneck: own_limits(used.own_cores, lateness.as_ref()),
            lateness,
            machine: used.machine,
        },
    })
}

fn growth(((before, after), used): ((Usage, Usage), ProcessUse)) -> ProcessGrowth {
    ProcessGrowth {
        pid: after.pid,
        name: after.name,
        cpu_seconds: used.cpu_seconds,
        rss_bytes_before: before.memory.rss_bytes,
        rss_bytes: after.memory.rss_bytes,
        pss_bytes: after.memory.pss_bytes,
    }
}
