//! What authors attach to services, gateways, classes and namespaces, found by what it is for.

use engine::{Builder, Cx, Index, Row, Table};
use mesh::policy::PolicyTarget;
use model::{Name, Ns};
use std::sync::Arc;

/// Objects of one kind, found by what they are for.
pub(crate) struct ByTarget<V> {
    by_target: Index<PolicyTarget, Name, V>,
    /// The namespaces in which there are some for services.
    namespaces: Table<Ns, ()>,
}

impl<V> Clone for ByTarget<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for ByTarget<V> {}

impl<V: Row> ByTarget<V> {
    pub fn declare(b: &mut Builder, objects: Table<Name, V>, targets: fn(&V) -> &[PolicyTarget]) -> Self {
        let by_target = b.index(objects, "attached_by_target", move |_, object| targets(object).to_vec());
        let by_namespace = b.index(objects, "attached_by_namespace", move |_, object| {
            let of_service = |target: &PolicyTarget| match target {
                PolicyTarget::Service(_, name) => Some(name.ns.clone()),
                PolicyTarget::Namespace(ns) => Some(ns.clone()),
                PolicyTarget::Gateway(_) | PolicyTarget::Class(_) => None,
            };
            targets(object).iter().filter_map(of_service).collect::<Vec<_>>()
        });
        let namespaces = b.group("namespaces_with_attached", by_namespace, |_, _: &Ns, _| Some(()));
        Self { by_target, namespaces }
    }

    /// Returns those for a target, ascending by name.
    pub fn of(self, cx: &Cx<'_>, target: &PolicyTarget) -> Vec<(Name, Arc<V>)> {
        // Most namespaces have none: it is not remembered of each service that there is nothing.
        match target {
            PolicyTarget::Service(_, Name { ns, .. }) | PolicyTarget::Namespace(ns)
                if cx.get(self.namespaces, ns).is_none() =>
            {
                Vec::new()
            }
            _ => cx.lookup(self.by_target, target),
        }
    }
}
