//! How links do, as QUIC and our own queues have it. Looked at twice a second, at either end.

use ::metrics::{Counter, Gauge};
use proto::limits::LANE_BYTES_MAX;
use quinn::ConnectionStats;

use crate::metrics::Registry;
use crate::outbox::Queued;

/// What a node's links have done together, and what waits for them.
#[derive(Debug)]
pub struct LinkMetrics {
    packets_sent: Counter,
    packets_lost: Counter,
    congestion_events: Counter,
    bytes_sent: Counter,
    bytes_received: Counter,
    control_queue: Gauge,
    lanes_queue: Gauge,
    fullest_lane: Gauge,
}

/// What was counted of one link already.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    packets_sent: u64,
    packets_lost: u64,
    congestion_events: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl LinkMetrics {
    /// Registers all of them.
    pub fn new(registry: &Registry) -> Self {
        let name = |rest| registry.name(rest);
        let counter = |rest, help| registry.counter(&name(rest), help, &[]);
        let queue = |stream| {
            let help = "Bytes that wait to be written to links: state in the control streams, messages in the lanes.";
            registry.gauge(&name("link_queue_bytes"), help, &[("stream", stream)])
        };
        let most = registry.gauge(
            &name("link_lane_bytes_max"),
            "Bytes that may wait in one lane; what comes to a full one is refused.",
            &[],
        );
        most.set(LANE_BYTES_MAX as f64);
        Self {
            packets_sent: counter(
                "link_packets_sent_total",
                "QUIC packets sent on links, with those that were lost and sent again.",
            ),
            packets_lost: counter("link_packets_lost_total", "QUIC packets that links sent in vain."),
            congestion_events: counter(
                "link_congestion_events_total",
                "Times that a link's congestion window shrank.",
            ),
            bytes_sent: counter("link_bytes_sent_total", "Bytes of UDP payload sent on links."),
            bytes_received: counter("link_bytes_received_total", "Bytes of UDP payload that came on links."),
            control_queue: queue("control"),
            lanes_queue: queue("lanes"),
            fullest_lane: registry.gauge(
                &name("link_fullest_lane_bytes"),
                "Bytes that wait in the fullest lane of all links.",
                &[],
            ),
        }
    }

    /// Counts what a link has done since it was last looked at.
    pub fn count(&self, seen: &mut Seen, stats: &ConnectionStats) {
        let now = Seen {
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            congestion_events: stats.path.congestion_events,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
        };
        let before = std::mem::replace(seen, now);
        self.packets_lost.increment(now.packets_lost.saturating_sub(before.packets_lost));
        self.packets_sent.increment(now.packets_sent.saturating_sub(before.packets_sent));
        self.congestion_events.increment(now.congestion_events.saturating_sub(before.congestion_events));
        self.bytes_sent.increment(now.bytes_sent.saturating_sub(before.bytes_sent));
        self.bytes_received.increment(now.bytes_received.saturating_sub(before.bytes_received));
    }

    /// Shows what waits now.
    pub fn queued(&self, queued: Queued) {
        self.control_queue.set(queued.control as f64);
        self.lanes_queue.set(queued.lanes as f64);
        self.fullest_lane.set(queued.fullest_lane as f64);
    }
}
