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
use model::{Kind, KnownKind, Name, ObjectRef};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeMap;
use std::fmt;
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

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An object whose status is written.
pub trait StatusTarget: Clone + Ord + fmt::Display + Send + Sync + 'static {
    /// Returns what is known of its kind.
    fn kind(&self) -> &'static KnownKind;
    /// Returns its namespace, empty for a kind without namespaces, and its name.
    fn name(&self) -> &Name;
}

impl StatusTarget for ObjectRef {
    fn kind(&self) -> &'static KnownKind {
        self.kind.known()
    }

    fn name(&self) -> &Name {
        &self.name
    }
}

/// The metadata of an object, as far as it tells whether its status is to be looked at.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedObject {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty for a kind without namespaces.
    pub namespace: String,
    /// `metadata.resourceVersion`: another one than before tells that something has changed.
    pub resource_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct ManagedFields {
    manager: String,
    subresource: String,
}

impl ListedObject {
    /// Tells whether something of its status is owned by this field manager.
    pub fn has_status_of(&self, manager: &str) -> bool {
        self.managed_fields.iter().any(|of| of.manager == manager && of.subresource == "status")
    }
}

/// What a list of metadata says of an object.
#[derive(Deserialize)]
struct Partial {
    metadata: ListedObject,
}

/// Makes requests for objects.
#[derive(Clone)]
pub struct ObjectClient {
    client: Client,
    /// The place of the served version among those of a kind; absent while that is the first.
    served: Arc<Mutex<BTreeMap<&'static KnownKind, usize>>>,
}

/// Which part of the objects a list has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Metadata,
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
        each: impl FnMut(S),
    ) -> Result<(), RequestError> {
        self.list_part(kind.known(), Part::Whole, each).await
    }

    /// Lists the metadata of a kind's objects, a page at a time; a kind that is not installed has none.
    ///
    /// # Errors
    /// The request that failed; what came before was passed on.
    pub async fn list_metadata(
        &self,
        kind: &'static KnownKind,
        mut each: impl FnMut(ListedObject),
    ) -> Result<(), RequestError> {
        self.list_part(kind, Part::Metadata, |object: Partial| each(object.metadata)).await
    }

    /// Returns the metadata of one object of a kind; `None` if there is none or the kind is not installed.
    pub(crate) async fn first_metadata(
        &self,
        kind: &'static KnownKind,
    ) -> Result<Option<ListedObject>, RequestError> {
        let page = self.page::<Partial>(kind, "", Part::Metadata, &ListParams::default().limit(1)).await?;
        Ok(page.and_then(|page| page.items.into_iter().flatten().next()).map(|first| first.metadata))
    }

    async fn list_part<S: DeserializeOwned>(
        &self,
        kind: &'static KnownKind,
        part: Part,
        mut each: impl FnMut(S),
    ) -> Result<(), RequestError> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        loop {
            let Some(page) = self.page::<S>(kind, "", part, &params).await? else { return Ok(()) };
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
        object: &impl StatusTarget,
    ) -> Result<Option<S>, RequestError> {
        let Name { ns, name } = object.name();
        let only = ListParams::default().fields(&format!("metadata.name={name}"));
        let page = self.page(object.kind(), ns, Part::Whole, &only).await?;
        Ok(page.and_then(|page| page.items.into_iter().flatten().next()))
    }

    /// Patches the status of an object in the version in which its kind was found to be served.
    pub(crate) async fn patch_status(
        &self,
        object: &impl StatusTarget,
        params: &PatchParams,
        patch: &Patch<serde_json::Value>,
    ) -> Result<(), RequestError> {
        let (kind, Name { ns, name }) = (object.kind(), object.name());
        let served = self.served.lock().get(kind).copied().unwrap_or_default();
        let version = kind.versions.get(served).copied().unwrap_or_default();
        let request = requests(kind, version, ns).patch_subresource("status", name, params, patch);
        self.send::<IgnoredAny>(request).await.map(drop)
    }

    /// Creates a cluster-scoped object, unless there is one of its name; tells whether its kind is installed.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn create(&self, kind: Kind, body: &serde_json::Value) -> Result<bool, RequestError> {
        let requests = requests(kind.known(), kind.version(), "");
        let request = requests.create(&PostParams::default(), body.to_string().into_bytes());
        match self.send::<IgnoredAny>(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == 409 => Ok(true),
            Err(error) if error.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Requests a page of a kind's objects, of a namespace or of all, in the first version that is served; `None`
    /// if none is.
    async fn page<S: DeserializeOwned>(
        &self,
        kind: &'static KnownKind,
        namespace: &str,
        part: Part,
        params: &ListParams,
    ) -> Result<Option<Page<S>>, RequestError> {
        let known = self.served.lock().get(kind).copied().unwrap_or_default();
        let others = (0..kind.versions.len()).filter(|at| *at != known);
        for at in [known].into_iter().chain(others) {
            let Some(version) = kind.versions.get(at) else { continue };
            let requests = requests(kind, version, namespace);
            let request = match part {
                Part::Whole => requests.list(params),
                Part::Metadata => requests.list_metadata(params),
            };
            match self.send(request).await {
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

/// Returns what makes the requests for a kind's objects, of a namespace or, without one, of all.
fn requests(kind: &KnownKind, version: &str, namespace: &str) -> Request {
    let gvk = GroupVersionKind::gvk(kind.group, version, kind.name);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    Request::new(DynamicObject::url_path(&resource, Some(namespace).filter(|name| !name.is_empty())))
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
        let request = requests(Kind::Service.known(), "v1", "shop");
        let request = request.patch_subresource("status", "web", &apply, &patch).unwrap();
        let path = "/api/v1/namespaces/shop/services/web/status?&force=true&fieldManager=pilothouse";
        assert_eq!(request.uri(), path);
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        let merge = PatchParams { field_manager: Some("pilothouse".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(serde_json::json!({"status": {}}));
        let request = requests(Kind::GatewayClass.known(), "v1", "");
        let request = request.patch_subresource("status", "istio", &merge, &patch).unwrap();
        let path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/istio/status?&fieldManager=pilothouse";
        assert_eq!(request.uri(), path);
        assert_eq!(request.headers()["content-type"], "application/merge-patch+json");
        let page = ListParams::default().limit(PAGE_SIZE).continue_token("a+/=&");
        let request = requests(Kind::ServiceEntry.known(), "v1", "").list(&page).unwrap();
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
