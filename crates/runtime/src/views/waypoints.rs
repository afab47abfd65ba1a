//! Waypoints, gateways at the edge, and what their Envoys are sent.

use model::{Name, Str, nearest};
use plane::{MadeFrom, Plane};
use proto::{Described, ResourceType, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use server::ClientView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xds::{RefusedResource, Snapshot, TypeStats, Version};

/// Most waypoints that are listed where a person may have meant one of them.
const NAMED: usize = 10;

/// A waypoint that is configured here, or a gateway at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaypointView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Hostnames of the services that it is the waypoint of, or leads to.
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
    /// What it has refused, and not taken in another version since.
    pub refused: Vec<RefusedView>,
}

/// A resource that was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedView {
    /// The type of its resources.
    #[serde(rename = "type")]
    pub of: String,
    /// Its name; empty where the Envoy did not say what it refuses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The objects whose doing it is, each as `KIND NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
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

/// The hostnames of the services of each waypoint, and of each gateway at the edge.
pub type WaypointRows = BTreeMap<Name, BTreeSet<Str>>;

/// Whose doing it is what the Envoys of waypoints refuse: by waypoint, type and name.
pub type RefusedRows = BTreeMap<(String, ResourceType, Arc<str>), MadeFrom>;

/// Most refused resources of which it is told whose doing they are.
const MAX_REFUSED: usize = 64;

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
        (Some(meant), _) => {
            format!("no waypoint or gateway {name:?} is configured here; did you mean {meant:?}?")
        }
        (None, true) => format!("no waypoint or gateway {name:?} is configured here, nor any other"),
        (None, false) => format!("no waypoint or gateway {name:?} is configured here; there are {listed}"),
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

    /// Returns what is among changes for each waypoint, by its name.
    pub fn by_waypoint(changes: &'a [plane::ResourceChange]) -> BTreeMap<&'a str, Vec<Self>> {
        let mut all: BTreeMap<&str, Vec<Self>> = BTreeMap::new();
        for change in changes {
            if let (Scope::Proxy(scope), Some(body)) = (&change.scope, change.body.as_deref()) {
                let (waypoint, place) = scope.split_once('@').unwrap_or((scope, ""));
                let sent = Self { of: change.resource_type, name: &change.name, place, body };
                all.entry(waypoint).or_default().push(sent);
            }
        }
        all
    }
}

impl WaypointView {
    /// Returns what the views of all waypoints are made from; that walks the services.
    pub fn rows(plane: &Plane) -> WaypointRows {
        plane.waypoints()
    }

    /// Returns whose doing it is what these clients refuse, of the first of them.
    pub fn refused(plane: &Plane, clients: &[ClientView]) -> RefusedRows {
        let resources = clients.iter().flat_map(|client| {
            client
                .refused
                .iter()
                .filter_map(move |of| Some((client.gateway.clone()?, of.of, of.name.clone()?)))
        });
        let first: BTreeSet<_> = resources.collect();
        let made_from = |key: (String, ResourceType, Arc<str>)| {
            let made_from = plane.made_from(key.1, &Scope::proxy(&key.0), &key.2);
            (key, made_from)
        };
        first.into_iter().take(MAX_REFUSED).map(made_from).collect()
    }

    /// Returns the view of a waypoint with these services, resources and clients of the control plane, and whose doing
    /// it is what those refuse.
    pub fn of(
        waypoint: &Name,
        services: &BTreeSet<Str>,
        sent: &[Sent<'_>],
        clients: &[ClientView],
        refused: &RefusedRows,
    ) -> Self {
        // A replica is sent each once: that of its place.
        let mut each: BTreeMap<(ResourceType, &str), usize> = BTreeMap::new();
        for resource in sent {
            let bytes = each.entry((resource.of, resource.name)).or_default();
            *bytes = resource.body.len().max(*bytes);
        }
        let mut resources = BTreeMap::new();
        for (of, _) in each.keys() {
            *resources.entry(plural(*of).to_owned()).or_default() += 1;
        }
        let name = waypoint.to_string();
        let own = clients.iter().filter(|client| client.gateway.as_deref() == Some(&name));
        Self {
            namespace: waypoint.ns.to_string(),
            name: waypoint.name.to_string(),
            services: services.iter().map(ToString::to_string).collect(),
            resources,
            bytes: each.values().sum(),
            replicas: own.map(|client| ReplicaView::of(client, refused)).collect(),
        }
    }
}

impl ReplicaView {
    fn of(client: &ClientView, refused: &RefusedRows) -> Self {
        let name = |type_url: &str| {
            ResourceType::from_type_url(type_url)
                .map_or_else(|| type_url.to_owned(), |of| plural(of).to_owned())
        };
        let is_refused =
            |of: &TypeStats| of.last_nack.as_ref().is_some_and(|nack| nack.nonce == of.sent_nonce);
        let is_pending = |of: &&TypeStats| of.acked_nonce != of.sent_nonce && !is_refused(of);
        Self {
            node: client.node.as_ref().map(|node| node.id.clone()).unwrap_or_default(),
            pending: client.stats.types.iter().filter(is_pending).map(|of| name(&of.type_url)).collect(),
            refused: client.refused.iter().map(|of| RefusedView::of(client, of, refused)).collect(),
        }
    }
}

impl RefusedView {
    fn of(client: &ClientView, of: &RefusedResource, refused: &RefusedRows) -> Self {
        let key = client.gateway.clone().zip(of.name.clone()).map(|(gateway, name)| (gateway, of.of, name));
        let authors = key.and_then(|key| refused.get(&key)).map(|made_from| made_from.authors.as_slice());
        Self {
            of: plural(of.of).to_owned(),
            resource: of.name.as_deref().unwrap_or_default().to_owned(),
            objects: authors.unwrap_or_default().iter().map(ToString::to_string).collect(),
            message: of.message.to_string(),
        }
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
            of: plural(sent.of).to_owned(),
            name: sent.name.to_owned(),
            place: sent.place.to_owned(),
            version: Version::of(sent.body).to_string(),
            bytes: sent.body.len(),
            resource: resource.unwrap_or_else(|error| Value::from(format!("cannot be shown: {error}"))),
        }
    }
}

/// What people call resources of a type.
pub(crate) fn plural(of: ResourceType) -> &'static str {
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
