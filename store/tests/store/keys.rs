//! What stands in Redis, to the letter, and what of it is not ours.

use store::{ErrorKind, Score, StoreError};

use crate::support::*;

#[tokio::test]
async fn keys_and_values_are_the_documented_ones() {
    let server = Server::start(&[]);
    let store = server.store();
    grant(&store, "edge-1.7", 1_700_000_000_123).await;
    write(&store, "edge-1.7", &held(&["news", "#bob"])).await;
    grant(&store, "edge-2.8", 5).await;
    assert!(end(&store, "edge-2.8", 5).await);
    beat(&store, &[], 6, true).await;

    assert_eq!(
        server.list("KEYS *"),
        [
            "cw:edge:{edge-1.7}",
            "cw:edge:{edge-1.7}:routes",
            "cw:edge:{edge-2.8}",
            "cw:route:{#bob}",
            "cw:route:{news}",
            "cw:{edges}",
            "cw:{edges}:ended",
            "cw:{edges}:settled"
        ]
    );
    assert_eq!(server.list("SMEMBERS cw:route:{news}"), ["edge-1.7"]);
    assert_eq!(server.list("SMEMBERS cw:edge:{edge-1.7}:routes"), ["#bob", "news"]);
    assert_eq!(server.list("ZRANGE cw:{edges} 0 -1"), ["edge-1.7"]);
    assert_eq!(server.text("ZSCORE cw:{edges} edge-1.7"), "1700000000123");
    assert_eq!(server.list("SMEMBERS cw:{edges}:ended"), ["edge-2.8"]);
    assert_eq!(server.text("GET cw:{edges}:settled"), "1");
    let hash = [
        ("name", "edge-1"),
        ("epoch", "7"),
        ("relay", "relay-1"),
        ("address", "10.0.0.7:4433"),
        ("clients", "3"),
        ("capacity", "20000"),
        ("version", "0.1.0"),
        ("since", "1700000000000"),
    ];
    assert_eq!(server.list("HKEYS cw:edge:{edge-1.7}").len(), hash.len());
    for (field, value) in hash {
        assert_eq!(server.text(&format!("HGET cw:edge:{{edge-1.7}} {field}")), value);
    }
    assert_eq!(server.text("HGET cw:edge:{edge-2.8} clients"), "0");
    for key in server.list("KEYS *") {
        assert_eq!(server.run(&format!("TTL {key}")), redis::Value::Int(-1), "{key}");
    }
}

#[tokio::test]
async fn another_prefix_is_another_memory() {
    let server = Server::start(&[]);
    let config = store::RedisConfig::parse(&server.url(), "").expect("valid");
    let (here, there) = (server.store(), store::Store::redis(config).expect("a thread"));
    grant(&here, "edge-1.7", 1).await;
    grant(&there, "edge-1.7", 1).await;
    write(&there, "edge-1.7", &held(&["news"])).await;
    assert!(holders(&here, "news").await.is_empty());
    assert_eq!(server.list("SMEMBERS route:{news}"), ["edge-1.7"]);
}

#[tokio::test]
async fn an_emptied_store_is_not_settled() {
    let server = Server::start(&[]);
    let store = server.store();
    assert!(!beat(&store, &[], 1, false).await.is_settled);
    assert!(beat(&store, &[], 2, true).await.is_settled);
    server.run("FLUSHALL");
    assert!(!beat(&store, &[], 3, false).await.is_settled);
}

#[tokio::test]
async fn foreign_members_are_ignored_and_left_alone() {
    let server = Server::start(&[]);
    let store = server.store();
    grant(&store, "edge-1.7", 100).await;
    write(&store, "edge-1.7", &held(&["news"])).await;
    let bytes = redis::cmd("SADD").arg("cw:route:{news}").arg(b"\xff\xfe").clone();
    let mut raw =
        redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("a connection");
    bytes.exec(&mut raw).expect("a member that is no text");
    server.run("SADD cw:route:{news} Somebody edge-1.07 edge-9.9");
    server.run("ZADD cw:{edges} 5 Somebody");
    server.run("SADD cw:{edges}:ended Somebody");
    // A control character: no channel.
    server.try_send(&["SADD", "cw:edge:{edge-1.7}:routes", "a\nb"]).expect("written");

    assert_eq!(holders(&store, "news").await, ["edge-1.7"]);
    assert!(index(&store, "edge-1.7", 10).await.iter().eq(["news"]));
    let leases = beat(&store, &["edge-1.7"], 200, false).await;
    assert!(leases.scores.into_keys().eq([edge("edge-1.7")]));
    assert!(leases.ended.is_empty());
    assert!(end(&store, "edge-1.7", 200).await);
    assert_eq!(eventually("removed", async || store.remove_routes(&edge("edge-1.7")).await.ok()).await, 1);
    assert_eq!(eventually("a sweep", async || store.sweep().await.ok()).await, 1);

    // The one that could be an edge's, and belongs to none, is gone; the others are not for us to judge.
    assert_eq!(server.run("SCARD cw:route:{news}"), redis::Value::Int(3));
    assert_eq!(server.list("ZRANGE cw:{edges} 0 -1"), ["Somebody"]);
    assert_eq!(server.list("SMEMBERS cw:{edges}:ended"), ["Somebody"]);
    assert_eq!(server.run("EXISTS cw:edge:{edge-1.7}:routes"), redis::Value::Int(0));
}

#[tokio::test]
async fn a_foreign_route_key_hurts_its_own_channel_only() {
    let server = Server::start(&[]);
    let store = server.store();
    grant(&store, "edge-1.7", 100).await;
    server.run("SET cw:route:{mine} other");
    assert!(write(&store, "edge-1.7", &held(&["a", "mine", "z"])).await);
    assert_eq!(holders(&store, "z").await, ["edge-1.7"]);
    assert_eq!(store.holders(&channel("mine")).await, Err(StoreError::Away));
    assert_eq!(holders(&store, "a").await, ["edge-1.7"]);
    assert!(write(&store, "edge-1.7", &left(&["a", "mine", "z"])).await);
    assert!(holders(&store, "a").await.is_empty());
    assert!(write(&store, "edge-1.7", &held(&["a", "mine"])).await);
    assert!(end(&store, "edge-1.7", 100).await);
    assert_eq!(eventually("removed", async || store.remove_routes(&edge("edge-1.7")).await.ok()).await, 1);
    assert_eq!(eventually("a sweep", async || store.sweep().await.ok()).await, 0);

    assert_eq!(server.text("GET cw:route:{mine}"), "other");
    let stats = store.stats();
    assert!(stats.reads.is_up && stats.writes.is_up);
    assert!(stats.writes.errors(ErrorKind::WrongType) >= 2 && stats.reads.errors(ErrorKind::WrongType) >= 1);
}

#[tokio::test]
async fn a_foreign_key_of_an_edge_stops_its_writes_and_nothing_else() {
    let server = Server::start(&[]);
    let store = server.store();
    for id in ["edge-1.7", "edge-2.8", "edge-3.9"] {
        grant(&store, id, 100).await;
    }
    server.run("SET cw:edge:{edge-1.7}:routes other");
    server.run("SET cw:edge:{edge-2.8} other");
    for id in ["edge-1.7", "edge-2.8"] {
        assert_eq!(store.write_routes(&edge(id), 1, &held(&["news"])).await, Err(StoreError::Away), "{id}");
    }
    assert_eq!(store.index(&edge("edge-1.7"), 0, 10).await, Err(StoreError::Away));
    assert_eq!(store.grant_lease(&lease("edge-2.8"), Score(1)).await, Err(StoreError::Away));
    assert_eq!(store.remove_routes(&edge("edge-1.7")).await, Err(StoreError::Away));
    assert!(write(&store, "edge-3.9", &held(&["news"])).await);
    assert_eq!(eventually("removed", async || store.remove_routes(&edge("edge-2.8")).await.ok()).await, 0);
    assert_eq!(server.text("GET cw:edge:{edge-1.7}:routes"), "other");
    assert_eq!(server.text("GET cw:edge:{edge-2.8}"), "other");
    assert!(store.stats().writes.is_up);
}

#[tokio::test]
async fn foreign_leases_fail_what_needs_them() {
    let server = Server::start(&[]);
    let store = server.store();
    grant(&store, "edge-1.7", 100).await;
    write(&store, "edge-1.7", &held(&["news"])).await;
    server.run("SET cw:{edges} other");
    assert_eq!(store.holders(&channel("news")).await, Err(StoreError::Unanswered), "somebody was named");
    assert_eq!(store.holders(&channel("nobody")).await, Ok(Vec::new()));
    assert_eq!(store.grant_lease(&lease("edge-1.7"), Score(1)).await, Err(StoreError::Away));
    assert_eq!(store.end_lease(&edge("edge-1.7"), Score(100)).await, Err(StoreError::Away));
    let everything = store::Beat { renewed: vec![edge("edge-1.7")], score: Score(2), settles: false };
    assert_eq!(store.beat(&everything).await, Err(StoreError::Away));
    assert_eq!(server.text("GET cw:{edges}"), "other");
    assert!(write(&store, "edge-1.7", &held(&["chat:1"])).await);
    assert!(store.stats().writes.errors(ErrorKind::WrongType) >= 3);
}

#[tokio::test]
async fn forgotten_scripts_are_no_matter() {
    let server = Server::start(&[]);
    let store = server.store();
    grant(&store, "edge-1.7", 100).await;
    assert!(write(&store, "edge-1.7", &held(&["news"])).await);
    server.run("SCRIPT FLUSH");
    assert!(write(&store, "edge-1.7", &held(&["chat:1"])).await);
    server.run("SCRIPT FLUSH");
    assert!(end(&store, "edge-1.7", 100).await);
}
