//! The table of fields: of each kind that is read, what becomes of each field of its API.
//!
//! A field is read, perhaps under a deprecated name, which is told; or it is known and not supported, and whoever sets it is told what to use instead; or it is
//! outside: a matter of others, or something that says nothing to proxies. Fields that kinds have in common
//! (`apiVersion`, `kind`, `metadata`) are not here; of `metadata` names, times, labels and annotations are read,
//! and a table of its own has the labels and annotations of a mesh ([`metadata_keys`]).
//!
//! The walk of objects at ingest, the page `docs/reference/fields.md` and the tests that compare the table with the
//! published definitions are made of it. A path has `[]` for each item of a list and `*` for each entry of a mapping:
//! `spec.rules[].matches[].headers[].name`.

mod built_in;
mod gateway_api;
mod istio;
mod line;
mod mesh_settings;
mod metadata;

pub use metadata::{
    Doubt, MetadataKey, MetadataPart, doubt, is_made_by_controller, is_of_mesh, may_be_of_mesh,
    metadata_keys, reads_annotation,
};

use crate::Kind;
use line::Line;

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldState {
    /// It is read.
    Read,
    /// It is read, and its API has given it up, or is about to.
    Deprecated {
        /// What to use instead, in words.
        instead: &'static str,
    },
    /// It is known, and it and what is below it have no effect.
    Unsupported {
        /// What to use instead, in words.
        instead: &'static str,
        /// The value that asks for nothing; empty if there is none. Null, an empty text, an empty list and an empty
        /// mapping never ask for anything.
        unless: &'static str,
    },
    /// It and what is below it are a matter of others, or say nothing to proxies: why.
    Outside(&'static str),
}

/// A line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its path. If it is read, a leaf; otherwise this stands for all below it that has no line of its own.
    pub path: String,
    /// What becomes of it.
    pub state: FieldState,
}

impl FieldState {
    /// Tells whether something is made of the field.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Deprecated { .. })
    }
}

/// Returns the fields of a kind, in the order of the table.
pub fn fields(kind: Kind) -> Vec<Field> {
    let mut fields = Vec::new();
    expand("", lines(kind), &mut fields);
    fields
}

fn lines(kind: Kind) -> &'static [Line] {
    match kind {
        Kind::Namespace => built_in::NAMESPACE,
        Kind::Node => built_in::NODE,
        Kind::ConfigMap => mesh_settings::CONFIG_MAP,
        Kind::Pod => built_in::POD,
        Kind::Service => built_in::SERVICE,
        Kind::EndpointSlice => built_in::ENDPOINT_SLICE,
        Kind::GatewayClass => gateway_api::GATEWAY_CLASS,
        Kind::Gateway => gateway_api::GATEWAY,
        Kind::ListenerSet => gateway_api::LISTENER_SET,
        Kind::HTTPRoute => gateway_api::HTTP_ROUTE,
        Kind::GRPCRoute => gateway_api::GRPC_ROUTE,
        Kind::TLSRoute => gateway_api::TLS_ROUTE,
        Kind::TCPRoute | Kind::UDPRoute => gateway_api::STREAM_ROUTE,
        Kind::ReferenceGrant => gateway_api::REFERENCE_GRANT,
        Kind::BackendTLSPolicy => gateway_api::BACKEND_TLS_POLICY,
        Kind::XBackendTrafficPolicy => gateway_api::BACKEND_TRAFFIC_POLICY,
        Kind::AuthorizationPolicy => istio::AUTHORIZATION_POLICY,
        Kind::PeerAuthentication => istio::PEER_AUTHENTICATION,
        Kind::RequestAuthentication => istio::REQUEST_AUTHENTICATION,
        Kind::Telemetry => istio::TELEMETRY,
        Kind::WasmPlugin => istio::WASM_PLUGIN,
        Kind::TrafficExtension => istio::TRAFFIC_EXTENSION,
        Kind::ServiceEntry => istio::SERVICE_ENTRY,
        Kind::WorkloadEntry => istio::WORKLOAD_ENTRY,
        Kind::VirtualService => istio::VIRTUAL_SERVICE,
        Kind::DestinationRule => istio::DESTINATION_RULE,
    }
}

fn expand(at: &str, lines: &[Line], fields: &mut Vec<Field>) {
    for line in lines {
        let mut add = |path: &str, names: &str, state: FieldState| {
            let path = join(at, path);
            match names {
                "" => fields.push(Field { path, state }),
                _ => fields.extend(names.split(' ').map(|name| Field { path: join(&path, name), state })),
            }
        };
        match *line {
            Line::Read(path, names) => add(path, names, FieldState::Read),
            Line::Deprecated(path, instead) => add(path, "", FieldState::Deprecated { instead }),
            Line::Unsupported(path, unless, instead) => {
                add(path, "", FieldState::Unsupported { instead, unless });
            }
            Line::Outside(path, names, why) => add(path, names, FieldState::Outside(why)),
            Line::Within(path, lines) => expand(&join(at, path), lines, fields),
        }
    }
}

fn join(at: &str, path: &str) -> String {
    match (at, path) {
        ("", _) => path.to_owned(),
        (_, "") => at.to_owned(),
        _ => format!("{at}.{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_field_is_in_the_table_once_and_says_what_to_use_instead() {
        for &kind in Kind::ALL {
            let fields = fields(kind);
            assert!(!fields.is_empty(), "{kind}");
            let mut seen = BTreeSet::new();
            for Field { path, state } in &fields {
                assert!(seen.insert(path.as_str()), "{kind} {path} is there twice");
                assert!(!path.contains(' ') && !path.contains(".."), "{kind} {path}");
                let words = match state {
                    FieldState::Read => continue,
                    FieldState::Deprecated { instead } | FieldState::Unsupported { instead, .. } => instead,
                    FieldState::Outside(why) => why,
                };
                assert!(!words.is_empty() && !words.ends_with('.') && !words.contains('|'), "{kind} {path}");
            }
            // What stands for all below it and is told would be told of what is read as well.
            let unsupported = fields.iter().filter(|f| matches!(f.state, FieldState::Unsupported { .. }));
            for above in unsupported {
                let below = fields.iter().find(|f| {
                    f.path.strip_prefix(above.path.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
                });
                assert_eq!(below, None, "{kind} {}", above.path);
            }
        }
    }
}
