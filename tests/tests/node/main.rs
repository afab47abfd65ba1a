//! The node: what its servers answer, the demo as a person runs it, and what is left behind.

mod cluster;
mod debug;
mod demo;
mod echo;
mod site;
mod steady;
