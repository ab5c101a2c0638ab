//! What the cluster remembers: routes and leases.
