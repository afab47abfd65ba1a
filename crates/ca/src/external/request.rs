//! Requests as an external signer gets them.

use super::{ExternalRefusal, checked, names::NameSet};
use crate::identity::Identity;
use crate::key::SigningKey;
use crate::pem::pem;
use crate::request::SubjectKey;
use crate::ttl::TtlPolicy;
use std::time::Duration;

/// Shortest life that can be asked for: the API server takes no shorter one.
pub const MIN_EXTERNAL_LIFE: Duration = Duration::from_secs(600);

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A workload, which is client and server.
    Workload,
    /// A server of the control plane.
    Server,
}

/// A request that may be passed on, and what its answer is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalRequest {
    pem: String,
    pub(super) key: SubjectKey,
    pub(super) names: NameSet,
    life: Duration,
    purpose: Purpose,
}

impl ExternalRequest {
    /// Takes the request of a workload in PEM, if it asks for `identity` and for nothing else.
    ///
    /// `requested` is the life asked for in seconds; zero and less stand for the default.
    ///
    /// # Errors
    /// [`ExternalRefusal`].
    pub fn of_workload(
        text: &str,
        identity: &Identity,
        requested: i64,
        ttl: &TtlPolicy,
    ) -> Result<Self, ExternalRefusal> {
        let (der, request) = checked(text, identity)?;
        let life = ttl.resolve(requested)?;
        let names = NameSet::of(&[&identity.to_string()]);
        Self::new(pem("CERTIFICATE REQUEST", &der), request.key, names, life, Purpose::Workload)
    }

    /// Makes the request of a server of the control plane. `names` are DNS names or addresses.
    ///
    /// # Errors
    /// [`ExternalRefusal`] when leaves cannot have such a key, or the life is too short.
    pub fn of_server(key: &SigningKey, names: &[&str], life: Duration) -> Result<Self, ExternalRefusal> {
        let subject = key.subject_key().ok_or(ExternalRefusal::ServerKey)?;
        Self::new(key.request_pem(names)?, subject, NameSet::of(names), life, Purpose::Server)
    }

    fn new(
        pem: String,
        key: SubjectKey,
        names: NameSet,
        life: Duration,
        purpose: Purpose,
    ) -> Result<Self, ExternalRefusal> {
        if life < MIN_EXTERNAL_LIFE {
            return Err(ExternalRefusal::TooShort {
                asked: life.as_secs(),
                min: MIN_EXTERNAL_LIFE.as_secs(),
            });
        }
        Ok(Self { pem, key, names, life, purpose })
    }

    /// Returns the request in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns how long the certificate is to live: ten minutes or more.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// Returns what the certificate is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
}
