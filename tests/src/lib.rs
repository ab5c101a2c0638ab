//! The cluster under test.
