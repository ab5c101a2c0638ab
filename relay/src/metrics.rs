//! Every metric of a relay: name, unit, help. Handles are made once; counters are summed per turn of the event loop.

use metrics::{Counter, Gauge};
use node::link::LinkMetrics;
use node::memory::{Operation, StoreMetrics};
use node::metrics::{Histogram, Registry, Total};

use crate::core::Tally;

/// A relay's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) store: StoreMetrics,
    pub(crate) links: LinkMetrics,
    /// The longest round trip of all links.
    pub(crate) rtt_max: Gauge,
    /// From a lane's reading until it is queued for those who get it: a sample.
    pub(crate) stage: Histogram,
    edges: Gauge,
    lost: Gauge,
    leases: Gauge,
    channels: Gauge,
    is_complete: Gauge,
    publications: Total,
    forwarded: Total,
    unheld: Total,
    refused: Total,
    gaps: Total,
    answers: Total,
    answers_lost: Total,
    canaries: Total,
    joins: Total,
    leaves: Total,
    heartbeats: Total,
    admitted: Total,
    closed: Total,
    reaped: Total,
    routes_removed: Total,
    renewed: Total,
    freezes: Total,
    handshakes_failed: Counter,
    retries: Counter,
    newcomers_ended: Counter,
    sweeps: [Counter; 2],
    ghosts: Counter,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let total = |name, help| registry.total(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Self {
            store: StoreMetrics::new(registry, Operation::OF_RELAYS),
            links: LinkMetrics::new(registry),
            rtt_max: gauge(
                "relay_link_rtt_max_seconds",
                "The longest round trip of all links, as QUIC measures it, in seconds.",
            ),
            stage: registry.histogram(
                "relay_stage_seconds",
                "How long a batch of a lane's frames waited and took, from its reading until it was queued for its edges, in seconds: of every 64th.",
            ),
            edges: gauge("relay_edges", "Edges linked now."),
            lost: gauge(
                "relay_edges_lost",
                "Edges whose link ended without a goodbye, and that may still come back.",
            ),
            leases: gauge(
                "relay_leases",
                "Leases in the store, as far as this relay knows; more than relay_edges while some edge is away.",
            ),
            channels: gauge("relay_channels", "Channels that at least one linked edge holds now."),
            is_complete: gauge(
                "relay_complete",
                "1 while the relay knows every edge that there may be, else 0.",
            ),
            publications: total(
                "relay_publications_total",
                "Publications that came from edges, each counted once.",
            ),
            forwarded: total(
                "relay_copies_forwarded_total",
                "Copies of publications queued for the edges that hold their channel.",
            ),
            unheld: total(
                "relay_publications_unheld_total",
                "Publications of a channel that no other edge held.",
            ),
            refused: total(
                "relay_copies_refused_total",
                "Copies of publications that a full lane refused; the source is told where it asked for a receipt.",
            ),
            gaps: total(
                "relay_publications_missing_total",
                "Publications missing between two numbers of one source and lane; should stay 0.",
            ),
            answers: total(
                "relay_answers_total",
                "Answers of holders passed to the source of a directed message.",
            ),
            answers_lost: total(
                "relay_answers_lost_total",
                "Answers whose source had gone or whose lane was full.",
            ),
            canaries: total(
                "relay_canaries_total",
                "Messages of edges to themselves that were sent back: one a second from each linked edge.",
            ),
            joins: total(
                "relay_joins_total",
                "Channels that edges began to hold, re-joins after a new link included.",
            ),
            leaves: total("relay_leaves_total", "Channels that edges ceased to hold by themselves."),
            heartbeats: total("relay_heartbeats_total", "Pings of edges echoed."),
            admitted: total("relay_links_admitted_total", "Links whose hello was accepted."),
            closed: total(
                "relay_links_closed_total",
                "Links that this relay ended: silence, a bad frame, a newer link.",
            ),
            reaped: total(
                "relay_edges_reaped_total",
                "Leases ended, with the routes of their edge: after a goodbye, a loss, or a later life.",
            ),
            routes_removed: total(
                "relay_routes_removed_total",
                "Routes removed because their edge's lease was ended.",
            ),
            renewed: total(
                "relay_epochs_renewed_total",
                "Linked edges that got a new epoch, since the store had lost their lease.",
            ),
            freezes: total("relay_freezes_total", "Times that this process stood still for over 1.5 s."),
            handshakes_failed: counter(
                "relay_handshakes_failed_total",
                "Connections that never became a link: unknown certificate, wrong version, too slow.",
            ),
            retries: counter(
                "relay_retries_total",
                "Handshakes answered with a QUIC Retry, since many were under way and the address had yet to be shown to be real.",
            ),
            newcomers_ended: counter(
                "relay_newcomers_ended_total",
                "Links ended in their handshake, to make room for newer ones.",
            ),
            sweeps: ["ok", "failed"].map(|result| {
                registry.counter(
                    "relay_sweeps_total",
                    "Searches of the whole store for routes of edges that are nobody any more: ok, failed (before the end).",
                    &[("result", result)],
                )
            }),
            ghosts: counter(
                "relay_ghost_routes_total",
                "Routes that a sweep found and removed: those of edges with neither lease nor index. Stays 0, unless the store is emptied while routes are written.",
            ),
        }
    }

    /// Counts a connection that did not become a link.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.increment(1);
    }

    /// Counts a handshake that has to show first that its address is real.
    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    /// Counts a link that had to make room in its handshake.
    pub(crate) fn newcomer_ended(&self) {
        self.newcomers_ended.increment(1);
    }

    /// Counts a sweep, by how many routes it removed if it came to the end.
    pub(crate) fn swept(&self, ghosts: Option<u64>) {
        self.sweeps[usize::from(ghosts.is_none())].increment(1);
        self.ghosts.increment(ghosts.unwrap_or(0));
    }

    /// Takes over what the Router counted.
    pub(crate) fn record(&self, tally: &Tally) {
        self.edges.set(tally.edges as f64);
        self.lost.set(tally.lost as f64);
        self.leases.set(tally.leases as f64);
        self.channels.set(tally.channels as f64);
        self.is_complete.set(f64::from(u8::from(tally.is_complete)));
        for (counter, value) in [
            (&self.publications, tally.publications),
            (&self.forwarded, tally.forwarded),
            (&self.unheld, tally.unheld),
            (&self.refused, tally.refused),
            (&self.gaps, tally.gaps),
            (&self.answers, tally.answers),
            (&self.answers_lost, tally.answers_lost),
            (&self.canaries, tally.canaries),
            (&self.joins, tally.joins),
            (&self.leaves, tally.leaves),
            (&self.heartbeats, tally.heartbeats),
            (&self.admitted, tally.admitted),
            (&self.closed, tally.closed),
            (&self.reaped, tally.reaped),
            (&self.routes_removed, tally.routes_removed),
            (&self.renewed, tally.renewed),
            (&self.freezes, tally.freezes),
        ] {
            counter.tell(value);
        }
    }
}
