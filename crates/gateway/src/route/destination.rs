//! DestinationRules: what holds of the way to a host, and which subsets it has.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{
    ClientTls, DestinationRule, Meta, PortPolicy, RetryBudget, Secret, Subset, TrafficPolicy,
};
use model::{Labels, Name, Ns, Str, shared};
use std::sync::Arc;

use crate::hostname::{ANY, wider};
use crate::reference::{Missing, References};

/// The DestinationRules of a namespace for a host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DestinationKey {
    /// The namespace of the rules.
    pub ns: Ns,
    /// The host, perhaps with a wildcard.
    pub hostname: Str,
    /// The namespace that they are exported to, beside those for all; `None` for those for all alone.
    pub audience: Option<Ns>,
}

/// What they say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Destination {
    /// The rules, the oldest first.
    pub rules: Vec<Name>,
    /// What holds for all: of the first rule that says anything.
    pub policy: TrafficPolicy,
    /// The subsets of all rules, by name; of each name that of the first rule.
    pub subsets: Vec<Subset>,
}

/// Whose traffic goes where.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Path {
    /// The namespace that sends: that of the route.
    pub client: Ns,
    /// The namespace of the service.
    pub service: Ns,
    /// Its hostname.
    pub hostname: Str,
}

/// Traffic to a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortPath {
    /// Whose traffic, and to which service.
    pub path: Path,
    /// The port of the service.
    pub port: u16,
    /// The subset; empty for all of it.
    pub subset: Str,
}

/// What DestinationRules say of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathPolicy {
    /// The namespace of the rules.
    pub ns: Ns,
    /// What holds of the port.
    pub port: PortPolicy,
    /// `retryBudget`, of the subset or of all.
    pub retries: Option<RetryBudget>,
    /// What instances of the subset are labelled with.
    pub labels: Labels,
}

/// The DestinationRules of the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Destinations {
    /// What rules say, by their host.
    pub rows: Table<DestinationKey, Destination>,
    /// Which of them hold for traffic: the rules of its own namespace go before those of the service's, and these
    /// before those of the root namespace; of one namespace, those for the most specific host.
    held: Memo<Path, DestinationKey>,
    /// The namespaces of which rules may hold for traffic between two, if there are any.
    with_any: Memo<Between, Vec<Ns>>,
    /// What holds for traffic to a port; `None` where no rule says anything.
    pub policies: Memo<PortPath, PathPolicy>,
    /// The Secrets that rules name for TLS, each in the namespace of its rule.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub credentials: Table<Name, Result<Arc<Secret>, Str>>,
    pub(crate) rules: Table<Name, DestinationRule>,
    pub(crate) root: Table<(), Ns>,
}

/// What they are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub rules: Table<Name, DestinationRule>,
    pub references: References,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    /// The namespace whose rules are for all others.
    pub root: Table<(), Ns>,
    pub domain_suffix: Str,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, inputs: &Inputs) -> Destinations {
    let Inputs { in_scope, root, references, .. } = *inputs;
    let (is_ours, suffix) = (inputs.is_ours.clone(), inputs.domain_suffix.clone());
    let rules = b.derive("destination_rules", inputs.rules, move |cx, name, rule| {
        let is_served = is_ours(&rule.meta) && *cx.memo(in_scope, &name.ns)? && !rule.host.is_empty();
        let host = if rule.host.contains('.') || rule.host == ANY {
            rule.host.clone()
        } else {
            shared(&format!("{}.{}.svc.{suffix}", rule.host, name.ns))
        };
        is_served.then(|| DestinationRule { host, ..rule.clone() })
    });
    let by_namespace = b.index(rules, "destination_rule_by_namespace", |name: &Name, _| [name.ns.clone()]);
    // A row of its own: a rule's edit is nothing to traffic that it does not name.
    let with_rules = b.group("namespaces_with_destination_rules", by_namespace, |_, _: &Ns, _| Some(()));
    let by_key = b.index(rules, "destination_rule_by_host", keys);
    let rows = b.group("destinations", by_key, move |cx, key: &DestinationKey, rules| {
        let mut all = rules.to_vec();
        if key.audience.is_some() {
            all.extend(cx.lookup(by_key, &DestinationKey { audience: None, ..key.clone() }));
        }
        all.sort_by(|(a, of_a), (b, of_b)| (of_a.meta.created, a).cmp(&(of_b.meta.created, b)));
        Some(merged(&all))
    });
    // Asked once for namespaces, and not for each host.
    let with_any = b.memo("destination_rules_between", move |cx, (client, service): &Between| {
        let root = cx.single(root);
        let all: Vec<Ns> = namespaces(client, service, root.as_deref())
            .into_iter()
            .filter(|ns| cx.get(with_rules, ns).is_some())
            .cloned()
            .collect();
        (!all.is_empty()).then_some(all)
    });
    let held_by_host = b.memo("destinations_held", move |cx, path: &Path| {
        let all = cx.memo(with_any, &between(path))?;
        all.iter().find_map(|ns| of_namespace(cx, rows, ns, path))
    });
    let policies = b.memo("destination_policies", move |cx, of: &PortPath| {
        let key = held(cx, (with_any, held_by_host), &of.path)?;
        let row = cx.get(rows, &key)?;
        let subset = Some(of.subset.as_str()).filter(|name| !name.is_empty());
        let own = subset.and_then(|name| row.subset(name));
        let retries = own.and_then(|own| own.policy.retries).or(row.policy.retries);
        Some(PathPolicy {
            ns: key.ns.clone(),
            port: row.of_port(subset, of.port),
            retries,
            labels: own.map(|own| own.labels.clone()).unwrap_or_default(),
        })
    });
    let by_credential =
        b.index(rules, "destination_rule_by_credential", |name: &Name, rule: &DestinationRule| {
            let used = tls(rule).into_iter().filter(|of| !of.tls.credential.is_empty());
            used.map(|of| Name { ns: name.ns.clone(), name: of.tls.credential.clone() }).collect::<Vec<_>>()
        });
    let credentials = b.group("destination_credentials", by_credential, move |cx, secret: &Name, _| {
        Some(references.secret(cx, secret).map_err(|why| match why {
            Missing::Pending => shared(&format!("Secret {secret} was not read yet")),
            Missing::Absent => shared(&format!("Secret {secret} not found")),
            Missing::Unreadable(why) => shared(&format!("Secret {secret} cannot be read: {why}")),
        }))
    });
    Destinations { rows, with_any, held: held_by_host, policies, credentials, rules, root }
}

/// The namespace that sends, and that of the service.
type Between = (Ns, Ns);

fn between(path: &Path) -> Between {
    (path.client.clone(), path.service.clone())
}

/// Returns the namespaces whose rules count for traffic, those that go first before the others.
fn namespaces<'a>(client: &'a Ns, service: &'a Ns, root: Option<&'a Ns>) -> Vec<&'a Ns> {
    let mut all = vec![client];
    for ns in std::iter::once(service).chain(root) {
        if !all.contains(&ns) {
            all.push(ns);
        }
    }
    all
}

/// Returns which rules hold for traffic to a host.
fn held(
    cx: &Cx<'_>,
    (with_any, by_host): (Memo<Between, Vec<Ns>>, Memo<Path, DestinationKey>),
    path: &Path,
) -> Option<Arc<DestinationKey>> {
    // Most namespaces have none: it is not remembered of each host that there is nothing.
    cx.memo(with_any, &between(path))?;
    cx.memo(by_host, path)
}

/// Returns the key of the rules of a namespace that hold for traffic.
fn of_namespace(
    cx: &Cx<'_>,
    rows: Table<DestinationKey, Destination>,
    ns: &Ns,
    path: &Path,
) -> Option<DestinationKey> {
    let hosts = std::iter::once(path.hostname.clone()).chain(wider(&path.hostname));
    let keys = hosts.flat_map(|hostname| {
        let of = |audience| DestinationKey { ns: ns.clone(), hostname: hostname.clone(), audience };
        [of(Some(path.client.clone())), of(None)]
    });
    keys.into_iter().find(|key| cx.get(rows, key).is_some())
}

/// Under which keys a rule is found: for each namespace that it is exported to, or for all.
pub(crate) fn keys(name: &Name, rule: &DestinationRule) -> Vec<DestinationKey> {
    let of = |audience| DestinationKey { ns: name.ns.clone(), hostname: rule.host.clone(), audience };
    if rule.export_to.is_empty() || rule.export_to.iter().any(|to| to == "*") {
        return vec![of(None)];
    }
    let named = rule.export_to.iter().filter(|to| *to != "~");
    named.map(|to| of(Some(if to == "." { name.ns.clone() } else { name.ns.beside(to) }))).collect()
}

/// What a rule says of TLS at one place.
pub(crate) struct TlsOf<'r> {
    /// The field.
    pub field: String,
    /// The port that it is for; `None` for all that nothing else is said of.
    pub port: Option<u16>,
    pub tls: &'r ClientTls,
}

/// Returns what a rule says of TLS.
pub(crate) fn tls(rule: &DestinationRule) -> Vec<TlsOf<'_>> {
    let subsets = rule.subsets.iter().enumerate();
    let policies = std::iter::once(("spec".to_owned(), &rule.policy))
        .chain(subsets.map(|(i, subset)| (format!("spec.subsets[{i}]"), &subset.policy)));
    let mut all = Vec::new();
    for (at, policy) in policies {
        let of_port = policy.ports.iter().enumerate();
        let of_port = of_port.map(|(i, (port, of))| (format!("portLevelSettings[{i}].tls"), Some(*port), of));
        let parts = std::iter::once(("tls".to_owned(), None, &policy.common)).chain(of_port);
        all.extend(parts.filter_map(|(field, port, of)| {
            Some(TlsOf { field: format!("{at}.trafficPolicy.{field}"), port, tls: of.tls.as_ref()? })
        }));
    }
    all
}

fn merged(rules: &[(Name, Arc<DestinationRule>)]) -> Destination {
    let mut destination = Destination::default();
    for (name, rule) in rules {
        destination.rules.push(name.clone());
        if destination.policy == TrafficPolicy::default() {
            destination.policy = rule.policy.clone();
        }
        for subset in &rule.subsets {
            if destination.subset(&subset.name).is_none() {
                destination.subsets.push(subset.clone());
            }
        }
    }
    destination.subsets.sort_by(|a, b| a.name.cmp(&b.name));
    destination
}

impl Destinations {
    /// Returns what holds for traffic to a port; `None` where no rule says anything.
    pub fn policy(&self, cx: &Cx<'_>, of: &PortPath) -> Option<Arc<PathPolicy>> {
        // Most hosts have no rule: there is no row that says so of each of their ports.
        self.held(cx, &of.path)?;
        cx.memo(self.policies, of)
    }

    /// Returns which rules hold for traffic to a host.
    pub fn held(&self, cx: &Cx<'_>, path: &Path) -> Option<Arc<DestinationKey>> {
        held(cx, (self.with_any, self.held), path)
    }

    /// Returns the namespace that sends, if other rules hold for it than for the service's own.
    pub fn of_client(&self, cx: &Cx<'_>, path: &Path) -> Option<Ns> {
        if path.client == path.service {
            return None;
        }
        let own = Path { client: path.service.clone(), ..path.clone() };
        (self.held(cx, path) != self.held(cx, &own)).then(|| path.client.clone())
    }
}

impl Destination {
    /// Returns a subset by its name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// Returns what holds of a port, of a subset or of the whole host: what a subset says goes before what is said for
    /// all, part by part, and what is said of a port alone is in place of both.
    pub fn of_port(&self, subset: Option<&str>, port: u16) -> PortPolicy {
        let own = subset.and_then(|name| self.subset(name)).map(|subset| &subset.policy);
        let of_port = |policy: &TrafficPolicy| {
            policy.ports.iter().find(|(of, _)| *of == port).map(|(_, policy)| policy.clone())
        };
        if let Some(policy) = own.and_then(of_port).or_else(|| of_port(&self.policy)) {
            return policy;
        }
        let common = &self.policy.common;
        let Some(own) = own.map(|policy| &policy.common) else { return common.clone() };
        PortPolicy {
            load_balancer: own.load_balancer.as_ref().or(common.load_balancer.as_ref()).cloned(),
            connections: own.connections.as_ref().or(common.connections.as_ref()).cloned(),
            outliers: own.outliers.or(common.outliers),
            tls: own.tls.as_ref().or(common.tls.as_ref()).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::facts::{Algorithm, LoadBalancer, OutlierDetection};

    fn balanced(algorithm: Algorithm) -> PortPolicy {
        let load_balancer = Some(LoadBalancer { algorithm, ..LoadBalancer::default() });
        PortPolicy { load_balancer, ..PortPolicy::default() }
    }

    #[test]
    fn what_is_said_of_a_port_stands_alone_and_a_subset_goes_before_the_rest() {
        let outliers = Some(OutlierDetection::default());
        let policy = TrafficPolicy {
            common: PortPolicy { outliers, ..balanced(Algorithm::Random) },
            ports: vec![(80, balanced(Algorithm::RoundRobin))],
            ..TrafficPolicy::default()
        };
        let subset = Subset {
            name: "v1".into(),
            policy: TrafficPolicy {
                common: balanced(Algorithm::LeastRequest),
                ports: vec![(81, PortPolicy::default())],
                ..TrafficPolicy::default()
            },
            ..Subset::default()
        };
        let of = Destination { policy: policy.clone(), subsets: vec![subset], ..Destination::default() };
        assert_eq!(of.of_port(None, 82), policy.common);
        assert_eq!(of.of_port(None, 80), balanced(Algorithm::RoundRobin));
        assert_eq!(of.of_port(Some("v1"), 80), balanced(Algorithm::RoundRobin));
        assert_eq!(of.of_port(Some("v1"), 81), PortPolicy::default());
        assert_eq!(of.of_port(Some("v1"), 82), PortPolicy { outliers, ..balanced(Algorithm::LeastRequest) });
    }
}
