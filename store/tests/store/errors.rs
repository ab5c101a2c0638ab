//! Each way in which Redis can refuse, provoked.

use std::time::{Duration, Instant};

use store::{ErrorKind, RedisConfig, Stats, Store, StoreError};

use crate::support::*;

fn both(stats: Stats, kind: ErrorKind) -> u64 {
    stats.reads.errors(kind) + stats.writes.errors(kind)
}

/// Writes until it is refused with `kind`, and for a while after.
async fn refused_writes(store: &Store, kind: ErrorKind) {
    let before = store.stats().writes.errors(kind);
    eventually(kind.label(), async || {
        let refused = store.write_routes(&edge("edge-1.7"), 1, &held(&["chat:1"])).await;
        assert!(refused.is_err(), "{refused:?}");
        (store.stats().writes.errors(kind) > before + 1).then_some(())
    })
    .await;
    assert!(!store.stats().writes.is_up);
}

async fn works(store: &Store) {
    assert!(write(store, "edge-1.7", &held(&["news"])).await);
    assert_eq!(holders(store, "news").await, ["edge-1.7"]);
}

#[tokio::test]
async fn out_of_memory_stops_writes_and_lets_reads_go_on() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    works(&store).await;
    server.run("CONFIG SET maxmemory 1");
    assert_eq!(
        store.write_routes(&edge("edge-1.7"), 1, &held(&["chat:1"])).await,
        Err(StoreError::Unanswered)
    );
    refused_writes(&store, ErrorKind::OutOfMemory).await;
    let refused_at = Instant::now();
    assert_eq!(holders(&store, "news").await, ["edge-1.7"]);
    assert!(store.stats().reads.is_up);
    assert_eq!(store.stats().reads.errors(ErrorKind::OutOfMemory), 0);
    // What only removes is still done, and no sign of health.
    assert!(write(&store, "edge-1.7", &left(&["chat:1"])).await);
    let is_up = store.stats().writes.is_up;
    assert!(!is_up || refused_at.elapsed() > Duration::from_secs(4));
    server.run("CONFIG SET maxmemory 0");
    eventually("called up again", async || {
        works(&store).await;
        store.stats().writes.is_up.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_beat_out_of_memory_tells_the_kind() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    server.run("CONFIG SET maxmemory 1");
    let beat = store::Beat { renewed: vec![edge("edge-1.7")], score: store::Score(2), settles: true };
    eventually("refused", async || {
        assert!(store.beat(&beat).await.is_err());
        (store.stats().writes.errors(ErrorKind::OutOfMemory) > 0).then_some(())
    })
    .await;
    assert_eq!(store.stats().writes.errors(ErrorKind::Other), 0);
}

#[tokio::test]
async fn a_replica_refuses_writes_and_one_without_its_master_everything() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    works(&store).await;
    // Port 1: nobody there.
    server.run("REPLICAOF 127.0.0.1 1");
    refused_writes(&store, ErrorKind::ReadOnly).await;
    assert_eq!(holders(&store, "news").await, ["edge-1.7"]);
    server.run("CONFIG SET replica-serve-stale-data no");
    eventually("refused reads", async || {
        assert!(store.holders(&channel("news")).await.is_err());
        (store.stats().reads.errors(ErrorKind::Cluster) > 0).then_some(())
    })
    .await;
    server.run("REPLICAOF NO ONE");
    works(&store).await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_refuses_writes() {
    let server = Server::start(&[]);
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    works(&store).await;
    // A file cannot take the place of a directory.
    std::fs::create_dir(server.dir().join("dump.rdb")).expect("a directory");
    server.try_send(&["CONFIG", "SET", "save", "3600 1000000"]).expect("saving is wanted");
    server.run("BGSAVE");
    eventually("a failed save", async || {
        server.text("INFO persistence").contains("rdb_last_bgsave_status:err").then_some(())
    })
    .await;
    refused_writes(&store, ErrorKind::MisConf).await;
    server.run("CONFIG SET stop-writes-on-bgsave-error no");
    works(&store).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let mut server = Server::start(&[]);
    let store = server.store_up().await;
    server.run("DEBUG POPULATE 20000");
    server.run("SAVE");
    // 20,000 keys of 3 ms each: a minute.
    server.restart_unheard(&["--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024"]);
    eventually("loading", async || {
        let stats = store.stats();
        assert!(
            store.holders(&channel("news")).await.is_err() || stats.reads.errors(ErrorKind::Loading) == 0
        );
        (stats.reads.errors(ErrorKind::Loading) > 0 && stats.writes.errors(ErrorKind::Loading) > 0)
            .then_some(())
    })
    .await;
    server.restart(&[]);
    grant(&store, "edge-1.7", 100).await;
    works(&store).await;
}

#[tokio::test]
async fn a_cluster_is_not_for_us_yet() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    let store = server.store();
    eventually("refused", async || {
        assert_eq!(store.holders(&channel("news")).await, Err(StoreError::Away));
        (store.stats().reads.errors(ErrorKind::Cluster) > 1).then_some(())
    })
    .await;
    assert!(!store.stats().reads.is_up);
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_told_and_right_ones_taken() {
    let server = Server::start(&["--requirepass", "s3cret/", "--user", "me", "on", ">p4ss", "~*", "+@all"]);
    let with = |query: &str| store_at(&format!("{}{query}", server.url()));
    for query in ["", "?pass=wrong", "?user=me&pass=wrong", "?user=nobody&pass=p4ss"] {
        let store = with(query);
        eventually(query, async || (both(store.stats(), ErrorKind::Auth) > 1).then_some(())).await;
        assert_eq!(store.holders(&channel("news")).await, Err(StoreError::Away));
        assert!(!store.stats().reads.is_up);
    }
    for query in ["?pass=s3cret%2F", "?user=me&pass=p4ss", "?user=me&pass=p4ss&db=3"] {
        let store = with(query);
        up(&store).await;
        grant(&store, "edge-1.7", 100).await;
        works(&store).await;
        let shown = format!("{store:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("p4ss"), "{shown}");
    }
}

#[tokio::test]
async fn a_password_changed_under_us_is_told() {
    let server = Server::start_tcp();
    let store = server.store_up().await;
    grant(&store, "edge-1.7", 100).await;
    let config = RedisConfig::parse(&server.url().replace("//", "//:old@"), "cw:").expect("valid");
    server.run("CONFIG SET requirepass old");
    let with_password = Store::redis(config).expect("a thread");
    works(&with_password).await;
    let mut raw = redis::Client::open(server.url().replace("//", "//:old@"))
        .and_then(|c| c.get_connection())
        .expect("in");
    let mut run = |command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut raw).expect(command);
    };
    run("CONFIG SET requirepass new");
    run("CLIENT KILL TYPE normal");
    eventually("told", async || {
        let _ = with_password.holders(&channel("news")).await;
        (both(with_password.stats(), ErrorKind::Auth) > 1).then_some(())
    })
    .await;
    run("CONFIG SET requirepass old");
    works(&with_password).await;
}

#[tokio::test]
async fn a_user_who_may_too_little_is_told() {
    let server = Server::start(&[]);
    server.run("ACL SETUSER reader on >pw ~* +@all -zmscore");
    server.run("ACL SETUSER stranger on >pw ~other:* +@all");
    server.run("ACL SETUSER unfenced on >pw ~* +@all -client|kill -client|info");
    let all = server.store_up().await;
    grant(&all, "edge-1.7", 100).await;
    works(&all).await;
    let as_user = |user: &str| store_at(&format!("{}?user={user}&pass=pw", server.url()));
    let reader = as_user("reader");
    eventually("refused", async || {
        assert!(reader.holders(&channel("news")).await.is_err());
        (reader.stats().reads.errors(ErrorKind::NoPermission) > 0).then_some(())
    })
    .await;
    assert!(write(&reader, "edge-1.7", &held(&["news"])).await);
    for user in ["stranger", "unfenced"] {
        let store = as_user(user);
        eventually(user, async || (both(store.stats(), ErrorKind::NoPermission) > 1).then_some(())).await;
        assert!(store.holders(&channel("news")).await.is_err());
    }
    server.run("ACL SETUSER reader +zmscore");
    works(&reader).await;
}
