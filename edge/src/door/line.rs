//! The line door: a terminal's way in, for `nc` and `telnet`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node::outbox::{Drain, Taken};
use proto::client::code::Disconnect;
use proto::client::line::{self, Line, LineTooLong, Lines};
use proto::client::{Command, Request};
use proto::id::UserId;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::{Admission, Guest, Hall};
use crate::core::{Event, OUTBOX_AGE_MAX};
use crate::metrics::{Door, Ended, Traffic};
use crate::token;

/// How long a person may take to log in.
const LOGIN_MAX_WAIT: Duration = Duration::from_secs(120);

/// A silent terminal is probed after so long.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// So many probes without an answer end the connection.
const PROBES: u32 = 3;

/// Bytes that one read takes: a person's lines are short, and there are many idle persons.
const CHUNK_BYTES: usize = 1024;

/// Bytes that one write takes out of the outbox.
const BATCH_BYTES: usize = 16 << 10;

/// How long a client that says nothing more still gets answers.
const ANSWERS_MAX_WAIT: Duration = Duration::from_millis(300);

/// How long the last words may take to be read.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// Serves one connection from `address` in a task of its own.
pub(crate) fn serve(hall: &Hall, stream: TcpStream, address: IpAddr) {
    let hall = hall.clone();
    hall.metrics.accepted(Door::Line);
    // A terminal answers no pings, so that its kernel must: a dead one is noticed within half a minute.
    let keepalive = TcpKeepalive::new().with_time(IDLE_MAX).with_interval(PROBE_EVERY).with_retries(PROBES);
    let probed = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    if let Err(error) = probed {
        tracing::warn!("a terminal is not probed: {error}");
    }
    tokio::spawn(async move {
        match hall.admit(address, Door::Line) {
            Some(admission) => talk(hall, admission, stream).await,
            None => refuse(stream).await,
        }
    });
}

async fn refuse(mut stream: TcpStream) {
    let answer = line::error(503, "this edge is full; come again, or try another");
    let _ = timeout(CLOSING_MAX, stream.write_all(&answer)).await;
}

async fn talk(hall: Hall, admission: Admission, stream: TcpStream) {
    let Admission { client, place, mut stay } = admission;
    let (guest, drain) = hall.open(client, Door::Line, LOGIN_MAX_WAIT).await;
    let (reader, writer) = stream.into_split();
    let secret = hall.dev_secret.clone();
    let listener = Listener { guest: guest.clone(), dev_secret: secret, last_id: 0 };
    let reading = listener.read_loop(reader);
    let writing = write_loop(writer, drain, &guest.traffic);
    tokio::pin!(reading, writing);
    tokio::select! {
        biased;
        () = stay.ended() => {
            hall.metrics.ended(Ended::Line);
            guest.closed(Disconnect::Crowded).await;
        }
        why = &mut reading => {
            guest.closed(why).await;
            let _ = timeout(CLOSING_MAX, writing).await;
        }
        why = &mut writing => guest.closed(why).await,
    }
    drop(place);
}

/// Reads what a person types.
struct Listener {
    guest: Guest,
    dev_secret: Option<Arc<str>>,
    last_id: u32,
}

/// What a line leaves to do.
enum Next {
    /// Read another.
    Line,
    /// Hang up.
    End,
}

impl Listener {
    async fn read_loop(mut self, mut reader: OwnedReadHalf) -> Disconnect {
        let mut lines = Lines::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            loop {
                match lines.next_line() {
                    Ok(Some(line)) => match self.came(&line).await {
                        Next::Line => {}
                        Next::End => return Disconnect::Closed,
                    },
                    Ok(None) => break,
                    Err(LineTooLong) => return Disconnect::TooLarge,
                }
            }
            match reader.read(&mut chunk).await {
                Ok(0) => break,
                Ok(n) => {
                    self.guest.traffic.read(n);
                    lines.push(&chunk[..n]);
                }
                Err(_) => return Disconnect::Closed,
            }
        }
        if let Some(line) = lines.last()
            && let Next::End = self.came(&line).await
        {
            return Disconnect::Closed;
        }
        // A script that pipes its lines in closes its half at once, and still wants the answers.
        tokio::time::sleep(ANSWERS_MAX_WAIT).await;
        Disconnect::Closed
    }

    async fn came(&mut self, line: &[u8]) -> Next {
        self.guest.traffic.frame_came();
        let request = match line::parse(line) {
            Line::Blank => return Next::Line,
            Line::Quit => {
                self.answer(Bytes::from_static(b"ok bye\n")).await;
                return Next::End;
            }
            Line::Request(request) => request,
            Line::Login(who) => Request::Connect { token: Some(self.token(who)) },
            Line::Invalid(why) => {
                self.answer(line::invalid(why)).await;
                return Next::Line;
            }
        };
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let command = Command { id: self.last_id, request };
        self.guest.tell(Event::Command { client: self.guest.client, command }).await;
        Next::Line
    }

    async fn answer(&self, frame: Bytes) {
        self.guest.tell(Event::Answered { client: self.guest.client, frame }).await;
    }

    /// In development a name is enough; whatever is no name is taken for a token.
    fn token(&self, who: String) -> String {
        let looks_like_token = who.bytes().filter(|&b| b == b'.').count() == 2 && who.starts_with("eyJ");
        match (&self.dev_secret, UserId::parse(&who)) {
            (Some(secret), Ok(user)) if !looks_like_token => token::mint(secret, &user, None),
            _ => who,
        }
    }
}

/// Writes answers until the outbox is closed, and then why.
async fn write_loop(
    mut writer: OwnedWriteHalf,
    mut drain: Drain<Disconnect>,
    traffic: &Traffic,
) -> Disconnect {
    let mut batch = Vec::new();
    loop {
        match drain.take(&mut batch, BATCH_BYTES).await {
            Taken::Frames => {
                let text = batch.concat();
                batch.clear();
                match timeout(OUTBOX_AGE_MAX, writer.write_all(&text)).await {
                    Ok(Ok(())) => traffic.wrote(text.len()),
                    Ok(Err(_)) => return Disconnect::Closed,
                    Err(_) => return Disconnect::Slow,
                }
            }
            Taken::Closed(why) => {
                if why != Disconnect::Closed {
                    let _ = timeout(CLOSING_MAX, writer.write_all(&line::disconnect(why))).await;
                }
                let _ = timeout(CLOSING_MAX, writer.shutdown()).await;
                return why;
            }
        }
    }
}
