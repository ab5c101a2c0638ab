//! How an event loop notices that it stood still, and in which order it listens afterwards. Pure: the loop has the clock.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::core::{ClientKey, Event};
use crate::eventloop::Input;

/// A tick that is later than this means a freeze. Relays count an edge as lost after 3.3 s, of which 1 s may have passed
/// since its last ping.
const LATE_MAX: Duration = Duration::from_secs(2);

/// How late a tick is that was due at `due`, if that is so late that this edge must have stood still.
pub(crate) fn frozen_for(now: Instant, due: Instant) -> Option<Duration> {
    Some(now.saturating_duration_since(due)).filter(|&late| late > LATE_MAX)
}

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
    use bytes::Bytes;
    use node::outbox::outbox;
    use proto::client::ClientId;
    use proto::client::code::Disconnect;

    use super::*;
    use crate::core::{Encoding, Opened};

    #[test]
    fn a_tick_of_2_s_is_late_and_a_later_one_a_freeze() {
        let due = Instant::now();
        let after = |millis| frozen_for(due + Duration::from_millis(millis), due);
        assert_eq!((after(0), after(2_000)), (None, None));
        assert_eq!(after(2_001), Some(Duration::from_millis(2_001)));
        assert_eq!(frozen_for(due, due + Duration::from_secs(9)), None, "it is not due yet");
    }

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
            encoding: Encoding::Json,
            pings: true,
            patience: Duration::ZERO,
            chance: 0.0,
            outbox,
        }))
    }

    fn frame(n: u64) -> Input {
        Input::Event(Event::Frame { client: ClientKey(n), frame: Bytes::new() })
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
