//! The cluster under test.

pub mod link_world;
