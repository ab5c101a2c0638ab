//! `simulate`: runs the simulated cluster for many seeds, or shows one.
//!
//! ```text
//! simulate --seeds 2000 [--from 0]     many, on all cores; exit 1 and the failing seeds if something is wrong
//! simulate --seed 17                   one, with everything that happens
//! simulate --until-failure 2000        as many as it takes, and at most so many; exit 0 if one has failed
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tests::sim::{EXPECTED, Outcome, run};

/// Failing seeds that are shown.
const SHOWN_MAX: usize = 5;

fn main() -> ExitCode {
    let mut values = BTreeMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        let (true, Some(value)) =
            (["--seeds", "--from", "--seed", "--until-failure"].contains(&name.as_str()), value)
        else {
            eprintln!("usage: simulate --seeds N [--from SEED] | --seed SEED | --until-failure N");
            return ExitCode::from(2);
        };
        values.insert(name, value);
    }
    if let Some(&seed) = values.get("--seed") {
        let outcome = run(seed, true);
        outcome.wrong.iter().for_each(|wrong| println!("{wrong}"));
        println!("{} things are wrong", outcome.wrong.len());
        return if outcome.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Some(&count) = values.get("--until-failure") {
        return until_failure(count);
    }
    let from = values.get("--from").copied().unwrap_or(0);
    many(from, values.get("--seeds").copied().unwrap_or(2_000))
}

/// For deliberate faults: how many seeds it takes to find them.
fn until_failure(count: u64) -> ExitCode {
    for seed in 0..count {
        let wrong = std::panic::catch_unwind(|| run(seed, false).wrong);
        let first = match &wrong {
            Ok(wrong) => wrong.first().map(String::as_str),
            Err(_) => Some("a core panicked"),
        };
        if let Some(first) = first {
            println!("{} | {first}", seed + 1);
            return ExitCode::SUCCESS;
        }
    }
    println!("not in {count}");
    ExitCode::FAILURE
}

fn many(from: u64, count: u64) -> ExitCode {
    let next = Arc::new(AtomicU64::new(from));
    let coverage: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::default();
    let failures: Arc<Mutex<BTreeMap<u64, Vec<String>>>> = Arc::default();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (next, coverage, failures) =
                (Arc::clone(&next), Arc::clone(&coverage), Arc::clone(&failures));
            thread::spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let Outcome { wrong, coverage: seen } = run(seed, false);
                    let mut coverage = coverage.lock().expect("nobody panics with it");
                    for (what, times) in seen {
                        *coverage.entry(what).or_insert(0) += times;
                    }
                    if !wrong.is_empty() {
                        failures.lock().expect("nobody panics with it").insert(seed, wrong);
                    }
                }
            })
        })
        .collect();
    let mut has_panicked = false;
    for worker in workers {
        has_panicked |= worker.join().is_err();
    }
    let coverage = coverage.lock().expect("nobody panics with it");
    for (what, times) in coverage.iter() {
        println!("{times:>12}  {what}");
    }
    let missing: Vec<_> = EXPECTED.into_iter().filter(|what| !coverage.contains_key(what)).collect();
    if !missing.is_empty() {
        println!("never happened: {}", missing.join(", "));
    }
    let failures = failures.lock().expect("nobody panics with it");
    for (seed, wrong) in failures.iter().take(SHOWN_MAX) {
        println!("seed {seed}: {} things are wrong; simulate --seed {seed} shows it", wrong.len());
        wrong.iter().take(3).for_each(|wrong| println!("    {wrong}"));
    }
    println!("{count} seeds, {} failed", failures.len());
    if failures.is_empty() && missing.is_empty() && !has_panicked {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
