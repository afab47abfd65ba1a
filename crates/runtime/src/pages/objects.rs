//! Objects as they are written, which nobody keeps: read from where they come from when somebody asks.

use crate::log::MeshLog;
use cluster::Connection;
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use kube::Client;
use kube::core::Request as Collection;
use kube::core::params::ListParams;
use model::Kind;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How many objects of a page are read at once.
const PAGE_SIZE: u32 = 500;

/// Most objects that are shown.
const MAX_OBJECTS: usize = 50_000;

/// How many kinds are read at once.
const AT_ONCE: usize = 4;

/// How long the API server may take for all of them.
const LIMIT: Duration = Duration::from_secs(20);

/// Where objects are read from.
#[derive(Clone)]
pub enum Objects {
    /// An API server.
    Cluster(Client),
    /// Folders, of which the source has the objects.
    Folder(Arc<MeshLog>),
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: String,
}

impl Objects {
    /// Reads from the cluster of a connection.
    pub fn of_cluster(connection: &Connection) -> Self {
        Self::Cluster(connection.client.clone())
    }

    /// Returns all objects of kinds, by kind in this order, each with `apiVersion` and `kind`.
    ///
    /// # Errors
    /// Why they cannot be read, in words.
    pub async fn list(&self, kinds: &[Kind]) -> Result<Vec<Value>, String> {
        match self {
            Self::Folder(log) => {
                let objects = log.places().objects();
                let of = |kind: &Kind| {
                    let some = objects
                        .values()
                        .filter(|of| of.key.kind == kind.name() && of.key.group == kind.group());
                    some.map(|of| of.value.clone()).collect::<Vec<_>>()
                };
                Ok(kinds.iter().flat_map(of).take(MAX_OBJECTS).collect())
            }
            Self::Cluster(client) => {
                let mut each = Vec::new();
                for kind in kinds {
                    each.push(list(client.clone(), *kind, None));
                }
                let each = stream::iter(each).buffered(AT_ONCE);
                let all = timeout(LIMIT, each.try_collect::<Vec<_>>()).await;
                let all =
                    all.map_err(|_| format!("the API server has not answered in {} s", LIMIT.as_secs()))?;
                let all: Vec<Value> = all?.into_iter().flatten().collect();
                if all.len() > MAX_OBJECTS {
                    return Err(format!(
                        "there are more than {MAX_OBJECTS} objects: ask the API server for them"
                    ));
                }
                Ok(all)
            }
        }
    }

    /// Returns the text of a key of a ConfigMap; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub async fn config(&self, namespace: &str, name: &str, key: &str) -> Result<Option<String>, String> {
        let text = |of: &Value| of["data"][key].as_str().map(str::to_owned);
        match self {
            Self::Folder(log) => {
                let key = folder::Key::new("", "ConfigMap", namespace, name);
                Ok(log.places().objects().get(&key).and_then(|of| text(&of.value)))
            }
            Self::Cluster(client) => {
                let found = timeout(
                    LIMIT,
                    list(client.clone(), Kind::ConfigMap, Some((namespace.to_owned(), name.to_owned()))),
                )
                .await;
                let found =
                    found.map_err(|_| format!("the API server has not answered in {} s", LIMIT.as_secs()))?;
                Ok(found?.first().and_then(text))
            }
        }
    }
}

/// Lists a kind in the first version that is served; nothing if none is.
async fn list(client: Client, kind: Kind, one: Option<(String, String)>) -> Result<Vec<Value>, String> {
    for version in kind.versions() {
        let api = match kind.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let path = match &one {
            Some((namespace, _)) => format!("{api}/namespaces/{namespace}/{}", kind.plural()),
            None => format!("{api}/{}", kind.plural()),
        };
        let api_version = if kind.group().is_empty() {
            (*version).to_owned()
        } else {
            format!("{}/{version}", kind.group())
        };
        let fields = one.as_ref().map(|(_, name)| format!("metadata.name={name}"));
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let params = ListParams {
                limit: Some(PAGE_SIZE),
                continue_token: (!next.is_empty()).then(|| next.clone()),
                field_selector: fields.clone(),
                ..ListParams::default()
            };
            let request: Request<Vec<u8>> =
                Collection::new(&path).list(&params).map_err(|error| error.to_string())?;
            match client.request::<Page>(request).await {
                Ok(page) => {
                    all.extend(page.items.into_iter().map(|of| named(of, kind, &api_version)));
                    next = page.metadata.next;
                    if next.is_empty() || all.len() > MAX_OBJECTS {
                        return Ok(all);
                    }
                }
                Err(kube::Error::Api(refused)) if refused.code == 404 => break,
                Err(error) => return Err(format!("{} cannot be listed: {error}", kind.plural())),
            }
        }
    }
    Ok(Vec::new())
}

/// An element of a list with what says what it is, and without what nobody reads.
fn named(mut object: Value, kind: Kind, api_version: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("kind".to_owned(), kind.name().into());
        fields.insert("apiVersion".to_owned(), api_version.into());
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    object
}
