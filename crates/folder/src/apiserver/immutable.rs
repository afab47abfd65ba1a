//! Fields that an API server lets nobody change.

use serde_json::Value;

use crate::field::{Flaw, Step};

/// A kind, and the fields that stay as they were made.
const FIXED: &[(&str, &str, &[&str])] = &[
    ("apps", "Deployment", &["spec.selector"]),
    ("apps", "DaemonSet", &["spec.selector"]),
    ("apps", "ReplicaSet", &["spec.selector"]),
    (
        "apps",
        "StatefulSet",
        &["spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"],
    ),
    ("batch", "Job", &["spec.selector", "spec.template", "spec.completionMode"]),
    ("discovery.k8s.io", "EndpointSlice", &["addressType"]),
    ("gateway.networking.k8s.io", "GatewayClass", &["spec.controllerName"]),
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "spec.restartPolicy",
            "spec.nodeSelector",
        ],
    ),
];

/// What of an object differs from its version before, and may not: the fields that are given in both.
pub(super) fn changes(group: &str, kind: &str, before: &Value, after: &Value) -> Vec<Flaw> {
    let fixed =
        FIXED.iter().find(|(fixed_group, fixed_kind, _)| (*fixed_group, *fixed_kind) == (group, kind));
    let mut flaws: Vec<Flaw> = fixed
        .map_or(&[][..], |(_, _, paths)| *paths)
        .iter()
        .filter(|path| at(before, path) != at(after, path))
        .filter(|path| kind != "Pod" || at(before, path).is_some())
        .map(|path| flaw(path, "field is immutable"))
        .collect();
    // An address may be given up with the type that has one.
    let address = |value: &Value| {
        let kind = at(value, "spec.type").and_then(Value::as_str);
        let address = at(value, "spec.clusterIP").and_then(Value::as_str).filter(|text| !text.is_empty());
        address.filter(|_| kind != Some("ExternalName")).map(str::to_owned)
    };
    if let ("", "Service", Some(before), Some(after)) = (group, kind, address(before), address(after))
        && before != after
    {
        flaws.push(flaw("spec.clusterIP", "may not change once set"));
    }
    if (group, kind) == ("", "ConfigMap") && at(before, "immutable") == Some(&Value::Bool(true)) {
        let changed =
            ["data", "binaryData", "immutable"].into_iter().find(|path| at(before, path) != at(after, path));
        flaws.extend(changed.map(|path| flaw(path, "field is immutable when `immutable` is set")));
    }
    flaws
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

fn flaw(path: &str, message: &str) -> Flaw {
    let path = path.split('.').map(|name| Step::Key(name.to_owned())).collect();
    Flaw::new(path, format!("Invalid value: {message}"), "remove the object, save, and add it anew")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fixed_fields_stay_and_others_move() {
        let one = json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "replicas": 1}});
        let two = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "replicas": 2}});
        assert_eq!(changes("apps", "Deployment", &one, &one), []);
        assert_eq!(changes("apps", "Deployment", &one, &two).len(), 1);
        let service = |address: &str| json!({"spec": {"clusterIP": address}});
        assert_eq!(changes("", "Service", &service("10.0.0.1"), &service("10.0.0.2")).len(), 1);
        assert_eq!(changes("", "Service", &service(""), &service("10.0.0.2")), []);
        let map = |value: &str| json!({"immutable": true, "data": {"a": value}});
        assert_eq!(changes("", "ConfigMap", &map("1"), &map("2")).len(), 1);
    }
}
