//! How an event loop does: how much of its time it works, how much it takes at once, and what waits for it.

use std::time::Instant;

use ::metrics::Gauge;

use super::{Registry, Seconds, Total};

/// See the file.
#[derive(Debug)]
pub struct LoopMetrics {
    busy: Seconds,
    turns: Total,
    inputs: Total,
    waiting: Gauge,
    counted: [u64; 2],
}

impl LoopMetrics {
    /// Registers all of them.
    pub fn new(registry: &Registry) -> Self {
        let name = |rest| registry.name(rest);
        Self {
            busy: registry.seconds(
                &name("loop_busy_seconds_total"),
                "Time that the event loop worked, in seconds: a part of runtime_busy_seconds_total, which has reading and writing as well.",
            ),
            turns: registry.total(
                &name("loop_turns_total"),
                "Turns of the event loop; inputs per turn show how much it takes at once.",
                &[],
            ),
            inputs: registry.total(
                &name("loop_inputs_total"),
                "Inputs that the event loop took: frames of clients, batches of lanes, answers of the store, heartbeats.",
                &[],
            ),
            waiting: registry.gauge(
                &name("loop_inputs_waiting"),
                "Inputs that wait for the event loop, heartbeats apart, looked at every half second; at 1,024 whoever brings more has to wait.",
                &[],
            ),
            counted: [0; 2],
        }
    }

    /// Counts a turn that began at `began`, took `inputs` inputs, and is over.
    pub fn turned(&mut self, began: Instant, inputs: usize) {
        let [turns, all] = &mut self.counted;
        *turns += 1;
        *all += inputs as u64;
        self.turns.tell(*turns);
        self.inputs.tell(*all);
        self.busy.add(began.elapsed());
    }

    /// Shows how many inputs wait.
    pub fn waiting(&self, inputs: usize) {
        self.waiting.set(inputs as f64);
    }
}
