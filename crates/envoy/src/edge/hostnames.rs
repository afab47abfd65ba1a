//! The scopes of requests: one for each hostname, and one of each port that tells which there are.

use engine::{Builder, Table};
use gateway::{Class, HostKey, ListenerKey, Protocol};
use model::Str;
use output::Encoded;

use super::inputs::{ByPort, Inputs};
use crate::key::{EdgePort, Payload, ResourceKey, edge_scope};
use crate::route::{self, By, Hostname, Listened, Origin, Routed};
use crate::send::resource;

/// Declares the scope of each hostname: its rules, for requests that came by its listener.
pub(super) fn declare(
    b: &mut Builder,
    gateway: &gateway::Tables,
    Inputs { sources, policies, profiles, .. }: Inputs,
) -> Table<ResourceKey, Encoded> {
    let listeners = gateway.listeners;
    b.expand("edge_hostname_scopes", gateway.routing.requests[0], move |cx, key, host| {
        let Some(at) = key.target.listener() else { return Vec::new() };
        let Some(listener) = cx.get(listeners, at).filter(|of| of.class == Class::Gateway) else {
            return Vec::new();
        };
        let by = By { gateway: &at.gateway, port: listener.port, payload: Payload::Unknown };
        let rules = host.rules.iter().filter(|placed| placed.is_at(listener.port));
        let rules: Vec<Routed> = rules.map(|placed| sources.routed(cx, by, placed.rule.clone())).collect();
        let is_tls = listener.protocol == Ok(Protocol::Https);
        let of_listener = is_tls.then(|| at.to_string());
        let of = Hostname {
            hostname: &key.hostname,
            origin: Origin {
                port: listener.port,
                is_tls,
                is_traced: profiles.is_gateway_traced(cx, &at.gateway),
            },
            listener: of_listener.as_deref(),
            rules: &rules,
        };
        let policies = cx.memo(policies.edges, &at.gateway);
        let scope = route::hostname(&of, policies.as_deref());
        vec![resource(&at.gateway, &edge_scope(listener.port, &key.hostname), &scope)]
    })
}

/// Declares the scope that tells which hostnames there are at a port, by listener.
pub(super) fn declare_all(
    b: &mut Builder,
    gateway: &gateway::Tables,
    by_port: ByPort,
) -> Table<EdgePort, Encoded> {
    // Rows of their own: rules change more often than hostnames.
    let wide = b.derive("wide_hostnames", gateway.routing.requests[0], |_, key: &HostKey, _| {
        let is_wide = key.hostname.starts_with('*') && key.target.listener().is_some();
        is_wide.then_some(())
    });
    let wide = b.index(wide, "wide_hostname_by_listener", |key: &HostKey, ()| key.target.listener().cloned());
    b.group("edge_hostnames", by_port, move |cx, key: &EdgePort, listeners| {
        let takes = |of: &Protocol| matches!(of, Protocol::Http | Protocol::Https);
        let takes_requests = listeners.iter().filter(|(_, of)| of.protocol.as_ref().is_ok_and(takes));
        let all: Vec<(&ListenerKey, bool, &Str, Vec<HostKey>)> = takes_requests
            .map(|(at, of)| {
                let wide = cx.lookup(wide, at).into_iter().map(|(key, _)| key).collect();
                (at, of.protocol == Ok(Protocol::Https), &of.hostname, wide)
            })
            .collect();
        if all.is_empty() {
            return None;
        }
        let listened = all.iter().map(|(at, is_tls, hostname, wide)| Listened {
            hostname,
            listener: is_tls.then(|| at.to_string()),
            wide: wide.iter().map(|key| key.hostname.as_str()).collect(),
        });
        Some(Encoded::message(&route::listeners(key.port, &listened.collect::<Vec<_>>())))
    })
}
