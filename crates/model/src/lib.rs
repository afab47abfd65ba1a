//! Names, labels, kinds and the *facts* of Kubernetes objects.
//!
//! An object is read once, at the door (`parse`), into the few fields that the mesh depends on.
//! What cannot be true of an object (a pod without a namespace, a port above 65535) cannot be
//! written in these types, so nothing behind the door checks for it again.
//!
//! ```text
//! bytes ──parse──▶ Object (facts)     a policy that cannot be understood is a fact too: `Refused`
//!            └───▶ Diagnostic         anything else that cannot be understood
//! ```
//!
//! Invariants: strings that repeat are shared ([`shared`]), label sets are sorted and shared
//! ([`Labels`]), equal objects give equal facts, and nothing here reads a clock or the world.

pub mod crd;
pub mod diagnostic;
pub mod facts;
mod kind;
mod label;
mod name;
pub mod parse;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use facts::Object;
pub use kind::{Kind, Scope};
pub use label::{Labels, Selector, SelectorOperator, SelectorRequirement};
pub use name::{Name, ObjectRef, Str, shared};
pub use parse::parse;
