//! Waypoints and what their Envoys are sent.

use model::{Name, Str, nearest};
use plane::Plane;
use proto::{Described, ResourceType, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use server::ClientView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xds::{Snapshot, Version};

/// Most waypoints that are listed where a person may have meant one of them.
const NAMED: usize = 10;

/// A waypoint that is configured here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaypointView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Hostnames of the services that it is the waypoint of.
    pub services: Vec<String>,
    /// How many resources its Envoys are sent, by type.
    pub resources: BTreeMap<String, usize>,
    /// Bytes of these resources; of those that differ by place the largest.
    pub bytes: usize,
    /// Its replicas that are connected to this control plane.
    pub replicas: Vec<ReplicaView>,
}

/// An Envoy of a waypoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaView {
    /// The node that it says it is: type, address, pod and domain.
    pub node: String,
    /// Types of which it has not yet answered the last response.
    pub pending: Vec<String>,
    /// What it refused of the last response of a type.
    pub refused: Vec<RefusedView>,
}

/// A response that was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedView {
    /// The type of its resources.
    #[serde(rename = "type")]
    pub of: String,
    /// Why, in Envoy's words.
    pub message: String,
}

/// A resource that the Envoys of a waypoint are sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    /// Its type: `clusters`, `endpoints`, `listeners`, `routes` …
    #[serde(rename = "type")]
    pub of: String,
    /// Its name.
    pub name: String,
    /// Where those replicas are that it is for, as in `zone=REGION/ZONE`; empty if it is for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Its version on the wire.
    pub version: String,
    /// How many bytes it has.
    pub bytes: usize,
    /// The message, with the names of fields that Envoy's own dumps have.
    pub resource: Value,
}

/// The hostnames of each waypoint's services.
pub type WaypointRows = BTreeMap<Name, BTreeSet<Str>>;

/// Returns the waypoint of a name, `NAMESPACE/NAME`.
///
/// # Errors
/// That it is not configured here, and which are.
pub fn find_waypoint<'a>(rows: &'a WaypointRows, name: &str) -> Result<&'a Name, String> {
    if let Some(found) = rows.keys().find(|of| of.to_string() == name) {
        return Ok(found);
    }
    let names: Vec<String> = rows.keys().map(ToString::to_string).collect();
    let listed = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    Err(match (nearest(name, names.iter().map(String::as_str)), names.is_empty()) {
        (Some(meant), _) => format!("no waypoint {name:?} is configured here; did you mean {meant:?}?"),
        (None, true) => format!("no waypoint {name:?} is configured here, nor any other"),
        (None, false) => format!("no waypoint {name:?} is configured here; there are {listed}"),
    })
}

/// A resource of a waypoint.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    of: ResourceType,
    name: &'a str,
    place: &'a str,
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    /// Returns what a snapshot has for a waypoint.
    pub fn of_snapshot(snapshot: &'a Snapshot, waypoint: &Name) -> Vec<Self> {
        let waypoint = waypoint.to_string();
        let places = snapshot.places_of(&waypoint).map(|scope| (scope, &scope[waypoint.len() + 1..]));
        let own = Arc::from(waypoint.as_str());
        let mut all = Vec::new();
        for (scope, place) in std::iter::once((&own, "")).chain(places) {
            let scope = Scope::Proxy(Arc::clone(scope));
            for of in ResourceType::ALL {
                let resources = snapshot.resources(&scope, of);
                all.extend(resources.map(|r| (of, r.name, place, r.body)));
            }
        }
        all.into_iter().map(|(of, name, place, body)| Self { of, name, place, body }).collect()
    }

    /// Returns what is among changes for a waypoint.
    pub fn of_changes(changes: &'a [plane::ResourceChange], waypoint: &Name) -> Vec<Self> {
        let waypoint = waypoint.to_string();
        let own = changes.iter().filter_map(|change| {
            let Scope::Proxy(scope) = &change.scope else { return None };
            let place = match scope.strip_prefix(waypoint.as_str())? {
                "" => "",
                rest => rest.strip_prefix('@')?,
            };
            Some(Self { of: change.resource_type, name: &change.name, place, body: change.body.as_deref()? })
        });
        own.collect()
    }
}

impl WaypointView {
    /// Returns what the views of all waypoints are made from; that walks the services.
    pub fn rows(plane: &Plane) -> WaypointRows {
        plane.waypoints()
    }

    /// Returns the view of a waypoint with these services, resources and clients of the control plane.
    pub fn of(waypoint: &Name, services: &BTreeSet<Str>, sent: &[Sent<'_>], clients: &[ClientView]) -> Self {
        // A replica is sent each once: that of its place.
        let mut each: BTreeMap<(ResourceType, &str), usize> = BTreeMap::new();
        for resource in sent {
            let bytes = each.entry((resource.of, resource.name)).or_default();
            *bytes = resource.body.len().max(*bytes);
        }
        let mut resources = BTreeMap::new();
        for (of, _) in each.keys() {
            *resources.entry(word(*of).to_owned()).or_default() += 1;
        }
        let name = waypoint.to_string();
        let own = clients.iter().filter(|client| client.gateway.as_deref() == Some(&name));
        Self {
            namespace: waypoint.ns.to_string(),
            name: waypoint.name.to_string(),
            services: services.iter().map(ToString::to_string).collect(),
            resources,
            bytes: each.values().sum(),
            replicas: own.map(ReplicaView::of).collect(),
        }
    }
}

impl ReplicaView {
    fn of(client: &ClientView) -> Self {
        let name = |type_url: &str| {
            ResourceType::from_type_url(type_url)
                .map_or_else(|| type_url.to_owned(), |of| word(of).to_owned())
        };
        let mut view = Self {
            node: client.node.as_ref().map(|node| node.id.clone()).unwrap_or_default(),
            ..Self::default()
        };
        for of in &client.stats.types {
            match &of.last_nack {
                Some(nack) if nack.nonce == of.sent_nonce => {
                    view.refused.push(RefusedView { of: name(&of.type_url), message: nack.message.clone() });
                }
                _ if of.acked_nonce != of.sent_nonce => view.pending.push(name(&of.type_url)),
                _ => {}
            }
        }
        view
    }
}

impl ConfigView {
    /// Returns the views of resources, ascending by type, name and place.
    pub fn all(sent: &[Sent<'_>]) -> Vec<Self> {
        let mut all: Vec<Self> = sent.iter().map(Self::of).collect();
        all.sort_by(|a, b| (&a.of, &a.name, &a.place).cmp(&(&b.of, &b.name, &b.place)));
        all
    }

    fn of(sent: &Sent<'_>) -> Self {
        let described = Described::decode(sent.of.type_url(), sent.body);
        let resource = described.map_err(|error| error.to_string());
        let resource = resource.and_then(|of| serde_json::to_value(of).map_err(|error| error.to_string()));
        Self {
            of: word(sent.of).to_owned(),
            name: sent.name.to_owned(),
            place: sent.place.to_owned(),
            version: Version::of(sent.body).to_string(),
            bytes: sent.body.len(),
            resource: resource.unwrap_or_else(|error| Value::from(format!("cannot be shown: {error}"))),
        }
    }
}

/// What people call resources of a type.
fn word(of: ResourceType) -> &'static str {
    match of {
        ResourceType::Authorization => "authorizations",
        ResourceType::Address => "addresses",
        ResourceType::Secret => "secrets",
        ResourceType::Cluster => "clusters",
        ResourceType::Endpoint => "endpoints",
        ResourceType::ExtensionConfig => "extensions",
        ResourceType::Listener => "listeners",
        ResourceType::Route | ResourceType::ScopedRoute => "routes",
    }
}
