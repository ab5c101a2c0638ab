//! `causeway bench`: load and latency of a running cluster, from the outside.
//!
//! It speaks the client protocol like any SDK, so it measures every server that does. Everything runs on one thread, in
//! three layers: `crowd.rs` owns sockets and waits, the cores `entry.rs` and `traffic.rs` decide, `run.rs` turns the
//! crank. What it says of the servers is what arrived at their clients, and what `/proc` says of their processes.
//!
//! ```text
//! load.rs, entering.rs ── run.rs ──▶ crowd.rs ◀─▶ socket.rs ◀─▶ frame.rs        the servers
//!   (modes, reports)         │          │ lines, outboxes
//!                         meter.rs   entry.rs, traffic.rs ── flow.rs ── arrivals.rs
//! ```

mod address;
mod arrivals;
mod crowd;
mod entering;
mod entry;
mod floor;
mod flow;
mod frame;
mod latency;
mod line;
mod load;
mod meter;
mod payload;
mod process;
mod report;
mod run;
mod schedule;
mod settings;
mod socket;
mod traffic;

use std::ffi::OsString;

use clap::Parser;
use node::exit::Exit;

use settings::{Bench, Target};

/// Measures a running cluster from the outside: load, latency, memory, and whether anything was lost
#[derive(Debug, Parser)]
#[command(name = "causeway bench", bin_name = "causeway bench", version)]
struct Settings {
    #[command(subcommand)]
    bench: Bench,
}

pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let bench = match Settings::try_parse_from(args) {
        Ok(settings) => settings.bench,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let traffic = |report: anyhow::Result<report::TrafficReport>, target: &Target| {
        told(
            report.inspect(|report| report::print(report, target.json)).map(|report| report.ended.is_empty()),
        )
    };
    let entering = |report: anyhow::Result<report::EntryReport>, target: &Target| {
        told(
            report
                .inspect(|report| report::print(report, target.json))
                .map(|report| report.failed.is_empty()),
        )
    };
    match &bench {
        Bench::Pairs(settings) => traffic(load::pairs(settings), &settings.target),
        Bench::FanOut(settings) => traffic(load::fan_out(settings), &settings.target),
        Bench::Idle(settings) => entering(entering::idle(settings), &settings.target),
        Bench::Connect(settings) => entering(entering::connect(settings), &settings.target),
        Bench::Floor(settings) => floor::run(settings.listen),
    }
}

/// A run whose connections failed is one that failed, whatever it still has to tell.
fn told(run: anyhow::Result<bool>) -> Exit {
    match run {
        Ok(true) => Exit::Success,
        Ok(false) => Exit::Failed,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed
        }
    }
}
