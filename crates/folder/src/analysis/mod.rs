//! Doubts about objects that an API server accepts: names that lead nowhere, and are nearly those of
//! something that is there. A folder knows what else there is, which one object alone does not say.
//!
//! Nothing here changes what is served. What is not near to anything is no doubt: folders seldom hold
//! the whole of a cluster.

mod names;
mod policies;
mod settings;

use crate::object::Objects;
use crate::problem::Problem;

/// Looks through what is declared; `all` is the cluster that it makes, and the settings of the mesh are
/// those in `system_namespace`.
pub(crate) fn analyse(
    declared: &Objects,
    all: &Objects,
    system_namespace: &str,
    problems: &mut Vec<Problem>,
) {
    names::labels(declared, problems);
    names::namespaces(declared, problems);
    policies::analyse(declared, all, system_namespace, problems);
    settings::analyse(declared, all, system_namespace, problems);
}
