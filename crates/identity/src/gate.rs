//! Who calls, and what the caller may have.
//!
//! ```text
//!  client certificate ─▶ still good ─▶ live account ─┐          ┌─▶ stream: node matches identity, bound to its pod
//!                                                    ├─▶ Caller ┤
//!  bearer token ─▶ limits ─▶ verified ─▶ live pod ───┘          └─▶ certificate: own, or of a pod on its node
//! ```
//!
//! Each call is judged anew: a connection may outlive what its client showed in the handshake.

use super::authority::Authority;
use super::new_tokens::NewTokens;
use super::pods::{Binding, PodTable};
use super::refused::Refused;
use super::serving::{Clients, ShownCertificate};
use super::signer::Order;
use super::stats::IdentityStats;
use super::tokens::{LEEWAY, Tokens};
use super::world::World;
use ca::token::ServiceAccountToken;
use ca::{
    Caller, Denial, Identity, Issued, Pods, RunningPod, StreamNode, StreamPolicy, TtlPolicy, authorize_stream,
};
use http::{HeaderMap, header};
use limits::{KeyedSemaphore, Limiter, Limits, Peer, Permit, Rate, truncated};
use model::rfc3339;
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a stream may go on whose token was reviewed; then it must show one again, since what the API
/// server says of a token may change.
const REVIEWED_STREAM: Duration = Duration::from_secs(3600);

/// How many clients the limits tell apart.
const CLIENTS: usize = 64 * 1024;

/// How often one client may open streams.
const STREAMS_OF_CLIENT: Rate = Rate { burst: 50, per_second: 10 };

/// How often all clients together may.
const STREAMS: Rate = Rate { burst: 20_000, per_second: 5000 };

/// How many requests for certificates all clients together may make for each that one may.
const CERTIFICATES_IN_TOTAL: u32 = 20;

/// What a connection has proven before its first call.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Address of the client, if it came by TCP.
    pub address: Option<SocketAddr>,
    /// The certificate that its client has shown.
    pub certificate: Option<ShownCertificate>,
}

impl Connection {
    /// Names the client by its address.
    pub fn client(&self) -> String {
        self.address.map_or_else(|| "no address".to_owned(), |address| Peer::of(address.ip()).to_string())
    }
}

/// A caller whose credential is verified.
#[derive(Debug, Clone)]
pub struct Authenticated {
    identity: Identity,
    /// Who it is to the node authorizer; without a pod for a client certificate and for the token of a
    /// further issuer.
    caller: Caller,
    proof: Proof,
    expires: UnixTime,
    address: Option<SocketAddr>,
}

/// What a caller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Certificate,
    Token,
}

impl Authenticated {
    /// Returns the identity of the caller itself.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns when the credential ends.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// What limits tell apart: a pod, or else an identity.
    pub fn client(&self) -> String {
        match &self.caller.pod {
            Some(pod) => format!("{}/{} {}", self.caller.namespace, pod.name, pod.uid),
            None => self.identity.to_string(),
        }
    }
}

/// A stream that may go on until its credential or its pod is gone.
pub struct Admission {
    /// The tie to the caller's pod; none for a client certificate, the token of a further issuer, and
    /// development tokens of pods that no folder names.
    pub binding: Option<Binding>,
    /// When the credential ends.
    pub expires: UnixTime,
    _permit: Permit<String>,
}

/// Settings of the gate.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// The name of this cluster, which clients send as `clusterid`.
    pub cluster_id: String,
    /// How many certificates a second one client may ask for in the long run.
    pub certificates_per_second: u32,
    /// How many streams one client may have open: it needs one, and one more while it comes anew.
    pub streams_per_client: usize,
    /// How long certificates live.
    pub ttl: TtlPolicy,
}

struct Limiters {
    tokens: NewTokens,
    streams: Mutex<Limiter<String>>,
    certificates: Mutex<Limiter<String>>,
}

/// Authenticates callers and decides what they may have.
pub struct Gate {
    settings: GateSettings,
    world: Arc<World>,
    tokens: Tokens,
    clients: Clients,
    authority: Authority,
    limiters: Limiters,
    open_streams: KeyedSemaphore<String>,
    started: Instant,
    stats: Arc<IdentityStats>,
}

/// The pods, and the caller's own where a development token vouches for it: whoever has the key of
/// the state folder may say where a pod runs that no folder names.
struct Vouched<'a> {
    pods: &'a PodTable,
    caller: &'a Caller,
}

impl Pods for Vouched<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let vouched = || {
            let pod = self.caller.pod.as_ref().filter(|pod| pod.name == name)?;
            (self.caller.namespace == namespace).then_some(RunningPod {
                uid: &pod.uid,
                service_account: &self.caller.service_account,
                node: self.caller.node.as_deref().unwrap_or_default(),
            })
        };
        self.pods.pod(namespace, name).or_else(vouched)
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        self.pods.runs_on(node, namespace, service_account)
    }

    fn has_account(&self, namespace: &str, service_account: &str) -> bool {
        self.pods.has_account(namespace, service_account)
    }
}

impl Gate {
    /// Puts the parts together.
    pub fn new(
        settings: GateSettings,
        world: Arc<World>,
        tokens: Tokens,
        clients: Clients,
        authority: Authority,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let rate = settings.certificates_per_second.max(1);
        let times = |factor: u32| rate.saturating_mul(factor);
        let of_client = Rate { burst: times(4), per_second: rate };
        let total =
            Rate { burst: times(4 * CERTIFICATES_IN_TOTAL), per_second: times(CERTIFICATES_IN_TOTAL) };
        let start = Duration::ZERO;
        let limits = |per_client, total| Limits { per_client, total, max_clients: CLIENTS };
        let limiters = Limiters {
            tokens: NewTokens::new(),
            streams: Mutex::new(Limiter::new(limits(STREAMS_OF_CLIENT, STREAMS), start)),
            certificates: Mutex::new(Limiter::new(limits(of_client, total), start)),
        };
        let open_streams = KeyedSemaphore::new(settings.streams_per_client);
        let started = Instant::now();
        Self { settings, world, tokens, clients, authority, limiters, open_streams, started, stats }
    }

    /// Tells whether a caller's account is one of ztunnels.
    pub fn is_ztunnel(&self, caller: &Authenticated) -> bool {
        let account = &caller.caller;
        self.world.mesh().authorizer.trusts(&account.namespace, &account.service_account)
    }

    /// Fetches the keys of tokens, and again until they are here. `asked` is cancelled when the API
    /// server was asked for the first time.
    pub async fn fetch_keys(&self, asked: &CancellationToken) {
        self.tokens.fetch_keys(asked).await;
    }

    /// Returns the counters.
    pub fn stats(&self) -> &IdentityStats {
        &self.stats
    }

    /// Finds out who calls. Whether its pod lives is asked when it is admitted, within its limits.
    ///
    /// # Errors
    /// [`Refused`]. Nothing of the call's body has been read then.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<Authenticated, Refused> {
        let outcome = self.find_caller(headers, connection).await;
        outcome.inspect_err(|refused| self.count_unauthenticated(refused))
    }

    fn count_unauthenticated(&self, refused: &Refused) {
        if refused.code == ca::Code::Unauthenticated {
            self.stats.unauthenticated.add();
        }
    }

    /// Checks that the caller's pod lives: a token outlives its pod by its own life. For a certificate,
    /// which names none, something of its account must. The tokens of further issuers have no pod; a
    /// token of the cluster without one was refused.
    async fn check_alive(&self, caller: &Authenticated) -> Result<(), Refused> {
        let who = &caller.caller;
        let alive = match caller.proof {
            Proof::Certificate => self.ask_pods(who, |pods| who.live_account(pods)).await,
            Proof::Token if who.pod.is_none() => return Ok(()),
            Proof::Token => self.ask_pods(who, |pods| who.live_pod(pods).map(drop)).await,
        };
        alive.map_err(Refused::from).inspect_err(|refused| self.count_unauthenticated(refused))
    }

    async fn find_caller(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<Authenticated, Refused> {
        let mesh = self.world.mesh();
        let now = UnixTime::now();
        if let Some(shown) = &connection.certificate {
            self.clients.check_still_good(shown, now)?;
            let identity = shown.identity.clone();
            if *identity.trust_domain() != mesh.trust_domain {
                let detail = format!("client certificate of {identity} is of another trust domain");
                return Err(Refused::unauthenticated("trust_domain", detail));
            }
            let caller = Caller {
                namespace: identity.namespace().to_owned(),
                service_account: identity.service_account().to_owned(),
                pod: None,
                node: None,
            };
            // Its last second is a valid one.
            let expires = later(shown.not_after, 1);
            let address = connection.address;
            return Ok(Authenticated { identity, caller, proof: Proof::Certificate, expires, address });
        }
        let token = bearer(headers)?;
        self.check_cluster(headers)?;
        let token = match self.tokens.known(token, now) {
            Some(known) => known,
            None => {
                let address = connection.address.map(|a| a.ip());
                self.limiters.tokens.admit(address, self.started.elapsed()).map_err(Refused::rate_limited)?;
                let judged = self.tokens.verify(token, now).await;
                // One that could not be judged is neither good nor bad.
                if !matches!(&judged, Err(refused) if refused.code == ca::Code::Unavailable) {
                    self.limiters.tokens.judged(address, judged.is_ok(), self.started.elapsed());
                }
                judged?
            }
        };
        let identity = token.identity(&mesh.trust_domain)?;
        let caller = Caller::from(&*token);
        let expires = stream_end(&token, now);
        let address = connection.address;
        Ok(Authenticated { identity, caller, proof: Proof::Token, expires, address })
    }

    /// Clients name their cluster; one that names another has come to the wrong place.
    fn check_cluster(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let mut named = headers.get_all("clusterid").iter();
        match (named.next(), named.next()) {
            // Named twice counts as not named.
            (Some(one), None) if !one.is_empty() && one.as_bytes() != self.settings.cluster_id.as_bytes() => {
                let name = String::from_utf8_lossy(one.as_bytes()).into_owned();
                Err(Refused::unauthenticated("unknown_cluster", format!("cluster {name:?} is not known")))
            }
            _ => Ok(()),
        }
    }

    async fn ask_pods<T>(
        &self,
        caller: &Caller,
        mut question: impl FnMut(&dyn Pods) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let vouching = self.tokens.are_for_development();
        self.world
            .ask(|pods| if vouching { question(&Vouched { pods, caller }) } else { question(pods) })
            .await
    }

    /// Lets an authenticated caller open a stream, or not. What node it is, it says later.
    ///
    /// # Errors
    /// [`Refused`]: too many streams, or its pod is gone.
    pub async fn admit(&self, caller: &Authenticated) -> Result<Admission, Refused> {
        let (now, client) = (self.started.elapsed(), caller.client());
        self.limiters.streams.lock().take(client.clone(), now).map_err(Refused::rate_limited)?;
        let permit = self.open_streams.try_acquire(client).ok_or_else(|| Refused {
            code: ca::Code::ResourceExhausted,
            reason: "too_many_streams",
            detail: format!("this client has {} streams open", self.settings.streams_per_client),
        })?;
        self.check_alive(caller).await?;
        let binding = match &caller.caller.pod {
            None => None,
            Some(_) => match self.world.bind(&caller.caller) {
                Ok(binding) => Some(binding),
                Err(Denial::PodUnknown { .. }) if self.tokens.are_for_development() => None,
                Err(denial) => return Err(denial.into()),
            },
        };
        Ok(Admission { binding, expires: caller.expires, _permit: permit })
    }

    /// Decides whether a caller may be the node that a stream says it is.
    ///
    /// # Errors
    /// [`Refused`]: `InvalidArgument` for a malformed node, `PermissionDenied` for another's.
    pub fn authorize_stream(
        &self,
        caller: &Authenticated,
        admission: &Admission,
        node: &NodeClaim<'_>,
    ) -> Result<(), Refused> {
        let decide = || {
            let NodeClaim { id, namespace, service_account, node_name, instance_ips } = *node;
            let parsed = StreamNode::parse(id, namespace, service_account, node_name, instance_ips)?;
            let mesh = self.world.mesh();
            let policy = StreamPolicy { check_identity: true, ztunnels: Some(&mesh.authorizer) };
            let bound = admission.binding.as_ref().map(|binding| binding.node.as_str());
            let on = bound.or(caller.caller.node.as_deref());
            authorize_stream(std::slice::from_ref(&caller.identity), on, &parsed, &policy)
        };
        decide().map(drop).map_err(|denial: ca::StreamDenial| {
            let refused = Refused::from(denial);
            tracing::warn!(
                caller = %caller.identity, node = truncated(node.id), peer = caller.address.map(tracing::field::display),
                reason = refused.reason, detail = truncated(&refused.detail), "refused a stream",
            );
            self.stats.streams_refused.add(refused.reason);
            refused
        })
    }

    /// Lets a caller ask for a certificate now, or not: before its request is read.
    ///
    /// # Errors
    /// [`Refused`]: too many requests, or its pod is gone.
    pub async fn admit_request(&self, caller: &Authenticated) -> Result<(), Refused> {
        let now = self.started.elapsed();
        self.limiters.certificates.lock().take(caller.client(), now).map_err(Refused::rate_limited)?;
        self.check_alive(caller).await
    }

    /// Issues the certificate that `request` asks for.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn issue(
        &self,
        caller: &Authenticated,
        request: &CertificateRequest<'_>,
    ) -> Result<Issued, Refused> {
        let identity = match request.impersonated {
            "" => caller.identity.clone(),
            requested => {
                let mesh = self.world.mesh();
                let decide = |pods: &dyn Pods| mesh.authorizer.authorize(&caller.caller, requested, pods);
                self.ask_pods(&caller.caller, decide).await?
            }
        };
        let Some(signer) = self.authority.current() else {
            return Err(Refused {
                code: ca::Code::Internal,
                reason: "not_ready",
                detail: "the certificate authority has no key material yet".to_owned(),
            });
        };
        let CertificateRequest { csr, signer: chosen, life_seconds, .. } = *request;
        let life_seconds = match caller.proof {
            Proof::Certificate => self.settings.ttl.renewal_seconds(life_seconds)?,
            Proof::Token => life_seconds,
        };
        let client = caller.client();
        let order = Order { client: &client, csr, identity: &identity, signer: chosen, life_seconds };
        let issued = signer.issue(order).await?;
        self.stats.leaves.add(issued.validity.not_after, UnixTime::now());
        tracing::info!(
            caller = %caller.identity, pod = caller.caller.pod.as_ref().map(|p| p.name.as_str()),
            peer = caller.address.map(tracing::field::display), identity = %identity, serial = %issued.serial,
            not_after = rfc3339(issued.validity.not_after.as_secs()), "issued a certificate",
        );
        Ok(issued)
    }
}

/// What a stream says of the proxy that it is of, unverified. What is absent is empty.
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
}

/// What a request for a certificate says.
pub struct CertificateRequest<'a> {
    /// One PEM block `CERTIFICATE REQUEST`.
    pub csr: &'a str,
    /// The identity asked for, a SPIFFE id; empty for the caller's own.
    pub impersonated: &'a str,
    /// The external signer asked for; empty for none.
    pub signer: &'a str,
    /// The life asked for; zero and less stand for the default.
    pub life_seconds: i64,
}

/// Returns the one bearer token of a call (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut found = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (found.next(), found.next()) else {
        let detail = "neither a client certificate nor exactly one authorization header";
        return Err(Refused::unauthenticated("no_credential", detail));
    };
    let malformed = || Refused::unauthenticated("no_bearer", "the authorization header is no bearer token");
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    Ok(token.trim())
}

fn stream_end(token: &ServiceAccountToken, now: UnixTime) -> UnixTime {
    // As long as it would be accepted: a client whose clock is behind would come back at once with the
    // same token, again and again.
    let end = later(token.expires, LEEWAY.as_secs());
    // A review names no issuer.
    if token.issuer.is_empty() { end.min(later(now, REVIEWED_STREAM.as_secs())) } else { end }
}

fn later(time: UnixTime, seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs().saturating_add(seconds)))
}
