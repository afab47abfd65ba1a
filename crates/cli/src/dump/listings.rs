//! Gateways, routes and statuses as tables for people.

use super::resources::Resources;
use super::view::View;
use crate::table::{self, Cell, Column, Rendered, Room};
use runtime::views::{GatewayView, ListenerView, ParentView, RouteView, StatusView};
use serde_json::Value;
use std::collections::BTreeSet;

const GATEWAYS: [Column; 8] = [
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("CLASS", 5),
    Column::of("ADDRESSES", 3),
    Column::of("PROGRAMMED", 1),
    Column::of("LISTENERS", 2).at_most(80),
    Column::of("DEPLOYED", 6),
    Column::of("PROBLEMS", 4).at_most(100),
];

const ROUTES: [Column; 6] = [
    Column::key("NAMESPACE"),
    Column::key("ROUTE"),
    Column::of("PARENT", 3),
    Column::of("HOSTNAME", 4),
    Column::of("RULE", 1).at_most(120),
    Column::of("PROBLEMS", 2).at_most(100),
];

const STATUSES: [Column; 8] = [
    Column::key("KIND"),
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("OF", 4),
    Column::of("CONDITION", 1),
    Column::of("STATUS", 2),
    Column::of("REASON", 3),
    Column::of("MESSAGE", 5).at_most(100),
];

/// Returns the table of a view that pages show; with a namespace only its rows.
pub fn render(all: &Resources, view: View, namespace: Option<&str>, room: Room) -> Rendered {
    let shown = |ns: &str| namespace.is_none_or(|wanted| wanted == ns);
    match view {
        View::Gateways => {
            let rows = all.gateways.iter().filter(|of| shown(&of.namespace)).map(gateway);
            table::render(&GATEWAYS, &rows.collect::<Vec<_>>(), room)
        }
        View::Routes => {
            let rows = all.routes.iter().filter(|of| shown(&of.namespace)).map(route);
            table::render(&ROUTES, &rows.collect::<Vec<_>>(), room)
        }
        _ => {
            let rows = all.objects.iter().filter(|of| shown(&of.metadata.namespace)).flat_map(status);
            table::render(&STATUSES, &rows.collect::<Vec<_>>(), room)
        }
    }
}

fn gateway(of: &GatewayView) -> Vec<Cell> {
    let programmed = match of.programmed {
        Some(true) => "True",
        Some(false) => "False",
        None => "",
    };
    let told = of.listeners.iter().flat_map(|listener| {
        listener.problems.iter().map(|problem| format!("{}: {problem}", listener_name(listener)))
    });
    vec![
        Cell::text(&of.namespace),
        Cell::text(&of.name),
        Cell::text(&of.class),
        Cell::list(&of.addresses, ","),
        Cell::text(programmed),
        Cell::list(of.listeners.iter().map(listener), ", "),
        Cell::list(deployed(of), ", "),
        Cell::list(of.problems.iter().cloned().chain(told), "; "),
    ]
}

/// The names of what is deployed: as a rule, one for all kinds.
fn deployed(of: &GatewayView) -> BTreeSet<&str> {
    of.deployed
        .iter()
        .map(|object| object.split_once(' ').map_or(object.as_str(), |(_, name)| name))
        .collect()
}

/// The name, behind that of the ListenerSet that has it.
fn listener_name(of: &ListenerView) -> String {
    match &of.listener_set {
        Some(set) => format!("{set}#{}", of.name),
        None => of.name.clone(),
    }
}

/// `http 80/HTTP *.example.com (2 routes)`
fn listener(of: &ListenerView) -> String {
    let mut text = format!("{} {}", listener_name(of), of.port);
    if !of.protocol.is_empty() {
        text += &format!("/{}", of.protocol);
    }
    if of.hostname != "*" {
        text += &format!(" {}", of.hostname);
    }
    match of.attached_routes {
        None | Some(0) => text,
        Some(1) => text + " (1 route)",
        Some(n) => format!("{text} ({n} routes)"),
    }
}

fn route(of: &RouteView) -> Vec<Cell> {
    vec![
        Cell::text(&of.namespace),
        Cell::text(format!("{} {}", of.kind, of.name)),
        Cell::text(of.parent.as_ref().map(parent).unwrap_or_default()),
        Cell::text(&of.hostname),
        Cell::text(&of.sentence),
        Cell::list(&of.problems, "; "),
    ]
}

/// `Gateway shop/gw#http`, `Service shop/web:80`
fn parent(of: &ParentView) -> String {
    let listener = of.listener.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
    let port = of.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{} {}/{}{listener}{port}", of.kind, of.namespace, of.name)
}

/// A row for each condition: those of the object, then those of each entry of its status.
fn status(of: &StatusView) -> Vec<Vec<Cell>> {
    let row = |part: &str, condition: &Value| {
        let text = |field: &str| Cell::text(condition[field].as_str().unwrap_or_default());
        vec![
            Cell::text(&of.kind),
            Cell::text(&of.metadata.namespace),
            Cell::text(&of.metadata.name),
            Cell::text(part),
            text("type"),
            text("status"),
            text("reason"),
            text("message"),
        ]
    };
    let conditions = |of: &Value| of["conditions"].as_array().cloned().unwrap_or_default();
    let mut rows: Vec<Vec<Cell>> = conditions(&of.status).iter().map(|c| row("", c)).collect();
    for entry in
        of.status.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_array()).flatten()
    {
        let part = part(entry);
        rows.extend(conditions(entry).iter().map(|condition| row(&part, condition)));
    }
    if rows.is_empty() {
        rows.push(row("", &Value::Null));
    }
    rows
}

/// What an entry of a status is about: a listener by its name, or an object as `Gateway shop/gw#http`.
fn part(entry: &Value) -> String {
    let reference = ["parentRef", "ancestorRef"].iter().find_map(|field| entry.get(*field));
    let Some(reference) = reference else { return entry["name"].as_str().unwrap_or_default().to_owned() };
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let mut part = text("kind").to_owned() + " ";
    if !text("namespace").is_empty() {
        part += &format!("{}/", text("namespace"));
    }
    part += text("name");
    if !text("sectionName").is_empty() {
        part += &format!("#{}", text("sectionName"));
    }
    match reference["port"].as_u64() {
        Some(port) => format!("{part}:{port}"),
        None => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(all: &Resources, view: View) -> Vec<String> {
        let table = render(all, view, Some("shop"), Room::Full).text;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        table.lines().skip(1).map(words).collect()
    }

    #[test]
    fn each_condition_of_an_object_and_of_its_entries_has_a_row() {
        let status = json!({
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "fine"}],
            "addresses": [{"type": "IPAddress", "value": "10.0.0.1"}],
            "listeners": [{"name": "http", "attachedRoutes": 1, "conditions": [
                {"type": "Programmed", "status": "False", "reason": "Invalid", "message": "bad"},
            ]}],
            "parents": [{"parentRef": {"kind": "Gateway", "name": "gw", "sectionName": "a", "port": 80}, "conditions": [
                {"type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "none"},
            ]}],
        });
        let object = |namespace: &str, status: Value| {
            json!({
                "apiVersion": "v1", "kind": "Gateway", "metadata": {"namespace": namespace, "name": "gw"},
                "status": status,
            })
        };
        let of = |value: Value| serde_json::from_value::<StatusView>(value).ok();
        let objects = [object("shop", status), object("shop", json!({"x": 1})), object("other", json!({}))];
        let all = Resources { objects: objects.into_iter().filter_map(of).collect(), ..Resources::default() };
        assert_eq!(
            text(&all, View::Status),
            [
                "Gateway shop gw - Accepted True Accepted fine",
                "Gateway shop gw http Programmed False Invalid bad",
                "Gateway shop gw Gateway gw#a:80 Accepted False NoMatchingParent none",
                "Gateway shop gw - - - - -",
            ]
        );
    }

    #[test]
    fn a_gateway_names_its_listeners_and_what_is_wrong_with_them() {
        let listener = ListenerView {
            name: "web".to_owned(),
            port: 443,
            protocol: "HTTPS".to_owned(),
            hostname: "a.example.com".to_owned(),
            attached_routes: Some(2),
            problems: vec!["ResolvedRefs (InvalidCertificateRef): none".to_owned()],
            ..ListenerView::default()
        };
        let of_set = ListenerView {
            listener_set: Some("team/set".to_owned()),
            hostname: "*".to_owned(),
            protocol: "HTTP".to_owned(),
            problems: Vec::new(),
            attached_routes: None,
            ..listener.clone()
        };
        let gateway = GatewayView {
            namespace: "shop".to_owned(),
            name: "gw".to_owned(),
            class: "istio".to_owned(),
            addresses: vec!["10.0.0.1".to_owned()],
            programmed: Some(false),
            listeners: vec![listener, of_set],
            ..GatewayView::default()
        };
        let all = Resources { gateways: vec![gateway], ..Resources::default() };
        assert_eq!(
            text(&all, View::Gateways),
            ["shop gw istio 10.0.0.1 False web 443/HTTPS a.example.com (2 routes), team/set#web 443/HTTP - \
              web: ResolvedRefs (InvalidCertificateRef): none"]
        );
    }

    #[test]
    fn a_route_has_its_place_its_rule_and_what_is_wrong() {
        let route = RouteView {
            namespace: "shop".to_owned(),
            kind: "HTTPRoute".to_owned(),
            name: "web".to_owned(),
            parent: Some(ParentView {
                kind: "Gateway".to_owned(),
                namespace: "infra".to_owned(),
                name: "gw".to_owned(),
                listener: Some("http".to_owned()),
                port: None,
            }),
            hostname: "*".to_owned(),
            sentence: "everything → refused".to_owned(),
            problems: vec!["backend(a.shop) not found".to_owned()],
            ..RouteView::default()
        };
        let all = Resources { routes: vec![route], ..Resources::default() };
        assert_eq!(
            text(&all, View::Routes),
            ["shop HTTPRoute web Gateway infra/gw#http * everything → refused backend(a.shop) not found"]
        );
    }
}
