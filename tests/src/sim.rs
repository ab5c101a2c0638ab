//! The whole cluster in one thread, from one seed: real cores, and a network, a Redis and users that do them wrong.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | time, chance, and what is still to happen |
//! | `edge.rs`, `relay.rs` | a process around each core |
//! | `network.rs` | links: streams that overtake each other, cuts, silence, resets |
//! | `redis.rs` | Redis, and what a node's store does with it |
//! | `client.rs` | users who write, move, and do not read |
//! | `faults.rs` | what goes wrong |
//! | `history.rs`, `reaping.rs`, `quiet.rs` | the judge: of what happened, of leases, and of what is left when all is quiet |
//!
//! [`run`] is one run; the binary `simulate` makes many, or shows one.

mod chance;
mod client;
mod edge;
mod faults;
mod history;
mod network;
mod quiet;
mod reaping;
mod redis;
mod relay;
mod world;

use std::collections::BTreeMap;

use chance::Chance;
use client::Device;
use edge::EdgeNode;
use faults::FAULTS_UNTIL;
use relay::RelayNode;
use world::{MILLISECOND, Micros, Settings, World};

/// What came out of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everything that must not be.
    pub wrong: Vec<String>,
    /// How often what happened.
    pub coverage: BTreeMap<&'static str, u64>,
}

/// What must have happened in any large number of runs: a zero means that the simulation has lost its teeth.
pub const EXPECTED: [&str; 38] = [
    "alone again",
    "delivered",
    "edge freezes",
    "edges stopped",
    "elsewhere",
    "ended",
    "fault: clock jumps",
    "fault: edge frozen",
    "fault: edge killed",
    "fault: edge stopped",
    "fault: link cut",
    "fault: link stalled",
    "fault: namesake",
    "fault: redis down",
    "fault: redis emptied",
    "fault: redis hung",
    "fault: redis refuses",
    "fault: redis restarted empty",
    "fault: redis slow",
    "fault: relay frozen",
    "fault: relay killed",
    "fault: relay stopped",
    "fenced",
    "gone",
    "late commands",
    "leased",
    "links idle",
    "look-ups",
    "offline",
    "overlaps",
    "publications refused",
    "reaped",
    "relay freezes",
    "resets",
    "slow clients",
    "store unanswered",
    "superseded",
    "unleased",
];

/// Runs the cluster that `seed` decides; with `traces`, prints what happens.
pub fn run(seed: u64, traces: bool) -> Outcome {
    let mut chance = Chance::new(seed ^ 0x5eed);
    let settings = Settings {
        delay_max: if chance.one_in(4) { 100 * MILLISECOND } else { 3 * MILLISECOND },
        lane_bytes_max: if chance.one_in(4) { 4_000 } else { proto::limits::LANE_BYTES_MAX },
        is_redis_treacherous: chance.one_in(4),
        rooms: 3,
    };
    let has_two_relays = chance.one_in(8);
    let mut world = World::new(seed, settings, traces);
    world.relays.push(RelayNode::new());
    if has_two_relays {
        world.relays.push(RelayNode::new());
    }
    for number in 1..=3 {
        let relay = usize::from(has_two_relays && number == 3);
        world.edges.push(EdgeNode::new(&format!("edge-{number}"), relay));
    }
    // A namesake to come.
    world.edges.push(EdgeNode::spare());
    for edge in 0..3 {
        let delay = world.chance.below(500 * MILLISECOND);
        world.after(delay, move |world| world.edge_starts(edge));
    }
    for relay in 0..world.relays.len() {
        let delay = world.chance.below(500 * MILLISECOND);
        world.after(delay, move |world| world.relay_starts(relay));
    }
    let has_slow = chance.one_in(4);
    for user in 0..17 {
        world.devices.push(Device::new(user, user % 2 == 0, has_slow && user == 3));
    }
    for user in 0..4 {
        world.devices.push(Device::new(user, user == 1, false));
    }
    world.users = 20;
    for device in 0..world.devices.len() {
        world.device_starts(device);
    }
    if has_two_relays {
        // Edges of different relays know nothing of each other's users.
        world.history.faults.push((0, Micros::MAX));
        world.history.has_two_relays = true;
    }
    world.plan_faults();
    world.run_until(FAULTS_UNTIL);
    world.end_quietly();
    let now = world.now;
    Outcome { wrong: world.history.judge(now), coverage: world.coverage }
}
