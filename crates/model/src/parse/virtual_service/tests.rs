#![allow(clippy::unwrap_used)]

use super::*;
use crate::facts::{
    Abort, BackendReference, DirectResponse, Fault, Filter, ObjectReference, PathChange, PathMatch,
    RequestMatch, Retry, RouteRule, Share, ValueMatch,
};
use serde_json::{Value, json};
use std::time::Duration;

fn service(spec: Value) -> VirtualService {
    let manifest = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
    parse(manifest.to_string().as_bytes()).unwrap()
}

fn rule(rule: Value) -> RouteRule {
    service(json!({"http": [rule]})).http.remove(0)
}

fn matches(of: Value) -> Vec<RequestMatch> {
    let rule = rule(json!({"match": of}));
    assert_eq!(rule.faults, []);
    rule.matches
}

fn filters(of: Value) -> Vec<Filter> {
    let rule = rule(of);
    assert_eq!(rule.faults, []);
    rule.filters
}

fn faults(rule: &RouteRule) -> Vec<(&str, &str)> {
    rule.faults.iter().map(|fault| (fault.field.as_str(), fault.message.as_str())).collect()
}

#[test]
fn paths_are_compared_as_text() {
    let path = |uri: Value| matches(json!([{ "uri": uri }])).remove(0).path;
    assert_eq!(path(json!({"exact": "/a"})), Some(PathMatch::Exact("/a".into())));
    assert_eq!(path(json!({"prefix": "/a/"})), Some(PathMatch::StartsWith("/a/".into())));
    assert_eq!(path(json!({"regex": "/a.*"})), Some(PathMatch::Regex("/a.*".into())));
    for every in [json!({"prefix": "/"}), json!({"prefix": ""}), json!({}), json!({"regex": "*"})] {
        assert_eq!(path(every), None);
    }
    let cases = matches(json!([
        {"uri": {"prefix": "/a"}, "ignoreUriCase": true}, {"uri": {"regex": "/a"}, "ignoreUriCase": true},
    ]));
    assert_eq!(cases.iter().map(|of| of.ignores_case).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn all_that_a_request_says_may_be_matched() {
    let found = matches(json!([{
        "method": {"exact": "GET"}, "authority": {"prefix": "a.b"}, "scheme": {"exact": "https"},
        "headers": {"X-User": {"exact": "jason"}, "x-any": {}},
        "withoutHeaders": {"x-old": null}, "queryParams": {"q": {"regex": "1+"}},
        "port": 80, "sourceNamespace": "client",
    }]));
    let value = |name: &str, value: &str, is_regex, is_negated| ValueMatch {
        name: name.into(),
        value: value.into(),
        is_regex,
        is_negated,
    };
    let expected = RequestMatch {
        headers: vec![
            value(":authority", "a\\.b.*", true, false),
            value(":scheme", "https", false, false),
            value("x-user", "jason", false, false),
            value("x-any", ".*", true, false),
            value("x-old", ".*", true, true),
        ],
        query: vec![value("q", "1+", true, false)],
        method: "GET".into(),
        port: Some(80),
        callers: "client".into(),
        ..RequestMatch::default()
    };
    assert_eq!(found, [expected]);
    let method = matches(json!([{"method": {"regex": "GET|PUT"}}])).remove(0);
    assert_eq!(
        (method.method.as_str(), method.headers),
        ("", vec![value(":method", "GET|PUT", true, false)])
    );
}

#[test]
fn a_match_that_nobody_can_compare_matches_nothing_and_the_others_stay() {
    let found = service(json!({"http": [{"match": [
        {"sourceLabels": {"app": "web"}}, {"gateways": ["infra/gw"]}, {"gateways": ["infra/gw", "mesh"], "port": 1},
    ]}], "tcp": [{"match": [{"sourceSubnet": "10.0.0.0/8"}, {"destinationSubnets": ["10.0.0.0/8"]}, {"port": 2}]}]}));
    let ports = |rule: &RouteRule| rule.matches.iter().map(|of| of.port).collect::<Vec<_>>();
    assert_eq!((ports(&found.http[0]), ports(&found.streams[0])), (vec![Some(1)], vec![Some(2)]));
    assert!(found.http[0].faults.is_empty() && found.streams[0].faults.is_empty());
    let fields: Vec<&str> = found.ignored.iter().map(|of| of.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.http[0].match[0].sourceLabels",
            "spec.http[0].match[1].gateways[0]",
            "spec.http[0].match[2].gateways[0]",
            "spec.tcp[0].match[0].sourceSubnet",
            "spec.tcp[0].match[1].destinationSubnets",
        ]
    );
}

#[test]
fn a_field_that_matches_of_every_sort_have_is_named_with_its_place() {
    for sort in ["http", "tls", "tcp"] {
        let spec = json!({ sort: [{"match": [{}, {"port": "eighty"}]}] });
        let manifest = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
        let wrong = parse(manifest.to_string().as_bytes()).unwrap_err().into_diagnostic(None);
        assert_eq!(wrong.field, format!("spec.{sort}[0].match[1].port"), "{}", wrong.message);
    }
}

#[test]
fn gateways_that_are_not_read_are_named_and_without_any_the_mesh_is_meant() {
    for (gateways, is_for_mesh, count) in [
        (json!(null), true, 0),
        (json!([]), true, 0),
        (json!(["mesh"]), true, 0),
        (json!(["infra/gw", "mesh"]), true, 1),
        (json!(["infra/gw"]), false, 1),
    ] {
        let found = service(json!({ "gateways": gateways }));
        assert_eq!((found.is_for_mesh, found.ignored.len()), (is_for_mesh, count), "{gateways}");
    }
}

#[test]
fn destinations_have_short_names_and_weights() {
    let object = |group: &str, kind: &str, name: &str| ObjectReference {
        group: group.into(),
        kind: kind.into(),
        namespace: "".into(),
        name: name.into(),
    };
    let of = rule(json!({"route": [
        {"destination": {"host": "Web", "subset": "v1", "port": {"number": 80}}, "weight": 90},
        {"destination": {"host": "a.example.org"}},
    ]}));
    let web = BackendReference {
        object: object("", "Service", "web"),
        port: Some(80),
        weight: 90,
        subset: "v1".into(),
        filters: vec![],
    };
    let other = BackendReference {
        object: object("networking.istio.io", "Hostname", "a.example.org"),
        ..BackendReference::default()
    };
    assert_eq!((of.backends, of.faults), (vec![web, other], vec![]));
    // One alone has all of it.
    let one = rule(json!({"route": [{"destination": {"host": "web"}, "weight": 0}]}));
    assert_eq!((one.backends[0].weight, one.faults), (1, vec![]));
    let none = rule(json!({"route": [{"destination": {"host": "a"}}, {"destination": {"host": "b"}}]}));
    assert_eq!(faults(&none), [("spec.http[0].route", "no destination has a weight")]);
    let missing = rule(json!({"route": [{"weight": 1}]}));
    assert_eq!(faults(&missing), [("spec.http[0].route[0].destination", "missing")]);
    let heavy = |weight: u32| json!({"destination": {"host": "a"}, "weight": weight});
    let most = i32::MAX as u32;
    assert_eq!(rule(json!({"route": [heavy(most), heavy(most), heavy(1)]})).faults, []);
    let too_much = rule(json!({"route": [heavy(most), heavy(most), heavy(2)]}));
    assert_eq!(faults(&too_much), [("spec.http[0].route", "the weights add up to more than 4294967295")]);
}

#[test]
fn requests_are_changed_and_answered() {
    let found = filters(json!({
        "rewrite": {"uri": "/b", "authority": "web"},
        "headers": {"request": {"set": {"X-A": "b", "Host": "c"}, "remove": ["x-d"]}},
    }));
    let [Filter::RequestHeaders(headers), Filter::Rewrite(host), Filter::Rewrite(rewrite)] = found.as_slice()
    else {
        panic!("{found:?}")
    };
    assert_eq!(headers.set, [("x-a".into(), "b".into())]);
    assert_eq!(headers.remove, ["x-d"]);
    assert_eq!(host.hostname.as_deref(), Some("c"));
    assert_eq!(rewrite.path, Some(PathChange::Matched("/b".into())));
    let found = filters(json!({"directResponse": {"status": 503, "body": {"bytes": "bm8="}}}));
    assert_eq!(found, [Filter::Respond(DirectResponse { status: 503, body: b"no".as_slice().into() })]);
    let of_size =
        |size| rule(json!({"directResponse": {"status": 200, "body": {"string": "x".repeat(size)}}}));
    assert_eq!(of_size(1 << 20).faults, []);
    let message = "is longer than 1048576 bytes";
    assert_eq!(faults(&of_size((1 << 20) + 1)), [("spec.http[0].directResponse.body", message)]);
    let found = filters(json!({"redirect": {"authority": "b", "derivePort": "FROM_REQUEST_PORT"}}));
    assert!(
        matches!(&found[0], Filter::Redirect(to) if to.code == 301 && to.keeps_port && to.path.is_none())
    );
    let delayed = Fault {
        delay: Some((Share(5_000), Duration::from_secs(5))),
        abort: Some((Share::ALL, Abort::Grpc(14))),
    };
    let found = filters(json!({"fault": {
        "delay": {"percentage": {"value": 0.5}, "fixedDelay": "5s"}, "abort": {"grpcStatus": "UNAVAILABLE"},
    }}));
    assert_eq!(found, [Filter::Fault(delayed)]);
}

#[test]
fn copies_are_of_all_requests_unless_a_share_is_written() {
    let shares = |route: Value| {
        let all = filters(route).into_iter().map(|filter| match filter {
            Filter::Mirror(mirror) => (mirror.share, mirror.of),
            other => panic!("{other:?}"),
        });
        all.collect::<Vec<_>>()
    };
    let all = 1_000_000;
    assert_eq!(shares(json!({"mirror": {"host": "a"}})), [(all, all)]);
    assert_eq!(shares(json!({"mirror": {"host": "a"}, "mirrorPercent": 10})), [(100_000, all)]);
    assert_eq!(shares(json!({"mirror": {"host": "a"}, "mirrorPercentage": {"value": 0.1}})), [(1_000, all)]);
    let both = json!({"mirrors": [{"destination": {"host": "a"}}, {"destination": {"host": "b"}, "percentage": {}}]});
    assert_eq!(shares(both), [(all, all), (0, all)]);
}

#[test]
fn retries_are_two_unless_they_are_written() {
    let route = json!([{"destination": {"host": "web"}}]);
    let retry = |retries: Value| rule(json!({"route": route, "retries": retries})).retry;
    assert_eq!(retry(json!(null)), Some(Retry { attempts: 2, ..Retry::default() }));
    assert_eq!(rule(json!({"redirect": {}})).retry, None);
    for none in [json!({}), json!({"attempts": 0}), json!({"attempts": -1})] {
        assert_eq!(retry(none), Some(Retry::default()));
    }
    let written =
        json!({"attempts": 3, "retryOn": "reset, 503,gateway-error", "retryIgnorePreviousHosts": false});
    let expected = Retry {
        attempts: 3,
        codes: vec![503],
        conditions: vec!["reset".into(), "gateway-error".into()],
        at_previous_hosts: true,
        ..Retry::default()
    };
    assert_eq!(retry(written), Some(expected));
}

#[test]
fn what_is_not_valid_is_a_fault_of_its_rule() {
    for (route, field) in [
        (json!({"match": [{"uri": {"exact": "/a", "prefix": "/b"}}]}), "match[0].uri"),
        (json!({"match": [{"headers": {"@request.auth.claims.sub": {}}}]}), "match[0].headers"),
        (json!({"match": [{"method": {"exact": "A B"}}]}), "match[0].method"),
        (json!({"timeout": "soon"}), "timeout"),
        (json!({"retries": {"attempts": 1, "retryOn": "99"}}), "retries.retryOn"),
        (
            json!({"fault": {"delay": {"percentage": {"value": 101}, "fixedDelay": "1s"}}}),
            "fault.delay.percentage",
        ),
        (json!({"fault": {"delay": {}}}), "fault.delay.fixedDelay"),
        (json!({"fault": {"abort": {}}}), "fault.abort"),
        (json!({"redirect": {"redirectCode": 200}}), "redirect.redirectCode"),
        (json!({"directResponse": {"status": 99}}), "directResponse.status"),
        (json!({"directResponse": {"status": 200, "body": {"bytes": "?"}}}), "directResponse.body.bytes"),
        (json!({"rewrite": {"uri": "a b"}}), "rewrite.uri"),
        (json!({"rewrite": {"uriRegexRewrite": {}}}), "rewrite.uriRegexRewrite.match"),
        (json!({"headers": {"request": {"set": {"x-a": "\u{1}"}}}}), "headers.request.set.x-a"),
        (json!({"headers": {"response": {"set": {":status": "1"}}}}), "headers.response.set"),
        (json!({"mirrors": [{}]}), "mirrors[0].destination"),
        (json!({"corsPolicy": {"unmatchedPreflights": "?"}}), "corsPolicy.unmatchedPreflights"),
    ] {
        let rule = rule(route);
        assert_eq!(faults(&rule).first().map(|(field, _)| *field), Some(&*format!("spec.http[0].{field}")));
    }
}
