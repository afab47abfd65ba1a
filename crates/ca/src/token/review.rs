//! Answers of the API server about tokens (TokenReview, `authentication.k8s.io/v1`).

use super::claims::{BoundObject, ServiceAccountToken, subject};
use super::{TokenPolicy, TokenRefusal};
use rustls_pki_types::UnixTime;
use std::collections::BTreeMap;

/// The group of all service accounts.
const GROUP: &str = "system:serviceaccounts";

/// The status of a TokenReview.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Review {
    /// `status.error`.
    pub error: String,
    /// `status.authenticated`.
    pub authenticated: bool,
    /// `status.audiences`: those of the request that the token is for.
    pub audiences: Vec<String>,
    /// `status.user.username`.
    pub username: String,
    /// `status.user.groups`.
    pub groups: Vec<String>,
    /// `status.user.extra`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Review {
    /// Returns what a reviewed token says, where the review accepts it as `policy` wants. The
    /// review names no end: `expires` is what the token itself says, which is true if it is accepted.
    ///
    /// # Errors
    /// [`TokenRefusal`].
    pub fn accepted(
        &self,
        policy: &TokenPolicy,
        expires: UnixTime,
    ) -> Result<ServiceAccountToken, TokenRefusal> {
        if !self.error.is_empty() || !self.authenticated {
            return Err(TokenRefusal::Rejected);
        }
        // A server that does not know audiences returns none, and would accept any token.
        if !self.audiences.iter().any(|audience| policy.accepts_audience(audience)) {
            return Err(TokenRefusal::Audience);
        }
        let (namespace, account) = subject(&self.username)
            .filter(|_| self.groups.iter().any(|group| group == GROUP))
            .ok_or(TokenRefusal::Subject)?;
        let object = |kind: &str| {
            let one =
                |field: &str| match self.extra.get(&format!("authentication.kubernetes.io/{kind}-{field}")) {
                    Some(values) if values.len() == 1 => values.first().cloned(),
                    _ => None,
                };
            one("name").map(|name| BoundObject { name, uid: one("uid").unwrap_or_default() })
        };
        ServiceAccountToken {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            service_account_uid: None,
            pod: object("pod"),
            node: object("node"),
            issuer: String::new(),
            expires,
            is_unbound: false,
        }
        .bound_as(policy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::NOW;
    use crate::token::PodBinding;
    use std::time::Duration;

    fn policy() -> TokenPolicy {
        TokenPolicy {
            issuers: Vec::new(),
            audiences: vec!["istio-ca".to_owned()],
            leeway: Duration::ZERO,
            pod: PodBinding::Required,
        }
    }

    fn review() -> Review {
        let extra = [("pod-name", "zt-1"), ("pod-uid", "u1"), ("node-name", "n1")];
        Review {
            error: String::new(),
            authenticated: true,
            audiences: vec!["istio-ca".to_owned()],
            username: "system:serviceaccount:istio-system:ztunnel".to_owned(),
            groups: vec![GROUP.to_owned(), "system:authenticated".to_owned()],
            extra: extra
                .map(|(name, value)| (format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]))
                .into(),
        }
    }

    #[test]
    fn accepted_review_gives_pod_and_node() {
        let token = review().accepted(&policy(), NOW).unwrap();
        assert_eq!((token.namespace.as_str(), token.service_account.as_str()), ("istio-system", "ztunnel"));
        assert_eq!(token.pod, Some(BoundObject { name: "zt-1".to_owned(), uid: "u1".to_owned() }));
        assert_eq!(token.node.unwrap().name, "n1");
    }

    #[test]
    fn each_doubt_refuses() {
        let refused = |change: fn(&mut Review)| {
            let mut review = review();
            change(&mut review);
            review.accepted(&policy(), NOW).unwrap_err()
        };
        assert_eq!(refused(|r| r.authenticated = false), TokenRefusal::Rejected);
        assert_eq!(refused(|r| r.error = "x".to_owned()), TokenRefusal::Rejected);
        assert_eq!(refused(|r| r.audiences.clear()), TokenRefusal::Audience);
        assert_eq!(refused(|r| r.audiences = vec!["other".to_owned()]), TokenRefusal::Audience);
        assert_eq!(refused(|r| r.groups.clear()), TokenRefusal::Subject);
        assert_eq!(refused(|r| r.username = "admin".to_owned()), TokenRefusal::Subject);
        assert_eq!(refused(|r| r.username = "system:serviceaccount:a:b:c".to_owned()), TokenRefusal::Subject);
        assert_eq!(refused(|r| r.extra.clear()), TokenRefusal::Unbound);
        assert_eq!(
            refused(|r| drop(r.extra.insert("authentication.kubernetes.io/pod-uid".to_owned(), vec![]))),
            TokenRefusal::Unbound
        );
    }
}
