//! CertificateSigningRequests, from their creation to their deletion.

use crate::clock::{Clock, Timer};
use crate::refused::Refused;
use ca::{Code, ExternalRequest, Purpose};
use cluster::error_message;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Error};
use limits::{KeyedSemaphore, Permit};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The field manager of the `Approved` condition.
const FIELD_MANAGER: &str = "pilothouse";

/// Prefix of the names of requests.
const NAME_PREFIX: &str = "csr-workload-";

/// The label with the owner of a request: the namespace of the control plane.
const OWNER_LABEL: &str = "pilothouse.io/control-plane";

/// The label with the revision of the control plane.
const REVISION_LABEL: &str = "istio.io/rev";

/// Key usages of a server's certificate; a workload's certificate also has `client auth`.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];

/// Timeout of one deletion. The watch retries what is left.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long shutdown waits for pending deletions.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of a signer's message that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// One client may have one in this many of the permits.
const CLIENT_SHARE: usize = 4;

/// Permits of the control plane itself: one request, and a few that are being deleted.
const OWN_PERMITS: usize = 4;

/// On whose behalf a signer is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester<'a> {
    /// The control plane itself.
    ControlPlane,
    /// A client, by the key by which limits tell clients apart.
    Client(&'a str),
}

/// A signer's decision: the certificates in PEM, or the refusal.
pub(crate) type Decision = Result<Vec<u8>, Refused>;

/// Settings of [`CsrClient`].
#[derive(Debug, Clone)]
pub(crate) struct CsrSettings {
    /// How long a signer may take.
    pub timeout: Duration,
    /// Maximum number of pending requests of clients. One client may have a quarter of them.
    pub max_pending: usize,
    /// The namespace of the control plane.
    pub namespace: String,
    /// The revision of the control plane; empty for the default one.
    pub revision: String,
}

/// Submits CSRs to external signers through the API server, and deletes each afterwards.
pub(crate) struct CsrClient {
    pub requests: Api<CertificateSigningRequest>,
    pub settings: CsrSettings,
    pub clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    client_permits: KeyedSemaphore<String>,
    own_permits: Arc<Semaphore>,
    /// Who waits for the decision on the request of a UID.
    waiting: Mutex<HashMap<String, oneshot::Sender<Decision>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl CsrClient {
    /// Creates a client. Decisions arrive only while [`CsrClient::watch`] runs.
    pub fn new(client: Client, settings: CsrSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            requests: Api::all(client),
            permits: Arc::new(Semaphore::new(settings.max_pending)),
            client_permits: KeyedSemaphore::new(settings.max_pending.div_ceil(CLIENT_SHARE)),
            own_permits: Arc::new(Semaphore::new(OWN_PERMITS)),
            settings,
            clock,
            waiting: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// Returns the labels of all requests of this control plane.
    fn labels(&self) -> [(&'static str, &str); 2] {
        [(OWNER_LABEL, &self.settings.namespace), (REVISION_LABEL, &self.settings.revision)]
    }

    /// Returns the label selector of all requests of this control plane.
    pub fn selector(&self) -> String {
        self.labels().map(|(key, value)| format!("{key}={value}")).join(",")
    }

    /// Acquires permits, so that no client can starve others or the secure port.
    fn acquire(
        &self,
        requester: Requester<'_>,
    ) -> Result<(OwnedSemaphorePermit, Option<Permit<String>>), Refused> {
        let exhausted = |reason, detail| Refused { code: Code::ResourceExhausted, reason, detail };
        let (client_permit, permits) = match requester {
            Requester::ControlPlane => (None, &self.own_permits),
            Requester::Client(client) => {
                let permit = self.client_permits.try_acquire(client.to_owned()).ok_or_else(|| {
                    let max = self.settings.max_pending.div_ceil(CLIENT_SHARE);
                    let detail = format!("this client has {max} pending requests to external signers");
                    exhausted("client_busy", detail)
                })?;
                (Some(permit), &self.permits)
            }
        };
        let permit = Arc::clone(permits).try_acquire_owned().map_err(|_| {
            let max = self.settings.max_pending;
            exhausted("signer_busy", format!("external signers have {max} pending requests"))
        })?;
        Ok((permit, client_permit))
    }

    /// Has `signer` sign a request. Dropping the future withdraws the request.
    ///
    /// # Errors
    /// [`Refused`] when too many requests are pending, the signer refuses or does not answer in time, or
    /// the API server is unavailable.
    pub async fn request(
        self: &Arc<Self>,
        requester: Requester<'_>,
        request: &ExternalRequest,
        signer: &str,
    ) -> Decision {
        let permits = self.acquire(requester)?;
        let (sender, receiver) = oneshot::channel();
        let (this, object) = (Arc::clone(self), self.object(request, signer));
        // A separate task: it ends with the deletion even if the receiver is dropped before.
        self.tasks.spawn(async move {
            let _permits = permits;
            this.submit(object, sender).await;
        });
        receiver.await.unwrap_or_else(|_| Err(interrupted()))
    }

    fn object(&self, request: &ExternalRequest, signer: &str) -> CertificateSigningRequest {
        let client_auth = (request.purpose() == Purpose::Workload).then_some("client auth");
        let labels = self.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
        CertificateSigningRequest {
            metadata: ObjectMeta {
                generate_name: Some(NAME_PREFIX.to_owned()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.pem().as_bytes().to_vec()),
                signer_name: signer.to_owned(),
                usages: Some(USAGES.into_iter().chain(client_auth).map(str::to_owned).collect()),
                expiration_seconds: Some(i32::try_from(request.life().as_secs()).unwrap_or(i32::MAX)),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        }
    }

    async fn submit(&self, object: CertificateSigningRequest, mut sender: oneshot::Sender<Decision>) {
        let mut deadline: Timer = self.clock.sleep(self.settings.timeout);
        // Not cancelled when the client disconnects: a created object must be known to be deleted.
        let params = PostParams::default();
        let created = tokio::select! {
            created = self.requests.create(&params, &object) => match created {
                Ok(created) => created,
                Err(error) => return drop(sender.send(Err(refused("create", &error)))),
            },
            () = &mut deadline => return drop(sender.send(Err(self.timed_out("the API server")))),
        };
        let (name, uid) =
            (created.metadata.name.unwrap_or_default(), created.metadata.uid.unwrap_or_default());
        let decision = tokio::select! {
            decision = self.approve_and_wait(&name, &uid) => Some(decision),
            () = &mut deadline => Some(Err(self.timed_out(&object.spec.signer_name))),
            () = self.closing.cancelled() => {
                let detail = "this replica is shutting down; retry on another".to_owned();
                Some(Err(Refused::unavailable("stopping", detail)))
            }
            () = sender.closed() => None,
        };
        self.waiting.lock().remove(&uid);
        if let Some(decision) = decision {
            // The receiver may be gone.
            let _ = sender.send(decision);
        }
        self.delete(&name, &uid).await;
    }

    /// Approves a request and waits for the signer's decision.
    async fn approve_and_wait(&self, name: &str, uid: &str) -> Decision {
        let (sender, mut receiver) = oneshot::channel();
        self.waiting.lock().insert(uid.to_owned(), sender);
        let approval = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name, "uid": uid},
            "status": {"conditions": [{
                "type": "Approved", "status": "True", "reason": "IdentityVerified",
                "message": "the control plane of the mesh has verified the requester and its identity",
            }]},
        });
        // Server-side apply keeps conditions of other managers; a merge patch would replace the list.
        let params = PatchParams::apply(FIELD_MANAGER);
        let approved = self.requests.patch_approval(name, &params, &Patch::Apply(approval)).await;
        match approved {
            Ok(request) => {
                if let Some(decision) = decision_of(&request) {
                    return decision;
                }
            }
            // A denied request cannot be approved; the watch may already have delivered the reason.
            Err(error) => return receiver.try_recv().unwrap_or_else(|_| Err(refused("approve", &error))),
        }
        receiver.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Delivers the decision on a request to whoever waits for it.
    pub fn deliver(&self, uid: &str, decision: Decision) {
        if let Some(waiting) = self.waiting.lock().remove(uid) {
            let _ = waiting.send(decision);
        }
    }

    /// Deletes a request. The watch retries a deletion that fails.
    pub async fn delete(&self, name: &str, uid: &str) {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match timeout(DELETE_TIMEOUT, self.requests.delete(name, &params)).await {
            Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Ok(Err(error)) => tracing::warn!(
                name,
                error = error_message(&error),
                "cannot delete a CertificateSigningRequest; it is retried",
            ),
            Ok(Ok(_)) | Err(_) => {}
        }
    }

    /// Cancels pending requests, and waits a bounded time for their deletion.
    pub async fn shut_down(&self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some CertificateSigningRequests are left behind; another replica deletes them");
        }
    }

    fn timed_out(&self, who: &str) -> Refused {
        let timeout = self.settings.timeout.as_secs_f32();
        Refused {
            code: Code::DeadlineExceeded,
            reason: "signer_silent",
            detail: format!("{who} did not answer within {timeout} s"),
        }
    }
}

fn interrupted() -> Refused {
    Refused::unavailable("signer_gone", "the request was interrupted".to_owned())
}

/// Returns a signer's decision on a request; `None` while it is pending.
pub(crate) fn decision_of(request: &CertificateSigningRequest) -> Option<Decision> {
    let status = request.status.as_ref()?;
    for condition in status.conditions.iter().flatten() {
        let reason = match condition.type_.as_str() {
            "Denied" => "signer_denied",
            "Failed" => "signer_failed",
            _ => continue,
        };
        let message: String = [&condition.reason, &condition.message]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
            .chars()
            .take(MAX_MESSAGE)
            .collect();
        let detail = format!("the request to {} is {}: {message}", request.spec.signer_name, condition.type_);
        return Some(Err(Refused { code: Code::Internal, reason, detail }));
    }
    status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty()).map(|c| Ok(c.0.clone()))
}

/// Returns the refusal for a failed request to the API server.
fn refused(verb: &str, error: &Error) -> Refused {
    let message = error_message(error);
    let detail = format!("cannot {verb} a CertificateSigningRequest: {message}");
    match error {
        Error::Api(status) if status.code == 403 => Refused {
            code: Code::Internal,
            reason: "signer_forbidden",
            detail: format!("{detail}; grant it (externalSigner in the chart)"),
        },
        Error::Api(status) if status.code < 500 && status.code != 429 => {
            Refused { code: Code::Internal, reason: "signer_request", detail }
        }
        _ => Refused::unavailable("signer_unreachable", detail),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decision(status: serde_json::Value) -> Option<Decision> {
        let request =
            json!({"metadata": {}, "spec": {"request": "", "signerName": "a.b/c"}, "status": status});
        decision_of(&serde_json::from_value(request).unwrap())
    }

    #[test]
    fn denied_or_failed_request_is_refused_even_with_a_certificate() {
        let condition = |kind: &str| {
            json!([{"type": "Approved", "status": "True"}, {
                "type": kind, "status": "True", "reason": "Policy", "message": "x".repeat(1000),
            }])
        };
        for (kind, reason) in [("Denied", "signer_denied"), ("Failed", "signer_failed")] {
            let status = json!({"conditions": condition(kind), "certificate": "YQ=="});
            let Refused { code, reason: found, detail } = decision(status).unwrap().unwrap_err();
            assert_eq!((code, found), (Code::Internal, reason));
            assert!(detail.contains("Policy: xxx") && detail.len() < 400, "{detail}");
        }
    }

    #[test]
    fn request_without_certificate_or_refusal_is_pending() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        assert_eq!(decision(json!({})), None);
        assert_eq!(decision(json!({"conditions": approved})), None);
        assert_eq!(decision(json!({"conditions": approved, "certificate": ""})), None);
        assert_eq!(decision(json!({"conditions": approved, "certificate": "YQ=="})), Some(Ok(b"a".to_vec())));
    }
}
