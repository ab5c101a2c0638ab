//! Reads what the relay sends: one task per stream, each of which only reads and hands whole batches to the event loop.

use proto::limits::LANES;
use proto::link::{CloseCode, HEARTBEAT_BYTES, Lane, ToEdge};
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use node::link::{FrameError, FrameReader, close};

use crate::core::{Event, Generation};
use crate::eventloop::Input;

/// Where a relay's frames go.
#[derive(Debug, Clone)]
pub(crate) struct Downlink {
    pub(crate) generation: Generation,
    pub(crate) connection: Connection,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Downlink {
    /// Echoes pass everything else.
    pub(crate) async fn heartbeat(self, mut stream: RecvStream, echoes: mpsc::Sender<Event>) {
        let mut ping = [0; HEARTBEAT_BYTES];
        while stream.read_exact(&mut ping).await.is_ok() {
            let event = Event::Echo { generation: self.generation, ping };
            if echoes.send(event).await.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn control(self, stream: RecvStream) {
        let mut reader = FrameReader::new(stream);
        loop {
            let frames = match reader.next().await {
                Ok(frames) => frames,
                Err(error) => return self.ended(&error, "control"),
            };
            for frame in frames {
                match ToEdge::decode(&frame) {
                    Ok(frame) => self.hand_over(Event::Control { generation: self.generation, frame }).await,
                    Err(error) => return self.ended(&error.into(), "control"),
                }
            }
        }
    }

    pub(crate) async fn lanes(self) {
        let mut lanes = JoinSet::new();
        let mut seen = [false; LANES];
        while let Ok(mut stream) = self.connection.accept_uni().await {
            let mut number = [0];
            if stream.read_exact(&mut number).await.is_err() {
                continue;
            }
            let lane = Lane(number[0]);
            match seen.get_mut(lane.index()) {
                Some(seen) if !*seen => *seen = true,
                Some(_) | None => {
                    return close(&self.connection, CloseCode::BadFrame, "no such lane, or twice");
                }
            }
            lanes.spawn(self.clone().lane(lane, stream));
        }
    }

    async fn lane(self, lane: Lane, stream: RecvStream) {
        let mut reader = FrameReader::new(stream);
        loop {
            match reader.next().await {
                Ok(frames) => {
                    self.hand_over(Event::Lane { generation: self.generation, lane, frames }).await;
                }
                Err(error) => return self.ended(&error, "lane"),
            }
        }
    }

    async fn hand_over(&self, event: Event) {
        // It fails only while the process ends.
        let _ = self.inputs.send(Input::Event(event)).await;
    }

    fn ended(&self, error: &FrameError, stream: &str) {
        if let FrameError::Decode(error) = error {
            let reason = format!("{stream}: {error}");
            tracing::warn!(link = self.generation.0, reason, "closing a link whose frames do not decode");
            close(&self.connection, CloseCode::BadFrame, &reason);
        }
    }
}
