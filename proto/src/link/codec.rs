//! The bytes of the link protocol.
//!
//! ```text
//! every frame     length u32 of what follows · kind u8 · …          all numbers big-endian
//!   status        … clients u32 · ready u8 · round trip u32 · received u64 · pushes u64 · unknown u64
//!   here          … query u32 · total u32 · count u8 · (door u8 · since u64) each
//! lane frames     … flags u8 · source u32 · number u64 · …
//!   publication   … channel's length u8 · channel · info's length u32 · info · data
//!   routed        … holders u32 each; flags bit 0: complete
//!   answer        … holder u32 · outcome u8 (0 took, 1 not here, 2 unknown) · count u32, or epoch u64 and name
//!   canary        …
//! ```
//!
//! [`Frames`] cuts a stream into frames without copying what arrived whole. Decoders are total: any bytes give a frame
//! or a [`DecodeError`], and read nothing past the frame.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Answer, Door, Found, LaneFrame, Member, PublicationFrame, Status, ToEdge, ToRelay};
use crate::id::{Channel, EdgeId, Epoch, NodeName};
use crate::limits::{FOUND_MAX, LINK_FRAME_BYTES_MAX};

const LENGTH_BYTES: usize = 4;

const HELLO: u8 = 1;
const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const SYNCED: u8 = 4;
const TOLD: u8 = 5;
const GOODBYE: u8 = 6;
const UNLEASED: u8 = 7;
const STATUS: u8 = 8;
const HERE: u8 = 9;

const WELCOME: u8 = 65;
const LEASED: u8 = 66;
const JOINED: u8 = 67;
const ELSEWHERE: u8 = 68;
const GONE: u8 = 69;
const ENDED: u8 = 70;
const WHERE_IS: u8 = 71;
const OTHERS: u8 = 72;

const PUBLICATION: u8 = 129;
const ROUTED: u8 = 130;
const ANSWER: u8 = 131;
const CANARY: u8 = 132;

const FLAG_RECEIPT: u8 = 1;
const FLAG_COMPLETE: u8 = 1;

const TOOK: u8 = 0;
const NOT_HERE: u8 = 1;
const UNKNOWN: u8 = 2;

/// Why bytes are no frame. The link they came from cannot be trusted any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A length of zero, or above the limit.
    #[error("a frame of {0} bytes, allowed are 1 to {LINK_FRAME_BYTES_MAX}")]
    Length(usize),
    /// A kind that this stream does not carry.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// The frame ends before its last field.
    #[error("a frame of kind {0} is too short")]
    Short(u8),
    /// The frame goes on after its last field.
    #[error("a frame of kind {0} is too long")]
    Trailing(u8),
    /// A field that holds nothing valid.
    #[error("a frame of kind {0} has an invalid {1}")]
    Field(u8, &'static str),
}

/// Cuts what a stream brings into whole frames, in order.
///
/// Holds at most one incomplete frame and what followed the last one taken.
#[derive(Debug, Default)]
pub struct Frames {
    /// The beginning of a frame whose end has not arrived.
    partial: BytesMut,
    /// Arrived, and not yet looked at.
    fresh: Bytes,
}

impl Frames {
    /// Takes the next bytes of the stream; everything before must have been taken with [`Self::next_frame`].
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.fresh.is_empty(), "frames are drained before more is read");
        self.fresh = chunk;
    }

    /// The next whole frame, length included; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream is broken for good.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.partial.is_empty() {
            let Some(length) = whole_length(&self.fresh)? else {
                self.keep(self.fresh.len());
                return Ok(None);
            };
            if length <= self.fresh.len() {
                return Ok(Some(self.fresh.split_to(length)));
            }
            self.keep(self.fresh.len());
            return Ok(None);
        }
        self.keep(LENGTH_BYTES.saturating_sub(self.partial.len()).min(self.fresh.len()));
        let Some(length) = whole_length(&self.partial)? else { return Ok(None) };
        self.keep((length - self.partial.len()).min(self.fresh.len()));
        Ok((self.partial.len() == length).then(|| std::mem::take(&mut self.partial).freeze()))
    }

    /// Whether the stream may end here.
    pub fn is_at_boundary(&self) -> bool {
        self.partial.is_empty() && self.fresh.is_empty()
    }

    fn keep(&mut self, n: usize) {
        self.partial.extend_from_slice(&self.fresh.split_to(n));
    }
}

/// The length of the first frame in `bytes`, its own field included.
fn whole_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(field) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let body = u32::from_be_bytes(*field) as usize;
    if body == 0 || body > LINK_FRAME_BYTES_MAX {
        return Err(DecodeError::Length(body));
    }
    Ok(Some(LENGTH_BYTES + body))
}

impl ToRelay {
    /// Encodes this frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello { name, epoch, capacity, version } => frame(HELLO, |out| {
                put_text(out, name.as_str());
                out.put_u64(epoch.map_or(0, |epoch| epoch.0));
                out.put_u32(*capacity);
                put_text(out, version);
            }),
            Self::Join { channel, number } => frame(JOIN, |out| {
                put_text(out, channel.as_str());
                out.put_u32(*number);
            }),
            Self::Leave { channel } => frame(LEAVE, |out| put_text(out, channel.as_str())),
            Self::Synced => frame(SYNCED, |_| {}),
            Self::Told { telling } => frame(TOLD, |out| out.put_u64(*telling)),
            Self::Goodbye => frame(GOODBYE, |_| {}),
            Self::Unleased { epoch } => frame(UNLEASED, |out| out.put_u64(epoch.0)),
            Self::Status(status) => frame(STATUS, |out| {
                out.put_u32(status.clients);
                out.put_u8(u8::from(status.is_ready));
                out.put_u8(u8::from(status.carries));
                out.put_u32(status.rtt_micros);
                out.put_u64(status.received);
                out.put_u64(status.pushes);
                out.put_u64(status.unknown);
            }),
            Self::Here { query, total, clients } => frame(HERE, |out| {
                debug_assert!(clients.len() <= FOUND_MAX, "edges tell of so many at most");
                out.put_u32(*query);
                out.put_u32(*total);
                out.put_u8(clients.len() as u8);
                for client in clients {
                    out.put_u8(client.door as u8);
                    out.put_u64(client.since);
                }
            }),
        }
    }

    /// Decodes one whole frame.
    ///
    /// # Errors
    /// The link must be closed with the reason.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(frame)?;
        let decoded = match fields.kind {
            HELLO => Self::Hello {
                name: NodeName::parse(fields.text()?).map_err(|_| fields.invalid("name"))?,
                epoch: Some(fields.u64()?).filter(|&epoch| epoch != 0).map(Epoch),
                capacity: fields.u32()?,
                version: fields.text()?.to_owned(),
            },
            JOIN => Self::Join { channel: fields.channel()?, number: fields.u32()? },
            LEAVE => Self::Leave { channel: fields.channel()? },
            SYNCED => Self::Synced,
            TOLD => Self::Told { telling: fields.u64()? },
            GOODBYE => Self::Goodbye,
            UNLEASED => Self::Unleased { epoch: Epoch(fields.u64()?) },
            STATUS => Self::Status(Status {
                clients: fields.u32()?,
                is_ready: fields.bool()?,
                carries: fields.bool()?,
                rtt_micros: fields.u32()?,
                received: fields.u64()?,
                pushes: fields.u64()?,
                unknown: fields.u64()?,
            }),
            HERE => Self::Here { query: fields.u32()?, total: fields.u32()?, clients: fields.found()? },
            other => return Err(DecodeError::Kind(other)),
        };
        fields.end()?;
        Ok(decoded)
    }
}

impl ToEdge {
    /// Encodes this frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Welcome { epoch, member } => frame(WELCOME, |out| {
                out.put_u64(epoch.0);
                out.put_u32(member.0);
            }),
            Self::Leased { epoch } => frame(LEASED, |out| out.put_u64(epoch.0)),
            Self::Joined { channel, number, elsewhere } => frame(JOINED, |out| {
                put_text(out, channel.as_str());
                out.put_u32(*number);
                out.put_u8(u8::from(*elsewhere));
            }),
            Self::Elsewhere { channel, elsewhere, telling } => frame(ELSEWHERE, |out| {
                put_text(out, channel.as_str());
                out.put_u8(u8::from(*elsewhere));
                out.put_u64(*telling);
            }),
            Self::Gone { member } => frame(GONE, |out| out.put_u32(member.0)),
            Self::Ended { next } => frame(ENDED, |out| out.put_u64(next.0)),
            Self::Others { carry } => frame(OTHERS, |out| out.put_u8(u8::from(*carry))),
            Self::WhereIs { query, channel } => frame(WHERE_IS, |out| {
                out.put_u32(*query);
                put_text(out, channel.as_str());
            }),
        }
    }

    /// Decodes one whole frame.
    ///
    /// # Errors
    /// The link must be closed with the reason.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(frame)?;
        let decoded = match fields.kind {
            WELCOME => Self::Welcome { epoch: Epoch(fields.u64()?), member: Member(fields.u32()?) },
            LEASED => Self::Leased { epoch: Epoch(fields.u64()?) },
            JOINED => {
                Self::Joined { channel: fields.channel()?, number: fields.u32()?, elsewhere: fields.bool()? }
            }
            ELSEWHERE => Self::Elsewhere {
                channel: fields.channel()?,
                elsewhere: fields.bool()?,
                telling: fields.u64()?,
            },
            GONE => Self::Gone { member: Member(fields.u32()?) },
            ENDED => Self::Ended { next: Epoch(fields.u64()?) },
            OTHERS => Self::Others { carry: fields.bool()? },
            WHERE_IS => Self::WhereIs { query: fields.u32()?, channel: fields.channel()? },
            other => return Err(DecodeError::Kind(other)),
        };
        fields.end()?;
        Ok(decoded)
    }
}

impl PublicationFrame<'_> {
    /// Encodes this frame.
    pub fn encode(&self) -> Bytes {
        let channel_length = u8::try_from(self.channel.len()).expect("a channel has at most 255 bytes");
        let info_length = u32::try_from(self.info.len()).expect("info comes out of one client frame");
        let body = 19 + self.channel.len() + self.info.len() + self.data.len();
        debug_assert!(body <= LINK_FRAME_BYTES_MAX, "every part is bounded at the door");
        let mut out = BytesMut::with_capacity(LENGTH_BYTES + body);
        out.put_u32(body as u32);
        put_lane_header(
            &mut out,
            PUBLICATION,
            if self.wants_receipt { FLAG_RECEIPT } else { 0 },
            self.source,
            self.number,
        );
        out.put_u8(channel_length);
        out.put_slice(self.channel.as_bytes());
        out.put_u32(info_length);
        out.put_slice(self.info);
        out.put_slice(self.data);
        out.freeze()
    }
}

impl<'a> LaneFrame<'a> {
    /// Encodes this frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Publication(publication) => publication.encode(),
            Self::Routed { source, number, holders, complete } => {
                let mut out = lane_frame(13 + 1 + 4 * holders.len());
                put_lane_header(
                    &mut out,
                    ROUTED,
                    if *complete { FLAG_COMPLETE } else { 0 },
                    *source,
                    *number,
                );
                for holder in holders {
                    out.put_u32(holder.0);
                }
                finish(out)
            }
            Self::Answer { source, number, holder, answer } => {
                let mut out = lane_frame(32);
                put_lane_header(&mut out, ANSWER, 0, *source, *number);
                out.put_u32(holder.0);
                match answer {
                    Answer::Took(count) => {
                        out.put_u8(TOOK);
                        out.put_u32(*count);
                    }
                    Answer::NotHere(edge) => {
                        out.put_u8(NOT_HERE);
                        out.put_u64(edge.epoch.0);
                        put_text(&mut out, edge.name.as_str());
                    }
                    Answer::Unknown => out.put_u8(UNKNOWN),
                }
                finish(out)
            }
            Self::Canary { source, number } => {
                let mut out = lane_frame(14);
                put_lane_header(&mut out, CANARY, 0, *source, *number);
                finish(out)
            }
        }
    }

    /// Decodes one whole frame.
    ///
    /// # Errors
    /// The link must be closed with the reason.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(frame)?;
        let flags = fields.u8()?;
        let source = Member(fields.u32()?);
        let number = fields.u64()?;
        let decoded = match fields.kind {
            PUBLICATION => {
                let channel_length = usize::from(fields.u8()?);
                let channel = fields.bytes(channel_length)?;
                let info_length = fields.u32()? as usize;
                return Ok(Self::Publication(PublicationFrame {
                    source,
                    number,
                    wants_receipt: flags & FLAG_RECEIPT != 0,
                    channel: std::str::from_utf8(channel).map_err(|_| fields.invalid("channel"))?,
                    info: fields.bytes(info_length)?,
                    data: fields.rest,
                }));
            }
            ROUTED => {
                let mut holders = Vec::with_capacity(fields.rest.len() / 4);
                while !fields.rest.is_empty() {
                    holders.push(Member(fields.u32()?));
                }
                Self::Routed { source, number, holders, complete: flags & FLAG_COMPLETE != 0 }
            }
            ANSWER => {
                let holder = Member(fields.u32()?);
                let answer = match fields.u8()? {
                    TOOK => Answer::Took(fields.u32()?),
                    NOT_HERE => {
                        let epoch = Epoch(fields.u64()?);
                        let name = NodeName::parse(fields.text()?).map_err(|_| fields.invalid("name"))?;
                        Answer::NotHere(EdgeId { name, epoch })
                    }
                    UNKNOWN => Answer::Unknown,
                    _ => return Err(fields.invalid("outcome")),
                };
                Self::Answer { source, number, holder, answer }
            }
            CANARY => Self::Canary { source, number },
            other => return Err(DecodeError::Kind(other)),
        };
        fields.end()?;
        Ok(decoded)
    }
}

fn frame(kind: u8, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = lane_frame(64);
    out.put_u8(kind);
    fill(&mut out);
    finish(out)
}

fn lane_frame(body_bytes: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + body_bytes);
    out.put_u32(0);
    out
}

fn put_lane_header(out: &mut BytesMut, kind: u8, flags: u8, source: Member, number: u64) {
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(source.0);
    out.put_u64(number);
}

fn finish(mut out: BytesMut) -> Bytes {
    let body = (out.len() - LENGTH_BYTES) as u32;
    out[..LENGTH_BYTES].copy_from_slice(&body.to_be_bytes());
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &str) {
    let length = u8::try_from(text.len()).expect("names, channels and versions have at most 255 bytes");
    out.put_u8(length);
    out.put_slice(text.as_bytes());
}

/// Reads a frame's fields front to back.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let body = frame.get(LENGTH_BYTES..).unwrap_or_default();
        let (&kind, rest) = body.split_first().ok_or(DecodeError::Length(0))?;
        Ok(Self { kind, rest })
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Short(self.kind))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short(self.kind))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid("yes or no")),
        }
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = usize::from(self.u8()?);
        std::str::from_utf8(self.bytes(length)?).map_err(|_| self.invalid("text"))
    }

    fn channel(&mut self) -> Result<Channel, DecodeError> {
        Channel::parse(self.text()?).map_err(|_| self.invalid("channel"))
    }

    fn found(&mut self) -> Result<Vec<Found>, DecodeError> {
        let count = usize::from(self.u8()?);
        if count > FOUND_MAX {
            return Err(self.invalid("number of clients"));
        }
        let client = |_| {
            let door = usize::from(self.u8()?);
            let door = *Door::ALL.get(door).ok_or_else(|| self.invalid("door"))?;
            Ok(Found { door, since: self.u64()? })
        };
        (0..count).map(client).collect()
    }

    fn invalid(&self, field: &'static str) -> DecodeError {
        DecodeError::Field(self.kind, field)
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.kind)) }
    }
}

#[cfg(test)]
mod tests;
