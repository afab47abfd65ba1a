//! The domain graph: facts in; encoded resources, conditions and diagnostics out.
