//! The relay, which answers when a script says so.

use bytes::Bytes;
use node::outbox::outbox;
use proto::id::Epoch;
use proto::limits::LANES;
use proto::link::{
    Answer, CloseCode, Found, HEARTBEAT_BYTES, Lane, LaneFrame, Member, PublicationFrame, ToEdge, ToRelay,
    lane_of,
};

use super::super::super::{Event, Generation, LinkOutboxes, Ticket};
use super::words::{channel, publication_of_zoe};
use super::{EPOCH, Relay, THIS, World};

/// A publication on its way to the relay, as a script looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) ticket: Ticket,
    pub(crate) channel: String,
    pub(crate) data: String,
    pub(crate) info: String,
    pub(crate) wants_receipt: bool,
}

/// The relay.
impl World {
    /// A new link, greeted and leased.
    pub(crate) fn link(&mut self) {
        self.open_link();
        self.welcome(EPOCH);
        self.lease(EPOCH);
        self.settle();
        self.said();
    }

    /// A new link that the relay has not greeted.
    pub(crate) fn open_link(&mut self) -> Generation {
        let link = self.new_link();
        self.tell(Event::LinkOpened { generation: self.generation(), link });
        self.generation()
    }

    /// A link whose writers have ended already.
    pub(crate) fn open_dead_link(&mut self) {
        let link = self.new_link();
        self.relay = None;
        self.tell(Event::LinkOpened { generation: self.generation(), link });
    }

    fn new_link(&mut self) -> Box<LinkOutboxes> {
        self.generation += 1;
        let (control, control_drain) = outbox(self.control_bytes_max);
        let (heartbeat, heartbeat_drain) = outbox(64);
        let (lanes, lane_drains): (Vec<_>, Vec<_>) = (0..LANES).map(|_| outbox(self.lane_bytes_max)).unzip();
        let lanes = lanes.try_into().expect("as many as there are lanes");
        self.relay = Some(Relay { control: control_drain, heartbeat: heartbeat_drain, lanes: lane_drains });
        self.unanswered.clear();
        Box::new(LinkOutboxes { control, heartbeat, lanes })
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    pub(crate) fn close_link(&mut self) {
        self.relay = None;
        self.unanswered.clear();
        self.tell(Event::LinkClosed { generation: self.generation() });
    }

    pub(crate) fn relay_says(&mut self, frame: ToEdge) {
        self.tell(Event::Control { generation: self.generation(), frame });
    }

    pub(crate) fn welcome(&mut self, epoch: u64) {
        self.relay_says(ToEdge::Welcome { epoch: Epoch(epoch), member: THIS });
    }

    pub(crate) fn lease(&mut self, epoch: u64) {
        self.relay_says(ToEdge::Leased { epoch: Epoch(epoch) });
    }

    /// The lease is gone; the edge gets another.
    pub(crate) fn end_lease(&mut self, next: u64) {
        self.relay_says(ToEdge::Ended { next: Epoch(next) });
    }

    pub(crate) fn tell_elsewhere(&mut self, name: &str, elsewhere: bool, telling: u64) {
        self.relay_says(ToEdge::Elsewhere { channel: channel(name), elsewhere, telling });
    }

    pub(crate) fn joined(&mut self, name: &str, number: u32, elsewhere: bool) {
        self.relay_says(ToEdge::Joined { channel: channel(name), number, elsewhere });
    }

    /// Answers the oldest join that is not answered, if there is one.
    pub(crate) fn answer_join(&mut self, elsewhere: bool) {
        if let Some((channel, number)) = self.unanswered.pop_front() {
            self.relay_says(ToEdge::Joined { channel, number, elsewhere });
        }
    }

    /// Answers all joins that are not answered: nobody else holds those channels.
    pub(crate) fn answer_joins(&mut self) {
        while !self.unanswered.is_empty() {
            self.answer_join(false);
        }
    }

    /// Everybody answers, until nothing is left to answer.
    pub(crate) fn settle(&mut self) {
        while !(self.unanswered.is_empty() && self.store.is_idle()) {
            self.answer_joins();
            self.store_writes();
        }
    }

    /// What the edge has said on the control stream since this was last asked.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.said.drain(..).map(|frame| control_in_words(&frame)).collect()
    }

    /// What the edge has put on lanes since this was last asked, publications not counted.
    pub(crate) fn answers(&mut self) -> Vec<String> {
        let frames = std::mem::take(&mut self.lanes);
        frames.iter().filter_map(|(lane, frame)| answer_in_words(*lane, frame)).collect()
    }

    /// The publications that the edge has sent to the relay since this was last asked.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let frames = std::mem::take(&mut self.lanes);
        frames.iter().filter_map(|(lane, frame)| Sent::decode(*lane, frame)).collect()
    }

    /// The only publication that the edge has sent to the relay since this was last asked.
    pub(crate) fn sent_one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    pub(crate) fn lane(&mut self, lane: Lane, frames: Vec<Bytes>) {
        self.tell(Event::Lane { generation: self.generation(), lane, frames });
    }

    /// A publication of the user zoe at [`THERE`].
    pub(crate) fn arrives(&mut self, channel: &str, number: u64, data: &str, wants_receipt: bool) {
        let frame = publication_of_zoe(channel, number, data, wants_receipt);
        self.lane(lane_of(channel), vec![frame]);
    }

    pub(crate) fn routed(&mut self, ticket: Ticket, holders: &[Member], complete: bool) {
        let (number, holders) = (ticket.number, holders.to_vec());
        let frame = LaneFrame::Routed { source: THIS, number, holders, complete };
        self.lane(ticket.lane, vec![frame.encode()]);
    }

    pub(crate) fn answered(&mut self, ticket: Ticket, holder: Member, answer: Answer) {
        let frame = LaneFrame::Answer { source: THIS, number: ticket.number, holder, answer };
        self.lane(ticket.lane, vec![frame.encode()]);
    }

    pub(crate) fn echo(&mut self, ping: [u8; HEARTBEAT_BYTES]) {
        self.tell(Event::Echo { generation: self.generation(), ping });
    }

    /// The links that the edge has ended since this was last asked.
    pub(crate) fn closed_links(&mut self) -> Vec<(Generation, CloseCode, String)> {
        std::mem::take(&mut self.closed_links)
    }
}

impl Sent {
    fn decode(lane: Lane, frame: &Bytes) -> Option<Self> {
        let LaneFrame::Publication(frame) = LaneFrame::decode(frame).expect("our own") else { return None };
        let PublicationFrame { source, number, wants_receipt, channel, info, data } = frame;
        assert_eq!((source, lane), (THIS, lane_of(channel)));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (data, info) = (text(data), text(info));
        let ticket = Ticket { lane, number };
        Some(Self { ticket, channel: channel.to_owned(), data, info, wants_receipt })
    }
}

fn control_in_words(frame: &ToRelay) -> String {
    match frame {
        ToRelay::Hello { name, epoch, capacity, .. } => {
            format!("hello {name} {} {capacity}", epoch.map_or("new".to_owned(), |epoch| epoch.to_string()))
        }
        ToRelay::Join { channel, number } => format!("join {channel} {number}"),
        ToRelay::Leave { channel } => format!("leave {channel}"),
        ToRelay::Synced => "synced".to_owned(),
        ToRelay::Unleased { epoch } => format!("unleased {epoch}"),
        ToRelay::Told { telling } => format!("told {telling}"),
        ToRelay::Goodbye => "goodbye".to_owned(),
        ToRelay::Here { query, total, clients } => {
            let found = |found: &Found| format!(" {} since {}", found.door.label(), found.since);
            format!("here {query} {total}{}", clients.iter().map(found).collect::<String>())
        }
        ToRelay::Status(_) => unreachable!("kept apart"),
    }
}

fn answer_in_words(lane: Lane, frame: &Bytes) -> Option<String> {
    match LaneFrame::decode(frame).expect("our own") {
        LaneFrame::Publication(_) => None,
        LaneFrame::Routed { .. } => panic!("only relays route"),
        LaneFrame::Canary { .. } => unreachable!("the relay has sent it back"),
        LaneFrame::Answer { source, number, holder, answer } => {
            assert_eq!(holder, THIS);
            Some(format!("lane {}: {}.{number} {answer:?}", lane.0, source.0))
        }
    }
}
