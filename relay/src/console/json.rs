//! What the console shows, as JSON. Times are unix milliseconds, other units are in the names.

use std::time::Duration;

use proto::id::{NodeName, UserId};
use proto::link::Found;
use serde_json::{Value, json};

use super::{Path, View};
use crate::core::{EdgeOverview, Entry, Place, Whereabouts};

/// The whole cluster.
pub(super) fn overview(view: &View) -> Value {
    let View { overview, about, is_store_up, paths } = view;
    let tally = &overview.tally;
    let path = |seen: &EdgeOverview| seen.link.and_then(|link| paths.get(&link));
    json!({
        "now": millis(overview.unix),
        "relay": {
            "name": about.name.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "started": millis(about.started),
            "is_complete": tally.is_complete,
            "is_store_up": is_store_up,
            "leases": tally.leases,
            "channels": tally.channels,
            "publications": tally.publications,
            "forwarded": tally.forwarded,
            "unheld": tally.unheld,
            "refused": tally.refused,
            "missing": tally.gaps,
            "canaries": tally.canaries,
            "answers": tally.answers,
            "answers_lost": tally.answers_lost,
            "joins": tally.joins,
            "leaves": tally.leaves,
            "heartbeats": tally.heartbeats,
            "admitted": tally.admitted,
            "closed": tally.closed,
            "reaped": tally.reaped,
            "routes_removed": tally.routes_removed,
            "renewed": tally.renewed,
            "freezes": tally.freezes,
        },
        "edges": overview.edges.iter().map(|seen| edge(seen, path(seen))).collect::<Vec<_>>(),
        "events": overview.journal.iter().map(event).collect::<Vec<_>>(),
    })
}

fn edge(seen: &EdgeOverview, path: Option<&Path>) -> Value {
    let traffic = &seen.traffic;
    json!({
        "name": seen.edge.name.as_str(),
        "epoch": seen.edge.epoch.0,
        "state": if seen.link.is_some() { "linked" } else { "lost" },
        "since": millis(seen.since),
        "heard_ms_ago": millis(seen.heard),
        "version": seen.version,
        "capacity": seen.capacity,
        "is_leased": seen.is_leased,
        "is_synced": seen.is_synced,
        "channels": seen.channels,
        "queued_bytes": seen.queued_bytes,
        "in": { "publications": traffic.publications_in, "bytes": traffic.bytes_in },
        "out": { "publications": traffic.copies_out, "bytes": traffic.bytes_out },
        "status": seen.status.map(|(age, status)| json!({
            "ms_ago": millis(age),
            "clients": status.clients,
            "is_ready": status.is_ready,
            "rtt_us": status.rtt_micros,
            "received": status.received,
            "pushes": status.pushes,
            "unknown": status.unknown,
        })),
        "path": path.map(|path| json!({
            "address": path.address,
            "rtt_us": u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX),
            "congestion_window_bytes": path.congestion_window,
            "lost_packets": path.lost_packets,
            "sent_packets": path.sent_packets,
            "sent_bytes": path.sent_bytes,
            "received_bytes": path.received_bytes,
        })),
    })
}

fn event(entry: &Entry) -> Value {
    json!({
        "at": millis(entry.unix),
        "kind": entry.kind.label(),
        "edge": entry.edge.as_ref().map(NodeName::as_str),
        "text": entry.text,
    })
}

/// Where a user is.
pub(super) fn whereabouts(user: &UserId, whereabouts: &Whereabouts) -> Value {
    let Whereabouts { is_complete, edges } = whereabouts;
    let total = |place: &Place| place.clients.as_ref().map_or(0, |(total, _)| u64::from(*total));
    let silent = edges.iter().filter(|place| place.clients.is_none()).map(|place| place.edge.as_str());
    let clients = edges.iter().flat_map(|place| {
        let found = place.clients.iter().flat_map(|(_, found)| found);
        found.map(|found| client(place, found))
    });
    json!({
        "user": user.as_str(),
        "is_complete": is_complete,
        "total": edges.iter().map(total).sum::<u64>(),
        "clients": clients.take(CLIENTS_MAX).collect::<Vec<_>>(),
        "did_not_answer": silent.collect::<Vec<_>>(),
    })
}

/// Clients of one user that are told at most, of all edges together: more than anybody reads.
const CLIENTS_MAX: usize = 256;

fn client(place: &Place, found: &Found) -> Value {
    json!({ "edge": place.edge.as_str(), "door": found.door.label(), "since": found.since })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
