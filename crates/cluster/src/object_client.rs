//! Requests for single objects and their statuses, in the version of a kind that the API server serves.
//!
//! A kind has several versions where older clusters serve only those. Which one is served is learned from the
//! answers: a collection that is not there is looked for in the next version, and found there the next time.

use crate::error::root_cause;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::core::{Request, Status};
use model::{Kind, ObjectRef, Scope};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take to answer: less than what is left of a lease whose leader has stopped.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer. The API server stores no object of more than a few MiB.
const MAX_RESPONSE: usize = 32 << 20;
/// How many objects a page of a list may have.
const PAGE_SIZE: u32 = 500;

/// Why a request failed.
#[derive(Debug)]
pub struct RequestError {
    /// The HTTP code; 0 without an answer.
    pub(crate) code: u16,
    /// What the API server says, or why there is no answer.
    pub(crate) message: String,
}

impl RequestError {
    /// Tells whether the user lacks the right.
    pub fn is_forbidden(&self) -> bool {
        self.code == 403
    }

    /// Tells whether nothing may be created since the namespace is going away, which is no lack of a right.
    pub(crate) fn is_of_terminating_namespace(&self) -> bool {
        self.code == 403 && self.message.ends_with("because it is being terminated")
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Makes requests for objects.
#[derive(Clone)]
pub struct ObjectClient {
    client: Client,
    /// The place of the served version among those of a kind; absent while that is the first.
    served: Arc<Mutex<BTreeMap<Kind, usize>>>,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<S> {
    #[serde(default)]
    metadata: ListMeta,
    // Not `default` for the whole, which would ask that of the items.
    #[serde(default = "Option::default")]
    items: Option<Vec<S>>,
}

type Prepared = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl ObjectClient {
    /// Makes one that sends its requests by this client.
    pub fn new(client: Client) -> Self {
        Self { client, served: Arc::default() }
    }

    /// Lists the objects of a kind, a page at a time; a kind that is not installed has none.
    ///
    /// # Errors
    /// The request that failed; what came before was passed on.
    pub async fn list<S: DeserializeOwned>(
        &self,
        kind: Kind,
        mut each: impl FnMut(S),
    ) -> Result<(), RequestError> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        loop {
            let Some(page) = self.page::<S>(kind, None, &params).await? else { return Ok(()) };
            page.items.into_iter().flatten().for_each(&mut each);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns an object; `None` if it is not there. The right to list, which a source needs anyway, suffices.
    pub(crate) async fn find<S: DeserializeOwned>(
        &self,
        object: &ObjectRef,
    ) -> Result<Option<S>, RequestError> {
        let only = ListParams::default().fields(&format!("metadata.name={}", object.name.name));
        let page = self.page(object.kind, Some(object), &only).await?;
        Ok(page.and_then(|page| page.items.into_iter().flatten().next()))
    }

    /// Patches the status of an object in the version in which its kind was found to be served.
    pub(crate) async fn patch_status(
        &self,
        object: &ObjectRef,
        params: &PatchParams,
        patch: &Patch<serde_json::Value>,
    ) -> Result<(), RequestError> {
        let versions = object.kind.versions();
        let served = self.served.lock().get(&object.kind).and_then(|at| versions.get(*at));
        let requests = requests(object.kind, served.unwrap_or(&object.kind.version()), Some(object));
        let request = requests.patch_subresource("status", &object.name.name, params, patch);
        self.send::<IgnoredAny>(request).await.map(drop)
    }

    /// Creates a cluster-scoped object, unless there is one of its name; tells whether its kind is installed.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn create(&self, kind: Kind, body: &serde_json::Value) -> Result<bool, RequestError> {
        let requests = requests(kind, kind.version(), None);
        let request = requests.create(&PostParams::default(), body.to_string().into_bytes());
        match self.send::<IgnoredAny>(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == 409 => Ok(true),
            Err(error) if error.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Requests a page of a kind's objects, of one object's namespace or of all, in the first version that is
    /// served; `None` if none is.
    async fn page<S: DeserializeOwned>(
        &self,
        kind: Kind,
        beside: Option<&ObjectRef>,
        params: &ListParams,
    ) -> Result<Option<Page<S>>, RequestError> {
        let known = self.served.lock().get(&kind).copied().unwrap_or_default();
        let others = (0..kind.versions().len()).filter(|at| *at != known);
        for at in [known].into_iter().chain(others) {
            let Some(version) = kind.versions().get(at) else { continue };
            match self.send(requests(kind, version, beside).list(params)).await {
                Ok(page) => {
                    if at != known {
                        self.served.lock().insert(kind, at);
                    }
                    return Ok(Some(page));
                }
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sends a request and reads the answer, which is bounded in time and in size.
    pub(crate) async fn send<T: DeserializeOwned>(&self, request: Prepared) -> Result<T, RequestError> {
        let without_answer = |message: String| RequestError { code: 0, message };
        let answer = async {
            let request = request.map_err(|e| without_answer(e.to_string()))?.map(Body::from);
            let answer = self.client.send(request).await.map_err(|e| without_answer(root_cause(&e)))?;
            let code = answer.status();
            let bytes = Limited::new(answer.into_body(), MAX_RESPONSE).collect().await;
            let bytes = bytes.map_err(|e| without_answer(e.to_string()))?.to_bytes();
            if code.is_success() {
                let read = serde_json::from_slice(&bytes);
                return read.map_err(|e| without_answer(format!("the answer cannot be read: {e}")));
            }
            let status: Status = serde_json::from_slice(&bytes).unwrap_or_default();
            let message = status.message.trim_end_matches('.').to_owned();
            Err(RequestError {
                code: code.as_u16(),
                message: if message.is_empty() { code.to_string() } else { message },
            })
        };
        let answer = timeout(REQUEST_TIMEOUT, answer).await;
        answer.unwrap_or_else(|_| {
            Err(without_answer(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
        })
    }
}

/// Returns what makes the requests for a kind's objects, of the namespace of one of them or of all.
fn requests(kind: Kind, version: &str, beside: Option<&ObjectRef>) -> Request {
    let gvk = GroupVersionKind::gvk(kind.group(), version, kind.name());
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
    let namespace = beside.filter(|_| kind.scope() == Scope::Namespaced).map(|object| &*object.name.ns);
    Request::new(DynamicObject::url_path(&resource, namespace))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::{Response, StatusCode};
    use model::Name;
    use std::convert::Infallible;

    fn object(kind: Kind, ns: &str) -> ObjectRef {
        ObjectRef { kind, name: Name::new(ns, "web") }
    }

    #[test]
    fn requests_lead_to_statuses() {
        let apply = PatchParams::apply("pilothouse").force();
        let patch = Patch::Apply(serde_json::json!({"kind": "Service"}));
        let request = requests(Kind::Service, "v1", Some(&object(Kind::Service, "shop")));
        let request = request.patch_subresource("status", "web", &apply, &patch).unwrap();
        let path = "/api/v1/namespaces/shop/services/web/status?&force=true&fieldManager=pilothouse";
        assert_eq!(request.uri(), path);
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        let merge = PatchParams { field_manager: Some("pilothouse".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(serde_json::json!({"status": {}}));
        let request = requests(Kind::GatewayClass, "v1", Some(&object(Kind::GatewayClass, "")));
        let request = request.patch_subresource("status", "istio", &merge, &patch).unwrap();
        let path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/istio/status?&fieldManager=pilothouse";
        assert_eq!(request.uri(), path);
        assert_eq!(request.headers()["content-type"], "application/merge-patch+json");
        let page = ListParams::default().limit(PAGE_SIZE).continue_token("a+/=&");
        let request = requests(Kind::ServiceEntry, "v1", None).list(&page).unwrap();
        let path = "/apis/networking.istio.io/v1/serviceentries?&limit=500&continue=a%2B%2F%3D%26";
        assert_eq!(request.uri(), path);
    }

    /// An API server that has TCPRoutes in their older version only, and counts what it is asked in vain.
    async fn answer(request: http::Request<Body>) -> Result<Response<Body>, Infallible> {
        let is_served = request.uri().path().contains("/v1alpha2/");
        let status = if is_served { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let body = match (is_served, request.method().as_str()) {
            (true, "GET") => r#"{"items": [{"metadata": {"name": "web"}}]}"#,
            _ => "{}",
        };
        Ok(Response::builder().status(status).body(Body::from(body.as_bytes().to_vec())).unwrap())
    }

    #[tokio::test]
    async fn statuses_are_written_in_the_version_that_is_served() {
        let client = ObjectClient::new(Client::new(tower::service_fn(answer), "default"));
        let of = object(Kind::TCPRoute, "shop");
        let patch = Patch::Merge(serde_json::json!({}));
        let refused = client.patch_status(&of, &PatchParams::default(), &patch).await.unwrap_err();
        assert_eq!(refused.code, 404);
        let found: Option<serde_json::Value> = client.find(&of).await.unwrap();
        assert_eq!(found.unwrap()["metadata"]["name"], "web");
        client.patch_status(&of, &PatchParams::default(), &patch).await.unwrap();
        let absent = client.find::<serde_json::Value>(&object(Kind::HTTPRoute, "shop")).await.unwrap();
        assert_eq!(absent, None);
    }
}
