//! Redis stops, dies, comes back.

use std::time::{Duration, Instant};

use store::{ErrorKind, Store, StoreError};

use crate::proxy::Proxy;
use crate::support::*;

/// Our connections, as Redis lists them.
fn ours(server: &Server, purpose: &str) -> usize {
    server.text("CLIENT LIST").matches(&format!("name=causeway-{purpose} ")).count()
}

#[tokio::test]
async fn a_stopped_redis_is_away_at_once_and_back_when_it_goes_on() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    write(&store, "edge-1.7", &held(&["news"])).await;
    holders(&store, "news").await;

    server.signal("-STOP");
    let asked_at = Instant::now();
    let news = channel("news");
    let (first, second) = tokio::join!(store.holders(&news), store.holders(&news));
    assert_eq!((first, second), (Err(StoreError::Unanswered), Err(StoreError::Unanswered)));
    assert!(asked_at.elapsed() < Duration::from_secs(10), "{:?}", asked_at.elapsed());
    let unanswered = store.write_routes(&edge("edge-1.7"), 1, &held(&["chat:1"])).await;
    assert_eq!(unanswered, Err(StoreError::Unanswered));
    let asked_at = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(store.holders(&news).await, Err(StoreError::Away));
        assert_eq!(store.write_routes(&edge("edge-1.7"), 1, &held(&["a"])).await, Err(StoreError::Away));
    }
    // Each waiting for its timeout would be minutes.
    assert!(asked_at.elapsed() < Duration::from_secs(30), "{:?}", asked_at.elapsed());
    let stats = store.stats();
    assert!(!stats.reads.is_up && !stats.writes.is_up);
    assert!(stats.reads.errors(ErrorKind::Timeout) >= 1 && stats.writes.errors(ErrorKind::Timeout) >= 1);

    server.signal("-CONT");
    assert_eq!(holders(&store, "news").await, ["edge-1.7"]);
    assert!(write(&store, "edge-1.7", &held(&["chat:1"])).await);
    up(&store).await;
    assert!(store.stats().writes.reconnects >= 1);
}

#[tokio::test]
async fn what_the_network_delivers_late_is_not_obeyed() {
    let server = Server::start_tcp();
    let proxy = Proxy::to(server.port()).await;
    let store = store_at(&proxy.url());
    grant(&store, "edge-1.7", 100).await;
    for round in 0..5 {
        assert!(write(&store, "edge-1.7", &held(&["news"])).await);
        proxy.hold();
        let unanswered = store.write_routes(&edge("edge-1.7"), 1, &left(&["news"])).await;
        assert_eq!(unanswered, Err(StoreError::Unanswered));
        assert!(write(&store, "edge-1.7", &held(&["news"])).await);
        proxy.release();
        // Once its predecessors are gone, nothing can change any more.
        eventually("one connection", async || (ours(&server, "writes") == 1).then_some(())).await;
        assert_eq!(holders(&store, "news").await, ["edge-1.7"], "round {round}");
    }
}

#[tokio::test]
async fn what_a_stopped_redis_had_received_is_not_obeyed_late() {
    for server in [Server::start_tcp(), Server::start(&[])] {
        let store = server.store_up().await;
        grant(&store, "edge-1.7", 100).await;
        let names: Vec<String> = (0..1_000).map(|n| format!("{n:0>250}")).collect();
        let left = left(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let last = names.last().expect("there are 1,000").as_str();
        for round in 0..5 {
            assert!(write(&store, "edge-1.7", &held(&[last])).await);
            server.signal("-STOP");
            let unanswered = store.write_routes(&edge("edge-1.7"), 1, &left).await;
            assert_eq!(unanswered, Err(StoreError::Unanswered));
            // The next try is somewhere between its connecting and its answer.
            tokio::time::sleep(Duration::from_millis(100 * round)).await;
            server.signal("-CONT");
            assert!(write(&store, "edge-1.7", &held(&[last])).await);
            eventually("one connection", async || (ours(&server, "writes") == 1).then_some(())).await;
            assert_eq!(holders(&store, last).await, ["edge-1.7"], "round {round}");
            assert_eq!(index(&store, "edge-1.7", 1_000).await.len(), 1, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_died_and_came_back_empty_is_found_again() {
    for mut server in [Server::start(&[]), Server::start_tcp()] {
        let store = server.store_up().await;
        grant(&store, "edge-1.7", 100).await;
        assert!(write(&store, "edge-1.7", &held(&["news"])).await);
        server.kill();
        // Nobody has to ask for it to be noticed.
        eventually("noticed", async || {
            let stats = store.stats();
            (!stats.reads.is_up && !stats.writes.is_up).then_some(())
        })
        .await;
        assert_eq!(store.holders(&channel("news")).await, Err(StoreError::Away));
        eventually("a refused try", async || {
            (store.stats().reads.errors(ErrorKind::Unreachable) >= 3).then_some(())
        })
        .await;
        server.restart(&[]);
        assert!(holders(&store, "news").await.is_empty());
        assert!(!write(&store, "edge-1.7", &held(&["news"])).await);
        grant(&store, "edge-1.7", 200).await;
        assert!(write(&store, "edge-1.7", &held(&["news"])).await);
        up(&store).await;
    }
}

#[tokio::test]
async fn a_store_waits_for_a_redis_that_comes_later() {
    let mut server = Server::start(&[]);
    server.kill();
    std::fs::remove_file(server.dir().join("redis.sock")).expect("it was there");
    let store = server.store();
    assert_eq!(store.holders(&channel("news")).await, Err(StoreError::Away));
    eventually("tries", async || (store.stats().writes.errors(ErrorKind::Unreachable) >= 2).then_some(()))
        .await;
    server.restart(&[]);
    up(&store).await;
    assert!(holders(&store, "news").await.is_empty());
    assert_eq!(store.stats().writes.reconnects, 0);
}

#[tokio::test]
async fn killed_connections_come_back() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    for _ in 0..5 {
        grant(&store, "edge-1.7", 100).await;
        assert!(write(&store, "edge-1.7", &held(&["news"])).await);
        assert_eq!(holders(&store, "news").await, ["edge-1.7"]);
        server.run("CLIENT KILL TYPE normal");
    }
    eventually("both back", async || {
        (ours(&server, "reads") == 1 && ours(&server, "writes") == 1).then_some(())
    })
    .await;
    assert!(store.stats().writes.reconnects >= 4);
}

#[tokio::test]
async fn who_stops_waiting_breaks_nothing() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    let many = channels(1_000);
    for micros in [0, 50, 200, 500, 1_000, 5_000] {
        let waits = Duration::from_micros(micros);
        let _ = tokio::time::timeout(waits, store.write_routes(&edge("edge-1.7"), 1, &many)).await;
        let _ = tokio::time::timeout(waits, store.holders(&channel("chat:999"))).await;
    }
    assert!(write(&store, "edge-1.7", &many).await);
    assert_eq!(holders(&store, "chat:999").await, ["edge-1.7"]);
    assert_eq!(index(&store, "edge-1.7", 1_000).await.len(), 1_000);
}

#[tokio::test]
async fn nothing_is_left_of_a_store_that_nobody_has() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    let clone: Store = store.clone();
    drop(store);
    assert!(holders(&clone, "news").await.is_empty());
    assert_eq!((ours(&server, "reads"), ours(&server, "writes")), (1, 1));
    drop(clone);
    eventually("gone", async || (ours(&server, "reads") + ours(&server, "writes") == 0).then_some(())).await;
}
