//! Hostnames and their rules.

use engine::{Builder, Cx, Memo, Table};
use model::{Kind, Name, Ns, Str};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::order::{Found, sorted};
use super::placed::Placed;
use crate::hostname::{covers, intersection, wider};
use crate::key::{HostKey, ListenerKey, Target};
use crate::listener::{Listener, Listeners, Protocol};
use crate::route::{
    Attachments, Backends, ByHost, PerKind, RouteRules, RoutedHosts, Rule, ServicePorts, VirtualServices,
};

/// A hostname: what no rule matches is answered with 404, or closed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// The first that matches counts.
    pub rules: Vec<Placed>,
}

/// The routing model.
#[derive(Clone, Copy, Debug)]
pub struct Routing {
    /// Rules for requests, at listeners, Services and ServiceEntries.
    pub requests: [Table<HostKey, Host>; 3],
    /// Rules for streams, likewise.
    pub streams: [Table<HostKey, Host>; 3],
}

/// What the model is made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub listeners: Listeners,
    pub backends: Backends,
    pub attachments: PerKind<Attachments>,
    pub rules: PerKind<Table<Name, RouteRules>>,
    pub virtual_services: VirtualServices,
    pub hosts: RoutedHosts,
}

/// Declares it.
pub(crate) fn declare(b: &mut Builder, inputs: Inputs) -> Routing {
    let both = inputs.attachments.zip(inputs.rules).map(|kind, (attachments, rules)| Source {
        kind,
        by_host: attachments.by_host,
        rules,
    });
    let VirtualServices { by_host, requests, streams, .. } = inputs.virtual_services;
    let source = |rules| Source { kind: Kind::VirtualService, by_host, rules };
    let of_requests = both.requests().map(|(_, of)| of).chain([source(requests)]);
    let of_streams = both.streams().map(|(_, of)| of).chain([source(streams)]);
    let requests = declare_sort(
        b,
        inputs,
        inputs.hosts.requests,
        ["listener_request_names", "request_hosts"],
        ["listener_requests", "service_requests", "entry_requests"],
        (of_requests.collect(), true),
    );
    let streams = declare_sort(
        b,
        inputs,
        inputs.hosts.streams,
        ["listener_stream_names", "stream_hosts"],
        ["listener_streams", "service_streams", "entry_streams"],
        (of_streams.collect(), false),
    );
    Routing { requests, streams }
}

/// Declares the hostnames of requests, or of streams: a key for each that a listener has itself or that something is
/// attached for, and the rules under each key. So a rule's edit reaches only the hostnames of its route, and another
/// hostname none of those that are there.
fn declare_sort(
    b: &mut Builder,
    inputs: Inputs,
    routed: Memo<HostKey, ()>,
    [names, keys]: [&'static str; 2],
    tables: [&'static str; 3],
    (of, is_requests): (Vec<Source>, bool),
) -> [Table<HostKey, Host>; 3] {
    let names = b.derive(names, inputs.listeners.rows, move |cx, key: &ListenerKey, listener| {
        let names = hostnames(listener, is_requests)?;
        cx.memo(routed, &HostKey { target: Target::Listener(key.clone()), hostname: names.own.clone() });
        Some(names)
    });
    let hosts = b.in_use(keys, routed);
    let Backends { services, entries, .. } = inputs.backends;
    let sources = Arc::new(Sources { of, hosts, names, services, entries, falls_through: is_requests });
    let is_of: [fn(&Target) -> bool; 3] = [
        |target| matches!(target, Target::Listener(_)),
        |target| matches!(target, Target::Service(of) if of.kind == Kind::Service),
        |target| matches!(target, Target::Service(of) if of.kind == Kind::ServiceEntry),
    ];
    std::array::from_fn(|n| {
        let (sources, is_of) = (Arc::clone(&sources), is_of[n]);
        b.derive(tables[n], hosts, move |cx, key, ()| {
            let is_there = is_of(&key.target) && sources.has(cx, key);
            is_there.then(|| sources.host(cx, key)).flatten()
        })
    })
}

/// The hostnames of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hostnames {
    /// Its own: without a route it has no rules, and is nobody else's.
    own: Str,
    /// Those that others have.
    ceded: Vec<Str>,
}

/// Returns those of a listener that takes such routes.
fn hostnames(listener: &Listener, requests: bool) -> Option<Hostnames> {
    let protocol = listener.protocol.as_ref().ok().filter(|_| listener.is_active())?;
    let has_requests = matches!(protocol, Protocol::Http | Protocol::Https);
    let is_its = has_requests == requests && *protocol != Protocol::Hbone;
    is_its.then(|| Hostnames { own: listener.hostname.clone(), ceded: listener.narrower.clone() })
}

/// Where the routes of a kind are attached, and their rules.
#[derive(Clone, Copy)]
struct Source {
    kind: Kind,
    by_host: ByHost,
    rules: Table<Name, RouteRules>,
}

/// The routes that hostnames are made from.
struct Sources {
    of: Vec<Source>,
    /// The hostnames that a listener has or something is attached for.
    hosts: Table<HostKey, ()>,
    names: Table<ListenerKey, Hostnames>,
    services: Table<Name, ServicePorts>,
    entries: Table<Name, ServicePorts>,
    /// Whether what no rule of a hostname matches falls through to rules of wider ones.
    falls_through: bool,
}

impl Sources {
    /// Tells whether its target has a hostname.
    fn has(&self, cx: &Cx<'_>, key: &HostKey) -> bool {
        match &key.target {
            Target::Listener(listener) => cx
                .get(self.names, listener)
                .is_some_and(|names| !names.ceded.iter().any(|ceded| covers(ceded, &key.hostname))),
            Target::Service(of) if of.kind == Kind::Service => cx.get(self.services, &of.name).is_some(),
            Target::Service(of) => cx.get(self.entries, &of.name).is_some(),
        }
    }

    /// Returns the rules of a hostname; `None` for that of a service for which there are only VirtualServices, none
    /// of which has rules for it.
    fn host(&self, cx: &Cx<'_>, key: &HostKey) -> Option<Host> {
        // What a Service is called says nothing of its other names; one of a ServiceEntry may be among those of another.
        let falls_through = match &key.target {
            Target::Listener(_) => true,
            Target::Service(of) => of.kind == Kind::ServiceEntry,
        };
        let further = if self.falls_through && falls_through { wider(&key.hostname) } else { Vec::new() };
        let mut found: Vec<Found> = Vec::new();
        let mut is_needed = matches!(key.target, Target::Listener(_));
        let wider = further.into_iter().map(|hostname| HostKey { target: key.target.clone(), hostname });
        // Most have no routes: one look tells so for all kinds.
        let wider = wider.filter(|host| cx.get(self.hosts, host).is_some());
        for host in std::iter::once(key.clone()).chain(wider) {
            for source in &self.of {
                for ((_, route, port), attachment) in cx.lookup(source.by_host, &host) {
                    is_needed |= source.kind != Kind::VirtualService;
                    let Some(rules) = cx.get(source.rules, &route.name) else { continue };
                    let (rules, consumer) = match &key.target {
                        Target::Listener(_) => (&rules.gateway.rules, None),
                        Target::Service(of) => {
                            (&rules.mesh.rules, (of.name.ns != route.name.ns).then_some(&route.name.ns))
                        }
                    };
                    let rules = rules.iter().filter(|rule| is_for(rule, &key.hostname));
                    found.extend(rules.map(|rule| Found {
                        placed: place(rule, port, consumer, &route.name.ns),
                        is_of_consumer: consumer.is_some(),
                        specificity: attachment.specificity,
                    }));
                }
            }
        }
        let mut rules = sorted(found);
        // A route that has several hostnames which cover this one has its rules once.
        let mut seen = BTreeSet::new();
        rules.retain(|placed| seen.insert((placed.rule.route.clone(), placed.rule.place, placed.port)));
        (is_needed || !rules.is_empty()).then_some(Host { rules })
    }
}

/// Tells whether streams to a hostname may be those that a rule is for.
fn is_for(rule: &Rule, hostname: &Str) -> bool {
    let sni = &rule.matches.sni;
    sni.is_empty() || sni.iter().any(|name| intersection(name, hostname).is_some())
}

fn place(rule: &Arc<Rule>, port: Option<u16>, consumer: Option<&Ns>, own: &Ns) -> Placed {
    let named = Some(&rule.matches.callers).filter(|ns| !ns.is_empty());
    Placed {
        rule: rule.clone(),
        port: port.or(rule.matches.port),
        callers: consumer.cloned().or_else(|| named.map(|ns| own.beside(ns))),
    }
}
