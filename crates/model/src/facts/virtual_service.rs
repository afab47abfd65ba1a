use super::{Meta, RouteRule};
use crate::Str;

/// Facts of Istio's `VirtualService`. Its rules have the shape that rules of routes have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VirtualService {
    /// Metadata.
    pub meta: Meta,
    /// `spec.hosts` in lower case, in order. One without a dot is a Service of the namespace.
    pub hosts: Vec<Str>,
    /// Whether its rules are for the mesh: `spec.gateways` has `mesh`, or nothing.
    pub is_for_mesh: bool,
    /// `spec.exportTo`, in order.
    pub export_to: Vec<Str>,
    /// `spec.http`, in order.
    pub http: Vec<RouteRule>,
    /// `spec.tls`, then `spec.tcp`, each in order.
    pub streams: Vec<RouteRule>,
    /// What of it has no effect, in the order of the fields.
    pub ignored: Vec<Ignored>,
}

/// A part of an object that is left out, while the rest of it counts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ignored {
    /// The field.
    pub field: String,
    /// What becomes of it; text from outside is quoted.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}
