use super::{Meta, ObjectReference, SessionPersistence};
use crate::{Labels, Str};
use std::time::Duration;

/// An entry of `spec.targetRefs` of a policy of the Gateway API: an object of the policy's namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BackendTarget {
    /// The object.
    pub object: ObjectReference,
    /// `sectionName`, the name of a port; empty for every one.
    pub section: Str,
}

/// An entry of `validation.subjectAltNames`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SubjectAltName {
    /// `Hostname`.
    Hostname(Str),
    /// `URI`.
    Uri(Str),
    /// Another type: nothing has such a name.
    Unknown(Str),
}

/// Facts of a Gateway API `BackendTLSPolicy`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackendTlsPolicy {
    /// Metadata.
    pub meta: Meta,
    /// `spec.targetRefs`, in order.
    pub targets: Vec<BackendTarget>,
    /// `spec.validation.hostname`: the name that is asked for and verified.
    pub hostname: Str,
    /// `spec.validation.caCertificateRefs`, in order.
    pub roots: Vec<ObjectReference>,
    /// `spec.validation.wellKnownCACertificates`, as written; empty when unset.
    pub well_known: Str,
    /// `spec.validation.subjectAltNames`, in order; empty when `hostname` is verified.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// `spec.options`.
    pub options: Labels,
}

/// A number of things in a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub interval: Duration,
}

/// `retryConstraint` of an `XBackendTrafficPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RetryConstraint {
    /// `budget`: which percentage of requests may be retries, 20 when unset, in 10 seconds when unset.
    pub budget: Rate,
    /// `minRetryRate`: what may be retried whatever the budget, 10 in a second when unset.
    pub min_rate: Rate,
}

/// Facts of a Gateway API `XBackendTrafficPolicy`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackendTrafficPolicy {
    /// Metadata.
    pub meta: Meta,
    /// `spec.targetRefs`, in order.
    pub targets: Vec<BackendTarget>,
    /// `spec.retryConstraint`.
    pub retries: Option<RetryConstraint>,
    /// `spec.sessionPersistence`.
    pub session: Option<SessionPersistence>,
}
