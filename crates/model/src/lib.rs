//! Names, labels, kinds and the *facts* of Kubernetes objects.
//!
//! An object is read once, at ingest (`parse`), into the few fields that the mesh depends on.
//! What cannot be true of an object (a pod without a namespace, a port above 65535) cannot be
//! written in these types, so nothing after ingest checks for it again.
//!
//! ```text
//! bytes ──parse──▶ Object (facts)     a policy that cannot be understood is a fact too: `Refused`
//!            └───▶ Diagnostic         anything else that cannot be understood
//! ```
//!
//! Invariants: strings that repeat are shared ([`shared`]), label sets are sorted and shared
//! ([`Labels`]), equal objects give equal facts, and nothing here reads a clock or the world.
//!
//! ```
//! use pilothouse_model::{Kind, Object, parse};
//!
//! let json = br#"{"metadata": {"name": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}}"#;
//! let Ok(Object::Namespace(shop)) = parse(Kind::Namespace, json) else { panic!("not a namespace") };
//! assert_eq!(shop.labels.get("istio.io/dataplane-mode").map(|v| v.as_str()), Some("ambient"));
//!
//! let wrong = parse(Kind::Service, br#"{"metadata": {"name": "web", "namespace": "shop"}, "spec": []}"#);
//! assert_eq!(wrong.map_err(|d| (d.code, d.field)), Err(("KO003", "spec".to_owned())));
//! ```

mod address;
pub mod crd;
pub mod diagnostic;
mod event;
pub mod facts;
pub mod field;
mod host;
mod kind;
mod label;
mod name;
mod nearest;
pub mod parse;
mod printable;
mod request_limit;
mod timestamp;
mod trust_domain;
mod uid;
pub mod yaml;

pub use address::is_same_for_all;
pub use diagnostic::{Diagnostic, Place, Severity};
pub use event::Event;
pub use facts::Object;
pub use host::{host_of, is_dns_label, is_dns_name, is_hostname};
pub use kind::{Kind, KindState, KnownKind, Scope, known_kinds};
pub use label::{Labels, Selector, SelectorOperator, SelectorRequirement};
pub use name::{Name, Ns, ObjectRef, Str, shared};
pub use nearest::{did_you_mean, nearest, nearest_within};
pub use parse::parse;
pub use printable::{Lines, printable, printable_json};
pub use request_limit::RequestLimit;
pub use timestamp::rfc3339;
pub use trust_domain::{InvalidTrustDomain, TrustDomain};
pub use uid::Uid;
