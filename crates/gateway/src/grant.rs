//! Who may refer into which namespace.

use engine::{Builder, Cx, Index, Table};
use model::facts::{Meta, ObjectReference, ReferenceGrant};
use model::{Kind, Name, Ns, Str};
use std::sync::Arc;

/// A pair of a grant: which objects may refer to which kind in a namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Permission {
    /// The namespace of the grant, where the referents are.
    ns: Ns,
    from_kind: Str,
    from_ns: Str,
    to_group: Str,
    to_kind: Str,
}

/// The grants, found by what they permit.
#[derive(Clone, Copy)]
pub(crate) struct Grants {
    by_permission: Index<Permission, Name, ReferenceGrant>,
}

impl Grants {
    /// Declares them. A grant that `is_ours` denies permits nothing here: it is for another revision.
    pub fn declare(
        b: &mut Builder,
        grants: Table<Name, ReferenceGrant>,
        is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
    ) -> Self {
        let by_permission = b.index(grants, "grant_by_permission", move |name: &Name, grant| {
            let from = grant.from.iter().filter(|_| is_ours(&grant.meta));
            let from = from.filter(|from| from.group == Kind::Gateway.group());
            let pairs = from.flat_map(|from| grant.to.iter().map(move |to| (from, to)));
            let permissions = pairs.map(|(from, to)| Permission {
                ns: name.ns.clone(),
                from_kind: from.kind.clone(),
                from_ns: from.namespace.clone(),
                to_group: to.group.clone(),
                to_kind: to.kind.clone(),
            });
            permissions.collect::<Vec<_>>()
        });
        Self { by_permission }
    }

    /// Tells whether an object of a kind of the Gateway API in a namespace may have a reference: within its
    /// namespace always, into another only as a grant there says.
    pub fn permit(self, cx: &Cx<'_>, kind: Kind, own: &Ns, reference: &ObjectReference) -> bool {
        let target = reference.target(own);
        if target.ns == *own {
            return true;
        }
        let permission = Permission {
            ns: target.ns,
            from_kind: kind.name().into(),
            from_ns: Str::from(&**own),
            to_group: reference.group.clone(),
            to_kind: reference.kind.clone(),
        };
        let grants = cx.lookup(self.by_permission, &permission);
        grants.iter().flat_map(|(_, grant)| &grant.to).any(|to| {
            to.group == reference.group
                && to.kind == reference.kind
                && (to.name.is_empty() || to.name == target.name)
        })
    }
}
