//! The tables of the domain: facts in; encoded resources, conditions and diagnostics out.
//!
//! ```text
//! Event ──▶ facts ──▶ settings, namespaces, waypoints, networks
//!  (input)    │            │
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

mod address;
mod authorizer;
mod capabilities;
pub mod destination;
mod encode;
mod enforcement;
pub mod extension;
mod graph;
pub mod identity;
mod input;
mod key;
mod labels;
mod namespace;
mod network;
mod options;
mod own_address;
pub mod policy;
mod rank;
mod revision;
mod service;
mod settings;
mod split_horizon;
mod status;
pub mod telemetry;
mod waypoint;
mod workload;

pub use address::{AddressProblem, AddressRequest, Allocator, Assignment, Ipv4Pool, Ipv6Pool, Pools};
pub use capabilities::understood_by;
pub use graph::{Tables, declare, is_ours};
pub use input::{Inputs, Listings};
pub use options::{Options, ProxyOptions, TrafficDistribution};
pub use revision::{NamespaceRevisions, Ownership};
pub use service::{EntryHosts, PortProtocol};
pub use settings::{NETWORK_LABEL, TrustSettings, config_map};
pub use status::WaypointBindings;
pub use waypoint::{EDGE_CONTROLLER, WAYPOINT_CONTROLLER};
