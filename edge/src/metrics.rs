//! Every metric of an edge: name, unit, help. Handles are made once; counters are summed per turn of the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use node::link::LinkMetrics;
use node::memory::{Operation, StoreMetrics};
use node::metrics::{Histogram, Registry, Sampler, Total};
use proto::client::code::Disconnect;
pub(crate) use proto::link::Door;
use quinn::PathStats;

use crate::core::{Outcome, Tally};

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many clients as there may be.
    Full,
    /// A page of a foreign origin.
    Origin,
    /// Neither a WebSocket nor a WebTransport handshake, or not in time.
    Handshake,
}

/// A part of a message's way through this edge; [`crate::eventloop::Input::Timed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From a client towards whoever gets it.
    In,
    /// From the link towards clients.
    Out,
}

/// What a connection was that had to make room before it had logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In HTTP, its head or its answer not complete.
    Http,
    /// Upgraded to WebSocket.
    WebSocket,
    /// In a handshake of QUIC, or in a WebTransport session.
    WebTransport,
    /// At the line door.
    Line,
}

/// An edge's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) store: StoreMetrics,
    pub(crate) link: LinkMetrics,
    /// What goes through each door.
    pub(crate) traffic: [Arc<Traffic>; Door::ALL.len()],
    link_smoothed_rtt: Gauge,
    link_window: Gauge,
    link_mtu: Gauge,
    stages: [Histogram; 2],
    handshakes: [Histogram; 2],
    accepts: [Counter; Door::ALL.len()],
    receipt_latencies: [Histogram; 3],
    answers: [Total; 3],
    canary_latency: Histogram,
    canaries: [Total; 2],
    joins: Total,
    leaves: Total,
    parked: Total,
    clients: Gauge,
    /// Connections that were let in and not yet let go, by door.
    connections: [Gauge; Door::ALL.len()],
    clients_max: Gauge,
    channels: Gauge,
    receipts_pending: Gauge,
    messages_received: Total,
    messages: [Total; Outcome::ALL.len()],
    receipts: [Total; 3],
    pushes: Total,
    frames_in: Total,
    frames_out: Total,
    memories_differ: Total,
    lookups: [Total; 4],
    leased: Gauge,
    routes: Gauge,
    routes_pending: Gauge,
    route_writes: [Total; 3],
    epochs: Total,
    index_strays: Total,
    freezes: Total,
    errors: Total,
    disconnects: [Total; Disconnect::ALL.len()],
    refusals: [[Counter; 3]; Door::ALL.len()],
    newcomers_ended: [Counter; 4],
    link_up: Gauge,
    links: Total,
    link_rtt: Histogram,
}

/// What goes through one door, once clients are let in.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Which frames are timed.
    pub(crate) sampler: Sampler,
    bytes_received: Counter,
    bytes_sent: Counter,
    frames_received: Counter,
    frames_sent: Counter,
}

impl Traffic {
    fn new(registry: &Registry, door: Door) -> Self {
        let counter = |name, help| registry.counter(name, help, &[("door", door.label())]);
        Self {
            sampler: Sampler::default(),
            bytes_received: counter(
                "edge_bytes_received_total",
                "Bytes that clients sent, without TLS, QUIC and HTTP.",
            ),
            bytes_sent: counter(
                "edge_bytes_sent_total",
                "Bytes written to clients, without TLS, QUIC and HTTP.",
            ),
            frames_received: counter(
                "edge_frames_received_total",
                "Frames that clients sent: WebSocket messages, or lines. Each may hold many commands.",
            ),
            frames_sent: counter(
                "edge_frames_sent_total",
                "Frames written to clients; each holds whatever had to be said to one client at that moment.",
            ),
        }
    }

    /// For a client without an edge.
    #[cfg(test)]
    pub(crate) fn unseen() -> Arc<Self> {
        Arc::new(Self::new(&Registry::new("edge", "0"), Door::WebSocket))
    }

    /// Counts what was read.
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_received.increment(bytes as u64);
    }

    /// Counts a frame in what was read.
    pub(crate) fn frame_came(&self) {
        self.frames_received.increment(1);
    }

    /// Counts a frame that was written.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.frames_sent.increment(1);
        self.bytes_sent.increment(bytes as u64);
    }
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry, clients_max: usize) -> Self {
        let counter = |name, help| registry.total(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let labelled = |name, help, label, value: &str| registry.total(name, help, &[(label, value)]);
        let metrics = Self {
            store: StoreMetrics::new(registry, Operation::OF_EDGES),
            link: LinkMetrics::new(registry),
            traffic: Door::ALL.map(|door| Arc::new(Traffic::new(registry, door))),
            link_smoothed_rtt: gauge("edge_link_smoothed_rtt_seconds", "Round trip of the link, as QUIC measures and smoothes it, in seconds; 0 without a link."),
            link_window: gauge("edge_link_congestion_window_bytes", "Bytes that may be under way on the link before anything is acknowledged; 0 without a link."),
            link_mtu: gauge("edge_link_mtu_bytes", "The largest packet that the link's path takes, in bytes of UDP payload; 0 without a link."),
            stages: registry.histograms("edge_stage_seconds", "How long frames of up to 4 KiB waited and took, in seconds, of every 64th: in, from being handed over by a client's reader until what it says is queued for the link or for clients here; out, from a lane's reading until it is queued for clients.", "stage", ["in", "out"]),
            handshakes: registry.histograms("edge_handshake_seconds", "From a connection's first packet until it is let in, in seconds: TLS or QUIC, and HTTP.", "door", ["websocket", "webtransport"]),
            accepts: Door::ALL.map(|door| {
                registry.counter("edge_accepts_total", "Connections that were opened to a door, whatever became of them.", &[("door", door.label())])
            }),
            receipt_latencies: registry.histograms("edge_receipt_seconds", "How long directed messages that went to the relay waited for their verdict, in seconds, at the sender's edge. Unknown takes 4 s where nobody answers.", "verdict", ["delivered", "offline", "unknown"]),
            answers: ["took", "not_here", "unknown"].map(|answer| {
                labelled("edge_answers_total", "Answers of other edges to this one's directed messages: took, not_here (no client of theirs receives it), unknown (it could not be passed on).", "answer", answer)
            }),
            canary_latency: registry.histogram("edge_canary_seconds", "Round trip of the message that this edge sends to itself through its relay each second, in seconds."),
            canaries: ["returned", "lost"].map(|result| {
                labelled("edge_canaries_total", "Messages of this edge to itself: returned, lost (not back within 5 s, or when the link ended).", "result", result)
            }),
            joins: counter("edge_joins_total", "Channels that this edge began to hold; less edge_leaves_total they are edge_channels."),
            leaves: counter("edge_leaves_total", "Channels that this edge ceased to hold."),
            parked: counter("edge_parked_total", "Publications held back until a client had the reply to its subscribe or connect."),
            clients: gauge("edge_clients", "Clients logged in now."),
            connections: Door::ALL.map(|door| {
                registry.gauge("edge_connections", "Connections let in by a door and not yet closed, logged in or not.", &[("door", door.label())])
            }),
            clients_max: gauge("edge_clients_max", "Connections that this edge lets in at most."),
            channels: gauge("edge_channels", "Channels that this edge holds now: they have a subscriber here."),
            receipts_pending: gauge("edge_receipts_pending", "Directed messages that wait for their verdict now."),
            messages_received: counter("edge_messages_received_total", "Publications and directed messages that clients sent. Each ends in one of edge_messages_total."),
            messages: Outcome::ALL.map(|outcome| {
                labelled("edge_messages_total", "Clients' messages by what became of them: accepted (publications), delivered, offline, rejected (the sender's mistake), unknown (temporary error).", "outcome", outcome.label())
            }),
            receipts: ["delivered", "offline", "unknown"].map(|verdict| {
                labelled("edge_receipts_total", "Receipts given for directed messages, by verdict.", "verdict", verdict)
            }),
            pushes: counter("edge_pushes_total", "Publications put into clients' outboxes."),
            frames_in: counter("edge_link_publications_in_total", "Publications that came from other edges."),
            frames_out: counter("edge_link_publications_out_total", "Publications sent to the relay for other edges."),
            memories_differ: counter("edge_memories_differ_total", "Look-ups in which the store names a holder that the relay does not; the sender gets a temporary error."),
            lookups: ["nobody", "somebody", "away", "unanswered"].map(|answer| {
                labelled("edge_lookups_total", "Look-ups before somebody is called offline, answered before their time was up, by what the store said: nobody (else) holds the channel, somebody does, the store is away, it did not answer.", "answer", answer)
            }),
            leased: gauge("edge_leased", "1 while the store has this edge's lease, as the relay said, else 0: routes are written only then."),
            routes: gauge("edge_routes", "Routes of this edge that the store has, as of its last lease (edge_leased); edge_channels of them when all is written."),
            routes_pending: gauge("edge_routes_pending", "Routes to be written or removed that the store does not have so yet, those of older epochs included."),
            route_writes: ["ok", "failed", "fenced"].map(|result| {
                labelled("edge_route_writes_total", "Routes written or removed, one per channel: ok, failed (written again later), fenced (the store knows no such lease).", "result", result)
            }),
            epochs: counter("edge_epochs_total", "New epochs that this edge took: one at its start, more where its lease was lost."),
            index_strays: counter("edge_index_strays_total", "Entries of this edge's index in the store that it does not want, or had left just before; each is removed."),
            freezes: counter("edge_freezes_total", "Times that this edge stood still for over 1.5 s and dropped its link for it."),
            errors: counter("edge_error_replies_total", "Error replies to clients' commands."),
            disconnects: Disconnect::ALL.map(|why| {
                labelled("edge_disconnects_total", "Clients let go, by the code that ended them; 3000 is a client that went by itself.", "code", &why.number().to_string())
            }),
            refusals: Door::ALL.map(|door| ["full", "origin", "handshake"].map(|reason| {
                registry.counter("edge_refusals_total", "Connections not let in: full (503), origin (403), handshake (TLS, QUIC, WebSocket or WebTransport failed, or took too long).", &[("door", door.label()), ("reason", reason)])
            })),
            newcomers_ended: ["http", "websocket", "webtransport", "line"].map(|door| {
                registry.counter("edge_newcomers_ended_total", "Connections ended before they had logged in, to make room for newer ones: in TLS or HTTP, upgraded to WebSocket, at the WebTransport door, at the line door. It moves while strangers hold what is for everybody.", &[("door", door)])
            }),
            link_up: gauge("edge_link_up", "1 while the relay has greeted this edge on a living link, else 0."),
            links: counter("edge_links_total", "Links on which the relay greeted this edge."),
            link_rtt: registry.histogram("edge_link_rtt_seconds", "Round trip of the heartbeat between edge and relay, in seconds."),
        };
        metrics.clients_max.set(clients_max as f64);
        metrics
    }

    /// Counts a connection that was opened to `door`.
    pub(crate) fn accepted(&self, door: Door) {
        self.accepts[door as usize].increment(1);
    }

    /// Counts a client that was not let in.
    pub(crate) fn refused(&self, door: Door, refusal: Refusal) {
        self.refusals[door as usize][refusal as usize].increment(1);
    }

    /// Counts one that was, `took` after it had come; terminals have no handshake.
    pub(crate) fn let_in(&self, door: Door, took: Duration) {
        if let Some(handshakes) = self.handshakes.get(door as usize) {
            handshakes.record(took);
        }
    }

    /// What goes through `door`.
    pub(crate) fn traffic(&self, door: Door) -> Arc<Traffic> {
        Arc::clone(&self.traffic[door as usize])
    }

    /// Records how long a part of a message's way took.
    pub(crate) fn passed(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].record(took);
    }

    /// Shows how the link does; `None` without one.
    pub(crate) fn path(&self, path: Option<&PathStats>) {
        self.link_smoothed_rtt.set(path.map_or(0.0, |path| path.rtt.as_secs_f64()));
        self.link_window.set(path.map_or(0.0, |path| path.cwnd as f64));
        self.link_mtu.set(path.map_or(0.0, |path| f64::from(path.current_mtu)));
    }

    /// Counts a newcomer that had to make room.
    pub(crate) fn ended(&self, ended: Ended) {
        self.newcomers_ended[ended as usize].increment(1);
    }

    /// Records a heartbeat's round trip.
    pub(crate) fn rtt(&self, took: Duration) {
        self.link_rtt.record(took);
    }

    /// Takes over what the Hub counted.
    pub(crate) fn record(&self, tally: &Tally, is_linked: bool) {
        self.clients.set(tally.clients as f64);
        self.channels.set(tally.channels as f64);
        self.receipts_pending.set(tally.receipts_pending as f64);
        self.link_up.set(f64::from(u8::from(is_linked)));
        self.leased.set(f64::from(u8::from(tally.is_leased)));
        self.routes.set(tally.routes as f64);
        self.routes_pending.set(tally.routes_pending as f64);
        for (counter, value) in [
            (&self.messages_received, tally.messages_received),
            (&self.pushes, tally.pushes),
            (&self.frames_in, tally.frames_in),
            (&self.frames_out, tally.frames_out),
            (&self.memories_differ, tally.memories_differ),
            (&self.errors, tally.errors),
            (&self.links, tally.links),
            (&self.epochs, tally.route_counts.epochs),
            (&self.index_strays, tally.route_counts.strays),
            (&self.freezes, tally.freezes),
            (&self.joins, tally.joins),
            (&self.leaves, tally.leaves),
            (&self.parked, tally.parked),
        ] {
            counter.tell(value);
        }
        let canaries = [tally.canaries.count(), tally.canaries_lost];
        let by_label: [(&[Total], &[u64]); 7] = [
            (&self.messages, &tally.messages),
            (&self.receipts, &tally.receipts),
            (&self.lookups, &tally.lookups),
            (&self.route_writes, &tally.route_counts.writes),
            (&self.disconnects, &tally.disconnects),
            (&self.answers, &tally.answers),
            (&self.canaries, &canaries),
        ];
        for (counters, values) in by_label {
            for (counter, &value) in counters.iter().zip(values) {
                counter.tell(value);
            }
        }
        self.canary_latency.tell(&tally.canaries);
        for (histogram, latencies) in self.receipt_latencies.iter().zip(&tally.receipt_latencies) {
            histogram.tell(latencies);
        }
    }
}

/// How many connections an edge has, and may have.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    used: Arc<AtomicUsize>,
    max: usize,
    metrics: Arc<Metrics>,
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    used: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    door: Door,
}

impl Capacity {
    /// Room for `max` connections.
    pub(crate) fn new(max: usize, metrics: Arc<Metrics>) -> Self {
        Self { used: Arc::default(), max, metrics }
    }

    /// A place for one more, or none.
    pub(crate) fn take(&self, door: Door) -> Option<Place> {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.max).then_some(used + 1));
        taken.is_ok().then(|| self.place(door))
    }

    /// The place of somebody who has been told to go, and holds it until his task has ended.
    pub(crate) fn take_over(&self, door: Door) -> Place {
        self.used.fetch_add(1, Ordering::Relaxed);
        self.place(door)
    }

    fn place(&self, door: Door) -> Place {
        self.metrics.connections[door as usize].increment(1.0);
        Place { used: Arc::clone(&self.used), metrics: Arc::clone(&self.metrics), door }
    }

    /// Connections now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the next one is let in only if somebody makes room.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.max
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections[self.door as usize].decrement(1.0);
    }
}
