#![allow(clippy::unwrap_used)]

use super::*;
use crate::Labels;
use crate::facts::{Algorithm, HashKey, HashTable, TlsMode};
use serde_json::{Value, json};
use std::time::Duration;

fn rule(spec: Value) -> DestinationRule {
    let manifest = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
    parse(manifest.to_string().as_bytes()).unwrap()
}

fn fields(rule: &DestinationRule) -> Vec<&str> {
    rule.ignored.iter().map(|of| of.field.as_str()).collect()
}

#[test]
fn a_rule_gives_subsets_and_policies() {
    let rule = rule(json!({
        "host": "Web",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "maglev": {}}},
            "connectionPool": {"tcp": {"maxConnections": 10, "connectTimeout": "1.5s"}},
            "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}],
        },
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 0}}},
            {"name": "v2"},
        ],
    }));
    assert_eq!((rule.host.as_str(), rule.ignored.len()), ("web", 0));
    let common = &rule.policy.common;
    let hash = Algorithm::Hash(HashKey::Header("x-user".into()), HashTable::Maglev(65_537));
    assert_eq!(common.load_balancer.as_ref().unwrap().algorithm, hash);
    let pool = common.connections.as_ref().unwrap();
    assert_eq!((pool.max_connections, pool.connect_timeout), (Some(10), Some(Duration::from_millis(1_500))));
    let (port, of_port) = &rule.policy.ports[0];
    assert_eq!((*port, &of_port.load_balancer.as_ref().unwrap().algorithm), (80, &Algorithm::Random));
    assert_eq!(rule.subsets[0].labels, Labels::new([("version", "v1")]));
    assert_eq!(rule.subsets[0].policy.common.outliers.unwrap().consecutive_5xx, Some(0));
}

#[test]
fn what_is_not_valid_counts_as_unset_and_is_named() {
    let rule = rule(json!({
        "host": "web",
        "trafficPolicy": {
            "loadBalancer": {"simple": "BEST", "warmup": {"duration": "soon"}},
            "connectionPool": {"http": {"h2UpgradePolicy": "?", "idleTimeout": "-1s"}},
            "portLevelSettings": [{}, {"port": {"number": 80}}, {"port": {"number": 80}}],
            "retryBudget": {"percent": -1},
        },
        "subsets": [{"name": "v1"}, {"name": "v1"}],
    }));
    assert_eq!(
        fields(&rule),
        [
            "spec.trafficPolicy.loadBalancer.simple",
            "spec.trafficPolicy.loadBalancer.warmup.duration",
            "spec.trafficPolicy.connectionPool.http.idleTimeout",
            "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy",
            "spec.trafficPolicy.portLevelSettings[0].port.number",
            "spec.trafficPolicy.portLevelSettings[2].port.number",
            "spec.trafficPolicy.retryBudget.percent",
            "spec.subsets[1].name",
        ]
    );
    assert_eq!((rule.policy.ports.len(), rule.subsets.len()), (1, 1));
}

#[test]
fn what_an_envoy_would_refuse_counts_as_unset() {
    let balancer = |of: Value| json!({"host": "web", "trafficPolicy": {"loadBalancer": of}});
    let policy = |of: Value| json!({"host": "web", "trafficPolicy": of});
    let hash = |of: Value| balancer(json!({"consistentHash": of}));
    for (spec, field) in [
        (balancer(json!({"simple": "PASSTHROUGH"})), "loadBalancer.simple"),
        (balancer(json!({"simple": "RANDOM", "warmupDurationSecs": "1s"})), "loadBalancer.warmup"),
        (
            balancer(json!({"warmup": {"duration": "1s", "minimumPercent": 101}})),
            "loadBalancer.warmup.minimumPercent",
        ),
        (hash(json!({"httpHeaderName": "x user"})), "loadBalancer.consistentHash.httpHeaderName"),
        (hash(json!({"httpCookie": {"ttl": "1s"}})), "loadBalancer.consistentHash.httpCookie.name"),
        (
            hash(json!({"httpCookie": {"name": "a", "attributes": [{"name": "a", "value": "b; c"}]}})),
            "loadBalancer.consistentHash.httpCookie.attributes[0]",
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 256}})),
            "loadBalancer.consistentHash.maglev.tableSize",
        ),
        (
            hash(json!({"useSourceIp": true, "ringHash": {"minimumRingSize": 8_388_609}})),
            "loadBalancer.consistentHash.ringHash.minimumRingSize",
        ),
        (policy(json!({"outlierDetection": {"interval": "0s"}})), "outlierDetection.interval"),
        (
            policy(json!({"outlierDetection": {"maxEjectionPercent": 101}})),
            "outlierDetection.maxEjectionPercent",
        ),
        (policy(json!({"retryBudget": {"percent": 100.5}})), "retryBudget.percent"),
        (
            policy(json!({"connectionPool": {"tcp": {"connectTimeout": "1us"}}})),
            "connectionPool.tcp.connectTimeout",
        ),
    ] {
        assert_eq!(fields(&rule(spec.clone())), [format!("spec.trafficPolicy.{field}")], "{spec}");
    }
    let rule = rule(policy(json!({"connectionPool": {"tcp": {"maxConnections": 0}}})));
    assert_eq!(rule.policy.common.connections.unwrap().max_connections, None);
}

#[test]
fn tls_that_cannot_be_done_is_not_left_out() {
    let tls = |tls: Value| {
        let rule = rule(json!({"host": "web", "trafficPolicy": { "tls": tls }}));
        let count = rule.ignored.len();
        (rule.policy.common.tls.unwrap(), count)
    };
    for (written, mode, is_valid) in [
        (json!({"mode": "SIMPLE"}), TlsMode::Simple, true),
        (json!({"mode": "MUTUAL", "credentialName": "c"}), TlsMode::Mutual, true),
        (json!({"mode": "ISTIO_MUTUAL"}), TlsMode::IstioMutual, true),
        (json!({"mode": "DISABLE", "caCertificates": "/a"}), TlsMode::Disable, true),
        (json!({"mode": "SIMPLE", "caCertificates": "/a"}), TlsMode::Simple, false),
        (json!({"mode": "MUTUAL"}), TlsMode::Mutual, false),
        (json!({"mode": "BOTH"}), TlsMode::Disable, false),
    ] {
        let (found, count) = tls(written.clone());
        assert_eq!(
            (found.mode, found.is_valid, count),
            (mode, is_valid, usize::from(!is_valid)),
            "{written}"
        );
    }
}

#[test]
fn failing_over_needs_outlier_detection() {
    let balancer = json!({"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone"]}});
    let outliers = json!({"consecutive5xxErrors": 1});
    let common = json!({"loadBalancer": balancer, "outlierDetection": outliers});
    let of_port = json!({"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": balancer}]});
    let at = |at: &str| format!("{at}.loadBalancer.localityLbSetting.failoverPriority");
    for (spec, expected) in [
        (json!({"host": "web", "trafficPolicy": common}), vec![]),
        (json!({"host": "web", "trafficPolicy": {"loadBalancer": balancer}}), vec![at("spec.trafficPolicy")]),
        (
            json!({"host": "web", "trafficPolicy": of_port}),
            vec![at("spec.trafficPolicy.portLevelSettings[0]")],
        ),
        (
            json!({
                "host": "web",
                "trafficPolicy": {"outlierDetection": outliers},
                "subsets": [{"name": "a", "trafficPolicy": {"loadBalancer": balancer}}],
            }),
            vec![],
        ),
        (
            json!({"host": "web", "subsets": [{"name": "a", "trafficPolicy": {"loadBalancer": balancer}}]}),
            vec![at("spec.subsets[0].trafficPolicy")],
        ),
        (
            json!({"host": "web", "trafficPolicy": {"loadBalancer": {
                "localityLbSetting": {"enabled": false, "failoverPriority": ["a"]},
            }}}),
            vec![],
        ),
    ] {
        assert_eq!(fields(&rule(spec.clone())), expected, "{spec}");
    }
}
