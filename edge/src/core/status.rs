//! What operators see of this edge through its relay: how it does, once a second, and where a user's clients are.
//!
//! A relay that is told nothing forwards all the same.

use std::time::{Duration, Instant};

use proto::id::Channel;
use proto::limits::{FOUND_MAX, STATUS_EVERY};
use proto::link::{Found, Status, ToRelay};

use super::canary::Carries;
use super::channels::Held;
use super::hub::Hub;
use super::tally::Outcome;

impl Hub {
    /// Tells the relay how this edge does, if that is due.
    pub(super) fn report_status(&mut self, now: Instant) {
        let Some(link) = self.link.as_mut().filter(|link| link.next_status.is_some_and(|due| due <= now))
        else {
            return;
        };
        link.next_status = Some(now + STATUS_EVERY);
        let status = self.status();
        self.say(&ToRelay::Status(status));
    }

    fn status(&self) -> Status {
        let tally = &self.tally;
        let rtt = Duration::from_nanos(tally.rtt_nanos).as_micros();
        Status {
            clients: u32::try_from(tally.clients).unwrap_or(u32::MAX),
            is_ready: self.is_ready,
            carries: self.carries() == Carries::Yes,
            rtt_micros: u32::try_from(rtt).unwrap_or(u32::MAX),
            received: tally.messages_received,
            pushes: tally.pushes,
            unknown: tally.messages[Outcome::Unknown as usize],
        }
    }

    /// Tells the relay which clients the owner of a personal channel has here; the oldest, where there are many.
    pub(super) fn where_is(&mut self, query: u32, channel: &Channel) {
        let subscribers = self.channels.get(channel).into_iter().flat_map(Held::subscribers);
        let mut found: Vec<Found> = subscribers
            .filter_map(|client| self.sessions.get(&client))
            .filter_map(|session| {
                let login = session.login().filter(|login| login.user.personal_channel() == *channel)?;
                Some(Found { door: session.door, since: login.since })
            })
            .collect();
        let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
        found.truncate(FOUND_MAX);
        self.say(&ToRelay::Here { query, total, clients: found });
    }
}
