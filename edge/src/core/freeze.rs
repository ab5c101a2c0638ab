//! What is left to believe after this edge stood still: stopped, paused or starved, while the others went on.
//!
//! The relay may have reaped it, and whatever it had read is as old as the freeze. So the link goes, with all that still
//! waits for it, and the lease with the link. Clients are not to blame: their deadlines begin anew.

use std::time::{Duration, Instant};

use proto::link::CloseCode;

use super::hub::Hub;

impl Hub {
    /// This edge stood still for `late`. A token that ran out meanwhile did: only what depends on reading is put off.
    pub(super) fn froze(&mut self, now: Instant, late: Duration) {
        self.tally.freezes += 1;
        self.drop_link(CloseCode::Froze, format!("this edge stood still for {:.1} s", late.as_secs_f64()));
        for (pending, verdict) in self.receipts.froze() {
            self.give_verdict(&pending, verdict);
        }
        let pong_timeout = self.config.pong_timeout;
        for session in self.sessions.values_mut() {
            session.thaw(now, late, pong_timeout);
        }
    }
}
