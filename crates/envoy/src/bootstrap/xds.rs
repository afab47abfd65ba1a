//! The way to the control plane.

use serde_json::{Value, json};
use std::net::IpAddr;

use super::settings::{Bootstrap, ROOT_SECRET, TOKEN_SECRET};
use crate::key;

const CLUSTER: &str = "xds-grpc";
const TOKEN: &str = "xds-token";
const ROOT: &str = "xds-root";

/// What comes from there.
pub(super) fn dynamic() -> Value {
    // Without a limit: an Envoy that has nothing yet takes no traffic either.
    let from_ads = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    json!({
        "lds_config": from_ads,
        "cds_config": from_ads,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{ "envoy_grpc": { "cluster_name": CLUSTER } }],
        },
    })
}

pub(super) fn cluster(of: &Bootstrap) -> Value {
    let address = of.xds_host.parse::<IpAddr>();
    let name = of.xds_name.parse::<IpAddr>();
    let san = if name.is_ok() { "IP_ADDRESS" } else { "DNS" };
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{ "san_type": san, "matcher": { "exact": of.xds_name } }],
                },
                "validation_context_sds_secret_config": secret_config(of, ROOT, ROOT_SECRET),
            },
        },
    });
    if name.is_err() {
        tls["sni"] = json!(of.xds_name);
    }
    json!({
        "name": CLUSTER,
        "type": if address.is_ok() { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": {
                "address": of.xds_host,
                "port_value": of.xds_port,
            } } } }] }],
        },
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {
                "connection_keepalive": { "interval": "30s", "timeout": "5s" },
            } },
            "http_filters": [
                {
                    "name": "envoy.filters.http.credential_injector",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
                        "overwrite": true,
                        "credential": {
                            "name": "envoy.http.injected_credentials.generic",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
                                "header": "authorization",
                                "header_value_prefix": "Bearer ",
                                "credential": secret_config(of, TOKEN, TOKEN_SECRET),
                            },
                        },
                    },
                },
                {
                    "name": "envoy.filters.http.upstream_codec",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                    },
                },
            ],
        } },
    })
}

/// What has this Envoy close its connections once its pod is to go. Upstream's Envoy does so when its admin interface is
/// told by a POST, and nothing in its image sends one. A health check does: it begins when the control plane makes the admin
/// interface an endpoint of this cluster.
pub(super) fn drain_cluster(of: &Bootstrap) -> Value {
    json!({
        "name": "drain",
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "eds_config": { "ads": {}, "resource_api_version": "V3" },
            "service_name": key::drain(&of.pod),
        },
        "health_checks": [{
            "timeout": "1s",
            "interval": "5s",
            "no_traffic_interval": "5s",
            "healthy_threshold": 1,
            "unhealthy_threshold": 1,
            "http_health_check": { "host": "admin", "path": "/healthcheck/fail", "method": "POST" },
        }],
    })
}

fn secret_config(of: &Bootstrap, name: &str, file: &str) -> Value {
    let folder = of.secrets.trim_end_matches('/');
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": format!("{folder}/{file}"),
                "watched_directory": { "path": if folder.is_empty() { "/" } else { folder } },
            },
        },
    })
}

/// A file of which Envoy follows what it links to: volumes are replaced by a link.
fn followed(file: &str) -> Value {
    let folder = match file.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    };
    json!({ "filename": file, "watched_directory": { "path": folder } })
}

fn secret(name: &str, field: &str, content: Value) -> Value {
    let mut secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
    });
    secret[field] = content;
    json!({ "resources": [secret] })
}

pub(super) fn token_secret(of: &Bootstrap) -> Value {
    secret(TOKEN, "generic_secret", json!({ "secret": followed(&of.token_file) }))
}

pub(super) fn root_secret(of: &Bootstrap) -> Value {
    secret(ROOT, "validation_context", json!({ "trusted_ca": followed(&of.root_cert) }))
}
