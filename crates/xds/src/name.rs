//! Names of resources and scopes.

use std::sync::Arc;

/// A name that many share.
pub(crate) type Name = Arc<str>;
