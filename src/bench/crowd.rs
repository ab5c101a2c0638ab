//! All clients of a run, on one thread and one epoll.
//!
//! ```text
//! sockets ──lines──▶ core ──frames──▶ outboxes ──one write a client and turn──▶ sockets
//! ```
//!
//! Here nothing is decided. A core hears what arrives and fills outboxes; what it filled in one turn goes out at its end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::address::Address;
use super::frame;
use super::socket::{End, Heard, Socket};

/// Bytes that one read takes: more than a socket of the servers that are measured sends at once.
const READ_BYTES: usize = 64 << 10;

/// Clients that are served between two waits.
const READY_MAX: usize = 1024;

/// The longest wait: so soon is an interruption noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Which client of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientIndex(pub(super) usize);

/// What decides: hears what the clients get, and says what they send.
pub(super) trait Core {
    /// `client` has its WebSocket.
    fn opened(&mut self, client: ClientIndex, now: Instant, outboxes: &mut Outboxes);
    /// `client` got `line`.
    fn heard(&mut self, client: ClientIndex, now: Instant, line: &[u8], outboxes: &mut Outboxes);
    /// The connection of `client` is over, or could not be made.
    fn ended(&mut self, client: ClientIndex, now: Instant, end: End);
    /// What was in the outboxes is on its way.
    fn flushed(&mut self, _now: Instant) {}
}

/// Where the clients connect.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) socket_address: SocketAddr,
}

/// All clients.
pub(super) struct Crowd {
    epoll: OwnedFd,
    seats: Vec<Option<Seat>>,
    pub(super) outboxes: Outboxes,
    ready: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Seat {
    socket: Socket,
    server: Rc<Server>,
    interest: EventFlags,
}

impl Crowd {
    /// Room for `clients`.
    ///
    /// # Errors
    /// The system gives no epoll.
    pub(super) fn new(clients: usize) -> io::Result<Self> {
        // Else the system is up to 50 µs late with each wait.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            seats: std::iter::repeat_with(|| None).take(clients).collect(),
            outboxes: Outboxes::new(clients)?,
            ready: Vec::with_capacity(READY_MAX),
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Begins to connect `client`; its core hears of the end.
    pub(super) fn connect(
        &mut self,
        client: ClientIndex,
        now: Instant,
        server: &Rc<Server>,
        core: &mut impl Core,
    ) {
        let interest = EventFlags::OUT;
        let connected = Socket::connect(server.socket_address).and_then(|socket| {
            let data = EventData::new_u64(client.0 as u64);
            epoll::add(&self.epoll, &socket, data, interest).map_err(io::Error::from)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                self.seats[client.0] = Some(Seat { socket, server: Rc::clone(server), interest });
            }
            Err(end) => core.ended(client, now, end),
        }
    }

    /// Sends what waits, then waits until something happens, but not beyond `due`, and hands it on.
    ///
    /// # Errors
    /// The system lets us not wait.
    pub(super) fn turn(&mut self, due: Instant, core: &mut impl Core) -> io::Result<()> {
        self.flush(core);
        let wait = due.saturating_duration_since(Instant::now()).min(WAIT_MAX);
        let timeout = Timespec::try_from(wait).expect("100 ms at most");
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = std::mem::take(&mut self.ready);
        for event in ready.drain(..) {
            let client = ClientIndex(event.data.u64() as usize);
            if let Err(end) = self.serve(client, event.flags, core) {
                self.end(client, end, core);
            }
        }
        self.ready = ready;
        self.flush(core);
        Ok(())
    }

    /// Says goodbye to all that are left.
    pub(super) fn close(mut self) {
        for (at, seat) in self.seats.iter_mut().enumerate() {
            if let Some(seat) = seat {
                let mut close = Vec::new();
                frame::write_close(&mut close, self.outboxes.mask());
                // Who does not take it is told by TCP. Half a frame must not be followed by another.
                if self.outboxes.bytes(ClientIndex(at)) == 0 {
                    let _ = seat.socket.write(&close);
                }
            }
        }
    }

    fn serve(&mut self, client: ClientIndex, flags: EventFlags, core: &mut impl Core) -> Result<(), End> {
        let Self { epoll, seats, outboxes, scratch, ready: _ } = self;
        let Some(seat) = &mut seats[client.0] else { return Ok(()) };
        if flags.contains(EventFlags::OUT) {
            if let Some(request) = seat.socket.connected(&seat.server.address)? {
                outboxes.raw(client, request.as_bytes());
            }
            seat.send(client, epoll, outboxes)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let now = Instant::now();
            seat.socket.read(scratch, |heard| match heard {
                Heard::Opened => core.opened(client, now, outboxes),
                Heard::Line(line) => core.heard(client, now, line, outboxes),
                Heard::Ping(payload) => outboxes.pong(client, payload),
            })?;
        }
        Ok(())
    }

    fn flush(&mut self, core: &mut impl Core) {
        let mut filled = std::mem::take(&mut self.outboxes.filled);
        for client in filled.drain(..) {
            let Some(seat) = &mut self.seats[client.0] else {
                self.outboxes.empty(client);
                continue;
            };
            if let Err(end) = seat.send(client, &self.epoll, &mut self.outboxes) {
                self.end(client, end, core);
            }
        }
        self.outboxes.filled = filled;
        core.flushed(Instant::now());
    }

    /// Ends the connection of `client`, and tells its core why.
    pub(super) fn end(&mut self, client: ClientIndex, end: End, core: &mut impl Core) {
        // Closing the socket takes it out of the epoll.
        self.seats[client.0] = None;
        self.outboxes.empty(client);
        core.ended(client, Instant::now(), end);
    }
}

impl Seat {
    /// Writes what waits, and asks to be told when there is room for what the system did not take.
    fn send(&mut self, client: ClientIndex, epoll: &OwnedFd, outboxes: &mut Outboxes) -> Result<(), End> {
        let queue = &mut outboxes.queues[client.0];
        if !queue.is_empty() {
            let written = self.socket.write(queue)?;
            queue.drain(..written);
        }
        let interest = if queue.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        if interest != self.interest {
            let data = EventData::new_u64(client.0 as u64);
            epoll::modify(epoll, &self.socket, data, interest).map_err(io::Error::from)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// What each client has to send.
#[derive(Debug)]
pub(super) struct Outboxes {
    queues: Vec<Vec<u8>>,
    /// Those whose queue was empty before this turn.
    filled: Vec<ClientIndex>,
    /// State of the generator of masks (xorshift); they need to be unlike, not secret.
    mask: u64,
}

impl Outboxes {
    pub(super) fn new(clients: usize) -> io::Result<Self> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let mask = u64::from_ne_bytes(seed) | 1;
        Ok(Self { queues: vec![Vec::new(); clients], filled: Vec::new(), mask })
    }

    /// Queues one text message, made of `parts`.
    pub(super) fn text(&mut self, client: ClientIndex, parts: &[&[u8]]) {
        let mask = self.mask();
        frame::write_text(self.queue(client), mask, parts);
    }

    /// How many bytes wait for `client`.
    pub(super) fn bytes(&self, client: ClientIndex) -> usize {
        self.queues[client.0].len()
    }

    fn pong(&mut self, client: ClientIndex, payload: &[u8]) {
        let mask = self.mask();
        frame::write_pong(self.queue(client), mask, payload);
    }

    fn raw(&mut self, client: ClientIndex, bytes: &[u8]) {
        self.queue(client).extend_from_slice(bytes);
    }

    fn empty(&mut self, client: ClientIndex) {
        self.queues[client.0].clear();
    }

    fn queue(&mut self, client: ClientIndex) -> &mut Vec<u8> {
        let queue = &mut self.queues[client.0];
        if queue.is_empty() {
            self.filled.push(client);
        }
        queue
    }

    fn mask(&mut self) -> [u8; 4] {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 7;
        self.mask ^= self.mask << 17;
        ((self.mask >> 32) as u32).to_ne_bytes()
    }
}
