//! Counters of tables, and which of them a walk has read.

/// Counters of one table since the graph was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageStats {
    /// The name given when the table was declared.
    pub name: &'static str,
    /// Rows that exist now.
    pub rows: usize,
    /// How often a row's function ran.
    pub recomputed: u64,
    /// How often a row became another one.
    pub changed: u64,
}

/// The tables that a walk has read, and how often a row of each had changed by then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked(pub(crate) Vec<(u16, u64)>);
