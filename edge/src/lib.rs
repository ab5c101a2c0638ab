//! The public node: holds clients, delivers to them, resolves everybody else through its relay.
