//! What other processes used, as the kernel tells in `/proc`: processor time and memory.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

/// Processes whose use is measured.
#[derive(Debug)]
pub(super) struct Processes {
    pids: Vec<u32>,
    ticks_per_second: u64,
}

/// What one process has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) pid: u32,
    pub(super) name: String,
    /// Since it began, of all its threads.
    pub(super) cpu: Duration,
    pub(super) memory: Memory,
}

/// What a process has of this machine's memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Resident, with all that is shared.
    pub(super) rss_bytes: u64,
    /// Resident, with its share of what is shared; only where we may read it.
    pub(super) pss_bytes: Option<u64>,
}

impl Processes {
    /// Checks that all of them can be read.
    ///
    /// # Errors
    /// The user should give another number; the error names the wrong one.
    pub(super) fn new(pids: &[u32]) -> anyhow::Result<Self> {
        let processes =
            Self { pids: pids.to_vec(), ticks_per_second: rustix::param::clock_ticks_per_second() };
        processes.usage()?;
        Ok(processes)
    }

    /// What each has used so far.
    ///
    /// # Errors
    /// One of them has ended.
    pub(super) fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        self.pids.iter().map(|&pid| self.usage_of(pid)).collect()
    }

    /// The processor time of each so far: quick to read, so that it can be read at the moment that counts.
    ///
    /// # Errors
    /// One of them has ended.
    pub(super) fn cpu(&self) -> anyhow::Result<Vec<Duration>> {
        self.pids.iter().map(|&pid| Ok(self.stat(pid)?.1)).collect()
    }

    /// The processor time of the whole machine so far, whoever used it.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn machine_cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        self.duration(busy_ticks(&stat).ok_or_else(|| anyhow!("/proc/stat is not as expected"))?)
    }

    fn usage_of(&self, pid: u32) -> anyhow::Result<Usage> {
        let (name, cpu) = self.stat(pid)?;
        let status = read(pid, "status")?;
        let rss_bytes = kilobytes(&status, "VmRSS:").ok_or_else(|| anyhow!("process {pid} has no memory"))?;
        let pss_bytes = read(pid, "smaps_rollup").ok().and_then(|rollup| kilobytes(&rollup, "Pss:"));
        Ok(Usage { pid, name, cpu, memory: Memory { rss_bytes, pss_bytes } })
    }

    fn stat(&self, pid: u32) -> anyhow::Result<(String, Duration)> {
        let (name, ticks) = name_and_ticks(&read(pid, "stat")?)
            .ok_or_else(|| anyhow!("/proc/{pid}/stat is not as expected"))?;
        Ok((name, self.duration(ticks)?))
    }

    fn duration(&self, ticks: u64) -> anyhow::Result<Duration> {
        Ok(Duration::from_secs(ticks) / u32::try_from(self.ticks_per_second)?)
    }
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot measure the process {pid}: {path}"))
}

/// The name and `utime + stime` in `/proc/PID/stat`. The name may contain anything, also `) (`.
fn name_and_ticks(stat: &str) -> Option<(String, u64)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // `rest` begins with the third field of proc(5); utime is the 14th, stime the 15th.
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some((name.to_owned(), utime + stime))
}

/// The time of all processors that were not idle, in `/proc/stat`: user, nice, system, irq, softirq and steal.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(user + nice + system + irq + softirq + steal)
}

/// The bytes in a line such as `VmRSS:     1234 kB`.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_process_is_called() {
        let rest = "S 1 2 3 4 -1 4194560 500 0 1 0 120 34 7 8 20 0 3 0 99 1000 25 18446744073709551615";
        for name in ["edge", "tokio (x) y", ") R 1 2", ""] {
            let stat = format!("4711 ({name}) {rest}\n");

            assert_eq!(name_and_ticks(&stat), Some((name.to_owned(), 154)));
        }
    }

    #[test]
    fn what_is_no_stat_line_is_nothing() {
        for text in ["", "4711", "4711 (edge)", "4711 (edge) S 1 2", "1 (a) S 1 2 3 4 5 6 7 8 9 0 0 x y"] {
            assert_eq!(name_and_ticks(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_a_machine_does_not_do_idling_or_waiting_is_busy() {
        assert_eq!(busy_ticks("cpu  1 20 300 9000 9000 4000 50000 600000 7 7\ncpu0 1\n"), Some(654_321));
        assert_eq!(busy_ticks("cpu  1 20 300 9000\n"), None);
        assert_eq!(busy_ticks("intr 1 2 3 4 5 6 7 8 9\n"), None);
    }

    #[test]
    fn memory_is_found_by_its_key() {
        let status = "Name:\tedge\nVmHWM:\t    9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 5 kB\n";

        assert_eq!(kilobytes(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(kilobytes(status, "Pss:"), None);
        assert_eq!(kilobytes("VmRSS:\t lots kB\n", "VmRSS:"), None);
        assert_eq!(kilobytes("VmRSS:\t 12\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_can_be_measured_and_one_that_is_not_there_is_named() {
        let own = std::process::id();
        let processes = Processes::new(&[own]).expect("it runs");

        let usage = processes.usage().expect("it runs");

        assert_eq!(usage[0].pid, own);
        assert!(usage[0].memory.rss_bytes > 0);
        assert_eq!(processes.cpu().expect("it runs").len(), 1);
        // Above the largest number that Linux gives.
        let error = Processes::new(&[own, 4_194_305]).expect_err("nobody has it");
        assert!(error.to_string().contains("4194305"), "{error}");
    }
}
