//! What somebody may have meant by a name that is not known.

pub(crate) use model::{did_you_mean, nearest};
