//! A real Redis of a test's own, and short words for what tests do with a store.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::id::{Channel, EdgeId, NodeName};
use redis::Value;
use store::{Beat, Lease, Leases, RedisConfig, RouteWrite, Score, Store, StoreError};
use tempfile::TempDir;

/// Longer than anything takes, also on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis that lives as long as this value, whether the test succeeds or not.
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
    port: Option<u16>,
}

impl Server {
    /// One that listens on a Unix socket.
    pub(crate) fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory of our own");
        let child = spawn(dir.path(), None, options);
        let mut server = Self { child, dir, port: None };
        server.await_answer();
        server
    }

    /// One that listens on TCP.
    pub(crate) fn start_tcp() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let dir = tempfile::tempdir().expect("a directory of our own");
        let child = spawn(dir.path(), Some(port), &[]);
        let mut server = Self { child, dir, port: Some(port) };
        server.await_answer();
        server
    }

    pub(crate) fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => format!("redis+unix://{}", self.dir.path().join("redis.sock").display()),
        }
    }

    /// Of one that listens on TCP.
    pub(crate) fn port(&self) -> u16 {
        self.port.expect("started with a port")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> Store {
        store_at(&self.url())
    }

    /// A store that has connected.
    pub(crate) async fn store_up(&self) -> Store {
        let store = self.store();
        up(&store).await;
        store
    }

    /// A command of an operator.
    pub(crate) fn try_run(&self, command: &str) -> redis::RedisResult<Value> {
        self.try_send(&command.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn run(&self, command: &str) -> Value {
        self.try_run(command).expect(command)
    }

    pub(crate) fn try_send(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }

    /// A command whose answer is a list of texts, sorted.
    pub(crate) fn list(&self, command: &str) -> Vec<String> {
        let mut list: Vec<String> = redis::from_redis_value(self.run(command)).expect("a list of texts");
        list.sort();
        list
    }

    pub(crate) fn text(&self, command: &str) -> String {
        redis::from_redis_value(self.run(command)).expect("a text")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill can be run");
        assert!(status.success(), "kill {signal} {pid}");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.restart_unheard(options);
        self.await_answer();
    }

    /// Without waiting until it serves.
    pub(crate) fn restart_unheard(&mut self, options: &[&str]) {
        self.kill();
        self.child = spawn(self.dir.path(), self.port, options);
    }

    fn await_answer(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_run("PING").is_err_and(|error| error.code().is_none()) {
            assert!(self.child.try_wait().expect("it is ours").is_none(), "redis-server ended");
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It dies with this process too, where the machine can do that.
fn spawn(dir: &Path, port: Option<u16>, options: &[&str]) -> Child {
    let mut command = match Path::new("/usr/bin/setpriv").exists() {
        true => {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "redis-server"]);
            command
        }
        false => Command::new("redis-server"),
    };
    command.arg("--port").arg(port.unwrap_or(0).to_string()).args(["--bind", "127.0.0.1"]);
    if port.is_none() {
        command.arg("--unixsocket").arg(dir.join("redis.sock"));
    }
    command.arg("--dir").arg(dir).args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server can be run")
}

pub(crate) fn store_at(url: &str) -> Store {
    let config = RedisConfig::parse(url, store::redis::PREFIX_DEFAULT).expect("a good address");
    Store::redis(config).expect("a thread")
}

/// Waits until `question` has an answer.
pub(crate) async fn eventually<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn up(store: &Store) {
    eventually("both connections up", async || {
        let stats = store.stats();
        (stats.reads.is_up && stats.writes.is_up).then_some(())
    })
    .await;
}

pub(crate) fn edge(id: &str) -> EdgeId {
    id.parse().expect(id)
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).expect(name)
}

pub(crate) fn held(names: &[&str]) -> Vec<RouteWrite> {
    names.iter().map(|name| RouteWrite { channel: channel(name), held: true }).collect()
}

pub(crate) fn left(names: &[&str]) -> Vec<RouteWrite> {
    names.iter().map(|name| RouteWrite { channel: channel(name), held: false }).collect()
}

pub(crate) fn lease(id: &str) -> Lease {
    Lease {
        edge: edge(id),
        relay: NodeName::parse("relay-1").expect("valid"),
        address: "10.0.0.7:4433".to_owned(),
        capacity: 20_000,
        version: "0.1.0".to_owned(),
        since: 1_700_000_000_000,
    }
}

// A call may run into the timeout on a machine that stands still; all of these may be repeated.

pub(crate) async fn grant(store: &Store, id: &str, score: u64) {
    let lease = lease(id);
    eventually("a lease", async || store.grant_lease(&lease, Score(score)).await.ok()).await;
}

pub(crate) async fn write(store: &Store, id: &str, writes: &[RouteWrite]) -> bool {
    let edge = edge(id);
    eventually("routes", async || store.write_routes(&edge, 3, writes).await.ok()).await
}

pub(crate) async fn holders(store: &Store, name: &str) -> Vec<String> {
    let channel = channel(name);
    let holders = eventually("holders", async || store.holders(&channel).await.ok()).await;
    let mut holders: Vec<String> = holders.iter().map(EdgeId::to_string).collect();
    holders.sort();
    holders
}

pub(crate) async fn beat(store: &Store, renewed: &[&str], score: u64, settles: bool) -> Leases {
    let beat = Beat { renewed: renewed.iter().map(|id| edge(id)).collect(), score: Score(score), settles };
    eventually("a beat", async || store.beat(&beat).await.ok()).await
}

/// Whether it ended the lease; after an unheard answer another try cannot know.
pub(crate) async fn end(store: &Store, id: &str, score: u64) -> bool {
    let (edge, mut may_be_done) = (edge(id), false);
    eventually("an end", async || match store.end_lease(&edge, Score(score)).await {
        Ok(has_ended) => Some(has_ended || may_be_done),
        Err(StoreError::Away) => None,
        Err(StoreError::Unanswered) => {
            may_be_done = true;
            None
        }
    })
    .await
}

/// All channels in the index of `id`, read in pages of about `count`.
pub(crate) async fn index(store: &Store, id: &str, count: usize) -> std::collections::BTreeSet<String> {
    let (edge, mut cursor, mut all) = (edge(id), 0, std::collections::BTreeSet::new());
    loop {
        let page = eventually("a page", async || store.index(&edge, cursor, count).await.ok()).await;
        all.extend(page.channels.iter().map(Channel::to_string));
        cursor = page.cursor;
        if cursor == 0 {
            return all;
        }
    }
}

pub(crate) fn channels(count: usize) -> Vec<RouteWrite> {
    (0..count).map(|n| RouteWrite { channel: channel(&format!("chat:{n}")), held: true }).collect()
}
