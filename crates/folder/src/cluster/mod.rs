//! Plays the controllers of a cluster over the declared objects.
//!
//! ```text
//! declared ─▶ namespaces, accounts ─▶ nodes ─▶ controllers ─▶ pods ─▶ services ─▶ endpoint slices
//! ```
//!
//! Every step is a function of the objects before it; what a folder declares is never overwritten.

mod address;
mod controller;
mod endpoint;
mod namespace;
mod node;
mod objects;
mod pod;
mod service;

use crate::{Objects, Problem};

use address::Addresses;
pub(crate) use controller::has_foreign_template;

/// Gives every object that a cluster would hold after `declared` was applied to it.
pub(crate) fn simulate(declared: &Objects, problems: &mut Vec<Problem>) -> Objects {
    let mut objects = declared.clone();
    namespace::complete(&mut objects);
    let mut addresses = Addresses::reserve(declared);
    let nodes = node::complete(&mut objects, &mut addresses);
    pod::run(&mut objects, declared, &nodes, &mut addresses, problems);
    service::assign_addresses(&mut objects, &mut addresses, problems);
    endpoint::slices(&mut objects);
    objects
}
