//! The claims of a token, checked.

use super::TokenRefusal;
use crate::identity::{Identity, IdentityError};
use crate::ttl::at;
use model::TrustDomain;
use rustls_pki_types::UnixTime;
use serde::Deserialize;
use std::time::Duration;

/// What a token's tie to a pod counts for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PodBinding {
    /// The token must be bound to a pod: its issuer knows the pods of the cluster.
    Required,
    /// It may be, and says so ([`ServiceAccountToken::is_unbound`]): its issuer knows the pods of the cluster, and gives
    /// tokens to people too.
    Optional,
    /// What it says of pods and nodes is passed over, as that of an issuer that knows none.
    Ignored,
}

/// What is expected of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenPolicy {
    /// Issuers whose tokens the key set is for; at least one must match exactly.
    pub issuers: Vec<String>,
    /// Accepted audiences (`TOKEN_AUDIENCES`); one of them must be among the token's.
    pub audiences: Vec<String>,
    /// How far the clocks of issuer and verifier may differ.
    pub leeway: Duration,
    /// What the token's tie to a pod counts for.
    pub pod: PodBinding,
}

/// An object that a token is bound to: the token ends with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundObject {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`, empty when the token does not tell.
    pub uid: String,
}

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceAccountToken {
    /// The namespace of the service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
    /// The UID of the service account, if told.
    pub service_account_uid: Option<String>,
    /// The pod that the token is bound to.
    pub pod: Option<BoundObject>,
    /// The node that the pod runs on, or that the token is bound to.
    pub node: Option<BoundObject>,
    /// The issuer; empty when the API server was asked, which does not name it.
    pub issuer: String,
    /// When the token expires.
    pub expires: UnixTime,
    /// It could be bound to a pod and is not: whoever holds it is none.
    pub is_unbound: bool,
}

impl TokenPolicy {
    pub(super) fn accepts_audience(&self, audience: &str) -> bool {
        !audience.is_empty() && self.audiences.iter().any(|accepted| accepted == audience)
    }
}

impl ServiceAccountToken {
    /// Returns the identity of the service account in `trust_domain`.
    ///
    /// # Errors
    /// [`IdentityError`] for names that Kubernetes does not allow.
    pub fn identity(&self, trust_domain: &TrustDomain) -> Result<Identity, IdentityError> {
        Identity::new(trust_domain, &self.namespace, &self.service_account)
    }

    /// Returns this token if it is bound as `policy` wants.
    pub(super) fn bound_as(self, policy: &TokenPolicy) -> Result<Self, TokenRefusal> {
        if policy.pod == PodBinding::Ignored {
            return Ok(Self { pod: None, node: None, ..self });
        }
        // A binding without a UID would go over to the next pod of that name.
        let bound = self.pod.as_ref().is_some_and(|pod| !pod.name.is_empty() && !pod.uid.is_empty());
        match policy.pod {
            _ if bound => Ok(self),
            PodBinding::Optional => Ok(Self { pod: None, node: None, is_unbound: true, ..self }),
            PodBinding::Required | PodBinding::Ignored => Err(TokenRefusal::Unbound),
        }
    }
}

/// The registered claims (RFC 7519, section 4.1) and the private one of Kubernetes.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: Seconds,
    nbf: Option<Seconds>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A NumericDate, which may have a fraction.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Seconds {
    Whole(u64),
    Fraction(f64),
}

impl Seconds {
    /// Returns whole seconds; what is negative or not a number is 0, thus long past.
    fn whole(self) -> u64 {
        match self {
            Self::Whole(seconds) => seconds,
            Self::Fraction(seconds) => seconds as u64,
        }
    }
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Reference,
    pod: Option<Reference>,
    node: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    uid: Option<String>,
}

impl From<Reference> for BoundObject {
    fn from(reference: Reference) -> Self {
        Self { name: reference.name, uid: reference.uid.unwrap_or_default() }
    }
}

impl Claims {
    /// Checks that the token is for us and for now, and returns when it ends.
    pub(super) fn check_use(&self, policy: &TokenPolicy, now: UnixTime) -> Result<UnixTime, TokenRefusal> {
        let for_us = match &self.aud {
            OneOrMany::One(one) => policy.accepts_audience(one),
            OneOrMany::Many(many) => many.iter().any(|audience| policy.accepts_audience(audience)),
        };
        if !for_us {
            return Err(TokenRefusal::Audience);
        }
        let (now, leeway) = (now.as_secs(), policy.leeway.as_secs());
        if self.exp.whole().saturating_add(leeway) <= now {
            return Err(TokenRefusal::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf.whole() > now.saturating_add(leeway)) {
            return Err(TokenRefusal::NotYetValid);
        }
        Ok(at(self.exp.whole()))
    }
}

/// Checks the claims of a token whose signature is verified.
pub(super) fn check(
    claims: Claims,
    policy: &TokenPolicy,
    now: UnixTime,
) -> Result<ServiceAccountToken, TokenRefusal> {
    if claims.iss.is_empty() || !policy.issuers.contains(&claims.iss) {
        return Err(TokenRefusal::Issuer);
    }
    let expires = claims.check_use(policy, now)?;
    let (namespace, service_account) = subject(&claims.sub).ok_or(TokenRefusal::Subject)?;
    let mut token = ServiceAccountToken {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        service_account_uid: None,
        pod: None,
        node: None,
        issuer: claims.iss,
        expires,
        is_unbound: false,
    };
    if let Some(bound) = claims.kubernetes {
        if bound.namespace != token.namespace || bound.serviceaccount.name != token.service_account {
            return Err(TokenRefusal::Subject);
        }
        token.service_account_uid = bound.serviceaccount.uid;
        token.pod = bound.pod.map(BoundObject::from);
        token.node = bound.node.map(BoundObject::from);
    }
    token.bound_as(policy)
}

/// Splits `system:serviceaccount:<namespace>:<name>`.
pub(super) fn subject(text: &str) -> Option<(&str, &str)> {
    let (namespace, account) = text.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = !namespace.is_empty() && !account.is_empty() && !account.contains(':');
    valid.then_some((namespace, account))
}
