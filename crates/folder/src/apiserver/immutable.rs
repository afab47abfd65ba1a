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
        .filter(|path| given(before, path) != given(after, path))
        // The node of a pod without one was chosen since.
        .filter(|path| **path != "spec.nodeName" || at(before, path).is_some())
        .map(|path| flaw(path, message(kind)))
        .collect();
    if (group, kind) == ("", "Pod") && containers(before) != containers(after) {
        flaws.push(flaw("spec.containers", message(kind)));
    }
    // An address may be given up with the type that has one.
    let address = |value: &Value| {
        let kind = at(value, "spec.type").and_then(Value::as_str);
        let address = at(value, "spec.clusterIP").and_then(Value::as_str).filter(|text| !text.is_empty());
        address.filter(|_| kind != Some("ExternalName")).map(str::to_owned)
    };
    // One that is not given was chosen since.
    let has_address = |value: &Value| {
        at(value, "spec.type") != Some(&"ExternalName".into()) && address(value).as_deref() != Some("None")
    };
    let is_changed = match (address(before), address(after)) {
        (Some(before), Some(after)) => before != after,
        (None, Some(after)) => after == "None" && has_address(before),
        _ => false,
    };
    if (group, kind) == ("", "Service") && is_changed {
        flaws.push(flaw("spec.clusterIP", "Invalid value: may not change once set"));
    }
    if (group, kind) == ("", "ConfigMap") && at(before, "immutable") == Some(&Value::Bool(true)) {
        let changed =
            ["data", "binaryData", "immutable"].into_iter().find(|path| at(before, path) != at(after, path));
        flaws.extend(changed.map(|path| flaw(path, "Forbidden: field is immutable when `immutable` is set")));
    }
    flaws
}

/// What an API server says of a fixed field.
fn message(kind: &str) -> &'static str {
    match kind {
        "Pod" => "Forbidden: pod updates may not change this field",
        _ => "Invalid value: field is immutable",
    }
}

/// The containers of a pod without what may change of them: their images.
fn containers(pod: &Value) -> Option<Vec<Value>> {
    let mut containers = at(pod, "spec.containers")?.as_array()?.clone();
    containers.iter_mut().filter_map(Value::as_object_mut).for_each(|fields| {
        fields.remove("image");
    });
    Some(containers)
}

/// A field, unless it says what is so without it.
fn given<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    at(value, path).filter(|value| **value != Value::Bool(false))
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

fn flaw(path: &str, message: &str) -> Flaw {
    let path = path.split('.').map(|name| Step::Key(name.to_owned())).collect();
    Flaw::new(path, message, "remove the object, save, and add it anew")
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
        let pod = |image: &str, port: u16| json!({"spec": {"containers": [{"name": "a", "image": image, "ports": [{"containerPort": port}]}]}});
        assert_eq!(changes("", "Pod", &pod("a", 80), &pod("b", 80)), []);
        assert_eq!(changes("", "Pod", &pod("a", 80), &pod("a", 81)).len(), 1);
        let map = |value: &str| json!({"immutable": true, "data": {"a": value}});
        assert_eq!(changes("", "ConfigMap", &map("1"), &map("2")).len(), 1);
    }
}
