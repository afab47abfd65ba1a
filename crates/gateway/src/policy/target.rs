//! What policies are for, and which of several holds.

use engine::{Builder, Cx, Index, Memo, Row, Table};
use mesh::Ownership;
use model::facts::{BackendTarget, BackendTlsPolicy, BackendTrafficPolicy, Facts, Meta};
use model::{Kind, Name, Ns, Str};
use output::{Condition, Conditions, Entry, EntryList};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::class::{GATEWAY_CONTROLLER, MESH_CONTROLLER};
use crate::key::ServiceTarget;
use crate::reference::References;
use crate::route::{Backends, Reaches};

/// A service, or one of its ports.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PolicyTarget {
    /// The service.
    pub service: ServiceTarget,
    /// The name of a port; empty for all that no other policy names.
    pub port: Str,
}

/// What policies are judged by.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub tls: Table<Name, BackendTlsPolicy>,
    pub traffic: Table<Name, BackendTrafficPolicy>,
    pub backends: Backends,
    pub references: References,
    pub reaches: Reaches,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
    /// Whose statuses are written here.
    pub ownership: Ownership,
}

/// A kind of policies, as far as targets are concerned.
pub(super) trait Policy: Facts<Key = Name> + Clone {
    /// The kind of the object.
    const KIND: Kind;
    /// Whether the status has an entry for each gateway at which the policy holds, too.
    const IS_TOLD_OF_GATEWAYS: bool;

    /// Metadata.
    fn meta(&self) -> &Meta;

    /// `spec.targetRefs`.
    fn targets(&self) -> &[BackendTarget];

    /// Tells whether a kind may be a target.
    fn is_for(kind: Kind) -> bool;
}

/// What is said of a policy beside what its targets do.
pub(super) struct Further {
    pub conditions: Vec<Condition>,
    /// Whether something that they depend on was not read yet.
    pub is_pending: bool,
}

/// The annotation by which a policy has no effect.
const IGNORE: &str = "istio.io/ignore-policy-attachment";

/// How many ancestors the API has room for; what is beyond holds all the same.
const ROOM: usize = 16;

pub(super) const ACCEPTED: &str = "Accepted";
pub(super) const RESOLVED_REFS: &str = "ResolvedRefs";
/// What a condition says of what is right.
pub(super) const VALID: &str = "Configuration is valid";

/// Returns what a reference means in namespace `ns`; `None` for a kind that cannot be meant.
fn target_of<P: Policy>(ns: &Ns, target: &BackendTarget) -> Option<PolicyTarget> {
    let kinds = [Kind::Service, Kind::ServiceEntry].into_iter().filter(|kind| P::is_for(*kind));
    let kind = kinds.into_iter().find(|kind| target.object.is(kind.group(), kind.name()))?;
    let service = ServiceTarget { kind, name: target.object.target(ns) };
    Some(PolicyTarget { service, port: target.section.clone() })
}

fn is_ignored(meta: &Meta) -> bool {
    meta.annotations.get(IGNORE).is_some_and(|value| value == "true")
}

/// What policies of one kind say of their targets.
pub struct Held<V> {
    /// By target.
    pub rows: Table<PolicyTarget, V>,
    namespaces: Table<Ns, ()>,
}

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Held<V> {}
impl<V> fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({:?})", self.rows)
    }
}

impl<V: Row> Held<V> {
    /// Returns what holds of a target.
    pub fn get(&self, cx: &Cx<'_>, target: &PolicyTarget) -> Option<Arc<V>> {
        // Most namespaces have none: it is not remembered of each target that there is nothing.
        cx.get(self.namespaces, &target.service.name.ns)?;
        cx.get(self.rows, target)
    }
}

/// Policies of one kind that count, found by their targets.
pub(super) struct ByTarget<P> {
    by_target: Index<PolicyTarget, Name, P>,
}

impl<P> Clone for ByTarget<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for ByTarget<P> {}

impl<P: Policy> ByTarget<P> {
    /// Declares those that are ours and have an effect.
    pub fn declare(
        b: &mut Builder,
        [name, index]: [&'static str; 2],
        policies: Table<Name, P>,
        inputs: &Inputs,
    ) -> Self {
        let (is_ours, in_scope) = (inputs.is_ours.clone(), inputs.in_scope);
        let policies = b.derive(name, policies, move |cx, name, policy: &P| {
            let counts =
                is_ours(policy.meta()) && !is_ignored(policy.meta()) && *cx.memo(in_scope, &name.ns)?;
            counts.then(|| policy.clone())
        });
        let by_target = b.index(policies, index, |name: &Name, policy: &P| {
            let targets = policy.targets().iter();
            targets.filter_map(|target| target_of::<P>(&name.ns, target)).collect::<Vec<_>>()
        });
        Self { by_target }
    }

    /// Declares what holds of each target: what the oldest policy says.
    pub fn declare_held<V: Row>(
        self,
        b: &mut Builder,
        name: &'static str,
        lower: impl Fn(&Cx<'_>, &P) -> V + Send + 'static,
    ) -> Held<V> {
        let rows = b.group(name, self.by_target, move |cx, _, policies| Some(lower(cx, oldest(policies)?.1)));
        let by_namespace =
            b.index(rows, "held_policy_by_namespace", |of: &PolicyTarget, _| [of.service.name.ns.clone()]);
        let namespaces = b.group("namespaces_with_held_policies", by_namespace, |_, _: &Ns, _| Some(()));
        Held { rows, namespaces }
    }

    /// Declares the statuses of policies that this revision owns: an entry for each target, then one for each
    /// gateway whose routes lead there, with what `further` says of a policy beside what its target does.
    pub fn declare_conditions(
        self,
        b: &mut Builder,
        name: &'static str,
        policies: Table<Name, P>,
        inputs: &Inputs,
        further: impl Fn(&Cx<'_>, &P) -> Further + Send + 'static,
    ) -> Table<Name, Conditions> {
        let inputs = inputs.clone();
        b.derive(name, policies, move |cx, name, policy: &P| {
            let is_owned = inputs.ownership.owns(cx, policy.meta()) && *cx.memo(inputs.in_scope, &name.ns)?;
            is_owned.then_some(())?;
            let Further { conditions: common, is_pending } = further(cx, policy);
            let entry = |reference, controller, conditions| Entry {
                key: vec![("ancestorRef", reference), ("controllerName", json!(controller))],
                fields: Vec::new(),
                conditions,
            };
            let (mut entries, mut gateways) = (Vec::new(), BTreeMap::new());
            for target in policy.targets() {
                let mut conditions = common.clone();
                if let Some(refused) = self.refused(cx, &inputs, name, policy, target) {
                    conditions.retain(|condition| condition.kind != ACCEPTED);
                    conditions.insert(0, refused);
                }
                if P::IS_TOLD_OF_GATEWAYS
                    && let Some(target) = target_of::<P>(&name.ns, target)
                {
                    for (reach, _) in cx.lookup(inputs.reaches, &target.service) {
                        let of = gateways.entry(reach.gateway).or_insert_with(|| conditions.clone());
                        // It holds there if it does for one of the targets.
                        if is_accepted(&conditions) && !is_accepted(of) {
                            *of = conditions.clone();
                        }
                    }
                }
                entries.push(entry(ancestor(target), MESH_CONTROLLER, conditions));
            }
            let gateways = gateways.into_iter();
            entries.extend(gateways.map(|(gateway, conditions)| {
                let (group, kind) = (Kind::Gateway.group(), Kind::Gateway.name());
                let reference = json!({
                    "group": group, "kind": kind, "namespace": &*gateway.ns, "name": gateway.name.as_str(),
                });
                entry(reference, GATEWAY_CONTROLLER, conditions)
            }));
            let owners = &[("controllerName", MESH_CONTROLLER), ("controllerName", GATEWAY_CONTROLLER)];
            Some(Conditions {
                generation: policy.meta().generation,
                lists: vec![EntryList { field: "ancestors", owners, room: ROOM, entries }],
                is_pending,
                ..Conditions::default()
            })
        })
    }

    /// Why a policy does not hold for a target.
    fn refused(
        self,
        cx: &Cx<'_>,
        inputs: &Inputs,
        name: &Name,
        policy: &P,
        reference: &BackendTarget,
    ) -> Option<Condition> {
        let refused = |reason, message| Some(Condition { kind: ACCEPTED, status: false, reason, message });
        if is_ignored(policy.meta()) {
            let message = format!("Ignored by Istio due to annotation {IGNORE}=true");
            return refused("IgnoredByIstio", message);
        }
        let not_found = |what: String| refused("TargetNotFound", format!("targetRefs invalid: {what}"));
        let (kind, object) = (reference.object.kind.as_str(), reference.object.name.as_str());
        let Some(target) = target_of::<P>(&name.ns, reference) else {
            return not_found(format!("kind {kind:?} cannot be a target"));
        };
        let table = match target.service.kind {
            Kind::Service => inputs.backends.services,
            _ => inputs.backends.entries,
        };
        let Some(service) = cx.get(table, &target.service.name) else {
            return not_found(format!("{kind} {object:?} not found"));
        };
        if !target.port.is_empty() && !service.port_names.iter().any(|(name, _)| *name == target.port) {
            return not_found(format!("{kind} {object:?} has no port {:?}", target.port.as_str()));
        }
        let policies = cx.lookup(self.by_target, &target);
        let (winner, _) = oldest(&policies)?;
        if winner == name {
            return None;
        }
        let message =
            format!("Conflicts with {} {:?} targeting the same backend", P::KIND, winner.name.as_str());
        refused("Conflicted", message)
    }
}

fn is_accepted(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.kind == ACCEPTED && condition.status)
}

/// Returns the oldest of policies of one target, of equal ages the first by name.
fn oldest<P: Policy>(policies: &[(Name, Arc<P>)]) -> Option<(&Name, &Arc<P>)> {
    let all = policies.iter().map(|(name, policy)| (name, policy));
    all.min_by(|a, b| (a.1.meta().created, a.0).cmp(&(b.1.meta().created, b.0)))
}

/// The target as a reference of the status.
fn ancestor(target: &BackendTarget) -> Value {
    let mut value = Map::new();
    let object = &target.object;
    for (field, text) in [("group", &object.group), ("kind", &object.kind), ("name", &object.name)] {
        value.insert(field.to_owned(), json!(text.as_str()));
    }
    if !target.section.is_empty() {
        value.insert("sectionName".to_owned(), json!(target.section.as_str()));
    }
    Value::Object(value)
}
