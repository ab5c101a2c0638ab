//! What goes wrong, and for how long.

use super::edge::State;
use super::redis::Mood;
use super::world::{MILLISECOND, Micros, SECOND, World};

/// When faults may begin, and when the last of them has to be over.
pub(crate) const FAULTS_UNTIL: Micros = 22 * SECOND;

/// How long after a fault of nodes or links answers may still be missing.
const AFTERMATH: Micros = 8 * SECOND;

type Fault = (&'static str, fn(&mut World));

const OF_NODES: [Fault; 9] = [
    ("fault: edge killed", |world| {
        let edge = world.any_edge();
        world.edge_dies(edge);
        world.start_again(edge);
    }),
    ("fault: edge stopped", |world| {
        let edge = world.any_edge();
        world.edge_stops(edge);
        world.start_again(edge);
    }),
    ("fault: edge frozen", |world| {
        let edge = world.any_edge();
        world.edge_freezes(edge);
        let pause = world.chance.between(500, 9_000) * MILLISECOND;
        world.after(pause, move |world| world.edge_thaws(edge));
    }),
    ("fault: relay killed", |world| {
        let relay = world.any_relay();
        world.relay_dies(relay);
        let pause = world.chance.between(10, 5_000) * MILLISECOND;
        world.after(pause, move |world| world.relay_back(relay));
    }),
    ("fault: relay stopped", |world| {
        let relay = world.any_relay();
        world.relay_stops(relay);
        let pause = world.chance.between(10, 3_000) * MILLISECOND;
        world.after(pause, move |world| world.relay_back(relay));
    }),
    ("fault: relay frozen", |world| {
        let relay = world.any_relay();
        world.relay_freezes(relay);
        let pause = world.chance.between(500, 8_000) * MILLISECOND;
        world.after(pause, move |world| world.relay_thaws(relay));
    }),
    ("fault: link cut", |world| {
        let edge = world.any_edge();
        let ways = [[true, false], [false, true], [true, true]];
        let cut = ways[world.chance.index(3)];
        world.cut(edge, cut);
        let pause = world.chance.between(100, 9_000) * MILLISECOND;
        world.after(pause, move |world| world.heal(edge));
    }),
    ("fault: link stalled", |world| {
        let edge = world.any_edge();
        let way = world.chance.index(2);
        world.edges[edge].is_stalled[way] = true;
        world.edges[edge].links_calm_since = world.now;
        let pause = world.chance.between(100, 4_000) * MILLISECOND;
        world.after(pause, move |world| {
            world.edges[edge].is_stalled[way] = false;
            world.edges[edge].links_calm_since = world.now;
        });
    }),
    ("fault: namesake", |world| {
        // A second process of the name and certificate of one that runs.
        let edge = world.any_edge();
        let Some(spare) = world.edges.iter().position(|node| node.state == State::Dead && node.is_spare)
        else {
            return;
        };
        let (name, relay) = (world.edges[edge].name.clone(), world.edges[edge].relay);
        let node = &mut world.edges[spare];
        (node.name, node.relay, node.is_spare) = (name, relay, false);
        world.edge_starts(spare);
    }),
];

const OF_REDIS: [Fault; 6] = [
    ("fault: redis hung", |world| {
        world.redis_becomes(Mood::Hung);
        world.redis_well_again(100, 6_000);
    }),
    ("fault: redis down", |world| {
        world.redis_becomes(Mood::Down);
        world.redis_well_again(100, 8_000);
    }),
    ("fault: redis restarted empty", |world| {
        world.redis_becomes(Mood::Down);
        world.redis_forgets();
        world.redis_well_again(100, 3_000);
    }),
    ("fault: redis refuses", |world| {
        world.redis_becomes(Mood::Refusing);
        world.redis_well_again(100, 5_000);
    }),
    ("fault: redis emptied", World::redis_forgets),
    ("fault: redis slow", |world| {
        world.redis.delay_max = world.chance.between(20, 200) * MILLISECOND;
        let pause = world.chance.between(500, 6_000) * MILLISECOND;
        world.after(pause, |world| world.redis.delay_max = MILLISECOND);
    }),
];

impl World {
    /// Plans at least five faults.
    pub(crate) fn plan_faults(&mut self) {
        // In some runs Redis alone is to blame, so that nothing excuses a wrong count.
        let only_redis = self.chance.one_in(5);
        let count = self.chance.between(5, 13);
        for _ in 0..count {
            let when = self.chance.between(3 * SECOND, FAULTS_UNTIL - SECOND);
            let (name, strike) = if only_redis || self.chance.one_in(3) {
                let ill = &mut self.history.redis_ill_from;
                *ill = Some(ill.map_or(when, |from| from.min(when)));
                OF_REDIS[self.chance.index(OF_REDIS.len())]
            } else {
                self.history.faults.push((when, FAULTS_UNTIL + AFTERMATH));
                OF_NODES[self.chance.index(OF_NODES.len())]
            };
            self.at(when, move |world| {
                world.trace(|| name.to_owned());
                world.count(name);
                strike(world);
            });
        }
        if self.chance.one_in(4) {
            let when = self.chance.below(FAULTS_UNTIL);
            self.at(when, |world| {
                world.count("fault: clock jumps");
                let skew = if world.chance.one_in(2) { 3_600 } else { -3_600 };
                match world.chance.index(2) {
                    0 => {
                        let edge = world.any_edge();
                        world.edges[edge].skew += skew;
                    }
                    _ => {
                        let relay = world.any_relay();
                        world.relays[relay].skew += skew;
                    }
                }
            });
        }
    }

    fn any_edge(&mut self) -> usize {
        let real: Vec<usize> = (0..self.edges.len()).filter(|&edge| !self.edges[edge].is_spare).collect();
        real[self.chance.index(real.len())]
    }

    fn any_relay(&mut self) -> usize {
        self.chance.index(self.relays.len())
    }

    /// Most processes are started again; some are gone for good.
    fn start_again(&mut self, edge: usize) {
        if self.chance.one_in(4) {
            return;
        }
        let pause = self.chance.between(10, 6_000) * MILLISECOND;
        self.after(pause, move |world| {
            let node = &world.edges[edge];
            if node.state == State::Dead && !node.was_superseded && !world.is_quiet {
                world.edge_starts(edge);
            }
        });
    }

    fn relay_back(&mut self, relay: usize) {
        if self.relays[relay].state == State::Dead {
            self.relay_starts(relay);
        }
    }

    fn redis_well_again(&mut self, low: u64, high: u64) {
        let pause = self.chance.between(low, high) * MILLISECOND;
        self.after(pause, |world| world.redis_becomes(Mood::Well));
    }

    fn redis_forgets(&mut self) {
        let before = self.redis.leases.clone();
        self.redis.flush();
        self.redis.emptied_at = Some(self.now);
        self.note_leases(&before);
    }

    /// Everything is mended.
    pub(crate) fn faults_end(&mut self) {
        self.redis_becomes(Mood::Well);
        self.redis.delay_max = MILLISECOND;
        for edge in 0..self.edges.len() {
            self.edges[edge].is_stalled = [false; 2];
            self.heal(edge);
            self.edge_thaws(edge);
        }
        for relay in 0..self.relays.len() {
            self.relay_thaws(relay);
            self.relay_back(relay);
        }
        if !self.edges.iter().any(|node| node.is_alive() && !node.is_stopping) {
            let dead = self.edges.iter().position(|node| node.state == State::Dead && !node.was_superseded);
            if let Some(edge) = dead {
                self.edge_starts(edge);
            }
        }
    }
}
