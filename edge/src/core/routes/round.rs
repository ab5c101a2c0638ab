//! The round: every few seconds all that is held is written again, slice by slice, and the index is read page by page,
//! so that whatever the store lost or mixed up is mended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::id::{Channel, EdgeId};
use store::{IndexPage, StoreError};

use super::{Route, Routes, Stored};

/// Slices of a round.
const SLICES: usize = 16;

/// Time between slices; a round takes [`SLICES`] of them, 8 s.
pub(super) const SLICE_EVERY: Duration = Duration::from_millis(500);

/// A slice has as many channels at least: fewer would not be worth a call.
const SLICE_MIN: usize = 16;

/// Pages that suffice for an index of twice the held channels, so that four slices are to spare for slow answers.
const PAGES: usize = 12;

/// A page has as many channels at least.
const PAGE_MIN: usize = 256;

/// A page has as many channels at most: Redis needs a millisecond or two for it.
const PAGE_MAX: usize = 8_192;

/// One round under a lease.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) next_slice: Instant,
    slices_left: usize,
    /// Routes whose place is below this are to be written in this round.
    began: u64,
    /// Channels of a slice.
    slice: usize,
    /// How many may be written again now.
    rewrites_due: usize,
    /// The cursor of the page that is to be read next; none while it is read, and after the last one.
    next_page: Option<u64>,
    /// Channels of a page.
    page: usize,
}

impl Routes {
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.rounds += 1;
        self.round = Some(Round {
            next_slice: now + SLICE_EVERY,
            slices_left: SLICES,
            began: self.next_place,
            slice: self.held.div_ceil(SLICES).max(SLICE_MIN),
            rewrites_due: 0,
            next_page: Some(0),
            page: (2 * self.held).div_ceil(PAGES).clamp(PAGE_MIN, PAGE_MAX),
        });
    }

    /// Begins the slice that is due, if one is: routes to be written again, and a page to read, as edge, cursor, count.
    pub(in crate::core) fn next_page(&mut self, now: Instant) -> Option<(EdgeId, u64, usize)> {
        let round = self.round.as_ref().filter(|round| round.next_slice <= now)?;
        if round.slices_left == 0 {
            // What the last round was too late for comes first in the new one.
            self.begin_round(now);
        }
        let round = self.round.as_mut()?;
        round.next_slice = now + SLICE_EVERY;
        round.slices_left -= 1;
        round.rewrites_due += round.slice;
        // An answer to the last round may still be awaited: one page is read at a time.
        let cursor = round.next_page.take_if(|_| self.reading.is_none())?;
        self.reading = Some(self.rounds);
        Some((self.edge.clone()?, cursor, round.page))
    }

    /// Takes a page: what is there and not wanted has to go.
    pub(in crate::core) fn page_read(&mut self, edge: &EdgeId, page: Result<IndexPage, StoreError>) {
        let is_of_this_round = self.reading.take() == Some(self.rounds) && self.edge.as_ref() == Some(edge);
        let Some(round) = self.round.as_mut().filter(|_| is_of_this_round) else { return };
        // A failure is no reason to hurry: the next round reads anew.
        let Ok(IndexPage { channels, cursor }) = page else { return };
        round.next_page = (cursor != 0).then_some(cursor);
        let before = self.counts.strays;
        for channel in &channels {
            self.stray(channel);
        }
        if let Some(round) = self.round.as_mut().filter(|_| self.counts.strays > before) {
            // There may be far more than what is held lets expect.
            round.page = (2 * round.page).min(PAGE_MAX);
        }
    }

    fn stray(&mut self, channel: &Channel) {
        if self.by_channel.contains_key(channel) {
            return;
        }
        self.counts.strays += 1;
        self.by_channel.insert(channel.clone(), Route { stored: Stored::Unknown, ..Route::default() });
        self.place(channel);
    }

    pub(super) fn has_rewrite(&self) -> bool {
        let Some(round) = &self.round else { return false };
        round.rewrites_due > 0
            && [&self.removed, &self.agreeing]
                .iter()
                .any(|queue| queue.first_key_value().is_some_and(|(&place, _)| place < round.began))
    }

    /// The route that this round has to write again first, if its slice has come.
    pub(super) fn take_rewrite(&mut self) -> Option<Channel> {
        if !self.has_rewrite() {
            return None;
        }
        let round = self.round.as_mut()?;
        round.rewrites_due -= 1;
        let is_due =
            |queue: &BTreeMap<u64, Channel>| queue.keys().next().is_some_and(|&place| place < round.began);
        let queue = if is_due(&self.removed) { &mut self.removed } else { &mut self.agreeing };
        queue.pop_first().map(|(_, channel)| channel)
    }
}
