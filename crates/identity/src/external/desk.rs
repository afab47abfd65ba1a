//! Requests to signers, from their creation to their deletion.

use super::super::refused::Refused;
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
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Whose the condition is with which a request is approved.
const MANAGER: &str = "pilothouse";

/// How the names of requests begin.
const PREFIX: &str = "csr-workload-";

/// The label that says whose requests they are: the namespace of the control plane.
const OWNER: &str = "pilothouse.io/control-plane";

/// The label that says of which revision.
const REVISION: &str = "istio.io/rev";

/// What a certificate of a server may be used for; one of a workload also as a client.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];

/// How long one deletion may take. What is left is found by the watch.
const DELETE: Duration = Duration::from_secs(10);

/// How long the deletions that go on may hold a process that stops.
const CLOSE: Duration = Duration::from_secs(5);

/// Longest text of a signer that is passed on, in characters.
const MAX_TEXT: usize = 300;

/// A client may have one in so many of the places.
const SHARE: usize = 4;

/// How many requests of our own there may be beside those of clients: one, and some that are being
/// withdrawn.
const OWN: usize = 4;

/// For whom a signer is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker<'a> {
    /// The control plane itself.
    Itself,
    /// A client, by a name that tells it from others.
    Client(&'a str),
}

/// What a signer decided: the certificates in PEM, or why there are none.
pub(super) type Verdict = Result<Vec<u8>, Refused>;

/// Settings of the desk.
#[derive(Debug, Clone)]
pub struct DeskSettings {
    /// How long a signer may take.
    pub limit: Duration,
    /// How many requests of clients there may be at a time. One client may have a quarter of them.
    pub places: usize,
    /// The namespace of the control plane.
    pub namespace: String,
    /// Its revision; empty for the default one.
    pub revision: String,
}

/// Puts requests before signers through the API server, and clears up after each.
pub struct Desk {
    pub(super) requests: Api<CertificateSigningRequest>,
    pub(super) settings: DeskSettings,
    places: Arc<Semaphore>,
    /// How many of them each client has.
    of_client: KeyedSemaphore<String>,
    own_places: Arc<Semaphore>,
    /// Who waits for the verdict on the request of a UID.
    waiting: Mutex<HashMap<String, oneshot::Sender<Verdict>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Desk {
    /// Opens a desk. Nothing is asked before [`Desk::follow`] runs.
    pub fn new(client: Client, settings: DeskSettings) -> Arc<Self> {
        Arc::new(Self {
            requests: Api::all(client),
            places: Arc::new(Semaphore::new(settings.places)),
            of_client: KeyedSemaphore::new(settings.places.div_ceil(SHARE)),
            own_places: Arc::new(Semaphore::new(OWN)),
            settings,
            waiting: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// Returns the labels of all requests of this control plane.
    fn labels(&self) -> [(&'static str, &str); 2] {
        [(OWNER, &self.settings.namespace), (REVISION, &self.settings.revision)]
    }

    /// Returns what selects them.
    pub(super) fn selector(&self) -> String {
        self.labels().map(|(key, value)| format!("{key}={value}")).join(",")
    }

    /// Takes a place, so that no client can keep others, or the secure port, from the signer.
    fn place(&self, of: Asker<'_>) -> Result<(OwnedSemaphorePermit, Option<Permit<String>>), Refused> {
        let busy = |reason, detail| Refused { code: Code::ResourceExhausted, reason, detail };
        let (of_client, places) = match of {
            Asker::Itself => (None, &self.own_places),
            Asker::Client(client) => {
                let place = self.of_client.try_acquire(client.to_owned()).ok_or_else(|| {
                    let most = self.settings.places.div_ceil(SHARE);
                    busy(
                        "client_busy",
                        format!("this client has {most} requests at external signers already"),
                    )
                })?;
                (Some(place), &self.places)
            }
        };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
            busy("signer_busy", format!("external signers have {} requests already", self.settings.places))
        })?;
        Ok((place, of_client))
    }

    /// Has a request signed by `signer`. Whoever stops waiting withdraws the request.
    ///
    /// # Errors
    /// [`Refused`] when there are too many requests, the signer refuses or is silent, or the API
    /// server is away.
    pub(super) async fn ask(
        self: &Arc<Self>,
        of: Asker<'_>,
        request: &ExternalRequest,
        signer: &str,
    ) -> Verdict {
        let place = self.place(of)?;
        let (tell, told) = oneshot::channel();
        let (desk, object) = (Arc::clone(self), self.object(request, signer));
        // A task of its own, which ends with the deletion whether or not somebody still waits.
        self.tasks.spawn(async move {
            let _place = place;
            desk.handle(object, tell).await;
        });
        told.await
            .unwrap_or_else(|_| Err(Refused::unavailable("signer_gone", "the request broke off".into())))
    }

    fn object(&self, request: &ExternalRequest, signer: &str) -> CertificateSigningRequest {
        let as_client = (request.purpose() == Purpose::Workload).then_some("client auth");
        let labels = self.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
        CertificateSigningRequest {
            metadata: ObjectMeta {
                generate_name: Some(PREFIX.to_owned()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.pem().as_bytes().to_vec()),
                signer_name: signer.to_owned(),
                usages: Some(USAGES.into_iter().chain(as_client).map(str::to_owned).collect()),
                expiration_seconds: Some(i32::try_from(request.life().as_secs()).unwrap_or(i32::MAX)),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        }
    }

    async fn handle(&self, object: CertificateSigningRequest, mut tell: oneshot::Sender<Verdict>) {
        let deadline = Instant::now() + self.settings.limit;
        // Not given up halfway when the client goes: what is created must be known to be deleted.
        let created = match timeout_at(deadline, self.requests.create(&PostParams::default(), &object)).await
        {
            Ok(Ok(created)) => created,
            Ok(Err(error)) => return drop(tell.send(Err(refused("create", &error)))),
            Err(_) => return drop(tell.send(Err(self.silent("the API server")))),
        };
        let (name, uid) =
            (created.metadata.name.unwrap_or_default(), created.metadata.uid.unwrap_or_default());
        let verdict = tokio::select! {
            verdict = self.verdict(&name, &uid) => Some(verdict),
            () = sleep_until(deadline) => Some(Err(self.silent(&object.spec.signer_name))),
            () = self.closing.cancelled() => {
                Some(Err(Refused::unavailable("stopping", "this replica stops; ask another".to_owned())))
            }
            () = tell.closed() => None,
        };
        self.waiting.lock().remove(&uid);
        if let Some(verdict) = verdict {
            // Who has gone meanwhile needs no answer.
            let _ = tell.send(verdict);
        }
        self.delete(&name, &uid).await;
    }

    /// Approves a request and awaits what the signer decides.
    async fn verdict(&self, name: &str, uid: &str) -> Verdict {
        let (sender, mut told) = oneshot::channel();
        self.waiting.lock().insert(uid.to_owned(), sender);
        let approval = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name, "uid": uid},
            "status": {"conditions": [{
                "type": "Approved", "status": "True", "reason": "IdentityVerified",
                "message": "the control plane of the mesh has verified who asks, and for whom",
            }]},
        });
        // Applied, so that conditions of others stay: another kind of patch replaces the whole list.
        let params = PatchParams::apply(MANAGER);
        let approved = self.requests.patch_approval(name, &params, &Patch::Apply(approval)).await;
        match approved {
            Ok(request) => {
                if let Some(verdict) = verdict_of(&request) {
                    return verdict;
                }
            }
            // What is denied already cannot be approved; the watch may have told why it is.
            Err(error) => return told.try_recv().unwrap_or_else(|_| Err(refused("approve", &error))),
        }
        told.await
            .unwrap_or_else(|_| Err(Refused::unavailable("signer_gone", "the request broke off".into())))
    }

    /// Tells whoever waits what became of a request.
    pub(super) fn tell(&self, uid: &str, verdict: Verdict) {
        if let Some(waiting) = self.waiting.lock().remove(uid) {
            let _ = waiting.send(verdict);
        }
    }

    /// Deletes a request. One that cannot be deleted now is found again by the watch.
    pub(super) async fn delete(&self, name: &str, uid: &str) {
        let exactly = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        match timeout(DELETE, self.requests.delete(name, &params)).await {
            Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Ok(Err(error)) => tracing::warn!(
                name,
                error = error_message(&error),
                "cannot delete a CertificateSigningRequest; it is tried again",
            ),
            Ok(Ok(_)) | Err(_) => {}
        }
    }

    /// Ends what goes on, and waits a little for the deletions.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(CLOSE, self.tasks.wait()).await.is_err() {
            tracing::warn!("some CertificateSigningRequests are left behind; another replica deletes them");
        }
    }

    fn silent(&self, who: &str) -> Refused {
        let limit = self.settings.limit.as_secs_f32();
        Refused {
            code: Code::DeadlineExceeded,
            reason: "signer_silent",
            detail: format!("{who} did not answer within {limit} s"),
        }
    }
}

/// Returns what a signer has decided on a request, if it has.
pub(super) fn verdict_of(request: &CertificateSigningRequest) -> Option<Verdict> {
    let status = request.status.as_ref()?;
    for condition in status.conditions.iter().flatten() {
        let reason = match condition.type_.as_str() {
            "Denied" => "signer_denied",
            "Failed" => "signer_failed",
            _ => continue,
        };
        let said: String = [&condition.reason, &condition.message]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
            .chars()
            .take(MAX_TEXT)
            .collect();
        let detail = format!("the request to {} is {}: {said}", request.spec.signer_name, condition.type_);
        return Some(Err(Refused { code: Code::Internal, reason, detail }));
    }
    status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty()).map(|c| Ok(c.0.clone()))
}

/// Returns the refusal for an API server that does not do its part.
fn refused(verb: &str, error: &Error) -> Refused {
    let said = error_message(error);
    let what = format!("cannot {verb} a CertificateSigningRequest: {said}");
    match error {
        Error::Api(status) if status.code == 403 => Refused {
            code: Code::Internal,
            reason: "signer_forbidden",
            detail: format!("{what}; grant it (externalSigner in the chart)"),
        },
        Error::Api(status) if status.code < 500 && status.code != 429 => {
            Refused { code: Code::Internal, reason: "signer_request", detail: what }
        }
        _ => Refused::unavailable("signer_unreachable", what),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(status: serde_json::Value) -> Option<Verdict> {
        let request =
            json!({"metadata": {}, "spec": {"request": "", "signerName": "a.b/c"}, "status": status});
        verdict_of(&serde_json::from_value(request).unwrap())
    }

    #[test]
    fn what_is_denied_or_failed_is_refused_even_with_a_certificate() {
        let condition = |kind: &str| {
            json!([{"type": "Approved", "status": "True"}, {
                "type": kind, "status": "True", "reason": "Policy", "message": "x".repeat(1000),
            }])
        };
        for (kind, reason) in [("Denied", "signer_denied"), ("Failed", "signer_failed")] {
            let status = json!({"conditions": condition(kind), "certificate": "YQ=="});
            let Refused { code, reason: found, detail } = verdict(status).unwrap().unwrap_err();
            assert_eq!((code, found), (Code::Internal, reason));
            assert!(detail.contains("Policy: xxx") && detail.len() < 400, "{detail}");
        }
    }

    #[test]
    fn undecided_is_what_has_neither_certificate_nor_refusal() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        assert_eq!(verdict(json!({})), None);
        assert_eq!(verdict(json!({"conditions": approved})), None);
        assert_eq!(verdict(json!({"conditions": approved, "certificate": ""})), None);
        assert_eq!(verdict(json!({"conditions": approved, "certificate": "YQ=="})), Some(Ok(b"a".to_vec())));
    }
}
