//! A request to sign the certificate of a workload, once the caller is authorized.

use crate::refused::Refused;
use ca::Identity;

/// What to sign, for whom, and on whose behalf.
#[derive(Clone, Copy)]
pub(crate) struct IssueRequest<'a> {
    /// The key by which limits tell clients apart.
    pub client: &'a str,
    /// One PEM block `CERTIFICATE REQUEST`.
    pub csr: &'a str,
    /// The identity of the certificate.
    pub identity: &'a Identity,
    /// The external signer that the client chose; empty for the default. Our own key ignores it.
    pub signer: &'a str,
    /// The requested lifetime in seconds; zero or less stands for the default.
    pub ttl_seconds: i64,
    /// Called once the request is read and found to be in order, before it is signed: takes it from what clients may
    /// have together.
    pub charge: &'a (dyn Fn() -> Result<(), Refused> + Sync),
}
