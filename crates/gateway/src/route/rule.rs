//! What rules do, with their backends resolved.

use engine::{Builder, Cx, Table};
use model::facts::{
    BackendReference, DirectResponse, Filter, Meta, Redirect, RequestMatch, Retry, Route, RouteRule,
    RouteTimeouts, SessionPersistence,
};
use model::{Kind, Name, Ns, Str, shared};
use std::sync::Arc;

use super::backend::{Backend, Backends, Unresolved};
use super::kinds::PerKind;
use super::parent::Attachments;
use crate::key::RouteKey;

/// One match of one rule of a route, and what becomes of what it matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The rule's own name, else `NAMESPACE.ROUTE.INDEX`.
    pub name: Str,
    /// The route that it is of.
    pub route: RouteKey,
    /// When that was created, in seconds since 1970.
    pub created: i64,
    /// Its places among the rules of the route and the matches of the rule.
    pub place: (usize, usize),
    /// What it matches; of streams, everything.
    pub matches: RequestMatch,
    /// What becomes of it.
    pub action: Action,
    /// Changes of headers, of the URL, and CORS, in order.
    pub filters: Vec<Filter>,
    /// What is sent to further backends.
    pub mirrors: Vec<MirrorTo>,
    /// Timeouts.
    pub timeouts: RouteTimeouts,
    /// Retries, none where they are 0; `None` for those that there are without a word.
    pub retry: Option<Retry>,
    /// Sessions that stay with one instance.
    pub session: Option<SessionPersistence>,
    /// What is wrong with it, in order: invalid fields, then references that are not resolved.
    pub problems: Vec<String>,
}

impl Rule {
    /// Returns the hostnames of the services that it leads to, mirrors included.
    pub fn leads_to(&self) -> impl Iterator<Item = &Str> {
        let backends = match &self.action {
            Action::Forward(backends) => backends.as_slice(),
            Action::Redirect(_) | Action::Respond(_) | Action::Refuse => &[],
        };
        let backends = backends.iter().filter_map(|of| of.backend.as_ref());
        backends.chain(self.mirrors.iter().map(|of| &of.backend)).map(|backend| &backend.hostname)
    }
}

/// What becomes of a request or stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is sent to one of these, by weight. None of them has weight 0.
    Forward(Vec<WeightedBackend>),
    /// It is answered with a redirect.
    Redirect(Redirect),
    /// It is answered with this.
    Respond(DirectResponse),
    /// A request is answered with 500, a stream is closed.
    Refuse,
}

/// A share of the traffic of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightedBackend {
    /// Where it is sent; `None` where that cannot be told: this share is refused.
    pub backend: Option<Backend>,
    /// The share.
    pub weight: u32,
    /// What is done to this share besides.
    pub filters: Vec<Filter>,
}

/// A second backend for a share of the requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorTo {
    /// Where copies are sent.
    pub backend: Backend,
    /// How many of `of` requests.
    pub share: u32,
    /// The whole.
    pub of: u32,
}

/// The rules of a route for parents of one sort.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lowered {
    pub rules: Vec<Arc<Rule>>,
    /// The references that are not resolved, in order.
    pub unresolved: Vec<Unresolved>,
}

/// The rules of a route. References of rules for gateways need grants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RouteRules {
    pub gateway: Lowered,
    pub mesh: Lowered,
}

/// Declares the rules of routes that have parents of ours.
pub(crate) fn declare(
    b: &mut Builder,
    routes: PerKind<Table<Name, Route>>,
    attachments: PerKind<Attachments>,
    backends: Backends,
) -> PerKind<Table<Name, RouteRules>> {
    routes.zip(attachments).map(|kind, (routes, attachments)| {
        let table = match kind {
            Kind::HTTPRoute => "http_route_rules",
            Kind::GRPCRoute => "grpc_route_rules",
            Kind::TLSRoute => "tls_route_rules",
            Kind::TCPRoute => "tcp_route_rules",
            _ => "udp_route_rules",
        };
        b.derive(table, routes, move |cx, name, route| {
            let (in_gateways, in_mesh) = cx.get(attachments.parents, name)?.has();
            let of = RouteKey { kind, name: name.clone() };
            let lowered = |needs_grant| lower(cx, backends, &of, &route.meta, &route.rules, needs_grant);
            (in_gateways || in_mesh).then(|| RouteRules {
                gateway: if in_gateways { lowered(true) } else { Lowered::default() },
                mesh: if in_mesh { lowered(false) } else { Lowered::default() },
            })
        })
    })
}

/// Lowers rules of a route.
pub(super) fn lower(
    cx: &Cx<'_>,
    backends: Backends,
    of: &RouteKey,
    meta: &Meta,
    rules: &[RouteRule],
    needs_grant: bool,
) -> Lowered {
    let mut lowering =
        Lowering { cx, backends, kind: of.kind, ns: &of.name.ns, needs_grant, unresolved: Vec::new() };
    let mut lowered = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let before = lowering.unresolved.len();
        let action = lowering.action(rule);
        let mirrors = lowering.mirrors(rule);
        let faults = rule.faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message));
        let unresolved = lowering.unresolved[before..].iter().map(|one| one.message.clone());
        let problems: Vec<String> = faults.chain(unresolved).collect();
        let name = if rule.name.is_empty() {
            shared(&format!("{}.{}.{i}", of.name.ns, of.name.name))
        } else {
            rule.name.clone()
        };
        let is_change = |filter: &&Filter| {
            !matches!(filter, Filter::Redirect(_) | Filter::Mirror(_) | Filter::Respond(_))
        };
        lowered.extend(rule.matches.iter().enumerate().map(|(j, matches)| {
            Arc::new(Rule {
                name: name.clone(),
                route: of.clone(),
                created: meta.created,
                place: (i, j),
                matches: matches.clone(),
                action: action.clone(),
                filters: rule.filters.iter().filter(is_change).cloned().collect(),
                mirrors: mirrors.clone(),
                timeouts: rule.timeouts,
                retry: rule.retry.clone(),
                session: rule.session.clone(),
                problems: problems.clone(),
            })
        }));
    }
    let mut unresolved = lowering.unresolved;
    let mut seen = Vec::new();
    unresolved.retain(|one| {
        let is_new = !seen.contains(one);
        seen.push(one.clone());
        is_new
    });
    Lowered { rules: lowered, unresolved }
}

struct Lowering<'a> {
    cx: &'a Cx<'a>,
    backends: Backends,
    kind: Kind,
    ns: &'a Ns,
    needs_grant: bool,
    unresolved: Vec<Unresolved>,
}

impl Lowering<'_> {
    fn resolve(&mut self, reference: &BackendReference) -> Option<Backend> {
        let resolved = self.backends.resolve(self.cx, self.kind, self.ns, reference, self.needs_grant);
        resolved.map_err(|error| self.unresolved.push(error)).ok()
    }

    fn action(&mut self, rule: &RouteRule) -> Action {
        let answer = rule.filters.iter().find_map(|filter| match filter {
            Filter::Redirect(redirect) => Some(Action::Redirect(redirect.clone())),
            Filter::Respond(response) => Some(Action::Respond(response.clone())),
            _ => None,
        });
        let backends: Vec<WeightedBackend> = rule
            .backends
            .iter()
            .map(|reference| WeightedBackend {
                backend: self.resolve(reference),
                weight: reference.weight,
                filters: reference.filters.clone(),
            })
            .filter(|backend| backend.weight > 0)
            .collect();
        match (answer, backends.is_empty()) {
            // What is wrong with a rule must not let what it matches through to another rule, or on without
            // a filter.
            _ if !rule.faults.is_empty() => Action::Refuse,
            (Some(answer), _) => answer,
            (None, true) => Action::Refuse,
            (None, false) => Action::Forward(backends),
        }
    }

    fn mirrors(&mut self, rule: &RouteRule) -> Vec<MirrorTo> {
        let mirrors = rule.filters.iter().filter_map(|filter| match filter {
            Filter::Mirror(mirror) if mirror.share > 0 => Some(mirror),
            _ => None,
        });
        mirrors
            .filter_map(|mirror| {
                let backend = self.resolve(&mirror.backend)?;
                Some(MirrorTo { backend, share: mirror.share, of: mirror.of })
            })
            .collect()
    }
}
