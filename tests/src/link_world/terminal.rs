//! Clients of the line door.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Node, within};

/// Lines that a test may leave unread.
const LINES_MAX: usize = 16_384;

/// A user at a terminal. Every wait panics where the edge has hung up.
pub struct Terminal {
    writer: OwnedWriteHalf,
    answers: mpsc::Receiver<String>,
    pushes: mpsc::Receiver<String>,
}

impl Terminal {
    /// Connects and logs in.
    pub async fn login(edge: &Node, user: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(edge.address)).await;
        let stream = stream.expect("the line door is open");
        stream.set_nodelay(true).expect("a socket has this option");
        let (reader, writer) = stream.into_split();
        let (answers_in, answers) = mpsc::channel(LINES_MAX);
        let (pushes_in, pushes) = mpsc::channel(LINES_MAX);
        tokio::spawn(read(reader, answers_in, pushes_in));
        let mut terminal = Self { writer, answers, pushes };
        assert_eq!(terminal.ask(&format!("login {user}")).await, format!("ok logged in as {user}"));
        terminal
    }

    /// Types a line, or several.
    pub async fn type_in(&mut self, lines: &str) {
        let lines = format!("{lines}\n");
        within("typing", self.writer.write_all(lines.as_bytes())).await.expect("the edge has not hung up");
    }

    /// Types a line and waits for its answer.
    pub async fn ask(&mut self, line: &str) -> String {
        self.type_in(line).await;
        self.answer().await
    }

    /// The next line that begins with `ok` or `err`.
    pub async fn answer(&mut self) -> String {
        within("an answer", self.answers.recv()).await.expect("the edge has not hung up")
    }

    /// The next line that somebody else caused.
    pub async fn push(&mut self) -> String {
        within("a push", self.pushes.recv()).await.expect("the edge has not hung up")
    }

    /// Whether nothing has been pushed that was not read.
    pub fn has_no_push(&self) -> bool {
        self.pushes.is_empty()
    }
}

async fn read(reader: OwnedReadHalf, answers: mpsc::Sender<String>, pushes: mpsc::Sender<String>) {
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let to = if line.starts_with("ok") || line.starts_with("err") { &answers } else { &pushes };
        to.try_send(line).expect("tests read, or end");
    }
}

/// Two who talk across the link for as long as something else is tried. Each message must arrive and be confirmed.
pub struct Chat {
    stop: watch::Sender<bool>,
    count: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Chat {
    /// Alice on one edge writes to bob on another.
    pub async fn start(alice_on: &Node, bob_on: &Node) -> Self {
        let mut alice = Terminal::login(alice_on, "alice").await;
        let mut bob = Terminal::login(bob_on, "bob").await;
        let (stop, stopped) = watch::channel(false);
        let (counter, count) = watch::channel(0);
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let n = *counter.borrow() + 1;
                assert_eq!(alice.ask(&format!("send bob {n}")).await, "ok delivered 1");
                assert_eq!(bob.push().await, format!("msg alice {n}"));
                counter.send_replace(n);
                sleep(Duration::from_millis(2)).await;
            }
        });
        let mut chat = Self { stop, count, task };
        chat.goes_on().await;
        chat
    }

    /// Waits for three more messages.
    pub async fn goes_on(&mut self) {
        let enough = *self.count.borrow() + 3;
        let reached = within("they talk on", self.count.wait_for(|&count| count >= enough)).await;
        assert!(reached.is_ok(), "the chat has failed");
    }

    /// Ends it; nothing may have gone wrong.
    pub async fn end(mut self) {
        self.goes_on().await;
        self.stop.send_replace(true);
        within("the end", self.task).await.expect("nothing went wrong");
    }
}
