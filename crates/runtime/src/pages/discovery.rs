//! The debug API of the discovery port: the same pages as over HTTP, as istioctl asks for them.
//!
//! ```text
//!  istio.io/debug/syncz        ─▶ a ClientConfig for each proxy
//!  istio.io/debug/config_dump  ─▶ the members of the ConfigDump of the proxy that is named
//!  istio.io/debug              ─▶ the page that is named, as it is: path and query below /debug/
//! ```

use super::asked::{Asked, Viewer};
use super::config_dump::Dump;
use super::monitoring::Monitoring;
use super::proxies::Proxy;
use super::table::{self, busy, not_found};
use super::version::{REVISION, STATE, VERSION};
use axum::http::{HeaderMap, Uri};
use prost::Message;
use prost_types::Any;
use proto::envoy::any;
use proto::{Code, type_url};
use serde_json::json;
use server::{DebugAnswer, DebugApi, PendingAnswer};
use std::sync::Arc;
use xds::Question;

/// Longest name of a page with its query.
const MAX_NAME: usize = 2048;

/// Most bytes of all resources of an answer.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Answers questions of the debug API.
pub struct Discovery {
    pages: Arc<Monitoring>,
    identifier: String,
}

impl Discovery {
    /// Answers from these pages.
    pub fn new(pages: Arc<Monitoring>) -> Self {
        let identifier = json!({
            "Component": "istiod",
            "ID": pages.about.replica,
            "Info": {
                "version": VERSION, "revision": REVISION, "golang_version": "", "status": STATE, "tag": VERSION,
            },
        });
        Self { pages, identifier: identifier.to_string() }
    }
}

impl DebugApi for Discovery {
    fn answer(&self, question: Question, namespace: &str) -> PendingAnswer {
        let (pages, namespace) = (Arc::clone(&self.pages), namespace.to_owned());
        Box::pin(async move { answer(&pages, question, &namespace).await })
    }

    fn identifier(&self) -> &str {
        &self.identifier
    }
}

async fn answer(pages: &Monitoring, question: Question, namespace: &str) -> DebugAnswer {
    let viewer = pages.access.viewer_of(namespace, &pages.engine).await;
    let Some(_turn) = pages.turn().await else { return Err((Code::Unavailable, busy().body)) };
    let part = question.type_url.strip_prefix(type_url::DEBUG).unwrap_or_default();
    let resources = match (part.trim_start_matches('/'), question.names.as_slice()) {
        ("syncz", _) => Proxy::all(&pages.clients, &viewer)
            .iter()
            .map(|of| any(&of.client_config(&pages.about.cluster_id)))
            .collect(),
        // Who asks of none, of several, or of one that is not here, is told so by an empty answer, and asks the next.
        ("config_dump", [name]) => match config_dump(pages, name, &viewer) {
            Some(found) => found?,
            None => Vec::new(),
        },
        ("config_dump", _) => Vec::new(),
        ("", [name]) => page(pages, name, viewer, namespace).await?,
        ("", _) => return Err((Code::InvalidArgument, "exactly one debug request is required".to_owned())),
        (part, _) => {
            let part: String = part.chars().take(64).collect();
            return Err((Code::InvalidArgument, format!("there is no part {part:?} of the debug API")));
        }
    };
    let len: usize = resources.iter().map(Message::encoded_len).sum();
    match len {
        0..=MAX_BYTES => Ok(resources),
        _ => Err((Code::ResourceExhausted, format!("the answer has {len} bytes, more than {MAX_BYTES}"))),
    }
}

fn config_dump(pages: &Monitoring, name: &str, viewer: &Viewer) -> Option<DebugAnswer> {
    // An empty name is part of every other.
    let proxy = Some(name)
        .filter(|name| !name.is_empty())
        .and_then(|name| Proxy::find(&pages.clients, viewer, name))?;
    let snapshot = pages.engine.snapshots().borrow().clone()?;
    let members = Dump::of(&proxy, &snapshot).members(false);
    Some(members.map_err(|error| (Code::Internal, format!("it cannot be shown: {error}"))))
}

async fn page(pages: &Monitoring, name: &str, viewer: Viewer, namespace: &str) -> DebugAnswer {
    let raw = |body: String| vec![Any { type_url: type_url::DEBUG.to_owned(), value: body.into_bytes() }];
    let uri = (name.len() <= MAX_NAME).then(|| format!("/debug/{name}").parse::<Uri>().ok()).flatten();
    let found = uri.and_then(|uri| Some((table::find(uri.path().strip_prefix("/debug/")?)?, uri)));
    let Some((page, uri)) = found else {
        // Whoever sees nothing of the mesh learns nothing of its pages.
        return match viewer {
            Viewer::Everything => Ok(raw(not_found(&format!("/debug/{name}"), &table::index()).body)),
            Viewer::Namespace(_) => Err(denied(namespace)),
        };
    };
    let asked = Asked { uri, headers: HeaderMap::new(), viewer };
    match page.answer(pages, &asked).await {
        Some(answer) => Ok(raw(answer.body)),
        None => Err(denied(namespace)),
    }
}

fn denied(namespace: &str) -> (Code, String) {
    let message =
        format!("the debug info is not available for current identity: its namespace is {namespace}");
    (Code::PermissionDenied, message)
}
