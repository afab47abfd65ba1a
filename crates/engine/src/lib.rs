//! Incremental tables: inputs, derivations, indexes, atomic commits and provenance.
//!
//! A graph is declared once. Facts go into input tables; every other row is computed by a pure
//! function whose reads are recorded *by key*. A commit walks the tables in the order in which they
//! were declared and recomputes a row only if something that it read has changed, at most once, and
//! a row that comes out equal stops there.
//!
//! ```text
//!   put/remove ─▶ input ──▶ derive ──▶ group ──▶ … ──▶ sink ──▶ changes
//!                   │  index   ▲ get, lookup, any        (ordered by key)
//!                   └──────────┴─ memo (computed when first read, dropped with its last reader)
//! ```
//!
//! | operator | rows | recomputed when |
//! |---|---|---|
//! | [`Builder::input`] | what is put | – |
//! | [`Builder::derive`] | one or none for each source row | the source row or a read changed |
//! | [`Builder::derive_where`] | likewise, for each source row that it wants | likewise |
//! | [`Builder::expand`] | any number for each source row, under keys of their own | likewise |
//! | [`Builder::group`] | one or none for each key of an index | a row under that key or a read changed |
//! | [`Builder::single`] | one | a read changed |
//! | [`Builder::memo`] | one for each key that somebody reads | a read changed |
//! | [`Builder::in_use`] | those of a memo that somebody reads, as a table | – |
//!
//! Invariants:
//! * A function sees finished tables only: handles exist after their declaration, so cycles cannot
//!   be written.
//! * Reading an absent key is a dependency like any other.
//! * The result of a commit depends on the facts only, never on the order in which they came.
//! * Work is proportional to what changed and to what read it; nothing scans a table.
//!
//! ```
//! let mut b = engine::Builder::default();
//! let prices = b.input::<&'static str, u32>("prices");
//! let carts = b.input::<u8, Vec<&'static str>>("carts");
//! let totals = b.derive("totals", carts, move |cx, _, cart| {
//!     Some(cart.iter().filter_map(|item| cx.get(prices, item)).map(|p| *p).sum::<u32>())
//! });
//! b.sink(totals);
//! let mut graph = b.build();
//! graph.put(carts, 1, vec!["tea", "jam"]);
//! graph.put(prices, "tea", 3);
//! graph.commit();
//! assert_eq!(graph.get(totals, &1).as_deref(), Some(&3));
//! graph.put(prices, "jam", 4); // absent before, and yet a dependency
//! graph.commit();
//! assert_eq!(graph.changes(totals).len(), 1);
//! assert_eq!(graph.get(totals, &1).as_deref(), Some(&7));
//! ```

mod context;
mod core;
mod graph;
mod index;
mod read;
mod row;
mod set;
mod slab;
mod stage;
mod stats;
mod table;
mod why;

pub use context::Cx;
pub use graph::{Builder, Graph};
pub use index::Index;
pub use read::Read;
pub use row::{Key, Row};
pub use stage::Memo;
pub use stats::{StageStats, Walked};
pub use table::{Change, Table};
pub use why::Trace;
