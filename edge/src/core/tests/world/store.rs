//! The store, which answers when a script says so, and keeps what was written.

use std::collections::BTreeSet;

use proto::id::{Channel, EdgeId};
use store::{IndexPage, RouteWrite, StoreError};

use super::super::super::{Event, Ticket};
use super::World;
use super::words::channel;

/// What the store has, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) routes: BTreeSet<(EdgeId, Channel)>,
    pub(crate) index: BTreeSet<(EdgeId, Channel)>,
    batch: Option<Batch>,
    read: Option<Read>,
}

#[derive(Debug)]
struct Batch {
    edge: EdgeId,
    writes: Vec<RouteWrite>,
    is_done: bool,
}

#[derive(Debug)]
struct Read {
    edge: EdgeId,
    cursor: u64,
    count: usize,
    page: Option<IndexPage>,
}

impl Stored {
    pub(super) fn begins_to_write(&mut self, edge: EdgeId, writes: Vec<RouteWrite>) {
        assert!(self.batch.is_none(), "two batches at once");
        assert!((1..=256).contains(&writes.len()), "{} channels", writes.len());
        let channels: BTreeSet<&Channel> = writes.iter().map(|write| &write.channel).collect();
        assert_eq!(channels.len(), writes.len(), "a channel twice in a batch");
        self.batch = Some(Batch { edge, writes, is_done: false });
    }

    pub(super) fn begins_to_read(&mut self, edge: EdgeId, cursor: u64, count: usize) {
        assert!(self.read.is_none(), "two pages at once");
        self.read = Some(Read { edge, cursor, count, page: None });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batch.is_none() && self.read.is_none()
    }

    /// Does the first `count` writes that are under way, if that was not done before, and half of the next one.
    fn does(&mut self, count: usize) {
        let Some(Batch { edge, writes, is_done }) = &mut self.batch else { return };
        if std::mem::replace(is_done, true) {
            return;
        }
        for (n, RouteWrite { channel, held }) in writes.iter().take(count.saturating_add(1)).enumerate() {
            let route = (edge.clone(), channel.clone());
            let is_whole = n < count;
            match held {
                true => {
                    self.index.insert(route.clone());
                    is_whole.then(|| self.routes.insert(route));
                }
                false => {
                    self.routes.remove(&route);
                    is_whole.then(|| self.index.remove(&route));
                }
            }
        }
    }

    fn looks(&mut self) {
        let Some(Read { edge, cursor, count, page }) = &mut self.read else { return };
        let channels: Vec<Channel> =
            self.index.iter().filter(|(of, _)| of == edge).map(|(_, channel)| channel.clone()).collect();
        let first = usize::try_from(*cursor).expect("our own");
        let next = (first + *count).min(channels.len());
        let cursor = if next < channels.len() { next as u64 } else { 0 };
        page.get_or_insert(IndexPage { channels: channels.get(first..next).unwrap_or(&[]).to_vec(), cursor });
    }
}

impl World {
    /// The writes that the store has not finished.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let Some(Batch { edge, writes, .. }) = &self.store.batch else { return Vec::new() };
        let words =
            |write: &RouteWrite| format!("{edge} {}{}", if write.held { '+' } else { '-' }, write.channel);
        writes.iter().map(words).collect()
    }

    /// The same, sorted: a new life's come in the order of a table.
    pub(crate) fn under_way_sorted(&self) -> Vec<String> {
        let mut under_way = self.under_way();
        under_way.sort_unstable();
        under_way
    }

    /// What the store has of this edge: routes, and the same in the index.
    pub(crate) fn routes(&self) -> Vec<String> {
        assert_eq!(self.store.routes, self.store.index);
        self.store.routes.iter().map(|(edge, channel)| format!("{edge} {channel}")).collect()
    }

    /// Finishes the writes that are under way.
    pub(crate) fn store_writes_one(&mut self) {
        self.store.does(usize::MAX);
        self.store_answers(Ok(true));
    }

    /// Finishes all writes and readings, and those that come of them.
    pub(crate) fn store_writes(&mut self) {
        while !self.store.is_idle() {
            if self.store.batch.is_some() {
                self.store_writes_one();
            }
            self.store_reads();
        }
    }

    /// The writes that are under way are done, and nobody hears of it yet.
    pub(crate) fn store_does(&mut self) {
        self.store.does(usize::MAX);
    }

    /// The writes that are under way fail after so many of them.
    pub(crate) fn store_fails(&mut self, error: StoreError, done: usize) {
        self.store.does(done);
        self.store_answers(Err(error));
    }

    /// The store knows no such lease: it removes, but keeps nothing.
    pub(crate) fn store_fences(&mut self) {
        if let Some(Batch { edge, writes, is_done: is_done @ false }) = &mut self.store.batch {
            *is_done = true;
            for write in writes.iter().filter(|write| !write.held) {
                let route = (edge.clone(), write.channel.clone());
                self.store.routes.remove(&route);
                self.store.index.remove(&route);
            }
        }
        self.store_answers(Ok(false));
    }

    fn store_answers(&mut self, result: Result<bool, StoreError>) {
        let Some(Batch { edge, writes, .. }) = self.store.batch.take() else { return };
        self.tell(Event::RoutesWritten { edge, writes, result });
    }

    /// The page that is being read: edge, cursor, count.
    pub(crate) fn reading(&self) -> Option<(String, u64, usize)> {
        let Read { edge, cursor, count, .. } = self.store.read.as_ref()?;
        Some((edge.to_string(), *cursor, *count))
    }

    /// The page is read, and nobody hears of it yet.
    pub(crate) fn store_looks(&mut self) {
        self.store.looks();
    }

    /// Answers with the page that is being read, if one is.
    pub(crate) fn store_reads(&mut self) {
        self.store.looks();
        let Some(Read { edge, page, .. }) = self.store.read.take() else { return };
        self.tell(Event::IndexRead { edge, page: Ok(page.expect("just read")) });
    }

    pub(crate) fn store_fails_to_read(&mut self, error: StoreError) {
        let Some(Read { edge, .. }) = self.store.read.take() else { return };
        self.tell(Event::IndexRead { edge, page: Err(error) });
    }

    /// The store has a route that nobody wrote.
    pub(crate) fn store_mixes_up(&mut self, edge: &EdgeId, name: &str) {
        self.store.routes.insert((edge.clone(), channel(name)));
        self.store.index.insert((edge.clone(), channel(name)));
    }

    /// The store lost all that it had.
    pub(crate) fn store_forgets(&mut self) {
        self.store.routes.clear();
        self.store.index.clear();
    }

    /// The look-ups asked for since this was last asked.
    pub(crate) fn look_ups(&mut self) -> Vec<(Ticket, Channel)> {
        self.look_ups.drain(..).collect()
    }

    pub(crate) fn looked_up(&mut self, ticket: Ticket, holders: Result<Vec<EdgeId>, StoreError>) {
        self.tell(Event::LookedUp { ticket, holders });
    }
}
