//! Waypoints and their configuration as tables for people.

use super::resources::Resources;
use super::view::View;
use crate::table::{self, Cell, Column, Rendered, Room};
use runtime::views::{ConfigView, RefusedView, ReplicaView, WaypointView};
use serde_json::Value;

const WAYPOINTS: [Column; 6] = [
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("SERVICES", 3).at_most(100),
    Column::of("RESOURCES", 4),
    Column::of("BYTES", 2),
    Column::of("REPLICAS", 1).at_most(100),
];

const CONFIG: [Column; 4] =
    [Column::key("TYPE"), Column::key("NAME"), Column::of("BYTES", 2), Column::of("SAYS", 1).at_most(120)];

/// Returns the table of waypoints, with a namespace only of its own; or of the configuration of one.
pub fn render(all: &Resources, view: View, namespace: Option<&str>, room: Room) -> Rendered {
    if view == View::Config {
        return table::render(&CONFIG, &all.config.iter().map(resource).collect::<Vec<_>>(), room);
    }
    let shown = |of: &&WaypointView| namespace.is_none_or(|wanted| wanted == of.namespace);
    table::render(&WAYPOINTS, &all.waypoints.iter().filter(shown).map(waypoint).collect::<Vec<_>>(), room)
}

fn waypoint(of: &WaypointView) -> Vec<Cell> {
    let resources = of.resources.iter().map(|(kind, count)| format!("{count} {kind}"));
    vec![
        Cell::text(&of.namespace),
        Cell::text(&of.name),
        Cell::list(&of.services, ","),
        Cell::list(resources, ", "),
        Cell::text(of.bytes.to_string()),
        Cell::list(of.replicas.iter().map(replica), ", "),
    ]
}

/// `waypoint-abc (acknowledged)`
fn replica(of: &ReplicaView) -> String {
    // A node is called TYPE~ADDRESS~POD.NAMESPACE~DOMAIN.
    let pod = of.node.split('~').nth(2).unwrap_or(&of.node);
    let pod = pod.rsplit_once('.').map_or(pod, |(pod, _)| pod);
    let refused = of.refused.iter().map(refused);
    let pending = of.pending.iter().map(|of| format!("{of} pending"));
    let mut told: Vec<String> = refused.chain(pending).collect();
    if told.is_empty() {
        told.push("acknowledged".to_owned());
    }
    format!("{pod} ({})", told.join("; "))
}

/// `refused routes inbound-vip|80|http|a.shop, of HTTPRoute shop/a: "bad regex"`
fn refused(of: &RefusedView) -> String {
    let resource = Some(&of.resource).filter(|name| !name.is_empty());
    let resource = resource.map_or_else(String::new, |name| format!(" {name}"));
    let objects =
        if of.objects.is_empty() { String::new() } else { format!(", of {}", of.objects.join(", ")) };
    format!("refused {}{resource}{objects}: {:?}", of.of, of.message)
}

fn resource(of: &ConfigView) -> Vec<Cell> {
    let says = match of.of.as_str() {
        "listeners" => listener(&of.resource),
        "clusters" => cluster(&of.resource),
        "routes" => routes(&of.resource),
        "endpoints" => endpoints(&of.resource),
        _ => Vec::new(),
    };
    let at = if of.place.is_empty() { String::new() } else { format!(" (at {})", of.place) };
    vec![
        Cell::text(&of.of),
        Cell::text(format!("{}{at}", of.name)),
        Cell::text(of.bytes.to_string()),
        Cell::list(says, "; "),
    ]
}

fn text<'v>(of: &'v Value, pointer: &str) -> &'v str {
    of.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn each<'v>(of: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    of.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// `0.0.0.0:15008`, or the name of the listener within Envoy at an endpoint.
fn address(of: &Value) -> String {
    let socket = |key: &str| of.pointer(&format!("/socket_address/{key}"));
    match (socket("address").and_then(Value::as_str), socket("port_value")) {
        (Some(ip), Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        _ => {
            let listener = text(of, "/envoy_internal_address/server_listener_name");
            match text(of, "/envoy_internal_address/endpoint_id") {
                "" => listener.to_owned(),
                to => format!("{to} by {listener}"),
            }
        }
    }
}

/// Where it listens, and what each chain is made of.
fn listener(of: &Value) -> Vec<String> {
    let at = of.get("address").map_or_else(|| "within Envoy".to_owned(), |at| format!("at {}", address(at)));
    let chains = each(of, "/filter_chains").chain(of.get("default_filter_chain"));
    let chain = |of: &Value| {
        let filters: Vec<&str> = each(of, "/filters").map(|filter| text(filter, "/name")).collect();
        format!("{}: {}", text(of, "/name"), filters.join(" → "))
    };
    std::iter::once(at).chain(chains.map(chain)).collect()
}

/// How its endpoints are found.
fn cluster(of: &Value) -> Vec<String> {
    let kind = match text(of, "/type") {
        "" => "STATIC",
        kind => kind,
    };
    let endpoints = match text(of, "/eds_cluster_config/service_name") {
        "" => kind.to_owned(),
        name => format!("{kind} {name}"),
    };
    let at = each(of, "/load_assignment/endpoints").flat_map(|of| each(of, "/lb_endpoints")).map(endpoint);
    std::iter::once(endpoints).chain(at).collect()
}

/// Each route of each virtual host: what it matches, and what becomes of that.
fn routes(of: &Value) -> Vec<String> {
    let hosts = ["/route_configuration/virtual_hosts", "/virtual_hosts"].into_iter();
    let routes = hosts.flat_map(|at| each(of, at)).flat_map(|host| each(host, "/routes"));
    routes.map(|of| format!("{} → {}", matched(of), action(of))).collect()
}

fn matched(of: &Value) -> String {
    let by = ["path", "prefix", "path_separated_prefix"];
    let path = by.into_iter().find_map(|by| Some(format!("{by} {}", of["match"].get(by)?.as_str()?)));
    let regex = || Some(format!("path ~ {}", of.pointer("/match/safe_regex/regex")?.as_str()?));
    let headers = each(of, "/match/headers").map(|header| text(header, "/name"));
    let queries = each(of, "/match/query_parameters").map(|query| text(query, "/name"));
    let path = path.or_else(regex).unwrap_or_else(|| "CONNECT".to_owned());
    std::iter::once(path.as_str()).chain(headers).chain(queries).collect::<Vec<_>>().join(" + ")
}

fn action(of: &Value) -> String {
    let weighted = each(of, "/route/weighted_clusters/clusters");
    let weighted: Vec<String> =
        weighted.map(|to| format!("{} {}", text(to, "/name"), to["weight"])).collect();
    match (text(of, "/route/cluster"), weighted.is_empty()) {
        ("", false) => weighted.join(", "),
        ("", true) if of.get("redirect").is_some() => "redirect".to_owned(),
        ("", true) => format!("answer {}", of.pointer("/direct_response/status").unwrap_or(&Value::Null)),
        (cluster, _) => cluster.to_owned(),
    }
}

fn endpoints(of: &Value) -> Vec<String> {
    each(of, "/endpoints").flat_map(|of| each(of, "/lb_endpoints")).map(endpoint).collect()
}

/// Where it is, and whether it is used.
fn endpoint(of: &Value) -> String {
    let at = of.pointer("/endpoint/address").map(address).unwrap_or_default();
    match text(of, "/health_status") {
        "" | "UNKNOWN" | "HEALTHY" => at,
        other => format!("{at} {}", other.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(all: &Resources, view: View) -> Vec<String> {
        let table = render(all, view, Some("shop"), Room::Full).text;
        table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_waypoint_has_its_services_and_what_its_replicas_have_taken() {
        let replica = |pod: &str| ReplicaView {
            node: format!("waypoint~10.0.0.1~{pod}.shop~shop.svc.cluster.local"),
            ..ReplicaView::default()
        };
        let refused = RefusedView {
            of: "routes".to_owned(),
            resource: "inbound-vip|80|http|a.shop".to_owned(),
            objects: vec!["HTTPRoute shop/a".to_owned()],
            message: "bad regex".to_owned(),
        };
        let waypoint = WaypointView {
            namespace: "shop".to_owned(),
            name: "waypoint".to_owned(),
            services: vec!["a.shop".to_owned(), "b.shop".to_owned()],
            resources: [("clusters".to_owned(), 3), ("routes".to_owned(), 4)].into(),
            bytes: 1234,
            replicas: vec![
                replica("wp-1"),
                ReplicaView {
                    pending: vec!["clusters".to_owned()],
                    refused: vec![refused],
                    ..replica("wp-2")
                },
            ],
        };
        let other = WaypointView { namespace: "other".to_owned(), ..waypoint.clone() };
        let all = Resources { waypoints: vec![waypoint, other], ..Resources::default() };
        assert_eq!(
            lines(&all, View::Waypoints),
            ["shop waypoint a.shop,b.shop 3 clusters, 4 routes 1234 \
              wp-1 (acknowledged), wp-2 (refused routes inbound-vip|80|http|a.shop, of HTTPRoute shop/a: \
              \"bad regex\"; clusters pending)"]
        );
    }

    #[test]
    fn each_resource_says_what_it_does() {
        let view = |of: &str, resource: Value| ConfigView {
            of: of.to_owned(),
            name: "x".to_owned(),
            bytes: 7,
            resource,
            ..ConfigView::default()
        };
        let hbone = json!({"envoy_internal_address": {
            "server_listener_name": "connect_originate", "endpoint_id": "10.0.0.1:80",
        }});
        let config = [
            view("clusters", json!({"type": "EDS", "eds_cluster_config": {"service_name": "eds"}})),
            view(
                "endpoints",
                json!({"endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": hbone}, "health_status": "UNHEALTHY"},
                    {"endpoint": {"address": {"socket_address": {"address": "fd00::1", "port_value": 80}}}},
                ]}]}),
            ),
            view(
                "listeners",
                json!({
                    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15008}},
                    "filter_chains": [{"name": "default", "filters": [{"name": "a"}, {"name": "b"}]}],
                }),
            ),
            view(
                "routes",
                json!({"route_configuration": {"virtual_hosts": [{"routes": [
                    {"match": {"prefix": "/", "headers": [{"name": "user"}]}, "route": {"cluster": "c"}},
                    {"match": {"path": "/a"}, "route": {"weighted_clusters": {"clusters": [
                        {"name": "c", "weight": 9}, {"name": "d", "weight": 1},
                    ]}}},
                    {"match": {"safe_regex": {"regex": "/b.*"}}, "direct_response": {"status": 500}},
                    {"match": {"path_separated_prefix": "/c"}, "redirect": {}},
                ]}]}}),
            ),
        ];
        let all = Resources { config: config.into(), ..Resources::default() };
        assert_eq!(
            lines(&all, View::Config),
            [
                "clusters x 7 EDS eds",
                "endpoints x 7 10.0.0.1:80 by connect_originate unhealthy; [fd00::1]:80",
                "listeners x 7 at 0.0.0.0:15008; default: a → b",
                "routes x 7 prefix / + user → c; path /a → c 9, d 1; path ~ /b.* → answer 500; \
                 path_separated_prefix /c → redirect",
            ]
        );
    }
}
