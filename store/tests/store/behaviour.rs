//! What every memory does.

use store::{Score, Store};

use crate::support::*;

macro_rules! on_both {
    ($($behaviour:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::Store::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $behaviour() {
                let server = crate::support::Server::start(&[]);
                super::$behaviour(server.store()).await;
            })*
        }
    };
}

on_both! {
    a_route_is_found_until_its_edge_leaves
    a_route_without_a_lease_is_not_remembered
    leaving_needs_no_lease
    routes_of_an_edge_whose_lease_ended_are_not_found
    a_lease_granted_again_stays_as_it_was
    a_beat_renews_members_only_and_tells_all
    a_lease_ends_only_at_the_score_that_was_watched
    removed_routes_are_counted_and_their_edge_forgotten
    an_index_is_read_in_pages
    any_channel_name_is_a_name
    writes_of_thousands_are_one_call
    a_settled_store_knows_it
    a_sweep_of_a_good_store_finds_nothing
}

async fn a_route_is_found_until_its_edge_leaves(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    grant(&store, "edge-2.8", 100).await;
    assert!(write(&store, "edge-1.7", &held(&["news", "chat:1"])).await);
    assert!(write(&store, "edge-2.8", &held(&["news"])).await);
    assert_eq!(holders(&store, "news").await, ["edge-1.7", "edge-2.8"]);
    assert_eq!(holders(&store, "chat:1").await, ["edge-1.7"]);
    assert!(holders(&store, "chat:2").await.is_empty());

    let mixed = [left(&["news"]), held(&["chat:2"])].concat();
    assert!(write(&store, "edge-1.7", &mixed).await);
    assert_eq!(holders(&store, "news").await, ["edge-2.8"]);
    assert_eq!(holders(&store, "chat:2").await, ["edge-1.7"]);
    assert!(index(&store, "edge-1.7", 10).await.iter().eq(["chat:1", "chat:2"]));
}

async fn a_route_without_a_lease_is_not_remembered(store: Store) {
    assert!(!write(&store, "edge-1.7", &held(&["news"])).await);
    grant(&store, "edge-1.7", 100).await;
    assert!(holders(&store, "news").await.is_empty());
    assert!(index(&store, "edge-1.7", 10).await.is_empty());
}

async fn leaving_needs_no_lease(store: Store) {
    assert!(write(&store, "edge-1.7", &left(&["news"])).await);
    assert!(write(&store, "edge-1.7", &[]).await);
    let mixed = [left(&["news"]), held(&["chat:2"])].concat();
    assert!(!write(&store, "edge-1.7", &mixed).await);
}

async fn routes_of_an_edge_whose_lease_ended_are_not_found(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    write(&store, "edge-1.7", &held(&["news"])).await;
    assert!(end(&store, "edge-1.7", 100).await);
    assert!(holders(&store, "news").await.is_empty());
}

async fn a_lease_granted_again_stays_as_it_was(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    grant(&store, "edge-1.7", 200).await;
    let leases = beat(&store, &[], 300, false).await;
    assert!(leases.scores.into_iter().eq([(edge("edge-1.7"), Score(100))]));
}

async fn a_beat_renews_members_only_and_tells_all(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    grant(&store, "edge-2.8", 1_700_000_000_001).await;
    let leases = beat(&store, &["edge-1.7", "edge-3.9"], 1_700_000_000_123, false).await;
    let expected = [("edge-1.7", 1_700_000_000_123), ("edge-2.8", 1_700_000_000_001)];
    assert!(leases.scores.into_iter().eq(expected.map(|(id, score)| (edge(id), Score(score)))));
    assert!(leases.ended.is_empty());
}

async fn a_lease_ends_only_at_the_score_that_was_watched(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    assert!(!end(&store, "edge-1.7", 99).await);
    assert!(!end(&store, "edge-2.8", 100).await);
    assert!(beat(&store, &["edge-1.7"], 200, false).await.ended.is_empty());
    assert!(!end(&store, "edge-1.7", 100).await);
    assert!(end(&store, "edge-1.7", 200).await);
    assert!(!end(&store, "edge-1.7", 200).await);
    let leases = beat(&store, &["edge-1.7"], 300, false).await;
    assert!(leases.scores.is_empty());
    assert_eq!(leases.ended, [edge("edge-1.7")]);
}

async fn removed_routes_are_counted_and_their_edge_forgotten(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    grant(&store, "edge-2.8", 100).await;
    write(&store, "edge-1.7", &held(&["news", "chat:1"])).await;
    write(&store, "edge-2.8", &held(&["news"])).await;
    assert!(end(&store, "edge-1.7", 100).await);
    assert_eq!(store.remove_routes(&edge("edge-1.7")).await, Ok(2));
    assert_eq!(store.remove_routes(&edge("edge-1.7")).await, Ok(0));
    assert!(beat(&store, &[], 200, false).await.ended.is_empty());
    assert!(index(&store, "edge-1.7", 10).await.is_empty());
    assert_eq!(holders(&store, "news").await, ["edge-2.8"]);
    assert!(!write(&store, "edge-1.7", &held(&["late"])).await);
}

async fn an_index_is_read_in_pages(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    assert!(write(&store, "edge-1.7", &channels(700)).await);
    let read = index(&store, "edge-1.7", 100).await;
    assert!(
        read.into_iter().eq(channels(700)
            .iter()
            .map(|write| write.channel.to_string())
            .collect::<std::collections::BTreeSet<_>>())
    );
    assert!(index(&store, "edge-2.8", 100).await.is_empty());
}

async fn any_channel_name_is_a_name(store: Store) {
    let names = [
        "a{b}c",
        "a}",
        "a{",
        "a{}",
        "#{edges}",
        "#jürgen",
        "#名前",
        "$private",
        "a b*?[x]\\",
        "dialog#42,43",
    ];
    grant(&store, "edge-1.7", 100).await;
    assert!(write(&store, "edge-1.7", &held(&names)).await);
    for name in names {
        assert_eq!(holders(&store, name).await, ["edge-1.7"], "{name}");
    }
    assert_eq!(index(&store, "edge-1.7", 100).await.len(), names.len());
    assert!(write(&store, "edge-1.7", &left(&names)).await);
    for name in names {
        assert!(holders(&store, name).await.is_empty(), "{name}");
    }
    assert!(index(&store, "edge-1.7", 100).await.is_empty());
}

async fn writes_of_thousands_are_one_call(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    let all = channels(2_500);
    assert!(write(&store, "edge-1.7", &all).await);
    assert_eq!(index(&store, "edge-1.7", 1_000).await.len(), 2_500);
    assert_eq!(holders(&store, "chat:2499").await, ["edge-1.7"]);
}

async fn a_settled_store_knows_it(store: Store) {
    assert!(beat(&store, &[], 100, true).await.is_settled);
    assert!(beat(&store, &[], 200, false).await.is_settled);
}

async fn a_sweep_of_a_good_store_finds_nothing(store: Store) {
    grant(&store, "edge-1.7", 100).await;
    write(&store, "edge-1.7", &channels(300)).await;
    assert_eq!(eventually("a sweep", async || store.sweep().await.ok()).await, 0);
    assert_eq!(holders(&store, "chat:299").await, ["edge-1.7"]);
}
