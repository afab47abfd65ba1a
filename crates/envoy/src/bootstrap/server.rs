//! What an Envoy serves whatever it is told: readiness and metrics.

use serde_json::{Value, json};
use std::net::IpAddr;

use crate::hops::{IP_MINTTL, MOST_HOPS, SOL_IP};
use crate::key::ADMIN_SOCKET;
use crate::telemetry::LABELS;

/// What answers whether Envoy has what it needs.
const STATUS_PORT: u16 = 15_021;
/// Where metrics are, and where annotations of pods say that they are.
const METRICS_PORTS: [u16; 2] = [15_090, 15_020];
/// More than the metrics of a waypoint of a thousand services take, in bytes.
const METRICS_LIMIT: u32 = 256 << 20;
const ADMIN_CLUSTER: &str = "admin";
/// Where people look at an Envoy, through a forwarded port: istioctl, Kiali and dashboards know it.
const VIEW_PORT: u16 = 15_000;
/// What of the admin interface only tells, and is asked for by GET.
const VIEWS: [&str; 10] = [
    "/certs",
    "/clusters",
    "/config_dump",
    "/init_dump",
    "/listeners",
    "/memory",
    "/ready",
    "/server_info",
    "/stats",
    "/stats/prometheus",
];

/// Whoever reaches it may end the Envoy, so it is at no address that a destination could have.
pub(super) fn admin() -> Value {
    json!({ "address": pipe() })
}

fn pipe() -> Value {
    json!({ "pipe": { "path": ADMIN_SOCKET } })
}

pub(super) fn admin_cluster() -> Value {
    json!({
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": ADMIN_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": pipe(),
            } }] }],
        },
    })
}

pub(super) fn listeners(ip: IpAddr) -> Vec<Value> {
    let any = if ip.is_ipv6() { "::" } else { "0.0.0.0" };
    let ready = vec![route("/healthz/ready", "/ready")];
    let status = listener("status", any, STATUS_PORT, ready, Vec::new());
    let metrics = METRICS_PORTS.map(|port| {
        let all = vec![route("/stats/prometheus", "/stats/prometheus")];
        let mut listener = listener(&format!("metrics-{port}"), any, port, all, vec![labels()]);
        // All of it has to be there to be rewritten.
        listener["per_connection_buffer_limit_bytes"] = json!(METRICS_LIMIT);
        listener
    });
    [status, views()].into_iter().chain(metrics).collect()
}

/// Shows what an Envoy has, to the pod itself. A name that leads here is no way to it: see [`crate::hops`].
fn views() -> Value {
    let routes = VIEWS.map(|path| route(path, path)).to_vec();
    let mut listener = listener("views", "127.0.0.1", VIEW_PORT, routes, Vec::new());
    listener["socket_options"] = json!([{ "level": SOL_IP, "name": IP_MINTTL, "int_value": MOST_HOPS }]);
    listener
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

/// Leads to one path of the admin interface.
fn route(path: &str, own: &str) -> Value {
    json!({
        "match": { "path": path, "headers": [{
            "name": ":method",
            "string_match": { "exact": "GET" },
        }] },
        "route": { "cluster": ADMIN_CLUSTER, "prefix_rewrite": own },
        // Other forms than text are for who asks for them.
        "request_headers_to_remove": ["accept", "accept-encoding"],
    })
}

/// Serves these paths of the admin interface, and nothing else of it.
fn listener(name: &str, ip: &str, port: u16, routes: Vec<Value>, filters: Vec<Value>) -> Value {
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
                    "routes": routes,
                }] },
                "http_filters": filters,
            },
        }] }],
    })
}

fn address(ip: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}
