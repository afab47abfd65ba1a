//! Connected proxies in the shapes of Istio's pages: who they are, and how far they are in step.

use super::answer::{self, Answer};
use super::asked::{Asked, Viewer};
use super::monitoring::Monitoring;
use axum::http::StatusCode;
use model::rfc3339;
use prost_types::Timestamp;
use proto::envoy::admin::v3::UpdateFailureState;
use proto::envoy::config::core::v3::Node as EnvoyNode;
use proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use proto::type_url;
use serde::Serialize;
use server::{ClientView, Clients};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use xds::{Node, TypeStats};

/// What a time is that never came, in Go.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A proxy that is connected and has said who it is.
pub(super) struct Proxy {
    pub client: ClientView,
    pub node: Node,
    /// `POD.NAMESPACE`.
    pub id: String,
    pub namespace: String,
}

/// An entry of `/debug/syncz`.
#[derive(Serialize)]
struct SyncStatus<'c> {
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster_id: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    proxy: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    proxy_type: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    istio_version: &'c str,
    #[serde(flatten)]
    nonces: BTreeMap<String, &'c str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resources: BTreeMap<&'c str, ResourceStatus<'c>>,
}

/// A type of a proxy.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceStatus<'c> {
    #[serde(skip_serializing_if = "str::is_empty")]
    sent: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    acked: &'c str,
    sent_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'c str,
}

/// The answer of `/debug/adsz` and `/debug/connections`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdsClients<'c> {
    total_clients: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<AdsClient<'c>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdsClient<'c> {
    connection_id: String,
    connected_at: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'c BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'c BTreeMap<String, String>>,
    /// The names that are followed are not told: they may be many.
    #[serde(skip_serializing_if = "Option::is_none")]
    watches: Option<BTreeMap<&'c str, [&'static str; 0]>>,
}

/// Types that have fields of their own in `/debug/syncz`.
const NAMED: [(&str, &str); 5] = [
    ("cluster", type_url::CLUSTER),
    ("listener", type_url::LISTENER),
    ("route", type_url::ROUTE),
    ("endpoint", type_url::ENDPOINT),
    ("extensionconfig", type_url::EXTENSION_CONFIG),
];

impl Proxy {
    fn of(client: ClientView) -> Option<Self> {
        let node = client.node.clone()?;
        let id = node.id.split('~').nth(2).unwrap_or_default().to_owned();
        let named = node.property("NAMESPACE");
        let namespace = match named {
            "" => id.rsplit_once('.').map_or("", |(_, namespace)| namespace),
            named => named,
        };
        Some(Self { namespace: namespace.to_owned(), id, client, node })
    }

    /// The proxies whose connections `viewer` may see, ascending by name.
    pub fn all(clients: &Clients, viewer: &Viewer) -> Vec<Self> {
        let all = clients.list().into_iter().filter_map(Self::of);
        let mut all: Vec<Self> = all.filter(|of| viewer.sees(&of.namespace)).collect();
        all.sort_by(|a, b| (&a.id, a.client.id).cmp(&(&b.id, b.client.id)));
        all
    }

    /// The newest connection whose name has this text in it, if `viewer` may see it.
    pub fn find(clients: &Clients, viewer: &Viewer, text: &str) -> Option<Self> {
        let all = Self::all(clients, viewer).into_iter();
        all.filter(|of| of.connection_id().contains(text)).max_by_key(|of| of.client.id)
    }

    fn connection_id(&self) -> String {
        format!("{}-{}", self.id, self.client.id)
    }

    /// When it was sent a type last.
    fn sent(&self, type_url: &str) -> Option<SystemTime> {
        self.client.sent.iter().find(|(of, _)| of == type_url).map(|(_, at)| *at)
    }

    /// Why it refuses what it was sent last of a type, or still lacks for a refusal; empty if it does not.
    fn error<'s>(&'s self, of: &'s TypeStats) -> &'s str {
        let standing = || {
            let refused = self.client.refused.iter().find(|refused| refused.of.type_url() == of.type_url);
            refused.map(|refused| &*refused.message)
        };
        let last = of.last_nack.as_ref().filter(|nack| nack.nonce == of.sent_nonce);
        last.map(|nack| nack.message.as_str()).or_else(standing).unwrap_or_default()
    }

    /// The cluster that it says it is in; `own` where it says none.
    fn cluster<'c>(&'c self, own: &'c str) -> &'c str {
        Some(self.node.property("CLUSTER_ID")).filter(|id| !id.is_empty()).unwrap_or(own)
    }

    fn sync_status<'c>(&'c self, own_cluster: &'c str) -> SyncStatus<'c> {
        let types = &self.client.stats.types;
        let mut nonces = BTreeMap::new();
        for (name, url) in NAMED {
            if let Some(of) = types.iter().find(|of| of.type_url == url) {
                let both = [("sent", of.sent_nonce.as_str()), ("acked", of.acked_nonce.as_str())];
                let said = both.into_iter().filter(|(_, nonce)| !nonce.is_empty());
                nonces.extend(said.map(|(what, nonce)| (format!("{name}_{what}"), nonce)));
            }
        }
        let resources = types.iter().map(|of| {
            let status = ResourceStatus {
                sent: &of.sent_nonce,
                acked: &of.acked_nonce,
                sent_time: self.sent(&of.type_url).map_or_else(|| NEVER.to_owned(), time),
                last_error: self.error(of),
            };
            (of.type_url.as_str(), status)
        });
        SyncStatus {
            cluster_id: self.cluster(own_cluster),
            proxy: &self.id,
            proxy_type: self.node.role(),
            istio_version: self.node.property("ISTIO_VERSION"),
            nonces,
            resources: resources.collect(),
        }
    }

    /// The same as istioctl asks for it on the discovery port.
    pub fn client_config(&self, own_cluster: &str) -> ClientConfig {
        let properties = [
            ("CLUSTER_ID", self.cluster(own_cluster)),
            ("NAMESPACE", self.namespace.as_str()),
            ("ISTIO_VERSION", self.node.property("ISTIO_VERSION")),
        ];
        let said = properties.into_iter().filter(|(_, value)| !value.is_empty());
        let fields = said.map(|(key, value)| (key.to_owned(), value.to_owned().into())).collect();
        let mut types: Vec<_> = self.client.stats.types.iter().map(|of| self.type_config(of)).collect();
        types.sort_by(|a, b| a.type_url.cmp(&b.type_url));
        ClientConfig {
            node: Some(EnvoyNode {
                id: self.id.clone(),
                cluster: String::new(),
                metadata: Some(prost_types::Struct { fields }),
            }),
            generic_xds_configs: types,
        }
    }

    fn type_config(&self, of: &TypeStats) -> GenericXdsConfig {
        let (sent, error) = (self.sent(&of.type_url).map(Timestamp::from), self.error(of));
        let status = if !error.is_empty() {
            ConfigStatus::Error
        } else if of.sent_nonce.is_empty() {
            ConfigStatus::NotSent
        } else if of.acked_nonce == of.sent_nonce {
            ConfigStatus::Synced
        } else {
            ConfigStatus::Stale
        };
        let failure = || UpdateFailureState { last_update_attempt: sent, details: error.to_owned() };
        GenericXdsConfig {
            type_url: of.type_url.clone(),
            last_updated: sent,
            config_status: status.into(),
            error_state: (!error.is_empty()).then(failure),
        }
    }

    fn connection(&self) -> AdsClient<'_> {
        AdsClient {
            connection_id: self.connection_id(),
            connected_at: time(self.client.stats.connected_at),
            address: self.client.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            labels: None,
            metadata: None,
            watches: None,
        }
    }

    fn subscriptions(&self) -> AdsClient<'_> {
        let watches = self.client.stats.types.iter().map(|of| (of.type_url.as_str(), []));
        AdsClient {
            labels: Some(&self.node.labels).filter(|labels| !labels.is_empty()),
            metadata: Some(&self.node.metadata).filter(|metadata| !metadata.is_empty()),
            watches: Some(watches.collect()),
            ..self.connection()
        }
    }
}

fn time(at: SystemTime) -> String {
    rfc3339(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Says that a proxy is not named or not here, in the words that istioctl looks for: it asks another replica then.
pub(super) fn not_here(name: Option<&str>) -> Answer {
    match name.filter(|name| !name.is_empty()) {
        None => answer::line(StatusCode::BAD_REQUEST, "You must provide a proxyID in the query string"),
        Some(_) => answer::line(
            StatusCode::NOT_FOUND,
            "Proxy not connected to this Pilot instance. It may be connected to another instance.",
        ),
    }
}

/// `/debug/syncz`.
pub(super) async fn syncz(m: &Monitoring, asked: &Asked) -> Answer {
    let namespace = asked.parameter("namespace").unwrap_or_default();
    let all = Proxy::all(&m.clients, &asked.viewer);
    let some = all.iter().filter(|of| namespace.is_empty() || of.namespace == namespace);
    answer::json(StatusCode::OK, &some.map(|of| of.sync_status(&m.about.cluster_id)).collect::<Vec<_>>())
}

/// `/debug/adsz`.
pub(super) async fn adsz(m: &Monitoring, asked: &Asked) -> Answer {
    let name = asked.parameter("proxyID").filter(|name| !name.is_empty());
    let all = match &name {
        None => Proxy::all(&m.clients, &asked.viewer),
        Some(name) => match Proxy::find(&m.clients, &asked.viewer, name) {
            Some(proxy) => vec![proxy],
            None => return not_here(Some(name)),
        },
    };
    list(&all, Proxy::subscriptions)
}

/// `/debug/connections`.
pub(super) async fn connections(m: &Monitoring, asked: &Asked) -> Answer {
    list(&Proxy::all(&m.clients, &asked.viewer), Proxy::connection)
}

fn list<'p>(all: &'p [Proxy], view: impl Fn(&'p Proxy) -> AdsClient<'p>) -> Answer {
    let clients = AdsClients { total_clients: all.len(), clients: all.iter().map(view).collect() };
    answer::json(StatusCode::OK, &clients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xds::{Nack, RefusedResource, ResourceType, SessionStats};

    fn proxy(types: Vec<TypeStats>, refused: Vec<RefusedResource>) -> Option<Proxy> {
        let stats = SessionStats { connected_at: UNIX_EPOCH, step: 1, responses: 0, bytes: 0, types };
        let node = Node { id: "waypoint~10.0.0.1~w.shop~d".to_owned(), ..Node::default() };
        let sent = vec![(type_url::LISTENER.to_owned(), UNIX_EPOCH)];
        let (peer, gateway, scopes) = (None, None, Vec::new());
        Proxy::of(ClientView { id: 7, peer, node: Some(node), gateway, refused, scopes, stats, sent })
    }

    fn of(type_url: &str, sent: &str, acked: &str) -> TypeStats {
        let [type_url, sent_nonce, acked_nonce] = [type_url, sent, acked].map(str::to_owned);
        TypeStats { type_url, sent_nonce, acked_nonce, ..TypeStats::default() }
    }

    #[test]
    fn types_are_synced_stale_not_sent_or_refused() {
        let nack = |nonce: &str| Some(Nack { nonce: nonce.to_owned(), message: "no".to_owned() });
        let types = vec![
            of(type_url::ROUTE, "3", "2"),
            of(type_url::CLUSTER, "1", "1"),
            of(type_url::SECRET, "", ""),
            TypeStats { last_nack: nack("2"), ..of(type_url::LISTENER, "2", "1") },
            // Taken since, but for one resource; and taken since as a whole.
            TypeStats { last_nack: nack("1"), ..of(type_url::ENDPOINT, "2", "2") },
            TypeStats { last_nack: nack("1"), ..of(type_url::EXTENSION_CONFIG, "2", "2") },
        ];
        let refused =
            RefusedResource { of: ResourceType::Endpoint, name: None, step: 1, message: "still no".into() };
        let proxy = proxy(types, vec![refused]);
        let config = proxy.as_ref().map(|proxy| proxy.client_config("c1")).unwrap_or_default();
        let told: Vec<_> = config
            .generic_xds_configs
            .iter()
            .map(|of| {
                let name = of.type_url.rsplit('.').next().unwrap_or_default();
                let error = of.error_state.as_ref().map_or("", |error| error.details.as_str());
                (name, of.config_status().as_str_name(), error, of.last_updated.is_some())
            })
            .collect();
        let expected = [
            ("Cluster", "SYNCED", "", false),
            ("TypedExtensionConfig", "SYNCED", "", false),
            ("ClusterLoadAssignment", "ERROR", "still no", false),
            ("Listener", "ERROR", "no", true),
            ("RouteConfiguration", "STALE", "", false),
            ("Secret", "NOT_SENT", "", false),
        ];
        assert_eq!(told, expected);
        let status =
            proxy.as_ref().map(|proxy| serde_json::json!(proxy.sync_status("c1"))).unwrap_or_default();
        assert_eq!((&status["route_sent"], &status["route_acked"]), (&"3".into(), &"2".into()));
        assert_eq!((&status["proxy"], &status["cluster_id"]), (&"w.shop".into(), &"c1".into()));
        assert!(status.get("endpoint_error").is_none() && status.get("istio_version").is_none(), "{status}");
        assert_eq!(status["resources"][type_url::LISTENER]["lastError"], "no");
        assert_eq!(status["resources"][type_url::CLUSTER]["sentTime"], NEVER);
    }
}
