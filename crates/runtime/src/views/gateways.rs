//! Gateways with their listeners.

use super::problems;
use model::facts::GatewayAddress;
use plane::{Conditions, Entry, GatewaySummary, Listener, ListenerKey, Owner, Plane};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A Gateway of one of our classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `spec.gatewayClassName`.
    pub class: String,
    /// The addresses of its status.
    pub addresses: Vec<String>,
    /// Whether traffic reaches it; absent where another revision says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed: Option<bool>,
    /// Its listeners, in the order of precedence.
    pub listeners: Vec<ListenerView>,
    /// What is deployed for it, each as `KIND NAME`.
    pub deployed: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// A listener of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerView {
    /// The ListenerSet that has it, as `NAMESPACE/NAME`; absent where it is the Gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_set: Option<String>,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Its protocol; empty for one that is not supported.
    pub protocol: String,
    /// Its hostname, `*` for every one.
    pub hostname: String,
    /// How many routes are attached; absent where another revision says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_routes: Option<u64>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl GatewayView {
    /// Returns what the views of all gateways are made from; that walks the gateways.
    pub fn rows(plane: &Plane) -> Vec<GatewaySummary> {
        plane.gateways()
    }

    /// Returns the views of all, ascending by namespace and name.
    pub fn all(rows: Vec<GatewaySummary>) -> Vec<Self> {
        rows.iter().map(Self::of).collect()
    }

    fn of(summary: &GatewaySummary) -> Self {
        let status = summary.status.as_deref();
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let programmed = conditions.iter().find(|condition| condition.kind == "Programmed");
        let manifests = summary.deployment.iter().filter_map(|of| of.manifests.as_ref().ok()).flatten();
        Self {
            namespace: summary.name.ns.to_string(),
            name: summary.name.name.to_string(),
            class: summary.facts.class.to_string(),
            addresses: addresses(summary),
            programmed: programmed.map(|condition| condition.status),
            listeners: summary
                .listeners
                .listeners
                .iter()
                .map(|(key, listener)| ListenerView::of(key, listener, entry(summary, key)))
                .collect(),
            deployed: manifests.map(|manifest| format!("{} {}", manifest.kind, manifest.name)).collect(),
            problems: problems(conditions),
        }
    }
}

impl ListenerView {
    fn of(key: &ListenerKey, listener: &Listener, entry: Option<&Entry>) -> Self {
        let attached = entry
            .and_then(|entry| entry.fields.iter().find(|(field, _)| *field == "attachedRoutes")?.1.as_u64());
        Self {
            listener_set: match &key.owner {
                Owner::Gateway(_) => None,
                Owner::Set(set) => Some(set.to_string()),
            },
            name: key.name.to_string(),
            port: listener.port,
            protocol: listener.protocol.as_ref().map(|of| of.name().to_owned()).unwrap_or_default(),
            hostname: listener.hostname.to_string(),
            attached_routes: attached,
            problems: match entry {
                Some(entry) => problems(&entry.conditions),
                None => listener.protocol.as_ref().err().map(|why| why.message.clone()).into_iter().collect(),
            },
        }
    }
}

/// The addresses that are to be in the status; those that are there, where another revision writes it.
fn addresses(summary: &GatewaySummary) -> Vec<String> {
    let field = |status: &Conditions| {
        let field = status.fields.iter().find(|(field, _)| *field == "addresses")?;
        let values = field.1.as_array()?.iter().filter_map(|address| address.get("value"));
        Some(values.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    summary.status.as_deref().and_then(field).unwrap_or_else(|| {
        let written = summary.facts.addresses.iter();
        let text = |address: &GatewayAddress| match address {
            GatewayAddress::Ip(ip) => Some(ip.to_string()),
            GatewayAddress::Hostname(host) => Some(host.to_string()),
            GatewayAddress::Other => None,
        };
        written.filter_map(text).collect()
    })
}

/// The entry of a listener in the status of the object that has it.
fn entry<'s>(summary: &'s GatewaySummary, key: &ListenerKey) -> Option<&'s Entry> {
    let status = match &key.owner {
        Owner::Gateway(_) => summary.status.as_deref(),
        Owner::Set(set) => summary.sets.get(set).map(|status| &**status),
    };
    let list = status?.lists.iter().find(|list| list.field == "listeners")?;
    let is_it = |entry: &&Entry| entry.key.iter().any(|(_, name)| name.as_str() == Some(&*key.name));
    list.entries.iter().find(is_it)
}
