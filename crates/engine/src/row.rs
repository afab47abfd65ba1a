//! What keys and rows must be able to do.

use std::fmt::Debug;
use std::hash::Hash;

/// What identifies a row of a table.
pub trait Key: Clone + Eq + Hash + Ord + Debug + Send + Sync + 'static {}
impl<T: Clone + Eq + Hash + Ord + Debug + Send + Sync + 'static> Key for T {}

/// The content of a row. Equality decides whether a change goes on.
pub trait Row: PartialEq + Send + Sync + 'static {}
impl<T: PartialEq + Send + Sync + 'static> Row for T {}
