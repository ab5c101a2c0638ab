//! `bench pairs` and `bench fan-out`: who sends to whom, and the report of it.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::crowd::{ClientIndex, Server};
use super::entry::{Guest, Login, Throng};
use super::flow::{Flow, Wire};
use super::meter::{Meter, Used, own_limits};
use super::payload::Payload;
use super::process::Processes;
use super::report::{Generator, TrafficReport};
use super::run::{self, Run};
use super::schedule::{Phases, Schedule};
use super::settings::{FanOut, Load, Pairs, Target};
use super::traffic::{Drive, Pace, Traffic};

/// So many clients are on their way in at once, before there is traffic.
const ENTERING: usize = 100;

/// Who takes part, and who sends to whom.
struct Plan {
    about: About,
    guests: Vec<Guest>,
    /// Sender, receivers, and how messages go.
    flows: Vec<(usize, Range<usize>, Wire)>,
}

/// What a report says of its plan.
struct About {
    mode: &'static str,
    servers: Vec<Rc<Server>>,
    receivers: usize,
    is_floor: bool,
    has_receipts: bool,
}

pub(super) fn pairs(settings: &Pairs) -> anyhow::Result<TrafficReport> {
    let run = Run::new(settings.target.quiet)?;
    let addresses = settings.floor.as_ref().map_or_else(|| settings.target.urls(), |url| vec![url.clone()]);
    let servers = run::servers(addresses)?;
    let (mut guests, mut flows) = (Vec::new(), Vec::new());
    for pair in 0..settings.pairs as usize {
        let (sender, receiver) = (2 * pair, 2 * pair + 1);
        // By turns, so that no edge has all senders.
        let server = |step| Rc::clone(&servers[(pair + step) % servers.len()]);
        let logins = if settings.floor.is_some() {
            let name = format!("{:08x}-{pair}", run.number);
            [Login::Floor { pair: name.clone() }, Login::Floor { pair: name }]
        } else {
            let channel = settings.channel.as_ref().map(|prefix| channel(&run, prefix, pair));
            let login = |client, channel| Login::User { user: run.user(client), channel };
            [login(sender, None), login(receiver, channel)]
        };
        let to = run.user(receiver);
        let wire = match &settings.channel {
            _ if settings.floor.is_some() => Wire::Floor,
            _ if settings.receipts => Wire::send(to.as_str()),
            Some(prefix) => Wire::publish(&channel(&run, prefix, pair)),
            None => Wire::publish(&format!("#{to}")),
        };
        flows.push((sender, receiver..receiver + 1, wire));
        let entering = logins.into_iter().enumerate();
        guests.extend(entering.map(|(step, login)| Guest { server: server(step), login }));
    }
    let about = About {
        mode: "pairs",
        servers,
        receivers: flows.len(),
        is_floor: settings.floor.is_some(),
        has_receipts: settings.receipts,
    };
    measure(run, Plan { about, guests, flows }, &settings.load, &settings.target)
}

pub(super) fn fan_out(settings: &FanOut) -> anyhow::Result<TrafficReport> {
    let run = Run::new(settings.target.quiet)?;
    let servers = run::servers(settings.target.urls())?;
    let channel = settings.channel.clone().unwrap_or_else(|| format!("bench-{:08x}", run.number));
    let publishers = settings.publishers as usize;
    let clients = publishers + settings.subscribers as usize;
    let guest = |client: usize| {
        let channel = (client >= publishers).then(|| channel.clone());
        let server = Rc::clone(&servers[client % servers.len()]);
        Guest { server, login: Login::User { user: run.user(client), channel } }
    };
    let guests = (0..clients).map(guest).collect();
    let flow = |publisher| (publisher, publishers..clients, Wire::publish(&channel));
    let flows = (0..publishers).map(flow).collect();
    let receivers = settings.subscribers as usize;
    let about = About { mode: "fan-out", servers, receivers, is_floor: false, has_receipts: false };
    measure(run, Plan { about, guests, flows }, &settings.load, &settings.target)
}

/// The channel of one pair.
fn channel(run: &Run, prefix: &str, pair: usize) -> String {
    format!("{prefix}-{:08x}-{pair}", run.number)
}

fn measure(mut run: Run, plan: Plan, load: &Load, target: &Target) -> anyhow::Result<TrafficReport> {
    let mut meter = Meter::new(Processes::new(&target.pids)?);
    let Plan { about, guests, flows } = plan;
    let clients = guests.len();
    let (mut crowd, entry) = run.let_in(guests, target.secret(), Throng::AtOnce(ENTERING))?;
    run::all_in(&entry, clients)?;

    let start = Instant::now();
    let flow = |(sender, receivers, wire)| Flow::new(start, ClientIndex(sender), receivers, wire);
    let flows: Vec<_> = flows.into_iter().map(flow).collect();
    let pace = match load.rate {
        Some(rate) => Pace::Rate(Schedule::new(start, rate)),
        None => Pace::Window(load.window.unwrap_or(1) as usize),
    };
    let drive = Drive {
        pace,
        phases: Phases::new(start, load.warm_up, load.duration),
        payload: Payload::new(run.number, load.size as usize),
        is_answered: !about.is_floor,
        has_receipts: about.has_receipts,
    };
    let mut traffic = Traffic::new(flows, clients, drive);
    run.drive(&mut crowd, &mut traffic, &mut meter)?;
    crowd.close();

    Ok(report(&about, load, &traffic, meter.used()?.unwrap_or_default(), run.is_interrupted()))
}

fn report(about: &About, load: &Load, traffic: &Traffic, used: Used, was_interrupted: bool) -> TrafficReport {
    let counts = &traffic.counts;
    let flows = &traffic.flows;
    let arrivals = || flows.iter().flat_map(|flow| &flow.arrivals);
    let measured = counts.delivered_measured;
    let cpu_us: f64 = used.processes.iter().map(|process| process.cpu_seconds * 1e6).sum();
    let answers = traffic.answer_latency.percentiles();
    // In the closed loop nothing has an intended time but the present.
    let lateness = load.rate.and_then(|_| traffic.lateness.percentiles());
    let bottleneck = own_limits(used.own_cores, lateness.as_ref());
    TrafficReport {
        mode: about.mode,
        servers: about.servers.iter().map(|server| server.address.to_string()).collect(),
        is_floor: about.is_floor,
        senders: flows.len(),
        receivers: about.receivers,
        payload_bytes: load.size,
        window: load.rate.is_none().then(|| load.window.unwrap_or(1)),
        rate: load.rate,
        warm_up_seconds: load.warm_up.as_secs_f64(),
        measured_seconds: used.seconds,
        was_interrupted,
        sent: flows.iter().map(|flow| flow.sent).sum(),
        expected: counts.expected,
        delivered: counts.delivered,
        lost: flows.iter().map(Flow::lost).sum(),
        duplicated: arrivals().map(|arrivals| arrivals.duplicated).sum(),
        out_of_order: arrivals().map(|arrivals| arrivals.out_of_order).sum(),
        strays: counts.strays,
        unsent: counts.unsent,
        stalls: counts.stalls,
        offline: counts.offline,
        refused: counts.refusals.iter().map(|(refusal, &count)| (refusal.to_string(), count)).collect(),
        ended: counts.ended.clone(),
        delivered_per_second: if used.seconds > 0.0 { measured as f64 / used.seconds } else { 0.0 },
        latency: traffic.latency.percentiles(),
        accepted: answers.clone().filter(|_| !about.has_receipts),
        receipts: answers.filter(|_| about.has_receipts),
        cpu_us_per_delivery: (!used.processes.is_empty() && measured > 0).then(|| cpu_us / measured as f64),
        processes: used.processes,
        generator: Generator { cpu_cores: used.own_cores, lateness, bottleneck, machine: used.machine },
    }
}
