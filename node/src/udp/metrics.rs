//! How UDP sockets do, as the kernel has it: read when somebody scrapes.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, Weak};

use quinn::AsyncUdpSocket as _;
use socket2::SockRef;

use super::Socket;
use crate::metrics::{Kind, Registry};

/// The sockets of one purpose, whose figures are shown together; clones share it.
#[derive(Debug, Clone, Default)]
pub struct UdpSockets {
    sockets: Arc<Mutex<Vec<Weak<Socket>>>>,
}

/// Figures of some sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    receive_buffer: usize,
    send_buffer: usize,
    segments: usize,
    drops: u64,
}

/// One metric of sockets.
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&Figures) -> f64,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "udp_receive_buffer_bytes",
        kind: Kind::Gauge,
        help: "Bytes that may wait in the kernel to be read from the socket, twice what was asked for.",
        value: |figures| figures.receive_buffer as f64,
    },
    Family {
        name: "udp_send_buffer_bytes",
        kind: Kind::Gauge,
        help: "Bytes that may wait in the kernel to be sent from the socket, twice what was asked for.",
        value: |figures| figures.send_buffer as f64,
    },
    Family {
        name: "udp_gso_segments",
        kind: Kind::Gauge,
        help: "Packets that the kernel takes in one call (GSO); 1 where it takes each alone.",
        value: |figures| figures.segments as f64,
    },
    Family {
        name: "udp_drops_total",
        kind: Kind::Counter,
        help: "Packets that the kernel threw away because the socket was not read in time.",
        value: |figures| figures.drops as f64,
    },
];

impl UdpSockets {
    /// Shows those that will be added, with a label that says what each set is for.
    pub fn show<const N: usize>(registry: &Registry, sets: [(&'static str, Self); N]) {
        let families = FAMILIES.map(|family| (registry.name(family.name), family));
        registry.collect(move |text| {
            let figures = sets.each_ref().map(|(label, sockets)| (*label, sockets.figures()));
            for (name, Family { kind, help, value, .. }) in &families {
                text.family(name, *kind, help);
                for (label, figures) in &figures {
                    // A set that is empty now has nothing to tell but that it lost nothing.
                    text.sample(name, &[("socket", *label)], figures.as_ref().map_or(0.0, value));
                }
            }
        });
    }

    pub(super) fn add(&self, socket: &Arc<Socket>) {
        self.lock().push(Arc::downgrade(socket));
    }

    /// The least of what sockets have, and all that they lost.
    fn figures(&self) -> Option<Figures> {
        let mut sockets = self.lock();
        sockets.retain(|socket| socket.strong_count() > 0);
        let all = sockets.iter().filter_map(|socket| figures(socket.upgrade()?.as_ref()));
        all.reduce(|one, other| Figures {
            receive_buffer: one.receive_buffer.min(other.receive_buffer),
            send_buffer: one.send_buffer.min(other.send_buffer),
            segments: one.segments.min(other.segments),
            drops: one.drops + other.drops,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Socket>>> {
        self.sockets.lock().expect("no code that holds this lock can panic")
    }
}

fn figures(socket: &Socket) -> Option<Figures> {
    let descriptor = socket.socket.get_ref();
    let kernel = SockRef::from(descriptor);
    Some(Figures {
        receive_buffer: kernel.recv_buffer_size().ok()?,
        send_buffer: kernel.send_buffer_size().ok()?,
        segments: socket.max_transmit_segments(),
        drops: std::fs::metadata(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
            .ok()
            .and_then(|metadata| dropped(metadata.ino()))
            .unwrap_or(0),
    })
}

/// What the kernel counts beside the socket's inode, in the tables of proc_net(5).
fn dropped(inode: u64) -> Option<u64> {
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .find_map(|table| std::fs::read_to_string(table).ok()?.lines().find_map(|line| drops_of(line, inode)))
}

/// `sl local remote st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops`
fn drops_of(line: &str, inode: u64) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(9);
    if fields.next()?.parse() != Ok(inode) {
        return None;
    }
    fields.nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn what_a_full_socket_loses_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = receiver.local_addr().expect("it is bound");
        let sockets = UdpSockets::default();
        assert_eq!(sockets.figures(), None);
        let socket = Arc::new(Socket::new(receiver).expect("a runtime is here"));
        sockets.add(&socket);
        let before = sockets.figures().expect("a socket");
        assert!(before.receive_buffer > 0 && before.send_buffer > 0 && before.segments > 0, "{before:?}");
        assert_eq!(before.drops, 0);

        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        for _ in 0..2 * before.receive_buffer / 1_000 {
            sender.send_to(&[0; 1_000], address).expect("loopback takes all");
        }

        assert!(sockets.figures().expect("a socket").drops > 0);
        drop(socket);
        assert_eq!(sockets.figures(), None);
    }

    #[test]
    fn only_the_line_of_the_inode_counts() {
        let line = "  12: 0100007F:1B58 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 9";
        assert_eq!([drops_of(line, 4711), drops_of(line, 0), drops_of("", 0)], [Some(9), None, None]);
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        assert_eq!(drops_of(head, 4711), None);
    }
}
