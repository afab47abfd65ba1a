//! Authenticates clients by certificate or bearer token.

use super::caller::{Authenticated, Connection, Credential, Tokens};
use super::client_certificates::ClientVerifier;
use super::vouched_pods::VouchedPods;
use crate::clock::Clock;
use crate::identity_index::IdentityIndex;
use crate::refused::Refused;
use crate::stats::IdentityStats;
use crate::tokens::{LEEWAY, TokenRateLimits, TokenVerifier};
use ca::token::{PodBinding, ServiceAccountToken, TokenRefusal};
use ca::{Caller, CertificateRenewal, Denial, Pods};
use http::{HeaderMap, header};
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Maximum duration of a stream whose token was reviewed; then the client must present a token again,
/// because the API server's answer may have changed.
const REVIEWED_STREAM_TTL: Duration = Duration::from_secs(3600);

/// Authenticates clients.
pub struct Authenticator {
    cluster_id: String,
    index: Arc<IdentityIndex>,
    tokens: TokenVerifier,
    client_verifier: ClientVerifier,
    renewal: CertificateRenewal,
    token_limits: TokenRateLimits,
    clock: Arc<dyn Clock>,
    stats: Arc<IdentityStats>,
}

impl Authenticator {
    /// Authenticates clients of the cluster `cluster_id`, which they send as `clusterid`; `renewal` says whose
    /// certificates renew themselves.
    pub(crate) fn new(
        cluster_id: String,
        index: Arc<IdentityIndex>,
        tokens: TokenVerifier,
        client_verifier: ClientVerifier,
        renewal: CertificateRenewal,
        clock: Arc<dyn Clock>,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let token_limits = TokenRateLimits::new(clock.monotonic());
        Self { cluster_id, index, tokens, client_verifier, renewal, token_limits, clock, stats }
    }

    /// Fetches the keys of token issuers, and retries until they are fetched. `attempted` is cancelled after
    /// the first request to the API server.
    pub(crate) async fn fetch_keys(&self, attempted: &CancellationToken) {
        self.tokens.fetch_keys(attempted).await;
    }

    /// Returns whether callers may have pods that only their development token names.
    pub(super) fn accepts_development_tokens(&self) -> bool {
        self.tokens.are_for_development()
    }

    /// Authenticates a caller by its certificate, or by such a token. Whether its pod is alive is checked later, within
    /// the caller's own limits.
    ///
    /// # Errors
    /// [`Refused`]. The body of the call has not been read.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
        tokens: Tokens,
    ) -> Result<Authenticated, Refused> {
        let outcome = match &connection.certificate {
            Some(_) => self.by_certificate(connection),
            None => self.by_token(headers, connection, tokens).await,
        };
        outcome.inspect_err(|refused| self.count_unauthenticated(refused))
    }

    /// Checks that the caller's pod is alive, because a token may outlive its pod. A certificate names no
    /// pod; its account must be one whose certificates renew themselves. Tokens of additional issuers have no pod; a token of
    /// the cluster without one has been refused before.
    pub(super) async fn check_alive(&self, caller: &Authenticated) -> Result<(), Refused> {
        let who = &caller.caller;
        let alive = match caller.credential {
            Credential::Certificate => {
                self.query_pods(who, |pods| who.live_account(pods, self.renewal)).await
            }
            Credential::UnboundToken => return Ok(()),
            Credential::Token if who.pod.is_none() => return Ok(()),
            Credential::Token => self.query_pods(who, |pods| who.live_pod(pods).map(drop)).await,
        };
        alive.map_err(Refused::from).inspect_err(|refused| self.count_unauthenticated(refused))
    }

    /// Evaluates `query` against the pods, including the caller's own pod if a development token vouches
    /// for it.
    pub(super) async fn query_pods<T>(
        &self,
        caller: &Caller,
        mut query: impl FnMut(&dyn Pods) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let vouching = self.tokens.are_for_development();
        self.index
            .ask(|pods| if vouching { query(&VouchedPods { pods, caller }) } else { query(&pods) })
            .await
    }

    fn count_unauthenticated(&self, refused: &Refused) {
        if refused.code == ca::Code::Unauthenticated {
            self.stats.unauthenticated.add();
        }
    }

    fn by_certificate(&self, connection: &Connection) -> Result<Authenticated, Refused> {
        let Some(certificate) = &connection.certificate else {
            return Err(Refused::unauthenticated("no_credential", "the client has presented no certificate"));
        };
        self.client_verifier.check_valid(certificate, self.clock.now())?;
        let identity = certificate.identity.clone();
        if *identity.trust_domain() != self.index.mesh().trust_domain {
            let detail = format!("client certificate of {identity} is of another trust domain");
            return Err(Refused::unauthenticated("trust_domain", detail));
        }
        let caller = Caller {
            namespace: identity.namespace().to_owned(),
            service_account: identity.service_account().to_owned(),
            pod: None,
            node: None,
        };
        // A certificate is still valid in its last second.
        let expires = later(certificate.not_after, 1);
        let (credential, address) = (Credential::Certificate, connection.address);
        Ok(Authenticated { identity, caller, credential, expires, address })
    }

    async fn by_token(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
        tokens: Tokens,
    ) -> Result<Authenticated, Refused> {
        let (mesh, now) = (self.index.mesh(), self.clock.now());
        let token = bearer(headers)?;
        self.check_cluster(headers)?;
        let token = match self.tokens.cached(token, now) {
            // It was accepted for another kind of call.
            Some(cached) if cached.is_unbound && tokens == Tokens::OfPods => {
                return Err(TokenRefusal::Unbound.into());
            }
            Some(cached) => cached,
            None => {
                let address = connection.address.map(|a| a.ip());
                let may_review = || {
                    let limited = self.token_limits.may_review(address, self.clock.monotonic());
                    limited.map_err(Refused::rate_limited)
                };
                let pod = match tokens {
                    Tokens::OfPods => PodBinding::Required,
                    Tokens::Any => PodBinding::Optional,
                };
                let verified = self.tokens.verify(token, now, pod, &may_review).await;
                match &verified {
                    Ok(_) => self.token_limits.record_valid(address, self.clock.monotonic()),
                    // A token that could not be verified counts neither as valid nor as invalid.
                    Err(refused)
                        if matches!(refused.code, ca::Code::Unavailable | ca::Code::ResourceExhausted) => {}
                    Err(_) => {
                        let limited = self.token_limits.record_invalid(address, self.clock.monotonic());
                        limited.map_err(Refused::rate_limited)?;
                    }
                }
                verified?
            }
        };
        let identity = token.identity(&mesh.trust_domain)?;
        let caller = Caller::from(&*token);
        let expires = stream_end(&token, now);
        let credential = if token.is_unbound { Credential::UnboundToken } else { Credential::Token };
        let address = connection.address;
        Ok(Authenticated { identity, caller, credential, expires, address })
    }

    /// Refuses clients that name another cluster.
    fn check_cluster(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let mut named = headers.get_all("clusterid").iter();
        match (named.next(), named.next()) {
            // A repeated header counts as absent.
            (Some(one), None) if !one.is_empty() && one.as_bytes() != self.cluster_id.as_bytes() => {
                let name = String::from_utf8_lossy(one.as_bytes()).into_owned();
                Err(Refused::unauthenticated("unknown_cluster", format!("cluster {name:?} is not known")))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the single bearer token of a call (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut found = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (found.next(), found.next()) else {
        let detail = "neither a client certificate nor exactly one authorization header";
        return Err(Refused::unauthenticated("no_credential", detail));
    };
    let malformed =
        || Refused::unauthenticated("no_bearer", "the authorization header is not a bearer token");
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    Ok(token.trim())
}

fn stream_end(token: &ServiceAccountToken, now: UnixTime) -> UnixTime {
    // As long as the token would be accepted: a client whose clock is behind would otherwise reconnect
    // immediately with the same token, repeatedly.
    let end = later(token.expires, LEEWAY.as_secs());
    // Only a reviewed token has no issuer.
    if token.issuer.is_empty() { end.min(later(now, REVIEWED_STREAM_TTL.as_secs())) } else { end }
}

fn later(time: UnixTime, seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs().saturating_add(seconds)))
}
