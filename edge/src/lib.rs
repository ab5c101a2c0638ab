//! The public node: holds clients, delivers to them, and resolves everybody else through its relay.

pub mod core;
pub mod token;
