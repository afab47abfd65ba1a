//! Policies at waypoints: tokens of requests, and access control by role (RBAC), for each port by what concerns it.
//!
//! ```text
//! policies ──by target──▶ those of a port ─┬─▶ its scope of requests: istio.authn, then istio.authz.deny and .allow
//!                                          ├─▶ scopes of CONNECTs to it, if it is no HTTP
//!                                          └─▶ the listener of a port that is no HTTP, or may be either
//! ```
//!
//! * The connection managers that all ports share have both filters, and no rules: what a port's scope says is for that
//!   port alone, so a policy's edit sends the scopes that it concerns.
//! * `istio.ext_authz` and `istio.authn` are whatever filters a scope says that they are: Envoy has settings by route for
//!   none of those that ask somebody or look at tokens, and for one that others stand in for.
//! * Envoy's filter of streams decides at the first byte of a client. A server that speaks first would be heard until
//!   then, so a CONNECT to what is no HTTP is decided upon, too.
//! * Callers are known by the certificate of the CONNECT, which `connect_terminate` hands on as filter state; no header
//!   says who calls.

mod ask;
mod claim;
mod expression;
mod rule;
mod slot;
mod text;
mod token;

#[cfg(test)]
mod evaluator;
#[cfg(test)]
mod properties;

use engine::{Builder, Cx, Memo, Table};
use gateway::Backend;
use mesh::policy::{PolicyTarget, RuleAction, Test, WaypointAction, WaypointPolicy, WaypointTokens};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str};
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::listener::v3::{Filter, filter};
use proto::envoy::config::rbac::v3::{Policy, Rbac as Rules, rbac::Action};
use proto::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use proto::envoy::extensions::filters::network::rbac::v3::Rbac as StreamRbac;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attached::ByTarget;
use crate::key::{NO_CLUSTER, PortKey};
use crate::port::{Port, Traffic};
use ask::Authority;
use slot::Slot;

pub(crate) use rule::{At, PEER, SOURCE};
pub(crate) use slot::slots;

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
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Policies {
    access: Vec<(Name, Arc<WaypointPolicy>)>,
    tokens: Vec<(Name, Arc<WaypointTokens>)>,
    /// Who is asked about requests, ascending by name; beyond their number, what the rules match is denied.
    authorities: Vec<Authority>,
}

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
    /// Those of ports for which others hold than for whatever goes through the waypoint, or somebody is asked.
    pub ports: Table<PortKey, Policies>,
    /// Those for whatever goes through a waypoint, if there are any. Nobody is asked there: what rules match is denied.
    pub gateways: Memo<Name, Policies>,
    /// The same of gateways at the edge, where somebody is asked about requests.
    pub edges: Memo<Name, Policies>,
}

impl Tables {
    /// Returns those of a port.
    pub fn of(self, cx: &Cx<'_>, port: &PortKey) -> Option<Arc<Policies>> {
        cx.get(self.ports, port).or_else(|| cx.memo(self.gateways, &port.waypoint))
    }
}

/// Declares them. `cluster` tells which leads a gateway to a backend.
pub(crate) fn declare(
    b: &mut Builder,
    mesh: &mesh::Tables,
    ports: Table<PortKey, Port>,
    cluster: impl Fn(&Cx<'_>, &Name, &Backend) -> Option<String> + Copy + Send + 'static,
) -> Tables {
    let gateways = mesh.inputs.gateways;
    let classes =
        b.memo("class_of_waypoint", move |cx, name: &Name| Some(cx.get(gateways, name)?.class.clone()));
    let access = ByTarget::declare(b, mesh.waypoint_policies, |policy| &policy.targets);
    let tokens = ByTarget::declare(b, mesh.waypoint_tokens, |tokens| &tokens.targets);
    let gateways = b.memo("gateway_policies", move |cx, waypoint: &Name| {
        let class: Option<Arc<Str>> = cx.memo(classes, waypoint);
        let class = class.map(|class| PolicyTarget::Class((*class).clone()));
        let targets = [Some(PolicyTarget::Gateway(waypoint.clone())), class];
        Policies::of((access, tokens), cx, targets.into_iter().flatten())
    });
    Tables {
        ports: b.derive("port_policies", ports, move |cx, key, port| {
            let service = PolicyTarget::Service(port.kind, port.object.clone());
            let own = Policies::of((access, tokens), cx, [service].into_iter());
            let of_gateway = cx.memo(gateways, &key.waypoint);
            if own.is_none() && !of_gateway.as_ref().is_some_and(|of| of.have_asked()) {
                return None;
            }
            let of_gateway = of_gateway.map(|of| (*of).clone()).unwrap_or_default();
            let mut all = of_gateway.and(own.unwrap_or_default());
            if port.traffic() != Traffic::Tcp {
                all.authorities = authorities(&all, |to| cluster(cx, &key.waypoint, to));
            }
            Some(all)
        }),
        edges: b.memo("edge_policies", move |cx, gateway: &Name| {
            let mut all = (*cx.memo(gateways, gateway)?).clone();
            all.authorities = authorities(&all, |to| cluster(cx, gateway, to));
            Some(all)
        }),
        gateways,
    }
}

/// Returns who is asked for policies, ascending by name.
fn authorities(all: &Policies, cluster: impl Fn(&Backend) -> Option<String>) -> Vec<Authority> {
    let asked = all.access.iter().filter_map(|(_, policy)| match &policy.action {
        WaypointAction::Ask(Some(asked)) => Some((asked.provider.clone(), Arc::clone(asked))),
        _ => None,
    });
    let asked: BTreeMap<Str, _> = asked.collect();
    let authority = |asked: Arc<mesh::policy::Asked>| {
        let (ns, hostname) = asked.service.split_once('/')?;
        let to = Backend {
            ns: Ns::own(ns),
            hostname: hostname.into(),
            port: Some(asked.port),
            subset: Str::new(),
        };
        Some(Authority { cluster: cluster(&to).unwrap_or_else(|| NO_CLUSTER.to_owned()), asked })
    };
    asked.into_values().take(slot::ASKED).filter_map(authority).collect()
}

/// Nobody is asked about what a policy would have somebody asked about.
const NOBODY_ASKED: &str = "AP116";

impl Policies {
    /// Returns those for some targets; `None` if there are none.
    fn of(
        (access, tokens): (ByTarget<WaypointPolicy>, ByTarget<WaypointTokens>),
        cx: &Cx<'_>,
        targets: impl Iterator<Item = PolicyTarget>,
    ) -> Option<Self> {
        let all = targets.fold(Self::default(), |all, target| {
            let (access, tokens) = (access.of(cx, &target), tokens.of(cx, &target));
            all.and(Self { access, tokens, authorities: Vec::new() })
        });
        (all != Self::default()).then_some(all)
    }

    /// Returns these and others, each once.
    fn and(self, others: Self) -> Self {
        let access: BTreeMap<_, _> = self.access.into_iter().chain(others.access).collect();
        let tokens: BTreeMap<_, _> = self.tokens.into_iter().chain(others.tokens).collect();
        Self {
            access: access.into_iter().collect(),
            tokens: tokens.into_iter().collect(),
            authorities: self.authorities,
        }
    }

    /// Tells whether somebody is to be asked.
    fn have_asked(&self) -> bool {
        self.access.iter().any(|(_, policy)| matches!(policy.action, WaypointAction::Ask(Some(_))))
    }

    /// Returns what authors of policies are told that nobody is asked about at a port.
    pub fn unasked(&self, key: &PortKey) -> Vec<Diagnostic> {
        let why = if self.authorities.is_empty() {
            "nobody is asked about streams".to_owned()
        } else {
            format!("at most {} providers are asked at a port", slot::ASKED)
        };
        self.unasked_at(&why, &format!("at port {} of {}", key.port, key.service))
    }

    /// As [`unasked`](Self::unasked), of the workloads of a waypoint that are called at their own addresses.
    pub fn unasked_of_workloads(&self, waypoint: &Name) -> Vec<Diagnostic> {
        let why = "nobody is asked about workloads that are called at their own addresses";
        self.unasked_at(why, &format!("at those of waypoint {waypoint}"))
    }

    /// As [`unasked`](Self::unasked), of a gateway at the edge, and of its streams if it takes any.
    pub fn unasked_at_edge(&self, gateway: &Name, takes_streams: bool) -> Vec<Diagnostic> {
        let too_many = format!("at most {} providers are asked at a gateway", slot::ASKED);
        let of_requests = self.unasked_at(&too_many, &format!("at gateway {gateway}"));
        let nobody = Self { authorities: Vec::new(), ..self.clone() };
        let of_streams = takes_streams.then(|| {
            nobody.unasked_at("nobody is asked about streams", &format!("at those of gateway {gateway}"))
        });
        of_requests.into_iter().chain(of_streams.into_iter().flatten()).collect()
    }

    fn unasked_at(&self, why: &str, place: &str) -> Vec<Diagnostic> {
        let is_unasked = |action: &WaypointAction| {
            matches!(action, WaypointAction::Ask(Some(_)))
                && !self.authorities.iter().any(|of| of.is_of(action))
        };
        let told = |(name, _): &(Name, Arc<WaypointPolicy>)| Diagnostic {
            code: NOBODY_ASKED,
            severity: Severity::Warning,
            object: Some(ObjectRef { kind: Kind::AuthorizationPolicy, name: name.clone() }),
            field: "spec.action".to_owned(),
            message: format!("{why}: what the rules match is denied {place}"),
            help: "name other targets, or use ALLOW or DENY".to_owned(),
            place: None,
        };
        self.access.iter().filter(|(_, policy)| is_unasked(&policy.action)).map(told).collect()
    }

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
        let mut all: BTreeMap<String, Any> = self.stages(at).into_iter().map(config).collect();
        if at == At::Requests {
            all.extend(self.before_access());
        }
        all
    }

    /// Returns the filters of requests that come before those that decide by rules alone: what others are asked, then
    /// tokens, then what is marked.
    fn before_access(&self) -> impl Iterator<Item = (String, Any)> {
        let asks = self.authorities.iter().enumerate().filter_map(|(n, authority)| {
            let rules = self.rules_of(
                |of| authority.is_of(&of.action),
                RuleAction::Deny,
                At::Requests,
                &authority.stem(),
            );
            slot::per_route(Slot::Ask(n), authority.filters(as_rules(Action::Deny, rules)?).to_vec())
        });
        let tokens = token::filter(self.tokens.iter().map(|(_, of)| &**of));
        let marks = self.marks(At::Requests).map(|rules| Rbac { rules: Some(rules), ..Rbac::default() });
        let tokens = tokens.iter().map(|of| slot::filter("envoy.filters.http.jwt_authn", of));
        let marks = marks.iter().map(|of| slot::filter("envoy.filters.http.rbac", of));
        asks.chain(slot::per_route(Slot::Tokens, tokens.chain(marks).collect()))
    }

    /// Returns the rules by which traffic is marked.
    fn marks(&self, at: At) -> Option<Rules> {
        let is_audit = |policy: &WaypointPolicy| policy.action == WaypointAction::Audit;
        as_rules(Action::Log, self.rules_of(is_audit, RuleAction::Deny, at, ""))
    }

    /// Returns the filters of streams that come before what proxies them.
    pub fn filters(&self) -> Vec<Filter> {
        let marks = self.marks(At::Streams).map(|rules| Stage {
            filter: "istio.authz.audit",
            rules: Some(rules),
            shadow_rules: None,
            shadow_prefix: "",
        });
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
        marks.into_iter().chain(self.stages(At::Streams)).map(filter).collect()
    }

    /// Tells whether some rule asks for the name that a TLS client says.
    pub fn asks_for_server_name(&self) -> bool {
        let rules = self.access.iter().flat_map(|(_, policy)| &policy.rules);
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
        let is_asked =
            |of: &WaypointAction| at == At::Requests && self.authorities.iter().any(|to| to.is_of(of));
        let decides = |of: &WaypointAction| match of {
            WaypointAction::Allow => Some(RuleAction::Allow),
            // Nobody is asked about streams: what the rules match is denied.
            WaypointAction::Ask(_) => (!is_asked(of)).then_some(RuleAction::Deny),
            WaypointAction::Deny => Some(RuleAction::Deny),
            WaypointAction::Audit => None,
        };
        let is_its = |of: &WaypointPolicy| decides(&of.action) == Some(action) && of.dry_run == dry_run;
        let as_envoy = match action {
            RuleAction::Allow => Action::Allow,
            RuleAction::Deny => Action::Deny,
        };
        as_rules(as_envoy, self.rules_of(is_its, action, at, ""))
    }

    /// Returns the rules of some policies, by names that begin with a text.
    fn rules_of(
        &self,
        is_its: impl Fn(&WaypointPolicy) -> bool,
        action: RuleAction,
        at: At,
        before: &str,
    ) -> BTreeMap<String, Policy> {
        let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
        for (name, policy) in self.access.iter().filter(|(_, of)| is_its(of)) {
            let stem = format!("{before}ns[{}]-policy[{}]", name.ns, name.name);
            let count = policies.len();
            for (i, rule) in policy.rules.iter().enumerate() {
                let compiled = rule::policy(rule, action, at);
                policies.extend(compiled.map(|of| (format!("{stem}-rule[{i}]"), of)));
            }
            // One that allows nothing says so: without any rules, Envoy would not say whose decision it was.
            if action == RuleAction::Allow && policies.len() == count {
                policies.insert(stem, rule::nothing());
            }
        }
        policies
    }
}

fn as_rules(action: Action, policies: BTreeMap<String, Policy>) -> Option<Rules> {
    (!policies.is_empty()).then(|| Rules { action: action.into(), policies })
}
