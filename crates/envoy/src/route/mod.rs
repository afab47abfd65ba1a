//! Routes of ports: which rules there are and which clusters they lead to, then their encoding.

mod action;
mod edge;
mod filter;
mod hash;
mod matching;
mod operation;
mod plan;
mod retry;
mod scope;
mod session;

pub(crate) use action::Origin;
pub(crate) use edge::{Hostname, Listened, hostname, listeners};
pub(crate) use plan::{By, Routed, Routes, Sources};
pub(crate) use scope::{Connect, Way, connect, connect_by_name, direct, passed, requests, to_waypoint};
