//! What a run tells: for machines the fields as JSON, for people the same as text.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};

use serde::Serialize;

use super::latency::Percentiles;
use super::meter::{MachineUse, ProcessUse};

/// A report of messages: pairs or fan-out.
#[derive(Debug, Serialize)]
pub(super) struct TrafficReport {
    pub(super) mode: &'static str,
    pub(super) servers: Vec<String>,
    pub(super) is_floor: bool,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    pub(super) payload_bytes: u32,
    /// One of both: closed loop or open loop.
    pub(super) window: Option<u32>,
    pub(super) rate: Option<u32>,
    pub(super) warm_up_seconds: f64,
    pub(super) measured_seconds: f64,
    pub(super) was_interrupted: bool,
    pub(super) sent: u64,
    /// Deliveries that were to come of them, and what became of those; warm-up included.
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    pub(super) strays: u64,
    pub(super) unsent: u64,
    pub(super) stalls: u64,
    pub(super) offline: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) ended: BTreeMap<String, u64>,
    pub(super) delivered_per_second: f64,
    pub(super) latency: Option<Percentiles>,
    /// Answers to `publish`.
    pub(super) accepted: Option<Percentiles>,
    /// Answers to `send`.
    pub(super) receipts: Option<Percentiles>,
    /// Of all processes together; none where none is given.
    pub(super) cpu_us_per_delivery: Option<f64>,
    pub(super) processes: Vec<ProcessUse>,
    pub(super) generator: Generator,
}

/// What the load generator itself did.
#[derive(Debug, Serialize)]
pub(super) struct Generator {
    pub(super) cpu_cores: f64,
    /// How long after its intended time a message was on its way.
    pub(super) lateness: Option<Percentiles>,
    /// Why the figures are those of the generator; empty where they are those of the servers.
    pub(super) bottleneck: Vec<String>,
    /// The machine that it ran on, with everything that ran there.
    pub(super) machine: MachineUse,
}

/// A report of clients: idle, or connecting.
#[derive(Debug, Serialize)]
pub(super) struct EntryReport {
    pub(super) mode: &'static str,
    pub(super) servers: Vec<String>,
    pub(super) clients: usize,
    pub(super) was_interrupted: bool,
    /// Those who are in at the end.
    pub(super) entered: usize,
    pub(super) failed: BTreeMap<String, u64>,
    /// From the first client's beginning to the last one's entry.
    pub(super) entry_seconds: f64,
    pub(super) held_seconds: f64,
    pub(super) entered_per_second: f64,
    /// From a client's beginning to its WebSocket, and to the answer to `connect`.
    pub(super) opened_after: Option<Percentiles>,
    pub(super) entered_after: Option<Percentiles>,
    /// Of all processes together; none where none is given.
    pub(super) cpu_us_per_entry: Option<f64>,
    pub(super) rss_bytes_per_client: Option<f64>,
    pub(super) processes: Vec<ProcessGrowth>,
    pub(super) generator: Generator,
}

/// One process, before the first client and with the last one.
#[derive(Debug, Serialize)]
pub(super) struct ProcessGrowth {
    pub(super) pid: u32,
    pub(super) name: String,
    /// Until all were in.
    pub(super) cpu_seconds: f64,
    pub(super) rss_bytes_before: u64,
    pub(super) rss_bytes: u64,
    pub(super) pss_bytes: Option<u64>,
}

/// Prints a report, one way or the other.
pub(super) fn print(report: &(impl Display + Serialize), is_json: bool) {
    if is_json {
        println!("{}", serde_json::to_string_pretty(report).expect("plain fields"));
    } else {
        print!("{report}");
    }
}

impl Display for TrafficReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match (self.window, self.rate) {
            (_, Some(rate)) => format!("{} a second", grouped(rate.into())),
            (window, None) => format!("{} under way per sender", window.unwrap_or(1)),
        };
        let (senders, receivers, bytes) = (self.senders, self.receivers, self.payload_bytes);
        let what = if self.is_floor { "the floor" } else { self.mode };
        writeln!(out, "{what}: {senders} senders, {receivers} receivers, {bytes} bytes, {pace}")?;
        heading(out, &self.servers, self.was_interrupted)?;
        row(
            out,
            "delivered",
            format!(
                "{}, {} a second for {:.1} s",
                grouped(self.delivered),
                grouped(self.delivered_per_second.round() as u64),
                self.measured_seconds
            ),
        )?;
        let account = [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("strays", self.strays),
        ];
        row(out, "account", account.map(|(what, count)| format!("{} {what}", grouped(count))).join("   "))?;
        for (what, count) in [
            ("not sent, for want of room or of a connection", self.unsent),
            ("times waited in vain", self.stalls),
            ("receipts that said offline", self.offline),
        ] {
            if count > 0 {
                row(out, "", format!("{} {what}", grouped(count)))?;
            }
        }
        counted(out, "refused", &self.refused)?;
        counted(out, "ended", &self.ended)?;
        percentiles(out, "latency", self.latency.as_ref())?;
        percentiles(out, "accepted", self.accepted.as_ref())?;
        percentiles(out, "receipts", self.receipts.as_ref())?;
        if let Some(micros) = self.cpu_us_per_delivery {
            row(out, "processor", format!("{micros:.2} µs a delivery"))?;
        }
        for process in &self.processes {
            let ProcessUse { pid, name, cpu_cores, memory, cpu_seconds: _ } = process;
            let cores = cpu_cores * 100.0;
            row(out, "", format!("{name} ({pid})  {cores:.1} % of a core  {}", megabytes(memory.rss_bytes)))?;
        }
        write!(out, "{}", self.generator)
    }
}

impl Display for EntryReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {} clients", self.mode, grouped(self.clients as u64))?;
        heading(out, &self.servers, self.was_interrupted)?;
        let (seconds, rate) = (self.entry_seconds, grouped(self.entered_per_second.round() as u64));
        row(out, "in", format!("{} in {seconds:.2} s, {rate} a second", grouped(self.entered as u64)))?;
        counted(out, "failed", &self.failed)?;
        percentiles(out, "opened", self.opened_after.as_ref())?;
        percentiles(out, "connected", self.entered_after.as_ref())?;
        if let Some(micros) = self.cpu_us_per_entry {
            row(out, "processor", format!("{micros:.0} µs a client"))?;
        }
        if let Some(bytes) = self.rss_bytes_per_client {
            row(out, "memory", format!("{bytes:.0} bytes a client, after {:.0} s", self.held_seconds))?;
        }
        for process in &self.processes {
            let ProcessGrowth { pid, name, rss_bytes_before, rss_bytes, .. } = process;
            let (before, after) = (megabytes(*rss_bytes_before), megabytes(*rss_bytes));
            row(out, "", format!("{name} ({pid})  {before}, then {after}"))?;
        }
        write!(out, "{}", self.generator)
    }
}

impl Display for Generator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MachineUse { cores, busy_cores } = self.machine;
        let own = self.cpu_cores * 100.0;
        row(out, "generator", format!("{own:.1} % of a core; its machine {busy_cores:.2} of {cores}"))?;
        percentiles(out, "late by", self.lateness.as_ref())?;
        if !self.bottleneck.is_empty() {
            let why = self.bottleneck.join("; ");
            row(out, "careful", format!("the generator itself was the bottleneck: {why}"))?;
        }
        Ok(())
    }
}

fn heading(out: &mut impl fmt::Write, servers: &[String], was_interrupted: bool) -> fmt::Result {
    row(out, "at", servers.join(" "))?;
    if was_interrupted {
        row(out, "careful", "the run was interrupted; this is of what there was of it")?;
    }
    Ok(())
}

fn row(out: &mut impl fmt::Write, head: &str, text: impl Display) -> fmt::Result {
    writeln!(out, "  {head:<10} {text}")
}

fn percentiles(out: &mut impl fmt::Write, head: &str, told: Option<&Percentiles>) -> fmt::Result {
    told.map_or(Ok(()), |told| row(out, head, told.to_string()))
}

fn counted(out: &mut impl fmt::Write, head: &str, reasons: &BTreeMap<String, u64>) -> fmt::Result {
    for (reason, count) in reasons {
        row(out, head, format!("{} times: {reason}", grouped(*count)))?;
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// 1234567 as people read it.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        let _ = text.write_char(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_bottleneck_is_told_to_people_and_to_machines() {
        let machine = MachineUse { cores: 2, busy_cores: 1.5 };
        let generator = |bottleneck| Generator { cpu_cores: 0.93, lateness: None, bottleneck, machine };
        let calm = generator(Vec::new());
        let generator = generator(vec!["it used 93 % of a core".to_owned()]);

        let text = generator.to_string();
        assert!(text.contains("careful") && text.contains("bottleneck: it used 93 % of a core"), "{text}");
        let json = serde_json::to_value(&generator).expect("plain fields");
        assert_eq!(json["bottleneck"][0], "it used 93 % of a core");
        assert!(!calm.to_string().contains("careful"));
    }
}
