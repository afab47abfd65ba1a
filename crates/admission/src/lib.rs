//! Admission: what an API server is answered that asks whether an object may be written.
//!
//! ```text
//! body ──review──▶ Request ──judge──▶ Decision ──review──▶ body
//!                               │
//!                               └─ a mesh of that one object: the findings of the graph, by code
//! ```
//!
//! An object is judged by the graph that the mesh is made with, so the webhook, the log, `dump` and conditions say
//! the same of it. What depends on other objects is not told: they may be written after it.
//!
//! Invariants:
//! * What is valid for Istio is never refused for not being supported here: it is a warning.
//! * Nothing here recurses by the depth of a document, but for what `serde_json` bounds.
//!
//! ```
//! use pilothouse_admission::{Judge, Review, Decision};
//!
//! let body = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
//!     "uid": "1", "operation": "CREATE", "namespace": "shop",
//!     "kind": {"group": "security.istio.io", "version": "v1", "kind": "PeerAuthentication"},
//!     "object": {"metadata": {"name": "all", "namespace": "shop"}, "spec": {"mtls": {"mode": "SOME"}}}}}"#;
//! let review = Review::read(body)?;
//! let decision = Judge::new(plane::Options::default()).decide(&review.request);
//! assert!(matches!(decision, Decision::Denied { .. }));
//! # Ok::<(), String>(())
//! ```

mod codes;
mod decision;
mod judge;
mod review;

pub use decision::{Decision, Reason};
pub use judge::Judge;
pub use review::{GroupKind, Operation, Request, Review};
