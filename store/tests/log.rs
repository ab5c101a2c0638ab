//! What the log says of Redis: once that it is away, once that it is there, and no names of clients' channels.
//!
//! By itself, since a process has one log.

// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "store/support.rs"]
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use store::ErrorKind;
use support::*;
use tracing::Level;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().expect("not poisoned"));
        String::from_utf8(bytes).expect("a log is text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_one_line_for_each_change() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let mut server = Server::start(&[]);
    let store = server.store_up().await;
    let lines = log.take();
    assert_eq!((lines.matches("redis is there").count(), lines.lines().count()), (1, 1), "{lines}");

    // Refused again and again, connected again and again: one matter.
    grant(&store, "edge-1.7", 100).await;
    server.run("CONFIG SET maxmemory 1");
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline || store.stats().writes.errors(ErrorKind::OutOfMemory) < 3 {
        assert!(store.write_routes(&edge("edge-1.7"), 1, &held(&["#bob"])).await.is_err());
        // A full Redis still removes.
        let _ = store.write_routes(&edge("edge-1.7"), 1, &left(&["#bob"])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lines = log.take();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("WARN") && lines.contains("redis is away"), "{lines}");
    assert!(lines.contains("writes") && lines.contains("out_of_memory"), "{lines}");
    assert!(lines.contains("OOM command not allowed"), "{lines}");
    server.run("CONFIG SET maxmemory 0");
    eventually("called up again", async || {
        write(&store, "edge-1.7", &held(&["#bob"])).await;
        store.stats().writes.is_up.then_some(())
    })
    .await;
    let lines = log.take();
    assert_eq!((lines.matches("redis is there").count(), lines.lines().count()), (1, 1), "{lines}");

    // A dead one, tried again and again.
    holders(&store, "#bob").await;
    server.kill();
    eventually("tries", async || (store.stats().reads.errors(ErrorKind::Unreachable) >= 6).then_some(()))
        .await;
    let lines = log.take();
    assert_eq!((lines.matches("redis is away").count(), lines.lines().count()), (1, 1), "{lines}");
    server.restart(&[]);
    up(&store).await;
    log.take();

    // Somebody else's key, met again and again.
    server.run("SET cw:route:{#bob} other");
    for _ in 0..10 {
        assert!(store.holders(&channel("#bob")).await.is_err());
    }
    let lines = log.take();
    assert_eq!(lines.matches("holds another type").count(), 1, "{lines}");
    assert!(!lines.contains("bob"), "{lines}");
}
