use super::fault::Faults;
use super::istio_match::{HttpMatch, Notes, StreamMatch};
use super::istio_route::RouteManifest;
use super::metadata::Metadata;
use super::read;
use super::text::{Text, shared_host, shared_list};
use super::wrong::Wrong;
use crate::Kind;
use crate::facts::VirtualService;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    hosts: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    gateways: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    export_to: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    http: Option<Vec<RouteManifest<'a, HttpMatch<'a>>>>,
    #[serde(borrow)]
    tls: Option<Vec<RouteManifest<'a, StreamMatch<'a>>>>,
    #[serde(borrow)]
    tcp: Option<Vec<RouteManifest<'a, StreamMatch<'a>>>>,
}

/// Returns the facts of a `VirtualService`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<VirtualService, Wrong> {
    let Manifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    let mut ignored = Vec::new();
    let mut notes = Notes { faults: &mut Faults::default(), ignored: &mut ignored };
    let is_for_mesh = notes.has_mesh("spec", spec.gateways.as_deref().unwrap_or_default());
    let http = spec.http.unwrap_or_default().into_iter().enumerate();
    let http = http.map(|(i, route)| route.lower(&format!("spec.http[{i}]"), true, &mut ignored)).collect();
    let mut streams = Vec::new();
    for (field, routes) in [("tls", spec.tls), ("tcp", spec.tcp)] {
        for (i, route) in routes.unwrap_or_default().into_iter().enumerate() {
            streams.push(route.lower(&format!("spec.{field}[{i}]"), false, &mut ignored));
        }
    }
    Ok(VirtualService {
        meta: metadata.meta(Kind::VirtualService)?,
        hosts: spec.hosts.iter().flatten().map(|host| shared_host(host.as_str())).collect(),
        is_for_mesh,
        export_to: shared_list(spec.export_to),
        http,
        streams,
        ignored,
    })
}

#[cfg(test)]
mod tests;
