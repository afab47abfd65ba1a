#![allow(clippy::unwrap_used)]

use super::*;
use crate::facts::{Filter, ObjectReference, PathChange, PathMatch};
use serde_json::{Value, json};
use std::time::Duration;

fn http(spec: Value) -> Route {
    let manifest = json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": spec});
    parse_http(manifest.to_string().as_bytes()).unwrap()
}

fn rule(rule: Value) -> RouteRule {
    http(json!({"rules": [rule]})).rules.remove(0)
}

fn grpc(method: Value) -> RouteRule {
    let spec = json!({"rules": [{"matches": [{"method": method}]}]});
    let manifest = json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": spec});
    parse_grpc(manifest.to_string().as_bytes()).unwrap().rules.remove(0)
}

fn faults(rule: &RouteRule) -> Vec<(&str, &str)> {
    rule.faults.iter().map(|fault| (fault.field.as_str(), fault.message.as_str())).collect()
}

#[test]
fn parents_are_gateways_unless_another_kind_is_written() {
    let route = http(json!({
        "parentRefs": [
            {"name": "gw", "sectionName": "https", "port": 443},
            {"group": "", "kind": "Service", "name": "web", "namespace": "far"},
        ],
        "hostnames": ["Shop.Example.com"],
    }));
    let object = |group: &str, kind: &str, namespace: &str, name: &str| ObjectReference {
        group: group.into(),
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let gateway = ParentReference {
        object: object(GATEWAY_API, "Gateway", "", "gw"),
        section: "https".into(),
        port: Some(443),
    };
    let service =
        ParentReference { object: object("", "Service", "far", "web"), ..ParentReference::default() };
    assert_eq!(route.parents, [gateway, service]);
    assert_eq!(route.hostnames, ["shop.example.com"]);
}

#[test]
fn a_rule_without_matches_matches_everything() {
    assert_eq!(rule(json!({})).matches, [RequestMatch::default()]);
    assert_eq!(rule(json!({"matches": []})).matches, [RequestMatch::default()]);
}

#[test]
fn matches_have_their_parts_in_a_normal_form() {
    let rule = rule(json!({"matches": [{
        "path": {"type": "PathPrefix", "value": "/shop/"},
        "method": "GET",
        "headers": [{"name": "X-User", "value": "jason"}, {"name": "x-user", "value": "other"},
                    {"name": "y", "value": "a.*", "type": "RegularExpression"}],
        "queryParams": [{"name": "Q", "value": "1"}],
    }]}));
    let value = |name: &str, value: &str, is_regex| crate::facts::ValueMatch {
        name: name.into(),
        value: value.into(),
        is_regex,
        is_negated: false,
    };
    let expected = RequestMatch {
        path: Some(PathMatch::Prefix("/shop".into())),
        headers: vec![value("x-user", "jason", false), value("y", "a.*", true)],
        query: vec![value("Q", "1", false)],
        method: "GET".into(),
        ..RequestMatch::default()
    };
    assert_eq!((rule.matches, rule.faults), (vec![expected], vec![]));
}

#[test]
fn a_match_that_is_not_valid_is_left_out_and_the_others_stay() {
    let rule = rule(json!({"matches": [
        {"path": {"type": "Prefix", "value": "/a"}}, {"path": {"value": "b"}}, {"path": {"value": "/c/../d"}},
        {"headers": [{"name": "a b", "value": "x"}]}, {"path": {"type": "Exact", "value": "/e"}},
    ]}));
    assert_eq!(rule.matches.len(), 1);
    assert_eq!(rule.matches[0].path, Some(PathMatch::Exact("/e".into())));
    let expected = [
        ("spec.rules[0].matches[0].path.value", "\"Prefix\" is no type of match"),
        ("spec.rules[0].matches[1].path.value", "path \"b\" does not begin with a slash"),
        ("spec.rules[0].matches[2].path.value", "path \"/c/../d\" has \"/../\" in it"),
        ("spec.rules[0].matches[3].headers[0].name", "\"a b\" cannot be a name"),
    ];
    assert_eq!(faults(&rule), expected);
}

#[test]
fn a_rule_whose_matches_are_all_wrong_matches_nothing() {
    let rule = rule(json!({"matches": [{"path": {"value": "b"}}]}));
    assert!(rule.matches.is_empty() && rule.faults.len() == 1);
}

#[test]
fn methods_of_grpc_are_paths() {
    let path = |method: Value| grpc(method).matches.remove(0).path;
    assert_eq!(path(json!({"service": "a.B", "method": "C"})), Some(PathMatch::Exact("/a.B/C".into())));
    assert_eq!(path(json!({"service": "a.B"})), Some(PathMatch::Prefix("/a.B".into())));
    assert_eq!(path(json!({"method": "C"})), Some(PathMatch::Regex("/[^/]+/C".into())));
    assert_eq!(path(json!({})), None);
    let regex = |service: &str, method: &str| {
        path(json!({"type": "RegularExpression", "service": service, "method": method}))
    };
    assert_eq!(regex("a.*", "B"), Some(PathMatch::Regex("/a.*/B".into())));
    assert_eq!(regex("a.*", ""), Some(PathMatch::Regex("/a.*/.+".into())));
    assert_eq!(regex("", "B"), Some(PathMatch::Regex("/[^/]+/B".into())));
    let wrong = grpc(json!({"service": "a/b"}));
    assert_eq!(
        (wrong.matches, faults(&grpc(json!({"service": "a/b"})))),
        (vec![], vec![("spec.rules[0].matches[0].method", "\"a/b\" is no name of gRPC")])
    );
}

#[test]
fn filters_are_lowered_in_order() {
    let rule = rule(json!({"filters": [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "A", "value": "1"}, {"name": "a", "value": "2"}], "remove": ["B"]}},
        {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 308,
            "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x/"}}},
        {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m", "port": 80}, "percent": 5}},
        {"type": "CORS", "cors": {"allowOrigins": ["*"]}},
    ]}));
    assert_eq!(faults(&rule), []);
    let [
        Filter::RequestHeaders(headers),
        Filter::Redirect(redirect),
        Filter::Rewrite(rewrite),
        Filter::Mirror(mirror),
        Filter::Cors(cors),
    ] = rule.filters.as_slice()
    else {
        panic!("{:?}", rule.filters)
    };
    assert_eq!(
        (headers.set.as_slice(), headers.remove.as_slice()),
        ([("a".into(), "1".into())].as_slice(), ["b".into()].as_slice())
    );
    assert_eq!((redirect.code, &redirect.path), (308, &Some(PathChange::Prefix("/x".into()))));
    assert_eq!(rewrite.path, Some(PathChange::Prefix("/".into())));
    assert_eq!((mirror.share, mirror.of, mirror.backend.port), (5, 100, Some(80)));
    assert_eq!((cors.origins.as_slice(), cors.max_age), (["*".into()].as_slice(), 5));
}

#[test]
fn a_filter_that_is_not_valid_is_a_fault_of_its_rule() {
    let one = |filter: Value| rule(json!({"filters": [filter]}));
    let wrong = [
        (
            json!({"type": "ExtensionRef", "extensionRef": {}}),
            "type",
            "unsupported filter type \"ExtensionRef\"",
        ),
        (json!({"type": "ExternalAuth"}), "type", "unsupported filter type \"ExternalAuth\""),
        (json!({}), "type", "unsupported filter type \"\""),
        (json!({"type": "CORS"}), "cors", "missing"),
        (
            json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "a", "value": "x\ny"}]}}),
            "add[0].value",
            "value \"x\\ny\" has control characters",
        ),
        (
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [":path"]}}),
            "remove[0]",
            "\":path\" is no header that can be changed",
        ),
        (
            json!({"type": "RequestRedirect", "requestRedirect": {"statusCode": 200}}),
            "requestRedirect.statusCode",
            "200 is no code of a redirect",
        ),
        (
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m"}, "fraction": {"numerator": 2, "denominator": 1}}}),
            "requestMirror.fraction",
            "2 of 1 is no share",
        ),
    ];
    for (filter, field, message) in wrong {
        let rule = one(filter.clone());
        let field = format!("spec.rules[0].filters[0].{field}");
        assert_eq!(faults(&rule), [(field.as_str(), message)], "{filter}");
        assert!(rule.filters.is_empty());
    }
}

#[test]
fn grpc_routes_have_fewer_filters() {
    let manifest = json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": {"rules": [
        {"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}]},
    ]}});
    let route = parse_grpc(manifest.to_string().as_bytes()).unwrap();
    assert_eq!(
        faults(&route.rules[0]),
        [("spec.rules[0].filters[0].type", "unsupported filter type \"URLRewrite\"")]
    );
}

#[test]
fn what_is_for_a_whole_rule_is_no_filter_of_a_backend() {
    let backend = |filter: Value| json!({"name": "a", "port": 80, "filters": [filter]});
    let path = json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}});
    let host = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a"}});
    for kind in ["RequestRedirect", "RequestMirror", "CORS"] {
        let rule = rule(json!({"backendRefs": [backend(json!({"type": kind}))]}));
        let message = format!("filter type {kind:?} is for rules, and not for backends");
        assert_eq!(faults(&rule), [("spec.rules[0].backendRefs[0].filters[0].type", message.as_str())]);
    }
    let of = |filters: &[&Value]| {
        rule(json!({"backendRefs": filters.iter().map(|of| backend((*of).clone())).collect::<Vec<_>>()}))
    };
    assert_eq!((faults(&of(&[&path])), faults(&of(&[&host, &host]))), (vec![], vec![]));
    let message = "a path is rewritten for the only backend of a rule, and not for one of several";
    assert_eq!(faults(&of(&[&host, &path])), [("spec.rules[0].backendRefs[1].filters", message)]);
}

#[test]
fn backends_are_services_of_weight_one_unless_otherwise_written() {
    let rule = rule(json!({"backendRefs": [
        {"name": "a", "port": 80},
        {"name": "b", "group": "x", "kind": "Y", "namespace": "far", "weight": 0,
         "filters": [{"type": "Nothing"}]},
    ]}));
    assert!(rule.backends[0].object.is("", "Service"));
    assert_eq!((rule.backends[0].weight, rule.backends[0].port), (1, Some(80)));
    assert_eq!((rule.backends[1].weight, rule.backends[1].port), (0, None));
    let field = "spec.rules[0].backendRefs[1].filters[0].type";
    assert_eq!(faults(&rule), [(field, "unsupported filter type \"Nothing\"")]);
}

#[test]
fn timeouts_and_retries_have_their_defaults() {
    let of = |value: Value| rule(json!({"timeouts": value}));
    let timeouts = of(json!({"request": "10s", "backendRequest": "0s"})).timeouts;
    assert_eq!((timeouts.request, timeouts.backend_request), (Some(Duration::from_secs(10)), None));
    let wrong = of(json!({"request": "soon"}));
    assert_eq!(
        faults(&wrong),
        [("spec.rules[0].timeouts.request", "\"soon\" is no duration such as 10s or 500ms")]
    );
    assert_eq!(rule(json!({"retry": {}})).retry, Some(Retry { attempts: 1, ..Retry::default() }));
    let retry = rule(json!({"retry": {"attempts": 0, "codes": [503, 500, 503], "backoff": "1ms"}})).retry;
    let backoff = Some(Duration::from_millis(1));
    let expected = Retry { attempts: 0, codes: vec![500, 503], backoff, ..Retry::default() };
    assert_eq!(retry, Some(expected));
}

#[test]
fn session_persistence_is_read_in_its_old_and_its_new_form() {
    let of = |value: Value| rule(json!({"sessionPersistence": value})).session.unwrap();
    let old = of(
        json!({"sessionName": "s", "cookieConfig": {"lifetimeType": "Permanent"}, "absoluteTimeout": "1h"}),
    );
    let new = of(json!({"cookie": {"name": "s", "lifetimeType": "Permanent"}, "absoluteTimeout": "1h"}));
    assert_eq!(old, new);
    assert!(old.name == "s" && old.is_permanent && !old.by_header);
    let header = of(json!({"type": "Header", "header": {"name": "x-session"}}));
    assert!(header.by_header && header.name == "x-session");
}

#[test]
fn rules_of_streams_have_backends_and_no_more() {
    let manifest = json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": {
        "hostnames": ["a.example.com"], "rules": [{"backendRefs": [{"name": "db", "port": 5432}]}],
    }});
    let json = manifest.to_string();
    let routes = [parse_tls(json.as_bytes()), parse_tcp(json.as_bytes()), parse_udp(json.as_bytes())];
    let protocols = [RouteProtocol::Tls, RouteProtocol::Tcp, RouteProtocol::Udp];
    for (route, protocol) in routes.into_iter().zip(protocols) {
        let route = route.unwrap();
        assert_eq!((route.protocol, route.rules[0].matches.len()), (protocol, 1));
        assert_eq!(route.rules[0].backends[0].port, Some(5432));
    }
}
