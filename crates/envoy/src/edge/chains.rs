//! The listeners of Envoy: one for each port, whose chains are what authors call listeners.

use engine::{Builder, Cx, Index, Table};
use gateway::{GatewayListeners, Host, HostKey, Listener, ListenerKey, Protocol};
use mesh::destination::Families;
use model::facts::TrafficMode;
use model::{Name, Str};
use output::Encoded;
use proto::envoy::config::listener::v3::{FilterChain, Listener as EnvoyListener};
use proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::inputs::{ByPort, Inputs};
use crate::key::{EdgePort, Payload};
use crate::listener::{Edge, Hosts, Over, over_quic, over_tls};
use crate::policy::Policies;
use crate::route::By;
use crate::tls;

/// The listeners of ports, and those of QUIC.
pub(super) struct Listeners {
    pub tcp: Table<EdgePort, Encoded>,
    pub quic: Table<EdgePort, Encoded>,
}

/// Declares them.
pub(super) fn declare(b: &mut Builder, gateway: &gateway::Tables, by_port: ByPort, of: Inputs) -> Listeners {
    let streams = b.index(gateway.routing.streams[0], "stream_hostname_by_listener", |key: &HostKey, _| {
        key.target.listener().cloned()
    });
    let (gateways, listeners, settings) = (gateway.gateways, gateway.listeners, of.settings);
    // A row of its own, which a certificate's renewal leaves as it is. There is none where TLS cannot be: nobody is answered
    // without a certificate, or by one that asks nothing of clients that are to show theirs.
    let contexts = b.derive("edge_tls", gateway.terminations, move |cx, key, termination| {
        let is_https = cx.get(listeners, key)?.protocol == Ok(Protocol::Https);
        let protocols: &[&str] = if is_https { &["h2", "http/1.1"] } else { &[] };
        let context = || tls::termination(termination, &settings.trust_domains(cx), protocols);
        termination.is_served().then(context)
    });
    let sources = Sources { gateways, streams, contexts, of };
    let tcp = b.group("edge_listeners", by_port, move |cx, key: &EdgePort, listeners| {
        let is_tls = |of: &Listener| matches!(of.protocol, Ok(Protocol::Https | Protocol::Tls));
        let is_tls = listeners.iter().any(|(_, of)| is_tls(of));
        sources.read(cx, key, |reader, families| {
            reader.edge.listener(reader.chains(listeners), is_tls, families)
        })
    });
    let quic = b.group("edge_quic_listeners", by_port, move |cx, key: &EdgePort, listeners| {
        if !listeners.iter().any(|(_, of)| of.asks_for_http3()) {
            return None;
        }
        sources.read(cx, key, |reader, families| reader.edge.quic(reader.quic_chains(listeners), families))
    });
    Listeners { tcp, quic }
}

/// Where what a listener is made from is found.
#[derive(Clone, Copy)]
struct Sources {
    gateways: Table<Name, GatewayListeners>,
    streams: Index<ListenerKey, HostKey, Host>,
    contexts: Table<ListenerKey, DownstreamTlsContext>,
    of: Inputs,
}

impl Sources {
    /// Returns the listener that is made of what is found for a port.
    fn read(
        self,
        cx: &Cx<'_>,
        key: &EdgePort,
        make: impl FnOnce(&Reader<'_>, Families) -> Option<EnvoyListener>,
    ) -> Option<Encoded> {
        let Self { gateways, streams, contexts, of } = self;
        let settings = of.settings;
        let gateway = cx.get(gateways, &key.gateway)?;
        let profile = of.profiles.of_gateway_at(cx, &key.gateway, TrafficMode::Client, key.port);
        let caller = format!(
            "{};{};latest;;~spiffe://{}/ns/{}/sa/{}",
            gateway.name,
            key.gateway.name,
            settings.trust_domain(cx),
            &*key.gateway.ns,
            gateway.account
        );
        let edge = Edge {
            port: key,
            normalization: settings.normalization(cx),
            topology: settings.gateway_topology(cx),
            profile: &profile,
            caller: &caller,
        };
        let policies = cx.memo(of.policies.gateways, &key.gateway);
        let reader = Reader { cx, edge: &edge, streams, contexts, of, policies };
        let families: Option<Arc<Families>> = cx.get(of.destinations.families, &key.gateway);
        let listener = make(&reader, families.map(|of| *of).unwrap_or_default())?;
        Some(Encoded::message(&listener))
    }
}

struct Reader<'a> {
    cx: &'a Cx<'a>,
    edge: &'a Edge<'a>,
    streams: Index<ListenerKey, HostKey, Host>,
    contexts: Table<ListenerKey, DownstreamTlsContext>,
    of: Inputs,
    /// Those for whatever goes through the gateway.
    policies: Option<Arc<Policies>>,
}

impl Reader<'_> {
    /// Returns the chains of listeners of one port, each for another name of TLS.
    fn chains(&self, listeners: &[(ListenerKey, Arc<Listener>)]) -> Vec<FilterChain> {
        self.chains_by(listeners, |key, listener| self.chains_of(key, listener))
    }

    /// Returns those of QUIC.
    fn quic_chains(&self, listeners: &[(ListenerKey, Arc<Listener>)]) -> Vec<FilterChain> {
        self.chains_by(listeners, |key, listener| {
            let Some(context) = self.quic(key, listener) else { return Vec::new() };
            let chain = self.https(key, listener, Over::Quic);
            vec![(listener.hostname.clone(), over_quic(chain, &listener.hostname, &context))]
        })
    }

    /// Returns what a listener has TLS of QUIC end by, if it asks for it and can.
    fn quic(&self, key: &ListenerKey, listener: &Listener) -> Option<Arc<DownstreamTlsContext>> {
        let context = self.cx.get(self.contexts, key).filter(|_| listener.asks_for_http3())?;
        // Over QUIC no client is asked for a certificate.
        let tls = context.common_tls_context.as_ref();
        tls.is_some_and(|tls| tls.validation_context_type.is_none()).then_some(context)
    }

    /// Returns the chain of requests of a listener of HTTPS.
    fn https(&self, key: &ListenerKey, listener: &Listener, over: Over) -> FilterChain {
        let hostname = &listener.hostname;
        let hosts = if hostname.starts_with('*') { Hosts::Any } else { Hosts::One(hostname) };
        let name = key.to_string();
        self.edge.requests(&name, hosts, Some(&name), over)
    }

    fn chains_by(
        &self,
        listeners: &[(ListenerKey, Arc<Listener>)],
        chains_of: impl Fn(&ListenerKey, &Listener) -> Vec<(Str, FilterChain)>,
    ) -> Vec<FilterChain> {
        let mut listeners: Vec<_> = listeners.iter().collect();
        // A name that several listeners take is that of the one that asks for it most exactly.
        listeners.sort_by_key(|(key, of)| {
            (Reverse((!of.hostname.starts_with('*'), of.hostname.len())), key.clone())
        });
        let (mut names, mut chains) = (BTreeSet::new(), Vec::new());
        for (key, listener) in listeners {
            for (name, chain) in chains_of(key, listener) {
                if names.insert(name) {
                    chains.push(chain);
                }
            }
        }
        chains
    }

    /// Returns those of a listener, by the name of TLS; without TLS by the name for any.
    fn chains_of(&self, key: &ListenerKey, listener: &Listener) -> Vec<(Str, FilterChain)> {
        let hostname = &listener.hostname;
        let is_terminated = listener.tls.as_ref().is_some_and(|tls| tls.is_terminated);
        let context = if is_terminated { self.cx.get(self.contexts, key) } else { None };
        match listener.protocol {
            Ok(Protocol::Https) if context.is_none() => Vec::new(),
            Ok(Protocol::Tls) if is_terminated && context.is_none() => Vec::new(),
            Ok(Protocol::Http) => vec![("*".into(), self.edge.requests("http", Hosts::Any, None, Over::Tcp))],
            Ok(Protocol::Https) => {
                let over = self.quic(key, listener).map_or(Over::Tcp, |_| Over::TcpBesideQuic);
                let chain = self.https(key, listener, over);
                vec![(hostname.clone(), over_tls(chain, hostname, context.as_deref()))]
            }
            Ok(Protocol::Tls) => {
                let each = |(name, chain): (Str, FilterChain)| {
                    let chain = over_tls(chain, &name, context.as_deref());
                    (name, chain)
                };
                let payload = if is_terminated { Payload::Unknown } else { Payload::Tls };
                self.streams(key, payload).into_iter().map(each).collect()
            }
            Ok(Protocol::Tcp) => self.streams(key, Payload::Unknown),
            Ok(Protocol::Hbone) | Err(_) => Vec::new(),
        }
    }

    /// Returns the chains of streams of a listener, by hostname: of each the first rule counts.
    fn streams(&self, key: &ListenerKey, payload: Payload) -> Vec<(Str, FilterChain)> {
        let EdgePort { gateway, port } = self.edge.port;
        let by = By { gateway, port: *port, payload };
        let chain = |(host, rules): (HostKey, Arc<Host>)| {
            let first = rules.rules.iter().find(|placed| placed.is_at(self.edge.port.port))?;
            let streams = self.of.sources.streams_of(self.cx, by, &first.rule);
            let name = format!("{key}|{}", host.hostname);
            Some((host.hostname, self.edge.streams(&name, &streams, self.policies.as_deref())))
        };
        self.cx.lookup(self.streams, key).into_iter().filter_map(chain).collect()
    }
}
