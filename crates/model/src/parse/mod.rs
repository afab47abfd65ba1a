//! Ingest: the JSON of one object becomes its facts.
//!
//! ```text
//! JSON ──read──▶ manifest (the fields that matter, borrowed) ──lower──▶ facts
//! ```
//!
//! Fields that are not read are skipped without being kept: unknown fields are no error, because
//! newer clusters have more of them. Reading is done twice only when it fails, the second time with
//! the path of the field tracked.
//!
//! A policy fails closed: once its name is known it becomes facts whatever the rest holds, with a
//! [`Refused`](crate::facts::Refused) spec if need be. Any other object that cannot be understood is
//! a [`Diagnostic`], and the caller keeps what it had.
//!
//! Which fields are known and not supported is in the table of fields ([`crate::field`]); those of them that an object
//! sets are told of it ([`crate::facts::Meta::unsupported`]), and so are labels and annotations that have no effect.

mod annotation;
mod authorization_policy;
mod authorizer;
mod backend_policy;
mod cel;
pub mod code;
mod destination_rule;
mod duration;
mod endpoint_slice;
mod enumeration;
mod expression;
mod extension;
mod fault;
mod gateway;
mod ignored;
mod istio_match;
mod istio_route;
mod key_material;
mod listener;
mod locality;
mod log_format;
mod mesh_settings;
mod metadata;
mod namespace;
mod node;
mod number;
mod pairs;
mod peer_authentication;
mod pod;
mod policy;
mod provider;
mod read;
mod reference;
mod reference_grant;
mod referent;
mod request_authentication;
mod route;
mod route_filter;
mod route_match;
mod selector;
mod service;
mod service_entry;
mod session;
mod telemetry;
mod telemetry_provider;
mod text;
mod traffic_policy;
mod uid;
mod unset;
mod unsupported;
mod virtual_service;
mod workload_entry;
mod wrong;

#[cfg(test)]
mod tests;

pub use ignored::diagnostic as ignored_metadata;
pub use referent::{ReferentKind, referent};

use crate::facts::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::{Diagnostic, Kind, Object};
use std::sync::Arc;

macro_rules! parsers {
    ($($(#[$doc:meta])* $kind:ident($facts:ident, $plural:ident, $parse:path) $api:tt)*) => {
        fn dispatch(kind: Kind, json: &[u8]) -> Result<Object, wrong::Wrong> {
            match kind {
                $(Kind::$kind => $parse(json).map(|mut facts| {
                    unsupported::note(kind, &mut facts, json);
                    Object::$kind(Arc::new(facts))
                }),)*
            }
        }
    };
}

crate::for_each_kind!(parsers);

/// Returns the facts of one object of kind `kind`, whose manifest is the JSON document `json`.
///
/// The `apiVersion` and `kind` of the document are not read: all served versions of a kind have the
/// same shape.
///
/// # Errors
/// When the document is not JSON, does not name an object, or (unless it is a policy) has a field
/// that cannot be understood. The diagnostic names the object as soon as its name can be read.
#[allow(clippy::result_large_err)] // a diagnostic is made once for a bad object and kept
pub fn parse(kind: Kind, json: &[u8]) -> Result<Object, Diagnostic> {
    dispatch(kind, json).map_err(|wrong| wrong.into_diagnostic(metadata::reference(kind, json)))
}

/// Returns the facts of a policy that is refused for what `diagnostic` says, whatever its spec holds:
/// it denies what its selector names, as far as that can be read. `None` for a kind that is no policy,
/// and for a document that names no object.
pub fn refuse(kind: Kind, json: &[u8], diagnostic: Diagnostic) -> Option<Object> {
    match kind {
        Kind::AuthorizationPolicy => {
            let policy::Policy { meta, dry_run, spec } = policy::refuse(kind, json, diagnostic).ok()?;
            Some(Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy { meta, dry_run, spec })))
        }
        Kind::PeerAuthentication => {
            let policy::Policy { meta, spec, .. } = policy::refuse(kind, json, diagnostic).ok()?;
            Some(Object::PeerAuthentication(Arc::new(PeerAuthentication { meta, spec })))
        }
        Kind::RequestAuthentication => {
            let policy::Policy { meta, spec, .. } = policy::refuse(kind, json, diagnostic).ok()?;
            Some(Object::RequestAuthentication(Arc::new(RequestAuthentication { meta, spec })))
        }
        _ => None,
    }
}
