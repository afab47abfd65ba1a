//! What leaves a graph: resources, status conditions and diagnostics, each declared by one call in the
//! module whose table holds it.
//!
//! ```text
//!               ┌─ resources(table, type, rank, encode) ─┐   ┌─▶ what a commit changed   (proxies)
//!  Outputs ◀────┼─ conditions(kind, table) ──────────────┼───┼─▶ everything, by a walk    (dump)
//!               └─ diagnostics(name, table, describe) ───┘   └─▶ what a name was made from (why)
//! ```
//!
//! A declaration makes the table a sink of the engine and gives everything that is done with it at once:
//! its changes, its walk and its provenance. So no table that is sent can be forgotten by one of them.
//!
//! Invariants:
//! * Resources come in the order of their [`Rank`]s, then by key. Tables of one group of ranks share their
//!   names: a name that passes from one to another is one change.
//! * Bytes are encoded once, in the row; everything here shares them.
//!
//! ```
//! use pilothouse_output::{Encoded, Outputs, Rank, Resource};
//! use proto::ResourceType;
//!
//! #[derive(PartialEq)]
//! struct Row(Encoded);
//!
//! let mut b = engine::Builder::default();
//! let mut out = Outputs::default();
//! let table = b.input::<&'static str, Row>("rows");
//! out.resources(&mut b, table, ResourceType::Address, Rank::new(0), |key, row| {
//!     Some(Resource::new(*key, &row.0))
//! });
//! let mut graph = b.build();
//! graph.put(table, "web", Row(Encoded::new([1, 2].as_slice().into())));
//! graph.commit();
//! let changed = out.changed_resources(&mut graph).resources;
//! assert_eq!((changed[0].name.as_str(), changed[0].body.as_deref()), ("web", Some([1, 2].as_slice())));
//! assert_eq!(out.why(&graph, "web", 1).len(), 1);
//! ```

mod condition;
mod diagnostic;
mod encoded;
mod outputs;
mod resource;
mod status;

pub use condition::{Condition, Conditions, Entry, EntryList};
pub use diagnostic::Findings;
pub use encoded::Encoded;
pub use outputs::Outputs;
pub use proto::{ResourceType, Scope};
pub use resource::{Changed, Rank, Resource, ResourceChange};
