//! Incremental tables: inputs, derivations, indexes, atomic commits, provenance.
