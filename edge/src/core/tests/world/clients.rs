//! Clients, as a script moves them.

use bytes::Bytes;
use node::outbox::outbox;
use proto::client::code::Disconnect;
use proto::client::{ClientId, json};
use proto::limits::CHANNELS_PER_CLIENT_MAX;
use proto::link::Door;

use super::super::super::{ClientKey, Encoding, Event, OUTBOX_BYTES_MAX, Opened};
use super::words::{connect, signed, subscribe, token_of};
use super::{PATIENCE, World};

impl World {
    pub(crate) fn open(&mut self) -> ClientKey {
        self.open_as(Encoding::Json, 0.999)
    }

    pub(crate) fn open_line(&mut self) -> ClientKey {
        self.open_as(Encoding::Line, 0.0)
    }

    pub(crate) fn open_as(&mut self, encoding: Encoding, chance: f64) -> ClientKey {
        let n = self.clients.len() as u64 + 1;
        let (outbox, drain) = outbox(OUTBOX_BYTES_MAX);
        self.clients.insert(ClientKey(n), drain);
        self.tell(Event::Opened(Opened {
            client: ClientKey(n),
            id: ClientId(u128::from(n)),
            door: if encoding == Encoding::Line { Door::Line } else { Door::WebSocket },
            encoding,
            pings: encoding == Encoding::Json,
            patience: PATIENCE,
            chance,
            outbox,
        }));
        ClientKey(n)
    }

    /// A frame of commands.
    pub(crate) fn send(&mut self, client: ClientKey, frame: &str) {
        for (at, frame) in json::slices(Bytes::copy_from_slice(frame.as_bytes())).enumerate() {
            self.tell(Event::Frame { client, frame, is_rest: at > 0 });
        }
    }

    /// What a client types at the line door.
    pub(crate) fn type_line(&mut self, client: ClientKey, line: &str) {
        use proto::client::line::{Line, parse};
        use proto::client::{Command, Request};
        let request = match parse(line.as_bytes()) {
            Line::Login(token) => Request::Connect { token: Some(token) },
            Line::Request(request) => request,
            other => panic!("{other:?} is the door's own"),
        };
        self.tell(Event::Command { client, command: Command { id: 1, request } });
    }

    /// What a client got since it last read.
    pub(crate) fn read(&mut self, client: ClientKey) -> Vec<String> {
        let mut frames = Vec::new();
        self.clients.get_mut(&client).expect("opened").try_take(&mut frames, usize::MAX);
        frames.iter().map(|frame| String::from_utf8(frame.to_vec()).expect("UTF-8")).collect()
    }

    /// The code with which a client was disconnected.
    pub(crate) fn ended(&self, client: ClientKey) -> Option<u16> {
        self.clients[&client].closed().map(Disconnect::number)
    }

    pub(crate) fn close(&mut self, client: ClientKey) {
        self.tell(Event::Closed { client, why: Disconnect::Closed });
    }

    /// Opens a client, sends a connect that nobody has answered yet, and reads nothing.
    pub(crate) fn connect(&mut self, user: &str) -> ClientKey {
        let client = self.open();
        self.send(client, &connect(1, &token_of(user)));
        client
    }

    /// A client whose connect has been answered, and read.
    pub(crate) fn log_in(&mut self, user: &str) -> ClientKey {
        let client = self.connect(user);
        self.settle();
        let replies = self.read(client);
        assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
        client
    }

    /// Subscribes a client, to the end.
    pub(crate) fn subscribe(&mut self, client: ClientKey, channel: &str) {
        self.send(client, &subscribe(90, channel));
        self.settle();
        assert_eq!(self.read(client), [r#"{"id":90,"subscribe":{}}"#]);
    }

    /// Clients who hold so many channels together, `c0`, `c1` and so on and their personal ones; nothing is answered.
    pub(crate) fn crowd(&mut self, channels: usize) {
        let mut left = channels;
        while left > 0 {
            let first = channels - left;
            let of_token = (left - 1).min(CHANNELS_PER_CLIENT_MAX);
            let names: Vec<String> = (first..first + of_token).map(|n| format!(r#""c{n}""#)).collect();
            let token = signed(&format!(r#"{{"sub":"u{first}","channels":[{}]}}"#, names.join(",")));
            let client = self.open();
            self.send(client, &connect(1, &token));
            left -= 1 + of_token;
        }
    }
}
