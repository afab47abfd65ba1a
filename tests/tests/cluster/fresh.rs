//! The mesh computed from scratch over a fresh list of the API server: what clients must hold.

use crate::statuses::differences;
use anyhow::{Context, bail};
use bytes::Bytes;
use mesh::AddressRequest;
use model::Event;
use model::{Kind, ObjectRef};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, State};
use plane::Plane;
use proto::{ResourceType, Scope};
use std::collections::BTreeMap;

/// Resources by type and name.
pub type Resources = BTreeMap<(ResourceType, String), Bytes>;

/// Lists every kind and computes the mesh in one commit.
///
/// The lists are fed from their ends: the order in which a source meets objects must not matter.
pub async fn mesh(client: &kube::Client, options: &mesh::Options) -> anyhow::Result<Plane> {
    let mut events = Vec::new();
    for &kind in Kind::ALL.iter().rev() {
        events.push(Event::Begin(kind));
        for item in list(client, kind, &options.system_namespace).await?.into_iter().rev() {
            let name = model::Name::new(text(&item, "/metadata/namespace"), text(&item, "/metadata/name"));
            events.push(match model::parse(kind, item.to_string().as_bytes()) {
                Ok(object) => Event::Put(object),
                Err(diagnostic) => Event::Reject(ObjectRef { kind, name }, diagnostic),
            });
        }
        events.push(Event::Synced(kind));
    }
    let mut mesh = Plane::new(options);
    mesh.apply(events);
    anyhow::ensure!(mesh.is_synced(), "a kind was not listed: {:?}", mesh.missing());
    Ok(mesh)
}

/// Returns the resources of a mesh that ztunnels are sent.
fn resources_of(mesh: &Plane) -> Resources {
    let all = mesh.resources().into_iter().filter(|change| change.scope == Scope::Mesh);
    all.filter_map(|change| Some(((change.resource_type, change.name), change.body.map(Bytes::from_owner)?)))
        .collect()
}

/// Waits until a client and the statuses hold what a fresh computation makes of the API server, and
/// returns what the client holds.
///
/// Nobody may edit the API server meanwhile, but for the control plane itself, which must be one that
/// writes: what it has to write is waited for.
pub async fn settled(
    client: &Client,
    api: &kube::Client,
    options: &mesh::Options,
) -> anyhow::Result<Resources> {
    let mut last = Vec::new();
    // What is written is read again: the mesh is computed anew until nothing is left to be written.
    let written = async || {
        let mesh = mesh(api, options).await?;
        last = unallocated(&mesh.address_requests())?;
        last.extend(differences(api, &mesh).await?);
        Ok(last.is_empty().then_some(mesh))
    };
    let waited = until(LIMIT, written).await;
    let mesh = waited.with_context(|| {
        format!(
            "addresses or statuses differ: {}",
            last.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
        )
    })?;
    let fresh = resources_of(&mesh);
    holds(client, &fresh).await?;
    Ok(fresh)
}

/// Returns the entries whose status does not hold an address of each family for each host that wants
/// one, and for no other.
///
/// # Errors
/// When two hosts have one address, which is wrong at any time.
fn unallocated(requests: &[AddressRequest]) -> anyhow::Result<Vec<String>> {
    let mut owners = BTreeMap::new();
    for request in requests {
        for (host, ip) in &request.held {
            let owner = format!("{host} of {}", request.entry);
            if let Some(other) = owners.insert(*ip, owner.clone()) {
                bail!("{ip} is that of {other} and of {owner}");
            }
        }
    }
    let is_right = |r: &&AddressRequest| {
        let has = |host, is_v4| r.held.iter().any(|(of, ip)| of == host && ip.is_ipv4() == is_v4);
        r.hosts.iter().all(|host| has(host, true) && has(host, false)) && r.held.len() == 2 * r.hosts.len()
    };
    // Who wants none keeps what it had.
    let wrong = requests.iter().filter(|r| !r.hosts.is_empty() && !is_right(r));
    Ok(wrong.map(|r| format!("{r:?}")).collect())
}

/// Waits until a client holds these resources, byte for byte, and no others.
pub async fn holds(client: &Client, resources: &Resources) -> anyhow::Result<()> {
    let what = "the resources of a fresh computation";
    let held = client.until(what, |state| held_by(state) == *resources).await;
    let Err(error) = held else { return Ok(()) };
    let differing = client.with(|state| changed(&held_by(state), resources));
    let what: Vec<String> = differing.iter().take(10).map(|(_, name)| name.clone()).collect();
    bail!("{} resources differ: {what:?}\n{error:#}", differing.len())
}

/// Returns what a client holds.
pub fn held_by(state: &State) -> Resources {
    let addresses = state.addresses().iter();
    let addresses = addresses.map(|(name, held)| ((ResourceType::Address, name.clone()), held.bytes.clone()));
    let policies = state.authorizations().iter();
    let policies =
        policies.map(|(name, held)| ((ResourceType::Authorization, name.clone()), held.bytes.clone()));
    addresses.chain(policies).collect()
}

/// Returns the version of each address that a client holds.
pub fn versions(state: &State) -> BTreeMap<String, String> {
    state.addresses().iter().map(|(name, held)| (name.clone(), held.version.clone())).collect()
}

/// Returns the keys under which two sets of resources differ: absent from one, or with other bytes.
pub fn changed(before: &Resources, after: &Resources) -> Vec<(ResourceType, String)> {
    let differs = |key: &&(ResourceType, String)| before.get(key) != after.get(key);
    let new = after.keys().filter(|key| !before.contains_key(key));
    before.keys().filter(differs).chain(new).cloned().collect()
}

/// Lists a kind as the daemon reads it, which takes its settings from the namespace `system`; a kind that is not installed has no objects.
pub async fn list(client: &kube::Client, kind: Kind, system: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let api = if kind.group().is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group()) };
    let api = format!("{api}/{}", kind.version());
    let plural = kind.plural();
    let path = match kind {
        Kind::ConfigMap => {
            format!("{api}/namespaces/{system}/{plural}?fieldSelector=metadata.name%3Distio")
        }
        _ => format!("{api}/{plural}"),
    };
    let request = http::Request::get(&path).body(Vec::new())?;
    let mut answer: serde_json::Value = match client.request(request).await {
        Ok(answer) => answer,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {plural}")),
    };
    match answer["items"].take() {
        serde_json::Value::Array(items) => Ok(items),
        other => bail!("the list of {plural} has the items {other}"),
    }
}

fn text<'v>(value: &'v serde_json::Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default()
}
