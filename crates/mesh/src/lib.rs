//! The tables of the domain: facts in; encoded resources, conditions and diagnostics out.
//!
//! ```text
//! Event ──▶ facts ──▶ settings, namespaces, waypoints, networks
//!  (store)    │            │
//!             ├──▶ services ──────────┬──▶ selection (memo per namespace and labels)
//!             ├──▶ policies, peers ───┘            │
//!             └──▶ workloads ◀─────────────────────┘
//!                      │ ╰─ of other networks ──▶ summaries behind gateways
//!                      ▼
//!                 Outputs: resources by name, as bytes
//! ```
//!
//! [`declare`] declares them on a graph that others may have parts of as well; each table that is sent
//! is declared an output where it arises. Equal facts give equal bytes, whatever the order of events.
//!
//! Invariants:
//! * Work is proportional to what changed: a pod's change touches that pod, a policy's rules touch
//!   that policy's resource.
//! * A policy that a workload names is always among the resources.
//! * What cannot be understood never takes away what was good, and never allows more.

mod allocation;
mod condition;
mod dialect;
mod encode;
mod graph;
mod guard;
mod key;
mod namespace;
mod network;
mod options;
mod peer;
mod policy;
mod policy_row;
mod rank;
mod scope;
mod selection;
mod service;
mod service_entry;
mod settings;
mod split_horizon;
mod store;
mod waypoint;
mod workload;

pub use allocation::{AddressRequest, AddressTrouble, Allocator, Assignment, Ipv4Pool, Ipv6Pool, Pools};
pub use dialect::understood_by;
pub use graph::{Tables, declare};
pub use options::{Options, TrafficDistribution};
pub use settings::config_map;
pub use store::{Inputs, Listings};
