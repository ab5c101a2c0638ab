//! The store's promises, on both of its memories, and what only Redis can do to us.

mod behaviour;
mod errors;
mod keys;
mod outages;
mod proxy;
mod reaping;
mod support;
