//! Looks for routes that every other way of removing has missed.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::id::EdgeId;
use redis::Value;

use super::routes::one;
use super::{Client, reply};
use crate::StoreError;

/// Keys that are looked at in one step.
const SCAN_COUNT: usize = 256;

/// Between steps, so that a sweep is no load: a million routes take a good minute.
const PAUSE: Duration = Duration::from_millis(20);

impl Client {
    pub(crate) async fn sweep(&self) -> Result<u64, StoreError> {
        let (mut cursor, mut removed) = (0, 0);
        loop {
            let mut scan = redis::pipe();
            scan.cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(self.keys.route_pattern())
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, keys) = reply::page(one(self.reads.ask(&mut scan).await?)?);
            removed += self.sweep_routes(reply::items(keys)).await?;
            cursor = next;
            if cursor == 0 {
                return Ok(removed);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn sweep_routes(&self, keys: Vec<Value>) -> Result<u64, StoreError> {
        let keys: Vec<Vec<u8>> = keys.into_iter().filter_map(bytes).collect();
        let mut members = redis::pipe();
        for key in &keys {
            members.cmd("SMEMBERS").arg(key);
        }
        let mut keys_by_edge: BTreeMap<EdgeId, Vec<&[u8]>> = BTreeMap::new();
        for (key, members) in keys.iter().zip(self.reads.ask(&mut members).await?) {
            // A key of another type is somebody else's.
            for edge in members.map(reply::edges).unwrap_or_default() {
                keys_by_edge.entry(edge).or_default().push(key);
            }
        }
        let nobody = self.nobody(keys_by_edge.keys().cloned().collect()).await?;
        let has_index = |edge: &EdgeId| nobody.get(edge).copied();
        self.adopt(keys_by_edge.keys().filter(|edge| has_index(edge) == Some(true))).await?;
        keys_by_edge.retain(|edge, _| has_index(edge) == Some(false));
        self.remove_ghosts(&keys_by_edge).await
    }

    /// Those of `edges` that have no lease and are not to be walked, and whether they have an index.
    async fn nobody(&self, edges: Vec<EdgeId>) -> Result<BTreeMap<EdgeId, bool>, StoreError> {
        let mut questions = redis::pipe();
        for edge in &edges {
            questions.cmd("ZSCORE").arg(self.keys.edges()).arg(edge.to_string());
            questions.cmd("EXISTS").arg(self.keys.index(edge));
            questions.cmd("SISMEMBER").arg(self.keys.ended()).arg(edge.to_string());
        }
        let answers: Result<Vec<Value>, _> = self.reads.ask(&mut questions).await?.into_iter().collect();
        let answers = answers?;
        let is_nobody =
            |answers: &[Value]| reply::text(&answers[0]).is_none() && reply::number(&answers[2]) == 0;
        let nobody = edges.into_iter().zip(answers.chunks_exact(3)).filter(|(_, answers)| is_nobody(answers));
        Ok(nobody.map(|(edge, answers)| (edge, reply::number(&answers[1]) == 1)).collect())
    }

    /// Whose index nobody was to walk is walked after all: a part of what Redis had is lost.
    async fn adopt<'a>(&self, edges: impl Iterator<Item = &'a EdgeId>) -> Result<(), StoreError> {
        let edges: Vec<String> = edges.map(EdgeId::to_string).collect();
        if !edges.is_empty() {
            let mut ended = redis::pipe();
            ended.cmd("SADD").arg(self.keys.ended()).arg(edges);
            self.write(&mut ended).await?;
        }
        Ok(())
    }

    /// A lease is granted before its routes are written: whoever has none now had none when the route was read.
    async fn remove_ghosts(&self, keys_by_edge: &BTreeMap<EdgeId, Vec<&[u8]>>) -> Result<u64, StoreError> {
        if keys_by_edge.is_empty() {
            return Ok(0);
        }
        let edges: Vec<EdgeId> = keys_by_edge.keys().cloned().collect();
        let leases = self.leases_of(&edges).await?;
        let mut routes = redis::pipe();
        for (edge, _) in edges.iter().zip(leases).filter(|(_, has_lease)| !has_lease) {
            for key in &keys_by_edge[edge] {
                routes.cmd("SREM").arg(key).arg(edge.to_string());
            }
        }
        let _turn = self.writes.turn().await?;
        let replies = self.writes.ask(&mut routes).await?;
        Ok(replies.iter().flatten().map(reply::number).sum())
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
