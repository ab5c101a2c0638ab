//! Words both sides speak: the client protocol, the link protocol, WebSocket below the former, and what balancers say
//! before either.
//!
//! Pure: bytes in, values out. No socket, clock, task or chance in here, so that every decoder can be fuzzed and
//! every encoder pinned in hex.

pub mod client;
pub mod id;
pub mod limits;
pub mod link;
pub mod proxy;
pub mod websocket;
