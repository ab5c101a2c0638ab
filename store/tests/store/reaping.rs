//! Cleaning up after edges that are gone.

use std::time::{Duration, Instant};

use crate::support::*;

#[tokio::test]
async fn five_thousand_routes_are_removed() {
    let server = Server::start(&[]);
    let store = server.store();
    for id in ["edge-1.7", "edge-2.8"] {
        grant(&store, id, 100).await;
        assert!(write(&store, id, &channels(5_000)).await);
    }
    assert!(end(&store, "edge-1.7", 100).await);
    assert_eq!(store.remove_routes(&edge("edge-1.7")).await, Ok(5_000));
    assert_eq!(holders(&store, "chat:4999").await, ["edge-2.8"]);
    assert_eq!(server.list("SMEMBERS cw:route:{chat:0}"), ["edge-2.8"]);
    // The other edge's routes, index and hash, and the leases.
    assert_eq!(server.run("DBSIZE"), redis::Value::Int(5_000 + 3));
}

#[tokio::test]
async fn a_route_written_late_is_removed_too() {
    let server = Server::start(&[]);
    let store = server.store();
    for epoch in 1..=20 {
        let id = format!("edge-1.{epoch}");
        grant(&store, &id, 100).await;
        write(&store, &id, &held(&["news"])).await;
        assert!(end(&store, &id, 100).await);
        let asked_at = Instant::now();
        let removal = tokio::spawn({
            let (store, edge) = (store.clone(), edge(&id));
            async move { store.remove_routes(&edge).await }
        });
        eventually("the first walk", async || {
            server.list("SMEMBERS cw:route:{news}").is_empty().then_some(())
        })
        .await;
        server.run(&format!("SADD cw:route:{{news}} {id}"));
        let is_before_second_walk = asked_at.elapsed() < Duration::from_millis(900);
        let removed = removal.await.expect("no panic");
        if is_before_second_walk && removed.is_ok() {
            assert!(server.list("SMEMBERS cw:route:{news}").is_empty());
            assert_eq!(server.run("EXISTS cw:{edges}:ended"), redis::Value::Int(0));
            return;
        }
        server.run("DEL cw:route:{news}");
    }
    panic!("this machine is too busy to tell");
}

#[tokio::test]
async fn others_write_while_routes_are_removed() {
    let server = Server::start(&[]);
    let store = server.store();
    for id in ["edge-1.7", "edge-2.8"] {
        grant(&store, id, 100).await;
    }
    write(&store, "edge-1.7", &channels(3_000)).await;
    assert!(end(&store, "edge-1.7", 100).await);
    let removal = tokio::spawn({
        let store = store.clone();
        async move { store.remove_routes(&edge("edge-1.7")).await }
    });
    let mut beats = 0;
    while !removal.is_finished() {
        let leases = beat(&store, &["edge-2.8"], 200 + beats, false).await;
        assert!(leases.scores.contains_key(&edge("edge-2.8")));
        beats += 1;
    }
    assert!(beats > 10, "{beats}");
    assert_eq!(removal.await.expect("no panic"), Ok(3_000));
}

#[tokio::test]
async fn a_sweep_finds_a_ghost_and_nothing_else() {
    let server = Server::start(&[]);
    let store = server.store();
    for id in ["edge-1.7", "edge-2.8", "edge-3.9"] {
        grant(&store, id, 100).await;
        write(&store, id, &channels(600)).await;
    }
    // One has a lease, one is yet to be walked, one has an index that nobody would walk.
    assert!(end(&store, "edge-2.8", 100).await);
    server.run("DEL cw:edge:{edge-2.8}:routes");
    server.run("ZREM cw:{edges} edge-3.9");
    for name in ["chat:1", "chat:599", "haunted"] {
        server.run(&format!("SADD cw:route:{{{name}}} ghost.1 Stranger"));
    }
    server.run("SADD other:route:{chat:1} ghost.1");
    assert_eq!(store.sweep().await, Ok(3));
    assert_eq!(server.list("SMEMBERS cw:{edges}:ended"), ["edge-2.8", "edge-3.9"]);
    assert_eq!(store.sweep().await, Ok(0));
    assert_eq!(server.list("SMEMBERS cw:route:{chat:1}"), ["Stranger", "edge-1.7", "edge-2.8", "edge-3.9"]);
    assert_eq!(server.list("SMEMBERS cw:route:{haunted}"), ["Stranger"]);
    assert_eq!(server.list("SMEMBERS other:route:{chat:1}"), ["ghost.1"]);
}
