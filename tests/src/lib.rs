//! The cluster under test.

pub mod link_world;
pub mod sim;
