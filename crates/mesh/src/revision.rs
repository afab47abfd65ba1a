//! Which revision of the control plane an object is owned by.
//!
//! Listeners and routes are served by every revision, so that an object that moves from one to another is
//! served all along. Its status is written, and its proxies are deployed, by the one that owns it.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{Meta, Namespace};
use model::{Ns, Str};

use crate::options::Options;

/// The label of an object, or of its namespace, that names its revision.
const LABEL: &str = "istio.io/rev";
/// The revision of a control plane that has no name.
const DEFAULT: &str = "default";

/// The revision that a namespace names, where it does.
pub type NamespaceRevisions = Memo<Ns, Str>;

/// Declares which revisions namespaces name.
pub(crate) fn declare(b: &mut Builder, namespaces: Table<Ns, Namespace>) -> NamespaceRevisions {
    b.memo("namespace_revisions", move |cx, ns: &Ns| {
        cx.get(namespaces, ns)?.labels.get(LABEL).filter(|name| !name.is_empty()).cloned()
    })
}

/// Tells which objects this revision owns.
#[derive(Clone)]
pub struct Ownership {
    revision: Str,
    /// Whether objects that name no revision are ours.
    owns_unlabelled: bool,
    of_namespace: NamespaceRevisions,
}

impl Ownership {
    /// What this revision owns.
    pub fn new(of_namespace: NamespaceRevisions, options: &Options) -> Self {
        let revision = if options.revision.is_empty() { DEFAULT } else { options.revision.as_str() };
        Self {
            revision: Str::from(revision),
            owns_unlabelled: options.owns_unlabelled.unwrap_or(revision == DEFAULT),
            of_namespace,
        }
    }

    /// Tells whether an object is ours: by the revision that it names, else by that of its namespace.
    pub fn owns(&self, cx: &Cx<'_>, meta: &Meta) -> bool {
        self.other(cx, meta).is_none()
    }

    /// Returns the revision that owns an object which is not ours; empty where nobody says which.
    pub fn other(&self, cx: &Cx<'_>, meta: &Meta) -> Option<Str> {
        let of_object = meta.labels.get(LABEL).filter(|name| !name.is_empty()).cloned();
        let named = of_object.or_else(|| cx.memo(self.of_namespace, &meta.name.ns).map(|of| (*of).clone()));
        match named {
            Some(named) => (named != self.revision).then_some(named),
            None => (!self.owns_unlabelled).then(Str::new),
        }
    }
}
