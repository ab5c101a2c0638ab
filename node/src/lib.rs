//! What every node's process needs besides its own job: configuration, admin listener, logs, queues.
//!
//! `main` of every binary goes through it in this order: [`config::load`], [`log::init`], [`bind`], [`admin`], and
//! returns an [`exit::Exit`]. `causeway dev` does the same for several nodes in one process, so nothing in here is
//! global except the log and the heap.

pub mod admin;
mod allocator;
pub mod bind;
pub mod certificates;
pub mod config;
pub mod exit;
pub mod files;
pub mod freeze;
pub mod identity;
pub mod link;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod newcomers;
pub mod outbox;
pub mod process;
pub mod udp;
pub mod web;
