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

use crate::field::Flaw;
use crate::{Object, Objects, Problem};

use address::Addresses;

/// Tells whether an object is one that the simulation can work with: controllers of pods are read
/// in full, all others are taken as they are.
///
/// # Errors
///
/// The first invalid value of a controller.
pub(crate) fn check(object: &Object) -> Result<(), Flaw> {
    controller::read(object).map(drop)
}

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
