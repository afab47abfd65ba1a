//! The node: what its servers answer, the demo as a person runs it, and what is left behind.

mod demo;
mod echo;
