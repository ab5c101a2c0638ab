//! Hard limits of both protocols, each with the reckoning that produced it.

use std::time::Duration;

/// A DNS label: a node's name is its certificate's SAN.
pub const NODE_NAME_BYTES_MAX: usize = 63;

/// Bytes of a user id. With `#` in front it still fits a channel name.
pub const USER_BYTES_MAX: usize = 200;

/// Bytes of a channel's name, as the client protocol has it.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// Bytes of one inbound frame of a client (client protocol, "message size"); 65,537 are refused.
pub const CLIENT_FRAME_BYTES_MAX: usize = 65_536;

/// WebSocket frames that one message of a client may have. Browsers use one; a sender that fills each with what one TCP
/// segment of the smallest kind holds, 536 bytes, needs 123 for the largest message.
pub const FRAGMENTS_MAX: usize = 1024;

/// Channels that one client may subscribe to, the personal one not counted.
pub const CHANNELS_PER_CLIENT_MAX: usize = 128;

/// Bytes of one frame on a link, header included: data and `info` each come out of one client frame, a connect and
/// a publish, and 1 KiB holds the header with the longest channel, user and client id.
pub const LINK_FRAME_BYTES_MAX: usize = 2 * CLIENT_FRAME_BYTES_MAX + 1024;

/// Long-lived streams of a link in each direction, for publications and receipts.
///
/// 16 cost 6 % more CPU per message than one and keep a lost packet from delaying all but a sixteenth of the channels.
pub const LANES: usize = 16;

/// Bytes that may wait in one lane. It holds seven of the largest frames, 16 of them bound a link to 16 MiB.
pub const LANE_BYTES_MAX: usize = 1 << 20;

/// Bytes that may wait in a control stream: what 500 clients with 129 channels of the longest names join at once is
/// 17 MB, and three times that leaves room for edges of more clients. Where it is full the link ends, since control frames
/// carry state.
pub const CONTROL_BYTES_MAX: usize = 64 << 20;

/// Clients of one user that an edge tells a relay of: more than a person looks through, and 300 bytes.
pub const FOUND_MAX: usize = 32;

/// Time between two words of an edge on how it does.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Time between an edge's signs of life, while they are answered.
pub const PING_EVERY: Duration = Duration::from_secs(1);

/// The highest epoch. Many languages have numbers of 53 bits; as milliseconds these last for 285,000 years.
pub const EPOCH_MAX: u64 = 1 << 53;

/// The highest epoch that is believed to have been given to somebody; a higher one is somebody's mistake, and would
/// leave nothing to go on counting with.
pub const EPOCH_GIVEN_MAX: u64 = 1 << 52;

const _: () = assert!(USER_BYTES_MAX < CHANNEL_BYTES_MAX);
const _: () = assert!(LANE_BYTES_MAX >= 4 * LINK_FRAME_BYTES_MAX);
