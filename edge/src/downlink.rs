//! Reads what the relay sends: one task per stream, each of which only reads and hands whole batches to the event loop.

use std::sync::Arc;

use node::link::{read_control, read_heartbeat, read_lanes};
use node::metrics::Sampler;
use proto::link::ToEdge;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::{Event, Generation};
use crate::eventloop::Input;
use crate::metrics::Stage;

/// Where a relay's frames go.
#[derive(Debug, Clone)]
pub(crate) struct Downlink {
    pub(crate) generation: Generation,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Echoes pass everything else.
    pub(crate) echoes: mpsc::Sender<Event>,
}

impl Downlink {
    /// Reads everything.
    pub(crate) fn spawn(
        self,
        connection: &Connection,
        heartbeat: RecvStream,
        control: RecvStream,
        tasks: &mut JoinSet<()>,
    ) {
        let Self { generation, inputs, echoes } = self;
        tasks.spawn(read_heartbeat(heartbeat, async move |ping| {
            // This, like all hand-overs, fails only while the process ends.
            let _ = echoes.send(Event::Echo { generation, ping }).await;
        }));
        let control_inputs = inputs.clone();
        tasks.spawn(read_control(connection.clone(), control, ToEdge::decode, async move |frame| {
            let _ = control_inputs.send(Input::Event(Event::Control { generation, frame })).await;
        }));
        let sampler = Arc::new(Sampler::default());
        tasks.spawn(read_lanes(connection.clone(), move |lane, frames| {
            let inputs = inputs.clone();
            let input = Input::sampled(&sampler, Stage::Out, Event::Lane { generation, lane, frames });
            async move {
                let _ = inputs.send(input).await;
            }
        }));
    }
}
