//! What the operating system and tokio say of this process, read when somebody scrapes. Names are those that Prometheus'
//! client libraries agree on.

use std::time::Duration;

use procfs::process::{LimitValue, Process};
use procfs::{WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};
use tokio::runtime::Handle;

use super::text::{Kind, Text};

/// Writes what there is; what cannot be read is left out.
pub(super) fn process(text: &mut Text) {
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let ticks = ticks_per_second() as f64;
        let cpu = (stat.utime + stat.stime) as f64 / ticks;
        let help = "Processor time of this process, user and system, in seconds.";
        text.single("process_cpu_seconds_total", Kind::Counter, help, cpu);
        let resident = stat.rss_bytes().get() as f64;
        text.single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory of this process in RAM, in bytes.",
            resident,
        );
        let help = "Address space of this process, in bytes.";
        text.single("process_virtual_memory_bytes", Kind::Gauge, help, stat.vsize as f64);
        text.single("process_threads", Kind::Gauge, "Threads of this process.", stat.num_threads as f64);
        if let Ok(booted) = boot_time_secs() {
            let help = "When this process started, in seconds since 1970.";
            let started = booted as f64 + stat.starttime as f64 / ticks;
            text.single("process_start_time_seconds", Kind::Gauge, help, started);
        }
    }
    if let Ok(open) = process.fd_count() {
        text.single("process_open_fds", Kind::Gauge, "Open file descriptors.", open as f64);
    }
    if let Ok(limits) = process.limits() {
        let most = match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        text.single("process_max_fds", Kind::Gauge, "File descriptors that may be open at once.", most);
    }
}

/// The runtime that a node's data path has for itself.
pub(super) fn runtime(handle: Handle, prefix: &str) -> impl Fn(&mut Text) + use<> {
    let [tasks, busy] = ["runtime_tasks", "runtime_busy_seconds_total"].map(|rest| format!("{prefix}{rest}"));
    move |text| {
        let metrics = handle.metrics();
        let help = "Tasks alive on the thread that moves messages; they grow with clients, or with links.";
        text.single(&tasks, Kind::Gauge, help, metrics.num_alive_tasks() as f64);
        let help = "Time that the thread which moves messages was not waiting, in seconds: 1 a second is all it has.";
        let spent: Duration = metrics.worker_total_busy_duration(0);
        text.single(&busy, Kind::Counter, help, spent.as_secs_f64());
    }
}
