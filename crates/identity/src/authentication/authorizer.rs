//! Authorizes authenticated callers: streams, and certificates of their own or of pods on their node.

use super::authenticator::Authenticator;
use super::caller::{Authenticated, Connection, Credential, Tokens};
use crate::authority::Authority;
use crate::bindings::Binding;
use crate::clock::Clock;
use crate::identity_index::{IdentityIndex, MeshIdentity};
use crate::issue_request::IssueRequest;
use crate::refused::Refused;
use crate::stats::IdentityStats;
use ca::token::TokenRefusal;
use ca::{
    Denial, Identity, Issued, Pods, SigningKey, StreamDenial, StreamNode, StreamPolicy, TtlPolicy,
    authorize_gateway, authorize_stream,
};
use http::HeaderMap;
use limits::{KeyedSemaphore, Limiter, Limits, Permit, Rate, truncated};
use model::{Name, Str, rfc3339};
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Maximum number of clients that rate limits track.
const MAX_CLIENTS: usize = 64 * 1024;

/// How often one client may open streams.
const STREAMS_PER_CLIENT: Rate = Rate { burst: 50, per_second: 10 };

/// How often all ztunnels together may open streams, and again all others.
const STREAMS_TOTAL: Rate = Rate { burst: 20_000, per_second: 5000 };

/// The certificate rate of all ztunnels together, as a multiple of that of one client.
const CERTIFICATES_OF_ZTUNNELS: u32 = 20;

/// That of all others: each asks for its own only.
const CERTIFICATES_OF_OTHERS: u32 = 4;

/// Settings of [`Authorizer`].
#[derive(Debug, Clone)]
pub struct AuthorizerSettings {
    /// Sustained rate of certificates per client and second.
    pub certificates_per_second: u32,
    /// Maximum number of open streams per client. A client needs one, and a second one while it reconnects.
    pub streams_per_client: usize,
    /// Certificate lifetimes.
    pub ttl: TtlPolicy,
}

/// Permits one stream, which must end when the credential expires or the pod of the caller is gone.
pub struct StreamPermit {
    /// The binding to the caller's pod; `None` for a client certificate, a token of an additional issuer,
    /// and development tokens of pods that no manifest defines.
    pub binding: Option<Binding>,
    /// When the credential expires.
    pub expires: UnixTime,
    _permit: Permit<String>,
}

/// The node that a stream claims to be, unverified. Absent properties are empty.
#[derive(Debug, Clone, Copy)]
pub struct NodeClaim<'a> {
    /// `node.id`.
    pub id: &'a str,
    /// `NAMESPACE` of its metadata.
    pub namespace: &'a str,
    /// `SERVICE_ACCOUNT` of its metadata.
    pub service_account: &'a str,
    /// `NODE_NAME` of its metadata.
    pub node_name: &'a str,
    /// `INSTANCE_IPS` of its metadata.
    pub instance_ips: &'a str,
    /// The gateway that the label of its metadata names.
    pub gateway: &'a str,
}

impl NodeClaim<'_> {
    fn parse(&self) -> Result<StreamNode, StreamDenial> {
        StreamNode::parse(self.id, self.namespace, self.service_account, self.node_name, self.instance_ips)
    }
}

/// A request for a certificate.
pub struct CertificateRequest<'a> {
    /// One PEM block `CERTIFICATE REQUEST`.
    pub csr: &'a str,
    /// The requested identity, a SPIFFE id; empty for the caller's own.
    pub impersonated: &'a str,
    /// The requested external signer; empty for the default.
    pub signer: &'a str,
    /// The requested lifetime in seconds; zero or less stands for the default.
    pub ttl_seconds: i64,
}

/// Authenticates and authorizes the calls of the secure port.
pub struct Authorizer {
    settings: AuthorizerSettings,
    authenticator: Authenticator,
    index: Arc<IdentityIndex>,
    authority: Authority,
    ztunnels: Rates,
    others: Rates,
    open_streams: KeyedSemaphore<String>,
    clock: Arc<dyn Clock>,
    stats: Arc<IdentityStats>,
}

/// How often clients of a kind may do something, each and together.
struct Rates {
    streams: Mutex<Limiter<String>>,
    certificates: Mutex<Limiter<String>>,
}

impl Rates {
    /// One client may have this many certificates a second, and all `factor` times as many.
    fn new(certificates: u32, factor: u32, now: Duration) -> Self {
        let rate = |times: u32| {
            let per_second = certificates.max(1).saturating_mul(times);
            Rate { burst: per_second.saturating_mul(4), per_second }
        };
        let limiter = |per_client, total| {
            Mutex::new(Limiter::new(Limits { per_client, total, max_clients: MAX_CLIENTS }, now))
        };
        Self {
            streams: limiter(STREAMS_PER_CLIENT, STREAMS_TOTAL),
            certificates: limiter(rate(1), rate(factor)),
        }
    }
}

impl Authorizer {
    /// Authorizes the callers of `authenticator`, and signs with what is active in `authority`.
    pub(crate) fn new(
        settings: AuthorizerSettings,
        authenticator: Authenticator,
        index: Arc<IdentityIndex>,
        authority: Authority,
        clock: Arc<dyn Clock>,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let (start, rate) = (clock.monotonic(), settings.certificates_per_second);
        Self {
            ztunnels: Rates::new(rate, CERTIFICATES_OF_ZTUNNELS, start),
            others: Rates::new(rate, CERTIFICATES_OF_OTHERS, start),
            open_streams: KeyedSemaphore::new(settings.streams_per_client),
            settings,
            authenticator,
            index,
            authority,
            clock,
            stats,
        }
    }

    /// Returns the authenticator.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Returns the clock by which credentials expire.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns the counters.
    pub fn stats(&self) -> &IdentityStats {
        &self.stats
    }

    /// Authenticates a caller: [`Authenticator::authenticate`].
    ///
    /// # Errors
    /// [`Refused`]. The body of the call has not been read.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
        tokens: Tokens,
    ) -> Result<Authenticated, Refused> {
        self.authenticator.authenticate(headers, connection, tokens).await
    }

    /// Returns whether the caller's account is that of ztunnels.
    pub fn is_ztunnel(&self, caller: &Authenticated) -> bool {
        let account = &caller.caller;
        self.index.mesh().authorizer.trusts(&account.namespace, &account.service_account)
    }

    /// Those of the caller's kind: neither uses up what the other has.
    fn rates(&self, caller: &Authenticated) -> &Rates {
        if self.is_ztunnel(caller) { &self.ztunnels } else { &self.others }
    }

    /// Permits an authenticated caller to open a stream. The node is authorized later, by
    /// [`Authorizer::authorize_node`].
    ///
    /// # Errors
    /// [`Refused`]: too many streams, or the caller's pod is gone.
    pub async fn permit_stream(&self, caller: &Authenticated) -> Result<StreamPermit, Refused> {
        let (now, client) = (self.clock.monotonic(), caller.client());
        self.rates(caller).streams.lock().take(client.clone(), now).map_err(Refused::rate_limited)?;
        let permit = self.open_streams.try_acquire(client).ok_or_else(|| Refused {
            code: ca::Code::ResourceExhausted,
            reason: "too_many_streams",
            detail: format!("this client has {} streams open", self.settings.streams_per_client),
        })?;
        self.authenticator.check_alive(caller).await?;
        let binding = match &caller.caller.pod {
            None => None,
            Some(_) => match self.index.bind(&caller.caller) {
                Ok(binding) => Some(binding),
                Err(Denial::PodUnknown { .. }) if self.authenticator.accepts_development_tokens() => None,
                Err(denial) => return Err(denial.into()),
            },
        };
        Ok(StreamPermit { binding, expires: caller.expires, _permit: permit })
    }

    /// Decides whether a caller may be the node that its stream claims to be.
    ///
    /// # Errors
    /// [`Refused`]: `InvalidArgument` for a malformed node, `PermissionDenied` for the node of another,
    /// `Unauthenticated` for whoever holds a token of no pod and so is no node.
    pub fn authorize_node(
        &self,
        caller: &Authenticated,
        permit: &StreamPermit,
        node: &NodeClaim<'_>,
    ) -> Result<(), Refused> {
        if caller.credential == Credential::UnboundToken {
            self.stats.unauthenticated.add();
            return Err(TokenRefusal::Unbound.into());
        }
        let decide = || {
            let parsed = node.parse()?;
            let mesh = self.index.mesh();
            let policy = StreamPolicy { check_identity: true, ztunnels: Some(&mesh.authorizer) };
            let bound = permit.binding.as_ref().map(|binding| binding.node.as_str());
            let node_name = bound.or(caller.caller.node.as_deref());
            authorize_stream(std::slice::from_ref(&caller.identity), node_name, &parsed, &policy)
        };
        decide().map(drop).map_err(|denial| self.refuse_node(caller, node, denial))
    }

    /// Decides whose configuration a caller is served that is no ztunnel: that of the gateway, `(namespace,
    /// name)`, which the pod of its token is an instance of, and the places that this is at. The permit ends when
    /// either becomes another.
    ///
    /// # Errors
    /// [`Refused`], as [`authorize_node`](Self::authorize_node), and `PermissionDenied` for whoever is of no
    /// gateway or says that it is of another.
    pub fn authorize_gateway(
        &self,
        caller: &Authenticated,
        permit: &StreamPermit,
        node: &NodeClaim<'_>,
    ) -> Result<(Name, [Str; 4]), Refused> {
        self.authorize_node(caller, permit, node)?;
        let decide = || {
            let own = permit.binding.as_ref().and_then(|binding| binding.instance.as_ref());
            let gateway = own.map(|instance| instance.gateway.as_str());
            let gateway = authorize_gateway(&caller.caller, gateway, &node.parse()?, node.gateway)?;
            let places = own.map(|instance| instance.places.clone()).unwrap_or_default();
            Ok((Name::new(&caller.caller.namespace, gateway), places))
        };
        decide().map_err(|denial| self.refuse_node(caller, node, denial))
    }

    fn refuse_node(&self, caller: &Authenticated, node: &NodeClaim<'_>, denial: StreamDenial) -> Refused {
        let refused = Refused::from(denial);
        tracing::warn!(
            caller = %caller.identity, node = truncated(node.id),
            peer = caller.address.map(tracing::field::display),
            reason = refused.reason, detail = truncated(&refused.detail), "refused a stream",
        );
        self.stats.streams_refused.add(refused.reason);
        refused
    }

    /// Permits a caller to request a certificate, before its request is read. From what all may have together it is
    /// taken only once the request is in order, by [`issue`](Self::issue).
    ///
    /// # Errors
    /// [`Refused`]: too many requests, or the caller's pod is gone.
    pub async fn permit_certificate(&self, caller: &Authenticated) -> Result<(), Refused> {
        let now = self.clock.monotonic();
        let own = self.rates(caller).certificates.lock().take_own(caller.client(), now);
        own.map_err(Refused::rate_limited)?;
        self.authenticator.check_alive(caller).await
    }

    /// Returns what certificates are signed with, and whatever replaces it.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns what identities depend on of the settings of the mesh, as it changes.
    pub(super) fn mesh_changes(&self) -> watch::Receiver<Arc<MeshIdentity>> {
        self.index.mesh_changes()
    }

    /// Returns the longest life of a certificate of a proxy.
    pub(super) fn certificate_life(&self) -> Duration {
        self.settings.ttl.default_life()
    }

    /// Returns the identity that a caller has today: the trust domain may have changed since it called.
    pub(super) fn identity_now(&self, caller: &Authenticated) -> Identity {
        let (namespace, account) = (caller.identity.namespace(), caller.identity.service_account());
        // The parts are valid: they are those of an identity.
        Identity::new(&self.index.mesh().trust_domain, namespace, account)
            .unwrap_or_else(|_| caller.identity.clone())
    }

    /// Makes a key for a caller, and issues its own certificate for that, within the limits for certificates.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn proxy_certificate(
        &self,
        caller: &Authenticated,
    ) -> Result<(SigningKey, Issued), Refused> {
        self.stats.requests.add();
        let caller = Authenticated { identity: self.identity_now(caller), ..caller.clone() };
        let issued = self.issue_proxy_certificate(&caller).await;
        match &issued {
            Ok(_) => self.stats.issued.add(),
            Err(refused) => self.stats.refused.add(refused.reason),
        }
        issued
    }

    async fn issue_proxy_certificate(&self, caller: &Authenticated) -> Result<(SigningKey, Issued), Refused> {
        self.permit_certificate(caller).await?;
        let failed = |error: ca::KeyError| Refused {
            code: ca::Code::Internal,
            reason: "key_failed",
            detail: error.to_string(),
        };
        let key = SigningKey::generate_p256().map_err(failed)?;
        let csr = key.request_pem(&[&caller.identity.to_string()]).map_err(failed)?;
        let request = CertificateRequest { csr: &csr, impersonated: "", signer: "", ttl_seconds: 0 };
        Ok((key, self.issue(caller, &request).await?))
    }

    /// Issues the requested certificate, if the caller may have it.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn issue(
        &self,
        caller: &Authenticated,
        request: &CertificateRequest<'_>,
    ) -> Result<Issued, Refused> {
        if caller.credential == Credential::UnboundToken {
            return Err(TokenRefusal::Unbound.into());
        }
        let identity = match request.impersonated {
            "" => caller.identity.clone(),
            requested => {
                let mesh = self.index.mesh();
                let decide = |pods: &dyn Pods| mesh.authorizer.authorize(&caller.caller, requested, pods);
                self.authenticator.query_pods(&caller.caller, decide).await?
            }
        };
        let Some(signer) = self.authority.current() else {
            return Err(Refused {
                code: ca::Code::Internal,
                reason: "not_ready",
                detail: "the certificate authority has no key material yet".to_owned(),
            });
        };
        let CertificateRequest { csr, signer: chosen, ttl_seconds, .. } = *request;
        let ttl_seconds = match caller.credential {
            Credential::Certificate => self.settings.ttl.renewal_seconds(ttl_seconds)?,
            Credential::Token if identity != caller.identity => {
                self.settings.ttl.seconds_for_others(ttl_seconds)?
            }
            Credential::Token | Credential::UnboundToken => ttl_seconds,
        };
        let client = caller.client();
        let charge = || {
            let total = self.rates(caller).certificates.lock().take_total(self.clock.monotonic());
            total.map_err(Refused::rate_limited)
        };
        let (client, identity) = (&*client, &identity);
        let request = IssueRequest { client, csr, identity, signer: chosen, ttl_seconds, charge: &charge };
        let issued = signer.issue(request, &*self.clock).await?;
        self.stats.leaves.add(issued.validity.not_after, self.clock.now());
        tracing::info!(
            caller = %caller.identity, pod = caller.caller.pod.as_ref().map(|p| p.name.as_str()),
            peer = caller.address.map(tracing::field::display), identity = %identity, serial = %issued.serial,
            not_after = rfc3339(issued.validity.not_after.as_secs()), "issued a certificate",
        );
        Ok(issued)
    }
}
