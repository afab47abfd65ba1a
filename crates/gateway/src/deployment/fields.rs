//! How fields of Kubernetes objects are merged and compared: some lists are of items that a field names.

use serde_json::{Map, Value};

/// Returns the field by which the items of a list are told apart; `None` where the list is one value.
pub(super) fn merge_key(list: &str, items: &[Value]) -> Option<&'static str> {
    let all_have = |key: &str| items.iter().all(|item| item.get(key).is_some());
    Some(match list {
        "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env" | "imagePullSecrets" => {
            "name"
        }
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "ownerReferences" => "uid",
        "topologySpreadConstraints" => "topologyKey",
        "hostAliases" => "ip",
        // Those of containers and those of Services.
        "ports" if all_have("containerPort") => "containerPort",
        "ports" => "port",
        _ => return None,
    })
}

/// Tells whether an item that is written is this one: ports of one number are told apart by their protocols, where both say
/// them.
pub(super) fn is_same(key: &str, written: &Value, stored: &Value) -> bool {
    let protocols = [written, stored].map(|of| of.get("protocol"));
    let is_other = key == "port" && matches!(protocols, [Some(one), Some(other)] if one != other);
    stored.get(key) == written.get(key) && !is_other
}

/// Maps that are one value: a key more makes another one of them.
const ATOMIC: [&str; 3] = ["labelSelector", "nodeSelector", "selector"];

/// Returns what `stored` holds in the places that `desired` has.
pub(super) fn picked(desired: &Value, stored: &Value) -> Value {
    of_field("", desired, stored)
}

fn of_field(field: &str, desired: &Value, stored: &Value) -> Value {
    match (desired, stored) {
        _ if ATOMIC.contains(&field) => stored.clone(),
        (Value::Object(desired), Value::Object(stored)) => {
            let of = |(key, value): (&String, &Value)| {
                stored.get(key).map(|stored| (key.clone(), of_field(key, value, stored)))
            };
            Value::Object(desired.iter().filter_map(of).collect::<Map<_, _>>())
        }
        (Value::Array(desired), Value::Array(stored)) => match merge_key(field, desired) {
            Some(key) => {
                let same = |item: &Value| stored.iter().find(|stored| is_same(key, item, stored));
                let items = desired.iter().filter_map(|item| Some(of_field("", item, same(item)?)));
                Value::Array(items.collect())
            }
            None if desired.len() == stored.len() => Value::Array(
                desired.iter().zip(stored).map(|(one, other)| of_field("", one, other)).collect(),
            ),
            None => Value::Array(stored.clone()),
        },
        (_, stored) => stored.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_is_not_seen() {
        let desired = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "x", "image": "1", "ports": [{"containerPort": 80}]}],
            "args": ["a"],
        }});
        let mut stored = json!({"metadata": {"labels": {"a": "b", "c": "d"}, "uid": "u"}, "spec": {
            "containers": [
                {"name": "beside"},
                {"name": "x", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP"}], "tty": true},
            ],
            "args": ["a"],
        }});
        assert_eq!(picked(&desired, &stored), desired);
        stored["spec"]["containers"][1]["image"] = json!("2");
        assert_ne!(picked(&desired, &stored), desired);
    }

    #[test]
    fn what_others_remove_or_change_is_seen() {
        let desired = json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "args": ["a", "b"]}});
        for other in [
            json!({}),
            json!({"spec": {"ports": [{"port": 80}], "args": ["a", "b"]}}),
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "args": ["a", "b", "c"]}}),
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "args": "a"}}),
        ] {
            assert_ne!(picked(&desired, &other), desired, "{other}");
        }
        let selects = json!({"selector": {"a": "b"}});
        let fewer = json!({"selector": {"a": "b", "c": "d"}});
        assert_ne!(picked(&selects, &fewer), selects);
    }
}
