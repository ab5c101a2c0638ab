//! Which edge holds which channel: written by edges, looked up by edges, removed by relays.

use std::time::Duration;

use proto::id::{Channel, EdgeId};
use redis::Pipeline;

use super::{Client, reply, scripts};
use crate::{IndexPage, RouteWrite, StoreError};

/// Writes of one round. Redis needs about 1 ms for them, and meanwhile serves nobody else.
const WRITES_PER_ROUND: usize = 1_000;

/// Members of an index that are asked for at once, and removed at once.
const WALK_COUNT: usize = 512;

/// When routes are removed once more. Whoever was told before the fence that a route may be written either did it
/// within the 250 ms of an answer, or has given up.
const SECOND_WALK_AFTER: Duration = Duration::from_secs(1);

/// The fence lets an index only shrink: two walks find it empty. One that is not after so many is somebody else's.
const WALKS_MAX: usize = 16;

/// Which time an index is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// The index stays, so that the next walk finds the same.
    First,
    /// The index goes with the routes.
    Again,
}

impl Client {
    pub(crate) async fn write_routes(
        &self,
        edge: &EdgeId,
        clients: u64,
        writes: &[RouteWrite],
    ) -> Result<bool, StoreError> {
        let mut is_open = true;
        for round in writes.chunks(WRITES_PER_ROUND) {
            is_open &= self.write_round(edge, clients, round).await?;
        }
        Ok(is_open)
    }

    /// Into the index before the route, out of it after the route: what is in no index is found by no reaper. A
    /// route key that is not ours keeps its own channel from being found, and nothing else.
    async fn write_round(
        &self,
        edge: &EdgeId,
        clients: u64,
        writes: &[RouteWrite],
    ) -> Result<bool, StoreError> {
        let _turn = self.writes.turn().await?;
        let of =
            |held: bool| writes.iter().filter(move |write| write.held == held).map(|write| &write.channel);
        let (has_joins, has_leaves) = (of(true).next().is_some(), of(false).next().is_some());

        let mut first = redis::pipe();
        // The number of clients goes with joins only: a full Redis takes no number, but removals.
        if has_joins {
            first.cmd("EVAL").arg(scripts::JOIN).arg(2).arg(self.keys.edge(edge)).arg(self.keys.index(edge));
            first.arg(clients);
            first.arg(names(of(true)));
        }
        of(false).for_each(|channel| self.remove_route(&mut first, channel, edge));
        let mut replies = self.writes.ask(&mut first).await?.into_iter();
        let is_open = !has_joins || reply::number(&replies.next().expect("one of each command")?) == 1;

        let mut second = redis::pipe();
        if has_leaves {
            second.cmd("SREM").arg(self.keys.index(edge));
            second.arg(names(of(false)));
        }
        for channel in of(true).filter(|_| is_open) {
            second.cmd("SADD").arg(self.keys.route(channel)).arg(edge.to_string());
        }
        let mut replies = self.writes.ask(&mut second).await?.into_iter();
        if has_leaves {
            replies.next().expect("one of each command")?;
        }
        Ok(is_open)
    }

    pub(crate) async fn index(
        &self,
        edge: &EdgeId,
        cursor: u64,
        count: usize,
    ) -> Result<IndexPage, StoreError> {
        let mut scan = redis::pipe();
        scan.cmd("SSCAN").arg(self.keys.index(edge)).arg(cursor).arg("COUNT").arg(count.max(1));
        let (cursor, members) = reply::page(one(self.reads.ask(&mut scan).await?)?);
        Ok(IndexPage { channels: reply::channels(members), cursor })
    }

    pub(crate) async fn holders(&self, channel: &Channel) -> Result<Vec<EdgeId>, StoreError> {
        let mut members = redis::pipe();
        members.cmd("SMEMBERS").arg(self.keys.route(channel));
        let mut edges = reply::edges(one(self.reads.ask(&mut members).await?)?);
        if !edges.is_empty() {
            // Somebody was named: nobody may say any more that there was no asking.
            let leases = self.leases_of(&edges).await.map_err(|_| StoreError::Unanswered)?;
            let mut has_lease = leases.into_iter();
            edges.retain(|_| has_lease.next().unwrap_or(false));
        }
        Ok(edges)
    }

    /// Which of `edges` have a lease, in their order.
    pub(super) async fn leases_of(&self, edges: &[EdgeId]) -> Result<Vec<bool>, StoreError> {
        let mut scores = redis::pipe();
        scores.cmd("ZMSCORE").arg(self.keys.edges());
        scores.arg(edges.iter().map(EdgeId::to_string).collect::<Vec<_>>());
        let scores = reply::items(one(self.reads.ask(&mut scores).await?)?);
        Ok(scores.iter().map(|score| reply::text(score).is_some()).collect())
    }

    pub(crate) async fn remove_routes(&self, edge: &EdgeId) -> Result<u64, StoreError> {
        let mut fence = redis::pipe();
        fence.cmd("EVAL").arg(scripts::FENCE).arg(1).arg(self.keys.edge(edge));
        self.write(&mut fence).await?;
        let (_, removed) = self.walk(edge, Walk::First).await?;
        tokio::time::sleep(SECOND_WALK_AFTER).await;
        for _ in 0..WALKS_MAX {
            if self.walk(edge, Walk::Again).await? == (0, 0) {
                self.forget_ended(edge).await?;
                return Ok(removed);
            }
        }
        Err(StoreError::Away)
    }

    /// Removes the routes of all channels in the index; answers how many channels there were, and how many routes.
    /// Others may write between its steps.
    async fn walk(&self, edge: &EdgeId, walk: Walk) -> Result<(u64, u64), StoreError> {
        let (mut cursor, mut seen, mut removed) = (0, 0, 0);
        loop {
            let mut scan = redis::pipe();
            scan.cmd("SSCAN").arg(self.keys.index(edge)).arg(cursor).arg("COUNT").arg(WALK_COUNT);
            let (next, members) = reply::page(self.write(&mut scan).await?);
            let channels = reply::channels(members);
            seen += channels.len() as u64;
            removed += self.remove_all(edge, &channels, walk).await?;
            cursor = next;
            if cursor == 0 {
                return Ok((seen, removed));
            }
        }
    }

    async fn remove_all(&self, edge: &EdgeId, channels: &[Channel], walk: Walk) -> Result<u64, StoreError> {
        if channels.is_empty() {
            return Ok(0);
        }
        let mut routes = redis::pipe();
        channels.iter().for_each(|channel| self.remove_route(&mut routes, channel, edge));
        let _turn = self.writes.turn().await?;
        let replies = self.writes.ask(&mut routes).await?;
        if walk == Walk::Again {
            let mut index = redis::pipe();
            index.cmd("SREM").arg(self.keys.index(edge));
            index.arg(names(channels.iter()));
            one(self.writes.ask(&mut index).await?)?;
        }
        Ok(replies.iter().flatten().map(reply::number).sum())
    }

    /// What is left in the index are no channels, but the index is ours.
    async fn forget_ended(&self, edge: &EdgeId) -> Result<(), StoreError> {
        let mut index = redis::pipe();
        index.cmd("DEL").arg(self.keys.index(edge));
        self.write(&mut index).await?;
        let mut ended = redis::pipe();
        ended.cmd("SREM").arg(self.keys.ended()).arg(edge.to_string());
        self.write(&mut ended).await?;
        Ok(())
    }

    pub(super) fn remove_route(&self, commands: &mut Pipeline, channel: &Channel, edge: &EdgeId) {
        commands.cmd("SREM").arg(self.keys.route(channel)).arg(edge.to_string());
    }

    /// One write by itself.
    pub(super) async fn write(&self, command: &mut Pipeline) -> Result<redis::Value, StoreError> {
        let _turn = self.writes.turn().await?;
        one(self.writes.ask(command).await?)
    }
}

/// The answer to a single command.
pub(super) fn one(replies: Vec<super::connection::Reply>) -> Result<redis::Value, StoreError> {
    Ok(replies.into_iter().next().expect("one of each command")?)
}

fn names<'a>(channels: impl Iterator<Item = &'a Channel>) -> Vec<&'a str> {
    channels.map(Channel::as_str).collect()
}
