//! What is written into the statuses of a real API server, and by whom.
//!
//! Writes are counted by the API server itself. Every test has a server of its own, since a replica
//! writes the statuses of the whole cluster.

mod replica;
mod world;

mod addresses;
mod conditions;
mod distribution;
mod leading;
mod rights;
