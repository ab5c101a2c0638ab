//! Every metric of an edge: name, unit, help. Handles are made once; counters are summed per turn of the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge, Histogram};
use node::memory::StoreMetrics;
use node::metrics::{Registry, Total};
use proto::client::code::Disconnect;
pub(crate) use proto::link::Door;

use crate::core::{Outcome, Tally};

/// Upper bounds of the round trip's buckets, in seconds: from one machine to around the world.
pub(crate) const RTT_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// The round trip's name: its buckets are set when the registry is made.
pub(crate) const RTT: &str = "edge_link_rtt_seconds";

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many clients as there may be.
    Full,
    /// A page of a foreign origin.
    Origin,
    /// Neither a WebSocket nor a WebTransport handshake.
    Handshake,
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
    clients: Gauge,
    /// Connections that were let in and not yet let go, by door.
    connections: [Gauge; 3],
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
    refusals: [Counter; 3],
    newcomers_ended: [Counter; 4],
    link_up: Gauge,
    links: Total,
    link_rtt: Histogram,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry, clients_max: usize) -> Self {
        let counter = |name, help| registry.total(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let labelled = |name, help, label, value: &str| registry.total(name, help, &[(label, value)]);
        let metrics = Self {
            store: StoreMetrics::new(registry),
            clients: gauge("edge_clients", "Clients logged in now."),
            connections: ["websocket", "webtransport", "line"].map(|door| {
                registry.gauge("edge_connections", "Connections let in by a door and not yet closed, logged in or not.", &[("door", door)])
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
            refusals: ["full", "origin", "handshake"].map(|reason| {
                registry.counter("edge_refusals_total", "Connections not let in: full (503), origin (403), handshake (neither WebSocket nor WebTransport, or not in time).", &[("reason", reason)])
            }),
            newcomers_ended: ["http", "websocket", "webtransport", "line"].map(|door| {
                registry.counter("edge_newcomers_ended_total", "Connections ended before they had logged in, to make room for newer ones: in TLS or HTTP, upgraded to WebSocket, at the WebTransport door, at the line door. It moves while strangers hold what is for everybody.", &[("door", door)])
            }),
            link_up: gauge("edge_link_up", "1 while the relay has greeted this edge on a living link, else 0."),
            links: counter("edge_links_total", "Links on which the relay greeted this edge."),
            link_rtt: registry.histogram(RTT, "Round trip of the heartbeat between edge and relay, in seconds.", &[]),
        };
        metrics.clients_max.set(clients_max as f64);
        metrics
    }

    /// Counts a client that was not let in.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals[refusal as usize].increment(1);
    }

    /// Counts a newcomer that had to make room.
    pub(crate) fn ended(&self, ended: Ended) {
        self.newcomers_ended[ended as usize].increment(1);
    }

    /// Records a heartbeat's round trip.
    pub(crate) fn rtt(&self, seconds: f64) {
        self.link_rtt.record(seconds);
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
        ] {
            counter.tell(value);
        }
        let by_label: [(&[Total], &[u64]); 5] = [
            (&self.messages, &tally.messages),
            (&self.receipts, &tally.receipts),
            (&self.lookups, &tally.lookups),
            (&self.route_writes, &tally.route_counts.writes),
            (&self.disconnects, &tally.disconnects),
        ];
        for (counters, values) in by_label {
            for (counter, &value) in counters.iter().zip(values) {
                counter.tell(value);
            }
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
