//! Reading by key, wherever it happens.

use crate::{Cx, Graph, Key, Row, Table};
use std::sync::Arc;

/// Where single rows are read by key: a finished graph, or a row that is being computed, which then depends
/// on what it reads.
pub trait Read {
    /// Returns one row.
    fn get<K: Key, V: Row>(&self, table: Table<K, V>, key: &K) -> Option<Arc<V>>;
}

impl Read for Graph {
    fn get<K: Key, V: Row>(&self, table: Table<K, V>, key: &K) -> Option<Arc<V>> {
        Graph::get(self, table, key)
    }
}

impl Read for Cx<'_> {
    fn get<K: Key, V: Row>(&self, table: Table<K, V>, key: &K) -> Option<Arc<V>> {
        Cx::get(self, table, key)
    }
}
