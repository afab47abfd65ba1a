//! Policies at waypoints: access control by role (RBAC), for each port by what concerns it.
//!
//! ```text
//! policies ──by target──▶ those of a port ─┬─▶ its scope of requests: istio.authz.deny, then istio.authz.allow
//!                                          ├─▶ scopes of CONNECTs to it, if it is no HTTP
//!                                          └─▶ the listener of a port that is no HTTP, or may be either
//! ```
//!
//! * The connection managers that all ports share have both filters, and no rules: what a port's scope says is for that
//!   port alone, so a policy's edit sends the scopes that it concerns.
//! * Envoy's filter of streams decides at the first byte of a client. A server that speaks first would be heard until
//!   then, so a CONNECT to what is no HTTP is decided upon, too.
//! * Callers are known by the certificate of the CONNECT, which `connect_terminate` hands on as filter state; no header
//!   says who calls.

mod expression;
mod rule;
mod text;

#[cfg(test)]
mod evaluator;
#[cfg(test)]
mod properties;

use engine::{Builder, Cx, Memo, Table};
use mesh::policy::{PolicyTarget, RuleAction, Test, WaypointPolicy};
use model::{Name, Str};
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::listener::v3::{Filter, filter};
use proto::envoy::config::rbac::v3::{Policy, Rbac as Rules, rbac::Action};
use proto::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use proto::envoy::extensions::filters::network::rbac::v3::Rbac as StreamRbac;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::key::PortKey;
use crate::port::Port;

pub(crate) use rule::{At, PEER, SOURCE};

/// The filters that decide, in order, and how statistics of what they only try begin.
const FILTERS: [(&str, RuleAction, &str); 2] = [
    ("istio.authz.deny", RuleAction::Deny, "istio_dry_run_deny_"),
    ("istio.authz.allow", RuleAction::Allow, "istio_dry_run_allow_"),
];

/// Returns the filters of a connection manager, by name. They have no rules of their own.
pub(crate) fn filters() -> [(&'static str, Rbac); 2] {
    FILTERS.map(|(name, _, prefix)| {
        (name, Rbac { shadow_rules_stat_prefix: prefix.to_owned(), ..Rbac::default() })
    })
}

/// The policies that concern a port, by name; never none.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Policies(Vec<(Name, Arc<WaypointPolicy>)>);

/// What a filter decides.
#[derive(Clone, PartialEq, Debug)]
struct Stage {
    filter: &'static str,
    rules: Option<Rules>,
    /// Rules that are only tried, and how their statistics begin.
    shadow_rules: Option<Rules>,
    shadow_prefix: &'static str,
}

/// What policies are found by.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    /// Those of ports that have any.
    pub ports: Table<PortKey, Policies>,
    /// Those for whatever goes through a waypoint, if there are any.
    pub gateways: Memo<Name, Policies>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, mesh: &mesh::Tables, ports: Table<PortKey, Port>) -> Tables {
    let gateways = mesh.inputs.gateways;
    let classes =
        b.memo("class_of_waypoint", move |cx, name: &Name| Some(cx.get(gateways, name)?.class.clone()));
    let by_target =
        b.index(mesh.waypoint_policies, "waypoint_policy_by_target", |_, policy| policy.targets.clone());
    let found = move |cx: &Cx<'_>, waypoint: &Name, service: Option<PolicyTarget>| {
        let class: Option<Arc<Str>> = cx.memo(classes, waypoint);
        let targets = [
            service,
            Some(PolicyTarget::Gateway(waypoint.clone())),
            class.map(|class| PolicyTarget::Class((*class).clone())),
        ];
        let mut all = BTreeMap::new();
        for target in targets.into_iter().flatten() {
            all.extend(cx.lookup(by_target, &target));
        }
        (!all.is_empty()).then(|| Policies(all.into_iter().collect()))
    };
    Tables {
        ports: b.derive("port_policies", ports, move |cx, key, port| {
            let service = PolicyTarget::Service(port.kind, port.object.clone());
            found(cx, &key.waypoint, Some(service))
        }),
        gateways: b.memo("gateway_policies", move |cx, waypoint: &Name| found(cx, waypoint, None)),
    }
}

impl Policies {
    /// Returns what the filters of requests, or of a CONNECT, decide for a virtual host, by filter.
    pub fn per_route(&self, at: At) -> BTreeMap<String, Any> {
        let config = |stage: Stage| {
            let rbac = Rbac {
                rules: stage.rules,
                shadow_rules: stage.shadow_rules,
                shadow_rules_stat_prefix: stage.shadow_prefix.to_owned(),
            };
            (stage.filter.to_owned(), any(&RbacPerRoute { rbac: Some(rbac) }))
        };
        self.stages(at).into_iter().map(config).collect()
    }

    /// Returns the filters of streams that come before what proxies them.
    pub fn filters(&self) -> Vec<Filter> {
        let filter = |stage: Stage| {
            let rbac = StreamRbac {
                rules: stage.rules,
                shadow_rules: stage.shadow_rules,
                stat_prefix: "tcp.".to_owned(),
                shadow_rules_stat_prefix: stage.shadow_prefix.to_owned(),
            };
            Filter {
                name: stage.filter.to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(any(&rbac))),
            }
        };
        self.stages(At::Streams).into_iter().map(filter).collect()
    }

    /// Tells whether some rule asks for the name that a TLS client says.
    pub fn asks_for_server_name(&self) -> bool {
        let rules = self.0.iter().flat_map(|(_, policy)| &policy.rules);
        rules.flat_map(|rule| rule.parts.iter().flatten()).any(|entry| match entry {
            mesh::policy::Entry::Never => false,
            mesh::policy::Entry::All(tests) => tests.iter().any(|test| matches!(test, Test::ServerName(_))),
        })
    }

    fn stages(&self, at: At) -> Vec<Stage> {
        let stages = FILTERS.into_iter().map(|(filter, action, shadow_prefix)| Stage {
            filter,
            rules: self.rules(action, false, at),
            shadow_rules: self.rules(action, true, at),
            shadow_prefix,
        });
        stages.filter(|stage| stage.rules.is_some() || stage.shadow_rules.is_some()).collect()
    }

    /// Returns the rules of all policies of a kind; `None` where they decide nothing.
    fn rules(&self, action: RuleAction, dry_run: bool, at: At) -> Option<Rules> {
        let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
        for (name, policy) in self.0.iter().filter(|(_, of)| of.action == action && of.dry_run == dry_run) {
            let stem = format!("ns[{}]-policy[{}]", name.ns, name.name);
            let before = policies.len();
            for (i, rule) in policy.rules.iter().enumerate() {
                let compiled = rule::policy(rule, action, at);
                policies.extend(compiled.map(|of| (format!("{stem}-rule[{i}]"), of)));
            }
            // One that allows nothing says so: without any rules, Envoy would not say whose decision it was.
            if action == RuleAction::Allow && policies.len() == before {
                policies.insert(stem, rule::nothing());
            }
        }
        let as_envoy = match action {
            RuleAction::Allow => Action::Allow,
            RuleAction::Deny => Action::Deny,
        };
        (!policies.is_empty()).then(|| Rules { action: as_envoy.into(), policies })
    }
}
