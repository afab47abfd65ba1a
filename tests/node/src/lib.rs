//! A node of a cluster on this machine: pods are processes, each in a network namespace of its own with its address.
//!
//! ```text
//!  cluster: a folder ──pods──▶ node ──▶ pod: namespace, processes (echo, Envoy), volumes, probes
//!                                │
//!  control plane ──state──▶ proxy of the node: captures, tunnels, policies; name server
//! ```
//!
//! There are no containers, and nothing is pulled: what an image stands for is a [table](image). Traffic is real, and so
//! are the control plane, its certificates, and the waypoints. All of it is in [namespaces of its own](isolation), which
//! nothing leaves and nothing outlives.

pub mod client;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod echo;
pub mod image;
pub mod isolation;
pub mod load;
pub mod load_balancer;
pub mod names;
pub mod namespace;
pub mod netfilter;
pub mod node;
pub mod pod;
pub mod proxy;
pub mod serve;
