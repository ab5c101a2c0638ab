//! TLS for the links: a private CA, its leaves, and who may be whom.
