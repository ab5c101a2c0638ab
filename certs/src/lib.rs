//! TLS for the links and for the public doors: a private CA, its leaves, who may be whom; and what browsers are shown.
//!
//! [`mint`] makes the CA and its leaves, in memory; [`dir`](mod@dir) keeps them in a directory; [`link`] turns three PEM
//! files into what an edge or a relay brings to a handshake, [`public`] two into what an edge shows to browsers;
//! [`source`] is how both are replaced while their node runs. The binary `certs` calls the first two, `edge` and `relay`
//! the others, `causeway dev` mints without any file.
//!
//! What must stay true: whoever holds a leaf of the CA is the node that the leaf's first DNS name says, in the roles
//! that its extended key usage says; nothing else decides. No key is ever printed, logged or part of an error.

pub mod dir;
pub mod link;
pub mod mint;
mod pem;
pub mod public;
pub mod source;

use std::fmt;

pub use pem::Fault;

/// One side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Opens links: the TLS client.
    Edge,
    /// Accepts links: the TLS server.
    Relay,
}

/// What a leaf's holder may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// Only this.
    One(Role),
    /// An edge and a relay.
    Both,
}

impl Roles {
    /// Whether a holder of these may be `role`.
    pub fn include(self, role: Role) -> bool {
        match self {
            Self::One(only) => only == role,
            Self::Both => true,
        }
    }
}

impl Role {
    /// The extended key usage that stands for the role in a certificate.
    pub fn key_usage(self) -> &'static str {
        match self {
            Self::Edge => "clientAuth",
            Self::Relay => "serverAuth",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Relay => "relay",
        })
    }
}
