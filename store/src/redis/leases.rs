//! Which edges may have routes: written by relays.

use std::str::FromStr;

use proto::id::EdgeId;
use redis::Value;

use super::routes::one;
use super::{Client, reply, scripts};
use crate::{Beat, Lease, Leases, Score, StoreError};

impl Client {
    /// The lease before the hash: a hash lets routes be written, and only edges with a lease are ever reaped.
    pub(crate) async fn grant_lease(&self, lease: &Lease, score: Score) -> Result<(), StoreError> {
        let _turn = self.writes.turn().await?;
        let mut member = redis::pipe();
        member.cmd("ZADD").arg(self.keys.edges()).arg("NX").arg(score.0).arg(lease.edge.to_string());
        one(self.writes.ask(&mut member).await?)?;

        let mut hash = redis::pipe();
        let key = self.keys.edge(&lease.edge);
        hash.cmd("HSET").arg(&key);
        hash.arg("name").arg(lease.edge.name.as_str()).arg("epoch").arg(lease.edge.epoch.0);
        hash.arg("relay").arg(lease.relay.as_str()).arg("address").arg(&lease.address);
        hash.arg("capacity").arg(lease.capacity).arg("version").arg(&lease.version);
        hash.arg("since").arg(lease.since);
        // The edge's own count, if it has written one, is the better one.
        hash.cmd("HSETNX").arg(&key).arg("clients").arg(0);
        for reply in self.writes.ask(&mut hash).await? {
            reply?;
        }
        Ok(())
    }

    pub(crate) async fn beat(&self, beat: &Beat) -> Result<Leases, StoreError> {
        let mut commands = redis::pipe();
        // The crate's own transactions count wrongly when MULTI itself is refused.
        commands.cmd("MULTI");
        if !beat.renewed.is_empty() {
            commands.cmd("ZADD").arg(self.keys.edges()).arg("XX");
            for edge in &beat.renewed {
                commands.arg(beat.score.0).arg(edge.to_string());
            }
        }
        if beat.settles {
            commands.cmd("SET").arg(self.keys.settled()).arg(1);
        }
        commands.cmd("ZRANGE").arg(self.keys.edges()).arg(0).arg(-1).arg("WITHSCORES");
        commands.cmd("SMEMBERS").arg(self.keys.ended());
        commands.cmd("EXISTS").arg(self.keys.settled());
        commands.cmd("EXEC");

        let _turn = self.writes.turn().await?;
        let mut replies = self.writes.ask(&mut commands).await?;
        let mut results = reply::items(replies.pop().expect("one of each command")?);
        // From the end, since what comes first depends on what was asked.
        let (settled, ended, scores) = (results.pop(), results.pop(), results.pop());
        let (Some(settled), Some(ended), Some(scores)) = (settled, ended, scores) else {
            return Err(StoreError::Unanswered);
        };
        let scores = reply::items(scores).chunks_exact(2).filter_map(scored).collect();
        Ok(Leases { scores, ended: reply::edges(ended), is_settled: reply::number(&settled) == 1 })
    }

    pub(crate) async fn end_lease(&self, edge: &EdgeId, score: Score) -> Result<bool, StoreError> {
        let mut script = redis::pipe();
        script.cmd("EVAL").arg(scripts::END_LEASE).arg(2).arg(self.keys.edges()).arg(self.keys.ended());
        script.arg(edge.to_string()).arg(score.0);
        Ok(reply::number(&self.write(&mut script).await?) == 1)
    }
}

/// A member and its score, as `WITHSCORES` lists them. Redis keeps scores as floating-point numbers: milliseconds
/// since 1970 fit without loss for longer than we need. A score that is no such number is not ours.
fn scored(pair: &[Value]) -> Option<(EdgeId, Score)> {
    let edge = EdgeId::from_str(reply::text(&pair[0])?).ok()?;
    let score: f64 = reply::text(&pair[1])?.parse().ok()?;
    let whole = score as u64;
    (whole as f64 == score).then_some((edge, Score(whole)))
}
