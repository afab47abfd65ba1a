//! What is written into the statuses of a real API server, and by whom.
//!
//! Writes are counted by the API server itself. Every test has a server of its own, since a replica
//! writes the statuses of the whole cluster, and as the chart's account, where it is not said otherwise.

mod fixture;
mod replica;
mod whole;

mod accepted;
mod addresses;
mod conditions;
mod deployments;
mod distribution;
mod gateways;
mod kinds;
mod leading;
mod quiet;
mod refused;
mod rights;
mod secrets;
mod unread;
