//! What a proxy is sent, as the admin interface of an Envoy dumps it.
//!
//! ```text
//!  scopes of its connection ─▶ Sent: each resource once ─┬─▶ members of a ConfigDump, as JSON (HTTP)
//!  or the mesh, of a ztunnel    of types that it follows └─▶ the same as messages (discovery port)
//! ```
//!
//! Private keys are left out of both.

use super::answer::{self, Answer};
use super::asked::Asked;
use super::monitoring::Monitoring;
use super::proxies::{Proxy, not_here};
use axum::http::StatusCode;
use prost::Message;
use prost_types::Any;
use proto::envoy::admin::v3::clusters_config_dump::DynamicCluster;
use proto::envoy::admin::v3::ecds_config_dump::EcdsFilterConfig;
use proto::envoy::admin::v3::endpoints_config_dump::DynamicEndpointConfig;
use proto::envoy::admin::v3::listeners_config_dump::{DynamicListener, DynamicListenerState};
use proto::envoy::admin::v3::routes_config_dump::DynamicRouteConfig;
use proto::envoy::admin::v3::scoped_routes_config_dump::DynamicScopedRouteConfigs;
use proto::envoy::admin::v3::secrets_config_dump::DynamicSecret;
use proto::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, EcdsConfigDump, EndpointsConfigDump, ListenersConfigDump,
    RoutesConfigDump, ScopedRoutesConfigDump, SecretsConfigDump,
};
use proto::envoy::any;
use proto::{Described, Undescribed, type_url};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use xds::{ResourceType, Scope, Snapshot};

/// The short names of types in queries, with the types.
const SHORT: [(&str, ResourceType); 9] = [
    ("cds", ResourceType::Cluster),
    ("ecds", ResourceType::ExtensionConfig),
    ("eds", ResourceType::Endpoint),
    ("lds", ResourceType::Listener),
    ("rds", ResourceType::Route),
    ("sds", ResourceType::Secret),
    ("srds", ResourceType::ScopedRoute),
    ("wads", ResourceType::Authorization),
    ("wds", ResourceType::Address),
];

/// What a proxy is sent of the types that it follows.
pub(super) struct Dump<'s> {
    version: String,
    is_ztunnel: bool,
    sent: BTreeMap<(ResourceType, &'s str), &'s [u8]>,
}

impl<'s> Dump<'s> {
    /// What a snapshot has for a proxy.
    pub fn of(proxy: &Proxy, snapshot: &'s Snapshot) -> Self {
        let client = &proxy.client;
        let follows = |of: ResourceType| {
            let urls = client.stats.types.iter().map(|of| of.type_url.as_str());
            urls.into_iter()
                .any(|url| url == of.type_url() || (of == ResourceType::Address && url == type_url::WORKLOAD))
        };
        let of_proxy = client.scopes.iter().map(|name| Scope::Proxy(Arc::clone(name)));
        let scopes: Vec<_> = if client.scopes.is_empty() { vec![Scope::Mesh] } else { of_proxy.collect() };
        let mut sent = BTreeMap::new();
        // What is for its place is in place of what is for all.
        for scope in &scopes {
            for of in ResourceType::ALL.into_iter().filter(|of| follows(*of)) {
                sent.extend(snapshot.resources(scope, of).map(|found| ((of, found.name), found.body)));
            }
        }
        Self { version: snapshot.step().to_string(), is_ztunnel: proxy.node.role() == "ztunnel", sent }
    }

    fn of_type(&self, of: ResourceType) -> impl Iterator<Item = (&'s str, Result<Any, Undescribed>)> + '_ {
        let some = self.sent.iter().filter(move |((other, _), _)| *other == of);
        some.map(|((of, name), body)| (*name, shown(*of, body)))
    }

    /// The members of a ConfigDump; those of an Envoy have one member for each type.
    ///
    /// # Errors
    /// When a resource cannot be shown: nothing is left out in silence.
    pub fn members(&self, with_endpoints: bool) -> Result<Vec<Any>, Undescribed> {
        if self.is_ztunnel {
            return self.of_type(ResourceType::Address).map(|(_, of)| of).collect();
        }
        let version = || self.version.clone();
        let clusters = self
            .of_type(ResourceType::Cluster)
            .map(|(_, cluster)| Ok(DynamicCluster { version_info: version(), cluster: Some(cluster?) }));
        let clusters = clusters.collect::<Result<_, _>>()?;
        let mut members = vec![
            any(&BootstrapConfigDump {}),
            any(&ClustersConfigDump { version_info: version(), dynamic_active_clusters: clusters }),
        ];
        if with_endpoints {
            let endpoints = self.of_type(ResourceType::Endpoint).map(|(_, endpoints)| {
                Ok(DynamicEndpointConfig { version_info: version(), endpoint_config: Some(endpoints?) })
            });
            let dynamic_endpoint_configs = endpoints.collect::<Result<_, _>>()?;
            members.push(any(&EndpointsConfigDump { dynamic_endpoint_configs }));
        }
        let listeners = self.of_type(ResourceType::Listener).map(|(name, listener)| {
            let state = DynamicListenerState { version_info: version(), listener: Some(listener?) };
            Ok(DynamicListener { name: name.to_owned(), active_state: Some(state) })
        });
        let scoped = self.of_type(ResourceType::ScopedRoute).map(|(name, route)| {
            Ok(DynamicScopedRouteConfigs {
                name: name.to_owned(),
                version_info: version(),
                scoped_route_configs: vec![route?],
            })
        });
        let routes = self
            .of_type(ResourceType::Route)
            .map(|(_, route)| Ok(DynamicRouteConfig { version_info: version(), route_config: Some(route?) }));
        let secrets = self.of_type(ResourceType::Secret).map(|(name, secret)| {
            Ok(DynamicSecret { name: name.to_owned(), version_info: version(), secret: Some(secret?) })
        });
        let filters = self
            .of_type(ResourceType::ExtensionConfig)
            .map(|(_, filter)| Ok(EcdsFilterConfig { version_info: version(), ecds_filter: Some(filter?) }));
        members.extend([
            any(&ListenersConfigDump {
                version_info: version(),
                dynamic_listeners: listeners.collect::<Result<_, _>>()?,
            }),
            any(&ScopedRoutesConfigDump { dynamic_scoped_route_configs: scoped.collect::<Result<_, _>>()? }),
            any(&RoutesConfigDump { dynamic_route_configs: routes.collect::<Result<_, _>>()? }),
            any(&SecretsConfigDump { dynamic_active_secrets: secrets.collect::<Result<_, _>>()? }),
            any(&EcdsConfigDump { ecds_filters: filters.collect::<Result<_, _>>()? }),
        ]);
        Ok(members)
    }

    /// Its resources of some types, without members around them.
    fn resources(&self, types: &[ResourceType]) -> Result<Vec<Any>, Undescribed> {
        types.iter().flat_map(|of| self.of_type(*of)).map(|(_, of)| of).collect()
    }
}

/// A resource as it may be shown.
fn shown(of: ResourceType, body: &[u8]) -> Result<Any, Undescribed> {
    let value = Described::without_keys(of.type_url(), body)?.into_owned();
    Ok(Any { type_url: of.type_url().to_owned(), value })
}

/// A ConfigDump as JSON.
#[derive(Serialize)]
struct ConfigDump {
    #[serde(skip_serializing_if = "Configs::is_empty")]
    configs: Configs,
}

/// Its members, of which one at a time is taken apart.
struct Configs(Vec<Any>);

impl Configs {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Configs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for member in &self.0 {
            let member = Described::decode("google.protobuf.Any", &member.encode_to_vec());
            let member = member.map_err(serde::ser::Error::custom)?;
            seq.serialize_element(&member.in_camel_case())?;
        }
        seq.end()
    }
}

/// `/debug/config_dump`.
pub(super) async fn config_dump(m: &Monitoring, asked: &Asked) -> Answer {
    let types = asked.parameter("types").filter(|types| !types.is_empty());
    let types: Option<Vec<_>> = types.map(|types| {
        let named =
            |(name, _): &&(&str, ResourceType)| types.split(',').any(|of| of.eq_ignore_ascii_case(name));
        SHORT.iter().filter(named).map(|(_, of)| *of).collect()
    });
    dump(m, asked, types.as_deref())
}

/// `/debug/edsz`.
pub(super) async fn edsz(m: &Monitoring, asked: &Asked) -> Answer {
    dump(m, asked, Some(&[ResourceType::Endpoint]))
}

/// `/debug/ecdsz`.
pub(super) async fn ecdsz(m: &Monitoring, asked: &Asked) -> Answer {
    dump(m, asked, Some(&[ResourceType::ExtensionConfig]))
}

/// `/debug/ndsz`: nobody is sent names, since a ztunnel answers them from the services that it knows.
pub(super) async fn ndsz(m: &Monitoring, asked: &Asked) -> Answer {
    dump(m, asked, Some(&[]))
}

fn dump(m: &Monitoring, asked: &Asked, types: Option<&[ResourceType]>) -> Answer {
    let name = asked.parameter("proxyID");
    let named = name.as_deref().filter(|name| !name.is_empty());
    let proxy = named.and_then(|name| Proxy::find(&m.clients, &asked.viewer, name));
    let (Some(proxy), Some(snapshot)) = (proxy, m.engine.snapshots().borrow().clone()) else {
        return not_here(name.as_deref());
    };
    let dump = Dump::of(&proxy, &snapshot);
    let configs = match types {
        Some(types) => dump.resources(types),
        None => dump.members(asked.parameter("include_eds").is_some()),
    };
    match configs {
        Ok(configs) => answer::json(StatusCode::OK, &ConfigDump { configs: Configs(configs) }),
        Err(error) => answer::line(StatusCode::INTERNAL_SERVER_ERROR, format!("it cannot be shown: {error}")),
    }
}
