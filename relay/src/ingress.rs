//! Reads what an edge sends: one task per stream, each of which only reads and hands whole batches to the event loop.
//!
//! Nobody ever stops reading because a target is slow: a full target is the Router's to deal with.

use std::sync::Arc;
use std::time::Instant;

use node::link::{read_control, read_heartbeat, read_lanes};
use node::metrics::Sampler;
use proto::link::ToRelay;
use quinn::{Connection, RecvStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::core::{Event, LinkKey};
use crate::eventloop::Input;

/// Where an edge's frames go.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub(crate) link: LinkKey,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Heartbeats pass everything else.
    pub(crate) pings: mpsc::Sender<Input>,
}

impl Ingress {
    /// Reads everything; the lanes as soon as the Router admits the edge.
    pub(crate) fn spawn(
        self,
        connection: &Connection,
        heartbeat: RecvStream,
        control: RecvStream,
        admitted: oneshot::Receiver<()>,
        tasks: &mut JoinSet<()>,
    ) {
        let Self { link, inputs, pings } = self;
        tasks.spawn(read_heartbeat(heartbeat, async move |ping| {
            // This, like all hand-overs, fails only while the process ends.
            let _ = pings.send(Input::Event(Event::Ping { link, ping })).await;
        }));
        let control_inputs = inputs.clone();
        tasks.spawn(read_control(connection.clone(), control, ToRelay::decode, async move |frame| {
            let _ = control_inputs.send(Input::Event(Event::Control { link, frame })).await;
        }));
        let sampler = Arc::new(Sampler::default());
        let lanes = read_lanes(connection.clone(), move |lane, frames| {
            let inputs = inputs.clone();
            let event = Event::Lane { link, lane, frames };
            let input = if sampler.picks() {
                Input::Timed { event, since: Instant::now() }
            } else {
                Input::Event(event)
            };
            async move {
                let _ = inputs.send(input).await;
            }
        });
        tasks.spawn(async move {
            if admitted.await.is_ok() {
                lanes.await;
            }
        });
    }
}
