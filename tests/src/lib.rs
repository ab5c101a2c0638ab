//! The cluster under test.

pub mod fuzz;
pub mod link_world;
pub mod sim;
