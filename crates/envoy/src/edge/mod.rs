//! Gateways at the edge: what they take traffic by.
//!
//! ```text
//! hostnames of listeners ──▶ a scope of requests for each, and one of each port that tells which there are
//! listeners by port ───────▶ a listener of Envoy, with chains by the names of TLS
//! terminations ────────────▶ secrets
//! ```
//!
//! A rule's edit is the scopes of its route's hostnames. Listeners change with those that authors write, and with what
//! becomes of streams.

mod chains;
mod hostnames;
mod inputs;

use engine::{Builder, Table};
use gateway::{Class, GatewayListeners, Listener, Protocol};
use model::Name;
use output::{Encoded, Outputs, Resource};
use proto::{ResourceType, Scope};

use crate::key::{ANY_HOSTNAME, EdgePort, edge_scope};
use crate::send::{LISTENERS, SCOPES, SECRETS, resource, send};
use crate::tls;
pub(crate) use inputs::Inputs;

/// Declares which gateways are at the edge.
pub(crate) fn gateways(b: &mut Builder, of: &gateway::Tables) -> Table<Name, ()> {
    b.derive("edge_gateways", of.gateways, |_, _, of| (of.class == Class::Gateway).then_some(()))
}

/// Declares the resources of gateways at the edge.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, gateway: &gateway::Tables, of: Inputs) {
    let by_port = b.index(gateway.listeners, "edge_listener_by_port", |key, listener| {
        let is_edge = listener.class == Class::Gateway && listener.is_active();
        is_edge.then(|| EdgePort { gateway: key.gateway.clone(), port: listener.port })
    });
    let is_edge = |_: &Name, gateway: &GatewayListeners| gateway.class == Class::Gateway;
    out.diagnostics_where(b, "unasked_edge_findings", gateway.gateways, is_edge, move |cx, name, gateway| {
        let policies = cx.memo(of.policies.edges, name);
        let takes_stream = |of: &Listener| matches!(of.protocol, Ok(Protocol::Tls | Protocol::Tcp));
        let takes_streams = gateway.listeners.iter().any(|(_, of)| takes_stream(of));
        policies.map(|policies| policies.unasked_at_edge(name, takes_streams)).unwrap_or_default()
    });
    let scopes = hostnames::declare(b, gateway, of);
    send(b, out, scopes, ResourceType::ScopedRoute, SCOPES);
    let all = hostnames::declare_all(b, gateway, by_port);
    out.named_resources(b, all, ResourceType::ScopedRoute, SCOPES, EdgePort::of_scope, |key, encoded| {
        let name = edge_scope(key.port, ANY_HOSTNAME);
        Some(of_gateway(key, name, encoded))
    });
    let listeners = chains::declare(b, gateway, by_port, of);
    out.named_resources(
        b,
        listeners,
        ResourceType::Listener,
        LISTENERS,
        EdgePort::of_listener,
        |key, encoded| Some(of_gateway(key, key.listener(), encoded)),
    );
    let secrets = b.expand("edge_secrets", gateway.materials, |_, (gateway, material), content| {
        let name = tls::material_name(material);
        vec![resource(gateway, &name, &tls::material(&name, content))]
    });
    send(b, out, secrets, ResourceType::Secret, SECRETS);
}

fn of_gateway<'r>(key: &EdgePort, name: String, encoded: &'r Encoded) -> Resource<'r> {
    Resource::new(name, encoded).scope(Scope::proxy(&key.gateway.to_string()))
}
