//! The Hub under scripts: a test tells it what happens, and looks at what it says, does and counts.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | everything around the Hub, played by hand; what must hold after every event |
//! | `login.rs` | connect, its tokens, refresh, the token's end |
//! | `session.rs` | pings, slow clients, the line encoding, the edge's stop |
//! | `subscribing.rs` | subscribe and unsubscribe, by command and by token |
//! | `waiting.rs` | replies that wait for the relay and the store, and what waits behind them |
//! | `publishing.rs` | publications, here and from elsewhere, and the commands that are not offered |
//! | `direct.rs` | directed messages: who gets them, and every verdict |
//! | `link.rs` | greeting, joins, tellings, heartbeat, the link's end |
//! | `status.rs` | what operators see of the edge through its relay |
//! | `routes.rs`, `rounds.rs` | what the store is told, and told again |
//! | `freeze.rs` | what is left after the edge stood still |
//! | `random.rs` | any events in any order |

mod direct;
mod freeze;
mod link;
mod login;
mod publishing;
mod random;
mod rounds;
mod routes;
mod session;
mod status;
mod subscribing;
mod waiting;
mod world;
