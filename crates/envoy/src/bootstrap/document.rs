//! The documents, put together.

use serde_json::{Value, json};

use super::settings::{Bootstrap, ProxyKind};
use super::{server, xds};

/// What is written, each a document of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Documents {
    /// What Envoy reads first.
    pub bootstrap: Value,
    /// The content of [`TOKEN_SECRET`](super::TOKEN_SECRET).
    pub token_secret: Value,
    /// The content of [`ROOT_SECRET`](super::ROOT_SECRET).
    pub root_secret: Value,
}

impl Bootstrap {
    /// Returns the documents.
    pub fn documents(&self) -> Documents {
        Documents {
            bootstrap: json!({
                "node": self.node(),
                "admin": server::admin(),
                "bootstrap_extensions": [{
                    "name": "envoy.bootstrap.internal_listener",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
                        "buffer_size_kb": 64,
                    },
                }],
                // A counter of a cluster that nobody uses costs nothing.
                "deferred_stat_options": { "enable_deferred_creation_stats": true },
                "layered_runtime": { "layers": [{
                    "name": "static",
                    "static_layer": { "re2.max_program_size.error_level": 32_768 },
                }] },
                "dynamic_resources": xds::dynamic(),
                "static_resources": {
                    "listeners": server::listeners(self.ip),
                    "clusters": [xds::cluster(self), server::admin_cluster(), xds::drain_cluster(self)],
                },
            }),
            token_secret: xds::token_secret(self),
            root_secret: xds::root_secret(self),
        }
    }

    /// The control plane believes none of this but what the token proves.
    fn node(&self) -> Value {
        let kind = match self.kind {
            ProxyKind::Waypoint => "waypoint",
            ProxyKind::Gateway => "router",
        };
        let Self { namespace, gateway, pod, ip, service_account, .. } = self;
        json!({
            "id": format!("{kind}~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{service_account}.{namespace}"),
            "metadata": {
                "NAME": pod,
                "NAMESPACE": namespace,
                "SERVICE_ACCOUNT": service_account,
                "INSTANCE_IPS": ip.to_string(),
                "LABELS": { "gateway.networking.k8s.io/gateway-name": gateway },
            },
        })
    }
}
