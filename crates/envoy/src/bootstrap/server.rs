//! What an Envoy serves whatever it is told: readiness and metrics.

use serde_json::{Value, json};
use std::net::IpAddr;

use crate::key::ADMIN_PORT;
use crate::telemetry::LABELS;

/// What answers whether Envoy has what it needs.
const STATUS_PORT: u16 = 15_021;
/// Where metrics are, and where annotations of pods say that they are.
const METRICS_PORTS: [u16; 2] = [15_090, 15_020];
/// More than the metrics of a waypoint of a thousand services take, in bytes.
const METRICS_LIMIT: u32 = 256 << 20;
const ADMIN_CLUSTER: &str = "admin";

/// Nobody but the pod itself reaches it.
pub(super) fn admin() -> Value {
    json!({ "address": address("127.0.0.1", ADMIN_PORT) })
}

pub(super) fn admin_cluster() -> Value {
    json!({
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": ADMIN_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": address("127.0.0.1", ADMIN_PORT),
            } }] }],
        },
    })
}

pub(super) fn listeners(ip: IpAddr) -> Vec<Value> {
    let any = if ip.is_ipv6() { "::" } else { "0.0.0.0" };
    let status = listener("status", any, STATUS_PORT, "/healthz/ready", "/ready", Vec::new());
    let metrics = METRICS_PORTS.map(|port| {
        let path = "/stats/prometheus";
        let mut listener = listener(&format!("metrics-{port}"), any, port, path, path, vec![labels()]);
        // All of it has to be there to be rewritten.
        listener["per_connection_buffer_limit_bytes"] = json!(METRICS_LIMIT);
        listener
    });
    std::iter::once(status).chain(metrics).collect()
}

/// What gives metrics the names and labels that dashboards know.
fn labels() -> Value {
    json!({
        "name": "labels",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": LABELS },
        },
    })
}

/// Serves one path of the admin interface, and nothing else of it.
fn listener(name: &str, ip: &str, port: u16, path: &str, own: &str, filters: Vec<Value>) -> Value {
    let mut filters = filters;
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    }));
    json!({
        "name": name,
        "address": address(ip, port),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "route_config": { "name": name, "virtual_hosts": [{
                    "name": name,
                    "domains": ["*"],
                    "routes": [{
                        "match": { "path": path, "headers": [{
                            "name": ":method",
                            "string_match": { "exact": "GET" },
                        }] },
                        "route": { "cluster": ADMIN_CLUSTER, "prefix_rewrite": own },
                        // Other forms than text are for who asks for them.
                        "request_headers_to_remove": ["accept", "accept-encoding"],
                    }],
                }] },
                "http_filters": filters,
            },
        }] }],
    })
}

fn address(ip: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}
