//! Hostnames and their rules.

use engine::{Builder, Cx, Index, Key, Row, Table};
use model::{Kind, Name, Ns, Str};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::order::{Found, sorted};
use super::placed::Placed;
use crate::hostname::{covers, intersection, wider};
use crate::key::{HostKey, ListenerKey, ServiceTarget, Target};
use crate::listener::{Listener, Listeners, Protocol};
use crate::route::{Attachments, Backends, PerKind, Places, RouteRules, Rule, VirtualServices};

/// A hostname: what no rule matches is answered with 404, or closed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// The first that matches counts.
    pub rules: Vec<Placed>,
}

/// The routing model. Hostnames of one listener or service are found by it.
#[derive(Clone, Copy, Debug)]
pub struct Routing {
    /// Rules for requests, at listeners, Services and ServiceEntries.
    pub requests: [Table<HostKey, Host>; 3],
    /// Rules for streams, likewise.
    pub streams: [Table<HostKey, Host>; 3],
    /// The former by target.
    pub requests_by_target: [Index<Target, HostKey, Host>; 3],
    /// The latter by target.
    pub streams_by_target: [Index<Target, HostKey, Host>; 3],
}

/// What the model is made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub listeners: Listeners,
    pub backends: Backends,
    pub attachments: PerKind<Attachments>,
    pub rules: PerKind<Table<Name, RouteRules>>,
    pub virtual_services: VirtualServices,
}

/// Declares it.
pub(crate) fn declare(b: &mut Builder, inputs: Inputs) -> Routing {
    let both = inputs.attachments.zip(inputs.rules).map(|kind, (attachments, rules)| Source {
        kind,
        places: attachments.places,
        rules,
    });
    let VirtualServices { places, requests, streams, .. } = inputs.virtual_services;
    let source = |rules| Source { kind: Kind::VirtualService, places, rules };
    let requests = both.requests().map(|(_, of)| of).chain([source(requests)]);
    let streams = both.streams().map(|(_, of)| of).chain([source(streams)]);
    let requests = Sources { of: requests.collect(), falls_through: true };
    let streams = Sources { of: streams.collect(), falls_through: false };
    let tables = |b: &mut Builder, names: [[&'static str; 3]; 3], sources: &Arc<Sources>| {
        let [at_listeners, at_services, at_entries] = names;
        let (listeners, backends) = (inputs.listeners.rows, inputs.backends);
        let is_requests = sources.falls_through;
        [
            sources.declare(b, at_listeners, listeners, move |key: &ListenerKey, listener: &Listener| {
                own_hostnames(listener, is_requests).map(|own| (Target::Listener(key.clone()), own))
            }),
            sources.declare(b, at_services, backends.services, |name: &Name, _| {
                Some((service(Kind::Service, name), OwnHostnames::default()))
            }),
            sources.declare(b, at_entries, backends.entries, |name: &Name, _| {
                Some((service(Kind::ServiceEntry, name), OwnHostnames::default()))
            }),
        ]
    };
    let of_requests = [
        ["listener_request_names", "listener_request_keys", "listener_requests"],
        ["service_request_names", "service_request_keys", "service_requests"],
        ["entry_request_names", "entry_request_keys", "entry_requests"],
    ];
    let of_streams = [
        ["listener_stream_names", "listener_stream_keys", "listener_streams"],
        ["service_stream_names", "service_stream_keys", "service_streams"],
        ["entry_stream_names", "entry_stream_keys", "entry_streams"],
    ];
    let requests = tables(b, of_requests, &Arc::new(requests));
    let streams = tables(b, of_streams, &Arc::new(streams));
    let mut by_target = |tables: [Table<HostKey, Host>; 3]| {
        tables.map(|table| b.index(table, "host_by_target", |key: &HostKey, _| [key.target.clone()]))
    };
    Routing {
        requests_by_target: by_target(requests),
        streams_by_target: by_target(streams),
        requests,
        streams,
    }
}

fn service(kind: Kind, name: &Name) -> Target {
    Target::Service(ServiceTarget { kind, name: name.clone() })
}

/// The hostnames that a target has whatever routes there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct OwnHostnames {
    /// Its own: without a route it has no rules, and is nobody else's.
    own: Option<Str>,
    /// Those that others have.
    ceded: Vec<Str>,
}

/// Returns those of a listener that takes such routes.
fn own_hostnames(listener: &Listener, requests: bool) -> Option<OwnHostnames> {
    let protocol = listener.protocol.as_ref().ok().filter(|_| listener.is_active())?;
    let has_requests = matches!(protocol, Protocol::Http | Protocol::Https);
    let is_its = has_requests == requests && *protocol != Protocol::Hbone;
    is_its.then(|| OwnHostnames { own: Some(listener.hostname.clone()), ceded: listener.narrower.clone() })
}

/// Where the routes of a kind are attached, and their rules.
#[derive(Clone, Copy)]
struct Source {
    kind: Kind,
    places: Places,
    rules: Table<Name, RouteRules>,
}

/// The routes that hostnames are made from.
struct Sources {
    of: Vec<Source>,
    /// Whether what no rule of a hostname matches falls through to rules of wider ones.
    falls_through: bool,
}

impl Sources {
    /// Declares the hostnames of targets: their names, a key for each, and the rules under each key, so that
    /// a rule's edit reaches only the hostnames of its route.
    fn declare<K: Key, V: Row>(
        self: &Arc<Self>,
        b: &mut Builder,
        [names, keys, hosts]: [&'static str; 3],
        targets: Table<K, V>,
        target_of: impl Fn(&K, &V) -> Option<(Target, OwnHostnames)> + Send + 'static,
    ) -> Table<HostKey, Host> {
        let sources = Arc::clone(self);
        let names = b.derive(names, targets, move |cx, key, row| {
            let (target, OwnHostnames { own, ceded }) = target_of(key, row)?;
            let mut names: BTreeSet<Str> = own.into_iter().collect();
            for source in &sources.of {
                let attached = cx.lookup(source.places.by_target, &target).into_iter();
                names.extend(attached.map(|((host, ..), _)| host.hostname));
            }
            names.retain(|name| !ceded.iter().any(|ceded| covers(ceded, name)));
            (!names.is_empty()).then_some((target, names))
        });
        let keys = b.expand(keys, names, |_, _, (target, names)| {
            let key = |name: &Str| (HostKey { target: target.clone(), hostname: name.clone() }, ());
            names.iter().map(key).collect()
        });
        let sources = Arc::clone(self);
        b.derive(hosts, keys, move |cx, key, ()| sources.host(cx, key))
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
        for hostname in std::iter::once(key.hostname.clone()).chain(further) {
            let host = HostKey { target: key.target.clone(), hostname };
            for source in &self.of {
                for ((_, route, port), attachment) in cx.lookup(source.places.by_host, &host) {
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
