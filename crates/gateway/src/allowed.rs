//! Which namespaces something is open to.

use engine::{Cx, Table};
use model::facts::{AllowedNamespaces, Namespace};
use model::{Labels, Ns};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Tells whether what stands in namespace `own` is open to `other`. Labels are read only where they count.
pub(crate) fn admits(
    cx: &Cx<'_>,
    namespaces: Table<Ns, Namespace>,
    allowed: &AllowedNamespaces,
    own: &Ns,
    other: &Ns,
) -> bool {
    match allowed {
        AllowedNamespaces::All => true,
        AllowedNamespaces::Same => own == other,
        AllowedNamespaces::Selector(selector) => {
            let labels = cx.get(namespaces, other).map(|ns| ns.labels.clone()).unwrap_or_default();
            // An API server sets it; a namespace that is not written down has its name all the same.
            let name = Labels::new([(NAME_LABEL, &**other)]);
            selector.matches(&name.merged(&labels))
        }
    }
}
