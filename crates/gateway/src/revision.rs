//! Which revision of the control plane an object is owned by.
//!
//! Listeners and routes are served by every revision, so that an object that moves from one to another is
//! served all along. Its status is written, and its proxies are deployed, by the one that owns it.

use engine::{Builder, Cx, Memo, Table};
use mesh::Options;
use model::facts::{Meta, Namespace};
use model::{Ns, Str};

/// The label of an object, or of its namespace, that names its revision.
const LABEL: &str = "istio.io/rev";
/// The revision of a control plane that has no name.
const DEFAULT: &str = "default";

/// Tells which objects this revision owns.
#[derive(Clone)]
pub(crate) struct Ownership {
    revision: Str,
    /// Whether objects that name no revision are ours.
    owns_unlabelled: bool,
    /// The revision that a namespace names, where it does.
    of_namespace: Memo<Ns, Str>,
}

impl Ownership {
    /// Declares it.
    pub fn declare(b: &mut Builder, namespaces: Table<Ns, Namespace>, options: &Options) -> Self {
        let of_namespace = b.memo("namespace_revisions", move |cx, ns: &Ns| {
            cx.get(namespaces, ns)?.labels.get(LABEL).filter(|name| !name.is_empty()).cloned()
        });
        let revision = if options.revision.is_empty() { DEFAULT } else { options.revision.as_str() };
        Self {
            revision: Str::from(revision),
            owns_unlabelled: options.owns_unlabelled.unwrap_or(revision == DEFAULT),
            of_namespace,
        }
    }

    /// Tells whether an object is ours: by the revision that it names, else by that of its namespace.
    pub fn owns(&self, cx: &Cx<'_>, meta: &Meta) -> bool {
        if let Some(named) = meta.labels.get(LABEL).filter(|name| !name.is_empty()) {
            return *named == self.revision;
        }
        match cx.memo(self.of_namespace, &meta.name.ns) {
            Some(named) => *named == self.revision,
            None => self.owns_unlabelled,
        }
    }
}
