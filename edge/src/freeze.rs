//! In which order an event loop that stood still listens afterwards. Pure.

use std::collections::HashSet;

use crate::core::{ClientKey, Event};
use crate::eventloop::Input;

/// Whoever went during the freeze goes first, so that nothing is delivered to him; the rest keeps its order. Who came
/// and went comes and goes.
pub(crate) fn departures_first(inputs: Vec<Input>) -> Vec<Input> {
    let gone: HashSet<ClientKey> = inputs.iter().filter_map(closed).collect();
    let is_departure =
        |input: &Input| closed(input).or(opened(input)).is_some_and(|client| gone.contains(&client));
    let (mut first, rest): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(is_departure);
    first.extend(rest);
    first
}

fn closed(input: &Input) -> Option<ClientKey> {
    match input {
        Input::Event(Event::Closed { client, .. }) => Some(*client),
        _ => None,
    }
}

fn opened(input: &Input) -> Option<ClientKey> {
    match input {
        Input::Event(Event::Opened(opened)) => Some(opened.client),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use node::outbox::outbox;
    use proto::client::ClientId;
    use proto::client::code::Disconnect;
    use proto::link::Door;

    use super::*;

    use crate::core::{Encoding, Opened};

    #[test]
    fn whoever_went_goes_before_anything_else_is_heard() {
        let came = vec![frame(1), open(3), frame(3), frame(2), close(1), frame(4), close(3), open(5)];
        let order: Vec<String> = departures_first(came).iter().map(words).collect();
        assert_eq!(
            order,
            ["opened 3", "closed 1", "closed 3", "frame 1", "frame 3", "frame 2", "frame 4", "opened 5"]
        );
    }

    fn open(n: u64) -> Input {
        let (outbox, _) = outbox(1);
        Input::Event(Event::Opened(Opened {
            client: ClientKey(n),
            id: ClientId(u128::from(n)),
            door: Door::WebSocket,
            encoding: Encoding::Json,
            pings: true,
            patience: Duration::ZERO,
            chance: 0.0,
            outbox,
        }))
    }

    fn frame(n: u64) -> Input {
        Input::Event(Event::Frame { client: ClientKey(n), frame: Bytes::new(), is_rest: false })
    }

    fn close(n: u64) -> Input {
        Input::Event(Event::Closed { client: ClientKey(n), why: Disconnect::Closed })
    }

    fn words(input: &Input) -> String {
        match input {
            Input::Event(Event::Frame { client, .. }) => format!("frame {}", client.0),
            Input::Event(Event::Closed { client, .. }) => format!("closed {}", client.0),
            Input::Event(Event::Opened(opened)) => format!("opened {}", opened.client.0),
            other => panic!("{other:?}"),
        }
    }
}
