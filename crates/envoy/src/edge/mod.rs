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
use gateway::{Class, ClientCertificates, Listener, ListenerKey, Protocol};
use model::{Diagnostic, Name, ObjectRef, Severity};
use output::{Encoded, Outputs, Resource};
use proto::{ResourceType, Scope};

use crate::key::{ANY_HOSTNAME, EdgePort, edge_scope};
use crate::send::{LISTENERS, SCOPES, SECRETS, resource, send};
use crate::tls;
pub(crate) use inputs::Inputs;

/// Declares which gateways are at the edge: of the cluster, or of the network where there are several.
pub(crate) fn gateways(b: &mut Builder, of: &gateway::Tables, is_multi_network: bool) -> Table<Name, ()> {
    b.derive("edge_gateways", of.gateways, move |_, _, of| {
        let is_edge = of.class == Class::Gateway || (of.class == Class::EastWest && is_multi_network);
        is_edge.then_some(())
    })
}

/// Declares the resources of gateways at the edge.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, gateway: &gateway::Tables, of: Inputs) {
    let by_port = b.index(gateway.listeners, "edge_listener_by_port", |key, listener| {
        // Of those between networks, what passes TLS to a server by its name.
        let is_edge = match listener.class {
            Class::Gateway => listener.is_active(),
            Class::EastWest => listener.protocol == Ok(Protocol::Tls) && listener.is_active(),
            Class::Waypoint | Class::Remote => false,
        };
        is_edge.then(|| EdgePort { gateway: key.gateway.clone(), port: listener.port })
    });
    out.diagnostics(b, "unasked_edge_findings", gateway.gateways, move |cx, name, gateway| {
        let policies = if gateway.class == Class::Gateway { cx.memo(of.policies.edges, name) } else { None };
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
    let of = ResourceType::Listener;
    out.named_resources(b, listeners.tcp, of, LISTENERS, EdgePort::of_listener, |key, encoded| {
        Some(of_gateway(key, key.listener(), encoded))
    });
    out.named_resources(b, listeners.quic, of, LISTENERS, EdgePort::of_quic, |key, encoded| {
        Some(of_gateway(key, key.quic(), encoded))
    });
    let asking = gateway.listeners;
    out.diagnostics(b, "http3_findings", gateway.terminations, move |cx, key, termination| {
        let asks = cx.get(asking, key).is_some_and(|listener| listener.asks_for_http3());
        (asks && termination.clients != ClientCertificates::None).then(|| without_http3(key))
    });
    let secrets = b.expand("edge_secrets", gateway.materials, |_, (gateway, material), content| {
        let name = tls::material_name(material);
        vec![resource(gateway, &name, &tls::material(&name, content))]
    });
    send(b, out, secrets, ResourceType::Secret, SECRETS);
}

/// A listener that speaks no HTTP/3, though it is to.
const WITHOUT_HTTP3: &str = "GW002";

fn without_http3(key: &ListenerKey) -> Diagnostic {
    Diagnostic {
        code: WITHOUT_HTTP3,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: key.owner.kind(), name: key.owner.name().clone() }),
        field: format!("spec.listeners[{}].tls.options", key.name),
        message: format!(
            "the listener {:?} speaks no HTTP/3: over QUIC no client is asked for a certificate",
            &*key.name
        ),
        help: "take the option away, or the validation of clients".to_owned(),
        place: None,
    }
}

fn of_gateway<'r>(key: &EdgePort, name: String, encoded: &'r Encoded) -> Resource<'r> {
    Resource::new(name, encoded).scope(Scope::proxy(&key.gateway.to_string()))
}
