//! Links between edges and relays: ordered streams that overtake each other, cuts, silence, resets.
//!
//! A link has two ends, one in each process. Nothing of an end outlives its process. What is sent while its way is cut is
//! held, and sent again when it is open: as QUIC does.

use std::collections::BTreeMap;

use bytes::Bytes;
use edge::core::Generation;
use node::outbox::{Drain, LinkOutboxes, outbox};
use proto::limits::{CONTROL_BYTES_MAX, LANES};
use proto::link::{CloseCode, HEARTBEAT_BYTES, LaneFrame, ToRelay};
use relay::core::LinkKey;
use serde_json::Value;

use super::history::Published;
use super::world::{MILLISECOND, Micros, SECOND, World};

/// Control stream, heartbeat, lanes.
pub(crate) const STREAMS: usize = 2 + LANES;
pub(crate) const CONTROL: usize = 0;
pub(crate) const HEARTBEAT: usize = 1;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the relay.
    Up,
    /// To the edge.
    Down,
}

/// One QUIC connection.
pub(crate) struct Link {
    pub(crate) edge: usize,
    pub(crate) edge_life: u32,
    pub(crate) generation: Generation,
    pub(crate) relay: usize,
    pub(crate) relay_life: u32,
    pub(crate) key: LinkKey,
    ends: [End; 2],
    ways: [Streams; 2],
    /// Whether the relay reads the lanes; until then they wait.
    pub(crate) is_admitted: bool,
    pub(crate) unread_lanes: Vec<(usize, Vec<Bytes>)>,
}

struct End {
    /// Taken while it is open.
    drains: Option<Drains>,
    last_heard: Micros,
    /// Silence after which this end is given up. Retries of its own keep resetting the clock, so it is not the same
    /// for all.
    idle_max: Micros,
}

struct Drains {
    streams: Vec<Drain<CloseCode>>,
}

#[derive(Default)]
struct Streams {
    not_before: Micros,
    sent: [u64; STREAMS],
    /// What the receiver of each stream waits for.
    expected: [u64; STREAMS],
    /// What came before its turn.
    early: BTreeMap<(usize, u64), Vec<Bytes>>,
    /// What met a cut.
    held: Vec<Packet>,
}

/// Frames at their place in a stream.
struct Packet {
    stream: usize,
    place: u64,
    frames: Vec<Bytes>,
}

/// What these frames of a lane bring to somebody's clients.
pub(crate) fn published(frames: &[Bytes]) -> impl Iterator<Item = Published> {
    frames.iter().filter_map(|frame| {
        let LaneFrame::Publication(frame) = LaneFrame::decode(frame).expect("what a core says decodes")
        else {
            return None;
        };
        let data: Value = serde_json::from_slice(frame.data).expect("our own data");
        let number = data[0].as_u64().expect("our own data");
        Some(if frame.channel.starts_with('#') {
            Published::Direct(number)
        } else {
            Published::InRoom(number)
        })
    })
}

fn is_status(frame: &Bytes) -> bool {
    matches!(ToRelay::decode(frame), Ok(ToRelay::Status(_)))
}

/// The queues of one end.
fn queues(lane_bytes_max: usize) -> (LinkOutboxes, Drains) {
    let (control, control_drain) = outbox(CONTROL_BYTES_MAX);
    let (heartbeat, heartbeat_drain) = outbox(64 * HEARTBEAT_BYTES);
    let (lanes, lane_drains): (Vec<_>, Vec<_>) = (0..LANES).map(|_| outbox(lane_bytes_max)).unzip();
    let lanes = lanes.try_into().expect("one for each lane");
    let streams = [control_drain, heartbeat_drain].into_iter().chain(lane_drains).collect();
    (LinkOutboxes { control, heartbeat, lanes }, Drains { streams })
}

impl World {
    pub(crate) fn delay(&mut self) -> Micros {
        let max = self.settings.delay_max;
        self.chance.between(20, max)
    }

    fn is_cut(&self, edge: usize, way: Way) -> bool {
        self.edges[edge].cut[way as usize]
    }

    /// The edge tries to make a link, until it has one or has to give up; then again, with back-off.
    pub(crate) fn dial(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        node.generation += 1;
        let (life, generation) = (node.life, node.generation);
        let deadline = self.now + 1_500 * MILLISECOND;
        let round_trip = 2 * self.delay();
        self.after(round_trip, move |world| world.shake_hands(edge, life, generation, deadline));
    }

    fn shake_hands(&mut self, edge: usize, life: u32, generation: u64, deadline: Micros) {
        let node = &self.edges[edge];
        if node.life != life || node.generation != generation || !node.is_alive() || node.is_stopping {
            return;
        }
        let relay = node.relay;
        let is_open = !self.is_cut(edge, Way::Up) && !self.is_cut(edge, Way::Down);
        if is_open && node.is_running() && self.relays[relay].is_running() {
            return self.connected(edge, relay, generation);
        }
        if self.now >= deadline {
            return self.dial_later(edge);
        }
        self.after(100 * MILLISECOND, move |world| world.shake_hands(edge, life, generation, deadline));
    }

    /// Full jitter, up to half a second.
    pub(crate) fn dial_later(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        let bound = ((50 * MILLISECOND) << node.failures.min(5)).min(SECOND / 2);
        node.failures += 1;
        let life = node.life;
        let pause = self.chance.below(bound);
        self.after(pause, move |world| {
            let node = &world.edges[edge];
            if node.life == life && node.is_alive() && !node.is_stopping {
                world.dial(edge);
            }
        });
    }

    fn connected(&mut self, edge: usize, relay: usize, generation: u64) {
        self.count("links");
        let idle = |chance: &mut super::chance::Chance| {
            let (low, high) = if chance.one_in(2) { (3_000, 3_500) } else { (6_400, 7_000) };
            chance.between(low, high) * MILLISECOND
        };
        let idle_max = [idle(&mut self.chance), idle(&mut self.chance)];
        let (edge_boxes, edge_drains) = queues(self.settings.lane_bytes_max);
        let (relay_boxes, relay_drains) = queues(self.settings.lane_bytes_max);
        let key = self.relays[relay].next_link();
        let link = self.links.len();
        let now = self.now;
        let ends = [(relay_drains, idle_max[0]), (edge_drains, idle_max[1])].map(|(drains, idle_max)| End {
            drains: Some(drains),
            last_heard: now,
            idle_max,
        });
        self.links.push(Link {
            edge,
            edge_life: self.edges[edge].life,
            generation: Generation(generation),
            relay,
            relay_life: self.relays[relay].life,
            key,
            // In the order of the ways that lead to them.
            ends,
            ways: Default::default(),
            is_admitted: false,
            unread_lanes: Vec::new(),
        });
        self.edges[edge].link = Some(link);
        let half = self.delay();
        // The relay learns of it with the edge's first bytes.
        self.links[link].ways[Way::Up as usize].not_before = self.now + half;
        let relay_life = self.relays[relay].life;
        self.after(half, move |world| {
            if world.relays[relay].life == relay_life && world.is_end_open(link, Way::Up) {
                world.relay_link_opened(relay, link, relay_boxes);
            }
        });
        self.edge_link_opened(edge, Generation(generation), edge_boxes);
        self.after(SECOND / 2, move |world| world.look_for_silence(link));
    }

    /// Whether the end to which `way` leads is open.
    pub(crate) fn is_end_open(&self, link: usize, way: Way) -> bool {
        self.links[link].ends[way as usize].drains.is_some()
    }

    fn look_for_silence(&mut self, link: usize) {
        for way in [Way::Up, Way::Down] {
            let end = &self.links[link].ends[way as usize];
            let is_silent = end.drains.is_some() && self.now > end.last_heard + end.idle_max;
            if is_silent && self.is_owner_running(link, way) {
                self.trace(|| format!("link {link}: nothing heard, the end {way:?} gives up"));
                self.count("links idle");
                self.close_end(link, way);
            }
        }
        if self.links[link].ends.iter().any(|end| end.drains.is_some()) {
            self.after(SECOND / 2, move |world| world.look_for_silence(link));
        }
    }

    fn is_owner_running(&self, link: usize, way: Way) -> bool {
        let Link { edge, relay, .. } = self.links[link];
        match way {
            Way::Up => self.relays[relay].is_running(),
            Way::Down => self.edges[edge].is_running(),
        }
    }

    /// Sends what waits at the end from which `way` leads.
    pub(crate) fn flush(&mut self, link: usize, way: Way) {
        let from = 1 - way as usize;
        let Link { edge, .. } = self.links[link];
        if self.edges[edge].is_stalled[way as usize] {
            return;
        }
        for stream in 0..STREAMS {
            let Some(drains) = &mut self.links[link].ends[from].drains else { return };
            let mut frames = Vec::new();
            drains.streams[stream].try_take(&mut frames, usize::MAX);
            // How an edge does decides nothing anywhere.
            frames.retain(|frame| !(stream == CONTROL && way == Way::Up && is_status(frame)));
            if !frames.is_empty() {
                self.transmit(link, way, stream, frames);
            }
        }
    }

    fn transmit(&mut self, link: usize, way: Way, stream: usize, frames: Vec<Bytes>) {
        let streams = &mut self.links[link].ways[way as usize];
        let place = streams.sent[stream];
        streams.sent[stream] += 1;
        self.carry(link, way, Packet { stream, place, frames });
    }

    fn carry(&mut self, link: usize, way: Way, packet: Packet) {
        if self.is_cut(self.links[link].edge, way) {
            return self.links[link].ways[way as usize].held.push(packet);
        }
        let delay = self.delay();
        let arrival = (self.now + delay).max(self.links[link].ways[way as usize].not_before);
        self.at(arrival, move |world| world.arrive(link, way, packet));
    }

    fn arrive(&mut self, link: usize, way: Way, packet: Packet) {
        let Link { edge, edge_life, relay, relay_life, .. } = self.links[link];
        if self.is_cut(edge, way) {
            return self.links[link].ways[way as usize].held.push(packet);
        }
        let (life, is_alive) = match way {
            Way::Up => (self.relays[relay].life == relay_life, self.relays[relay].is_running()),
            Way::Down => (self.edges[edge].life == edge_life, self.edges[edge].is_alive()),
        };
        if way == Way::Up && !life && is_alive {
            // A restarted relay knows nothing of the link, and says so in a way that the edge believes.
            let delay = self.delay();
            return self.after(delay, move |world| {
                if !world.is_cut(edge, Way::Down) && world.is_end_open(link, Way::Down) {
                    world.count("resets");
                    world.close_end(link, Way::Down);
                }
            });
        }
        let now = self.now;
        let end = &mut self.links[link].ends[way as usize];
        if !life || end.drains.is_none() {
            return;
        }
        end.last_heard = now;
        // The peer hears at least the acknowledgement.
        if !self.is_cut(edge, if way == Way::Up { Way::Down } else { Way::Up }) {
            self.links[link].ends[1 - way as usize].last_heard = now;
        }
        let streams = &mut self.links[link].ways[way as usize];
        let stream = packet.stream;
        streams.early.insert((stream, packet.place), packet.frames);
        while let Some(frames) = {
            let streams = &mut self.links[link].ways[way as usize];
            let frames = streams.early.remove(&(stream, streams.expected[stream]));
            streams.expected[stream] += u64::from(frames.is_some());
            frames
        } {
            match way {
                Way::Up => self.relay_hears(relay, link, stream, frames),
                Way::Down => self.edge_hears(edge, link, stream, frames),
            }
        }
    }

    /// This end is gone, and its process learns it.
    pub(crate) fn close_end(&mut self, link: usize, way: Way) {
        if self.links[link].ends[way as usize].drains.take().is_none() {
            return;
        }
        let Link { edge, relay, .. } = self.links[link];
        match way {
            Way::Up => self.relay_link_closed(relay, link),
            Way::Down => self.edge_link_closed(edge, link),
        }
    }

    /// The process at the end from which `way` leads closes the link, and the other is told.
    pub(crate) fn say_close(&mut self, link: usize, way: Way, code: CloseCode) {
        self.flush(link, way);
        let here = if way == Way::Up { Way::Down } else { Way::Up };
        self.links[link].ends[here as usize].drains = None;
        let Link { edge, .. } = self.links[link];
        if self.is_cut(edge, way) {
            return;
        }
        let delay = self.delay();
        self.after(delay, move |world| {
            if world.is_cut(edge, way) || !world.is_end_open(link, way) {
                return;
            }
            if way == Way::Down && code == CloseCode::Superseded {
                world.edge_superseded(edge, link);
            }
            world.close_end(link, way);
        });
    }

    /// A process died: its ends are gone, and nobody is told.
    pub(crate) fn drop_ends(&mut self, is_its: impl Fn(&Link) -> Option<Way>) {
        for link in &mut self.links {
            if let Some(way) = is_its(link) {
                link.ends[way as usize].drains = None;
            }
        }
    }

    pub(crate) fn cut(&mut self, edge: usize, ways: [bool; 2]) {
        self.edges[edge].cut = ways;
        self.edges[edge].links_calm_since = self.now;
    }

    /// What was held is sent again, the sooner the less often it was tried in vain.
    pub(crate) fn heal(&mut self, edge: usize) {
        self.edges[edge].cut = [false; 2];
        self.edges[edge].links_calm_since = self.now;
        for link in 0..self.links.len() {
            if self.links[link].edge != edge {
                continue;
            }
            for way in [Way::Up, Way::Down] {
                let held = std::mem::take(&mut self.links[link].ways[way as usize].held);
                for packet in held {
                    let pause = self.chance.below(SECOND);
                    self.after(pause, move |world| world.carry(link, way, packet));
                }
            }
        }
    }
}
