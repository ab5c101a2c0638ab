//! What the servers and we ourselves used between two moments, and whether we were what was slow.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::latency::Percentiles;
use super::process::{Memory, Processes};

/// Our own share of a core above which a run measures us rather than the servers.
const OWN_CORE_MAX: f64 = 0.8;

/// How late we may be with one message in a hundred.
const LATE_P99_MAX: Duration = Duration::from_millis(1);

/// A measurement under way.
#[derive(Debug)]
pub(super) struct Meter {
    processes: Processes,
    begun: Option<Reading>,
    ended: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    cpu: Vec<Duration>,
    own_cpu: Duration,
    machine_cpu: Duration,
}

/// What one process used while it was measured, and has at the end.
#[derive(Debug, Serialize)]
pub(super) struct ProcessUse {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) cpu_seconds: f64,
    /// 1.0 is one core.
    pub(super) cpu_cores: f64,
    #[serde(flatten)]
    pub(super) memory: Memory,
}

/// What was used between the two readings.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) seconds: f64,
    pub(super) processes: Vec<ProcessUse>,
    pub(super) own_cores: f64,
    pub(super) machine: MachineUse,
}

/// How busy this machine was, with everything that runs on it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct MachineUse {
    pub(super) cores: usize,
    pub(super) busy_cores: f64,
}

impl Meter {
    pub(super) fn new(processes: Processes) -> Self {
        Self { processes, begun: None, ended: None }
    }

    /// Takes the first reading; once.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        if self.begun.is_none() {
            self.begun = Some(self.read()?);
        }
        Ok(())
    }

    /// Takes the second one; once, and none where there was no first.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        if self.begun.is_some() && self.ended.is_none() {
            self.ended = Some(self.read()?);
        }
        Ok(())
    }

    /// What was used in between; nothing where the measuring was never begun.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn used(&self) -> anyhow::Result<Option<Used>> {
        let (Some(begun), Some(ended)) = (&self.begun, &self.ended) else { return Ok(None) };
        let seconds = (ended.at - begun.at).as_secs_f64().max(f64::EPSILON);
        let cores = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / seconds;
        let processes = self
            .processes
            .usage()?
            .into_iter()
            .zip(begun.cpu.iter().zip(&ended.cpu))
            .map(|(usage, (&from, &to))| ProcessUse {
                pid: usage.pid,
                name: usage.name,
                cpu_seconds: to.saturating_sub(from).as_secs_f64(),
                cpu_cores: cores(from, to),
                memory: usage.memory,
            })
            .collect();
        let own_cores = cores(begun.own_cpu, ended.own_cpu);
        let machine = MachineUse {
            cores: std::thread::available_parallelism()?.get(),
            busy_cores: cores(begun.machine_cpu, ended.machine_cpu),
        };
        Ok(Some(Used { seconds, processes, own_cores, machine }))
    }

    fn read(&self) -> anyhow::Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            cpu: self.processes.cpu()?,
            own_cpu: own_cpu(),
            machine_cpu: self.processes.machine_cpu()?,
        })
    }
}

/// Our own processor time so far.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Why the figures of a run are ours rather than the servers'; empty where they are not.
pub(super) fn own_limits(own_cores: f64, lateness: Option<&Percentiles>) -> Vec<String> {
    let mut limits = Vec::new();
    if own_cores > OWN_CORE_MAX {
        limits.push(format!("it used {:.0} % of a core", own_cores * 100.0));
    }
    if let Some(lateness) = lateness
        && lateness.p99_us > LATE_P99_MAX.as_secs_f64() * 1e6
    {
        limits.push(format!("one message in a hundred was sent over {:.1} ms late", lateness.p99_us / 1e3));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latency;
    use super::*;

    fn late(duration: Duration) -> Option<Percentiles> {
        let mut lateness = Latency::default();
        lateness.record(duration);
        lateness.percentiles()
    }

    #[test]
    fn the_generator_owns_up_to_having_been_the_bottleneck() {
        let in_time = late(Duration::from_micros(990));
        assert!(own_limits(0.8, in_time.as_ref()).is_empty());
        assert!(own_limits(0.1, None).is_empty());

        assert_eq!(own_limits(0.81, in_time.as_ref()), ["it used 81 % of a core"]);
        let limits = own_limits(0.9, late(Duration::from_micros(1_200)).as_ref());
        assert_eq!(limits[1], "one message in a hundred was sent over 1.2 ms late");
    }

    #[test]
    fn a_meter_reads_its_processes_between_begin_and_end() {
        let own = std::process::id();
        let mut meter = Meter::new(Processes::new(&[own]).expect("it runs"));
        meter.end().expect("it runs");
        assert!(meter.used().expect("it runs").is_none(), "never begun");

        meter.begin().expect("it runs");
        let until = Instant::now() + Duration::from_millis(30);
        while Instant::now() < until {}
        meter.end().expect("it runs");

        let used = meter.used().expect("it runs").expect("begun and ended");
        assert_eq!(used.processes[0].pid, own);
        assert!(used.seconds >= 0.03 && used.own_cores > 0.0, "{used:?}");
    }
}
