//! The Router under scripts: a test tells it what happens, and looks at what it says, does and counts.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the edges around the Router, played by hand, and a clock that a script moves |
//! | `hello.rs` | who is admitted, with which epoch, and what becomes of an older life |
//! | `leasing.rs` | leases, those of strangers too; when a relay may call itself complete; freezes |
//! | `holding.rs` | joins, leaves, and who is told when of what is held elsewhere |
//! | `routing.rs` | publications and answers, full lanes, frames that must not be |
//! | `losing.rs` | heartbeat, silence, goodbye, reaping, stop; whether the relay is complete |
//! | `overview.rs` | what operators see: how edges do, and what happened last |
//! | `search.rs` | where a user's clients are |
//! | `random.rs` | any events in any order, against a model |

mod hello;
mod holding;
mod leasing;
mod losing;
mod overview;
mod random;
mod routing;
mod search;
mod world;
