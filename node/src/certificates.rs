//! Replaces certificates while a node runs: looks every 10 s for new ones, and shows in metrics how long they last.
//!
//! Alike for the links of edges and relays and for an edge's public doors; `certs::source` knows where they come from.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge};
use certs::link::Identity;
use certs::public::Offer;
use certs::source::{Look, Source};
use tokio::time::sleep;

use crate::metrics::Registry;
use crate::process::RunError;

/// Time between two looks. A file's content counts, so that a look costs what reading it costs.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Which certificate: a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The node's on its links.
    Link,
    /// An edge's, shown to browsers.
    Public,
}

impl Use {
    fn label(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Public => "public",
        }
    }
}

/// What has a time in which it is valid.
pub trait Validity {
    /// From when, and to when.
    fn validity(&self) -> [SystemTime; 2];
}

impl Validity for Identity {
    fn validity(&self) -> [SystemTime; 2] {
        [self.not_before(), self.not_after()]
    }
}

impl Validity for Offer {
    fn validity(&self) -> [SystemTime; 2] {
        [self.shown.not_before(), self.shown.not_after()]
    }
}

/// How one certificate does.
#[derive(Debug)]
pub struct CertificateMetrics {
    not_before: Gauge,
    not_after: Gauge,
    refused: Gauge,
    changes: Counter,
}

impl CertificateMetrics {
    /// Registers all of them, for `loaded`, which is in use.
    pub fn new(registry: &Registry, which: Use, loaded: &impl Validity) -> Self {
        let name = |rest| registry.name(rest);
        let labels = [("certificate", which.label())];
        let metrics = Self {
            not_before: registry.gauge(
                &name("certificate_not_before_time_seconds"),
                "From when on the certificate in use is valid, in seconds since 1970.",
                &labels,
            ),
            not_after: registry.gauge(
                &name("certificate_not_after_time_seconds"),
                "When the certificate in use expires, in seconds since 1970: renew it when a third of its life is left.",
                &labels,
            ),
            refused: registry.gauge(
                &name("certificate_refused"),
                "1 while the files hold nothing that can be used and the certificate before is used on, else 0; the log says why.",
                &labels,
            ),
            changes: registry.counter(
                &name("certificate_changes_total"),
                "Certificates that took the place of an earlier one while the node ran.",
                &labels,
            ),
        };
        metrics.show(loaded);
        metrics
    }

    fn show(&self, loaded: &impl Validity) {
        let [not_before, not_after] =
            loaded.validity().map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.not_before.set(not_before);
        self.not_after.set(not_after);
    }
}

/// Looks for certificates for as long as the node runs, and hands what is new to `take`.
///
/// # Errors
/// A look panicked.
pub async fn watch<S: Source<Loaded: Validity>>(
    mut source: S,
    which: Use,
    metrics: CertificateMetrics,
    mut take: impl FnMut(S::Loaded),
) -> Result<(), RunError> {
    // What is wrong is said once, not at each look.
    let mut told = None;
    loop {
        sleep(LOOK_EVERY).await;
        // A disk may be slow, and this thread moves messages.
        let looked = tokio::task::spawn_blocking(move || {
            let look = source.look(SystemTime::now());
            (source, look)
        });
        let (back, look) = looked.await.map_err(|_| RunError::TaskEnded("certificate"))?;
        source = back;
        let is_refused = matches!(look, Look::Refused(_));
        match look {
            Look::Same => told = None,
            Look::New(loaded) => {
                told = None;
                metrics.show(&loaded);
                take(loaded);
                tracing::info!(certificate = which.label(), "certificate changed");
                metrics.changes.increment(1);
            }
            Look::Refused(error) => tell(which, &error, &mut told),
        }
        // Metrics last: who sees one move finds the rest done.
        metrics.refused.set(f64::from(u8::from(is_refused)));
    }
}

fn tell(which: Use, error: &impl Display, told: &mut Option<String>) {
    let text = error.to_string();
    if told.as_ref() != Some(&text) {
        tracing::error!(certificate = which.label(), "not changed, the one before is used on: {text}");
        *told = Some(text);
    }
}
