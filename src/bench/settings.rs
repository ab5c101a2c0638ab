//! The flags of `causeway bench`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::address::Address;
use super::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};

/// Messages of one flow that may be under way: more than this fills an outbox of an edge with small payloads.
const WINDOW_MAX: i64 = 4096;

/// Clients of one run; the limit of open files is usually lower.
const CLIENTS_MAX: i64 = 1_000_000;

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Pairs of clients, of which one sends and the other receives
    Pairs(Pairs),
    /// Few who publish in a channel, and many who receive all of it
    FanOut(FanOut),
    /// Clients that are connected and do nothing: what does each cost in memory?
    Idle(Idle),
    /// Clients that connect all at once, or so many a second: how long does each wait?
    Connect(Connect),
    /// The yardstick: a server that passes messages from one socket to another, and nothing else
    Floor(Floor),
}

#[derive(Debug, Args)]
pub(super) struct Pairs {
    /// How many pairs
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = count(1, CLIENTS_MAX / 2))]
    pub(super) pairs: u32,

    /// Sends by the RPC `send` instead of `publish`, and measures the receipts as well
    #[arg(long)]
    pub(super) receipts: bool,

    /// Uses channels PREFIX-…, to which the receivers subscribe, instead of their personal ones; for other servers
    #[arg(long, value_name = "PREFIX", conflicts_with = "receipts")]
    pub(super) channel: Option<String>,

    /// Measures a `causeway bench floor` at this address instead of a cluster
    #[arg(long, value_name = "URL", value_parser = Address::parse, conflicts_with_all = ["urls", "receipts", "channel", "secret"])]
    pub(super) floor: Option<Address>,

    #[command(flatten)]
    pub(super) load: Load,

    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct FanOut {
    /// How many receive
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = count(1, CLIENTS_MAX / 2))]
    pub(super) subscribers: u32,

    /// How many publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1, CLIENTS_MAX / 2))]
    pub(super) publishers: u32,

    /// The channel [default: a new one]
    #[arg(long, value_name = "CHANNEL")]
    pub(super) channel: Option<String>,

    #[command(flatten)]
    pub(super) load: Load,

    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Idle {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count(1, CLIENTS_MAX))]
    pub(super) clients: u32,

    /// So many are on their way in at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1, CLIENTS_MAX))]
    pub(super) at_once: u32,

    /// Stays so long before memory is measured; with the default, everybody was pinged once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = span)]
    pub(super) hold: Duration,

    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Connect {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count(1, CLIENTS_MAX))]
    pub(super) clients: u32,

    /// So many are on their way in at once (closed loop)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count(1, CLIENTS_MAX))]
    pub(super) at_once: u32,

    /// So many begin each second, whatever becomes of those before them (open loop)
    #[arg(long, value_name = "N", value_parser = count(1, 1_000_000), conflicts_with = "at_once")]
    pub(super) rate: Option<u32>,

    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Floor {
    /// Listens here for WebSocket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8100")]
    pub(super) listen: SocketAddr,
}

/// What is sent, how fast, and for how long.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = count(PAYLOAD_BYTES_MIN as i64, PAYLOAD_BYTES_MAX as i64))]
    pub(super) size: u32,

    /// Closed loop: each sender has so many messages under way [default: 1]
    #[arg(long, value_name = "N", value_parser = count(1, WINDOW_MAX), conflicts_with = "rate")]
    pub(super) window: Option<u32>,

    /// Open loop: so many messages a second by all senders together, whatever becomes of those before them
    #[arg(long, value_name = "N", value_parser = count(1, 10_000_000))]
    pub(super) rate: Option<u32>,

    /// Sends so long before it measures
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = span)]
    pub(super) warm_up: Duration,

    /// Measures so long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = length)]
    pub(super) duration: Duration,
}

/// Where the clients connect, and what is told how.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Clients connect here; with several addresses by turns, so that pairs are across [default: both edges of
    /// `causeway dev`]
    #[arg(long = "url", value_name = "URL", value_parser = Address::parse)]
    pub(super) urls: Vec<Address>,

    /// The edges' --token-hmac-secret [default: the one of `causeway dev`]
    #[arg(long, value_name = "SECRET", env = "CAUSEWAY_TOKEN_HMAC_SECRET", hide_env_values = true)]
    pub(super) secret: Option<String>,

    /// Measures processor time and memory of these processes
    #[arg(long = "pid", value_name = "PID", num_args = 1.., value_delimiter = ',')]
    pub(super) pids: Vec<u32>,

    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Shows no progress
    #[arg(long, short)]
    pub(super) quiet: bool,
}

impl Target {
    /// The addresses: those of `causeway dev` where none is given.
    pub(super) fn urls(&self) -> Vec<Address> {
        if self.urls.is_empty() {
            let dev = ["ws://127.0.0.1:8001", "ws://127.0.0.1:8002"];
            return dev.map(|url| Address::parse(url).expect("an address")).to_vec();
        }
        self.urls.clone()
    }

    pub(super) fn secret(&self) -> &str {
        self.secret.as_deref().unwrap_or(crate::dev::SECRET)
    }
}

fn count(least: i64, most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=most)
}

/// No run is longer than a day.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

fn span(text: &str) -> Result<Duration, String> {
    let span = node::config::duration(text)?;
    if span > SPAN_MAX { Err("more than a day".to_owned()) } else { Ok(span) }
}

fn length(text: &str) -> Result<Duration, String> {
    let length = span(text)?;
    // The kernel counts processor time in hundredths of a second.
    if length < Duration::from_millis(100) { Err("less than 100ms".to_owned()) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_length_and_an_end() {
        assert_eq!(length("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        assert_eq!(span("24h"), Ok(SPAN_MAX));
        for wrong in ["99ms", "24h 1s", "10", ""] {
            assert!(length(wrong).is_err(), "{wrong:?}");
        }
    }
}
