//! What authors lay over manifests: strategic merge patches in ConfigMaps, one for each kind.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::{Str, yaml};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use super::fields::{is_same, merge_key};
use super::row::{Fault, ManifestKind};
use super::{label, privilege};

/// The keys of a ConfigMap, each with the kind that its text is laid over.
const KEYS: [(&str, ManifestKind); 5] = [
    ("deployment", ManifestKind::Deployment),
    ("horizontalPodAutoscaler", ManifestKind::HorizontalPodAutoscaler),
    ("podDisruptionBudget", ManifestKind::PodDisruptionBudget),
    ("service", ManifestKind::Service),
    ("serviceAccount", ManifestKind::ServiceAccount),
];

/// What of a manifest's metadata may be changed.
const METADATA: [&str; 2] = ["annotations", "labels"];

/// One patch.
struct Overlay {
    /// `ConfigMap shop/overlay, key deployment`.
    place: String,
    kind: ManifestKind,
    patch: Value,
    by: Author,
}

/// Who wrote a patch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Whoever keeps the system namespace.
    System,
    /// The author of the gateway.
    Gateway,
}

/// The patches of a gateway, in the order in which they are laid over.
#[derive(Default)]
pub(super) struct Overlays(Vec<Overlay>);

impl Overlays {
    /// Reads the patches of a ConfigMap of an author, which is written as `place`, after those that are there.
    ///
    /// # Errors
    /// A key that is none, or a text that is no patch.
    pub fn read(&mut self, place: &str, by: Author, data: &BTreeMap<Str, Str>) -> Result<(), Fault> {
        for (key, text) in data {
            let Some((_, kind)) = KEYS.iter().find(|(name, _)| *name == key.as_str()) else {
                let known = KEYS.map(|(name, _)| name).join(", ");
                return Err(Fault::new(format!(
                    "{place}: unknown key {:?}; write one of {known}",
                    key.as_str()
                )));
            };
            let place = format!("{place}, key {key}");
            let patch = Value::deserialize(yaml::document(text))
                .map_err(|error| Fault::new(format!("{place}: {error}")))?;
            match patch {
                Value::Null => {}
                Value::Object(_) => self.0.push(Overlay { place, kind: *kind, patch, by }),
                _ => return Err(Fault::new(format!("{place}: expected an object"))),
            }
        }
        Ok(())
    }

    /// Tells whether there is one for a kind.
    pub fn have(&self, kind: ManifestKind) -> bool {
        self.0.iter().any(|overlay| overlay.kind == kind)
    }

    /// Lays those of a kind over a manifest.
    ///
    /// # Errors
    /// What cannot be laid over it, with place and field.
    pub fn apply(&self, kind: ManifestKind, body: Value) -> Result<Value, Fault> {
        let mut merged = body;
        for overlay in self.0.iter().filter(|overlay| overlay.kind == kind) {
            let at = |fault: Fault| Fault::new(format!("{}: {}", overlay.place, fault.message));
            let before = merged.clone();
            guard_patch(&overlay.patch).map_err(at)?;
            merge(&mut merged, &overlay.patch, "").map_err(at)?;
            quantities(&mut merged);
            is_known(kind, &merged).map_err(at)?;
            guard(kind, &before, &merged).map_err(at)?;
            if overlay.by == Author::Gateway {
                guard_privileges(&before, &merged).map_err(at)?;
            }
        }
        Ok(merged)
    }
}

/// Refuses what would make another object of it.
fn guard_patch(patch: &Value) -> Result<(), Fault> {
    let metadata = patch.get("metadata").and_then(Value::as_object);
    match metadata.into_iter().flatten().find(|(key, _)| !METADATA.contains(&key.as_str())) {
        Some((key, _)) => Err(Fault::new(format!(
            "illegal metadata change of metadata.{key}: only labels and annotations are open"
        ))),
        None => Ok(()),
    }
}

/// Refuses what would lose the object, or its pods.
fn guard(kind: ManifestKind, before: &Value, after: &Value) -> Result<(), Fault> {
    let labels = [label::MANAGED, label::GATEWAY_NAME];
    let at_label = |at: &str, key: &str| format!("{at}/{}", key.replace('/', "~1"));
    let mut kept = vec!["/apiVersion".to_owned(), "/kind".to_owned()];
    kept.extend(labels.map(|key| at_label("/metadata/labels", key)));
    match kind {
        ManifestKind::Deployment => {
            kept.push("/spec/selector".to_owned());
            kept.push(at_label("/spec/template/metadata/labels", label::GATEWAY_NAME));
        }
        ManifestKind::HorizontalPodAutoscaler => kept.push("/spec/scaleTargetRef".to_owned()),
        _ => {}
    }
    match kept.iter().find(|at| before.pointer(at) != after.pointer(at)) {
        Some(at) => {
            let field = at.trim_start_matches('/').replace('/', ".").replace("~1", "/");
            Err(Fault::new(format!("{field} is not open: what is deployed is found by it")))
        }
        None => Ok(()),
    }
}

/// Refuses what would let the pod do more beyond its namespace than before.
fn guard_privileges(before: &Value, after: &Value) -> Result<(), Fault> {
    let (before, after) = (privilege::of(before), privilege::of(after));
    match after.difference(&before).next() {
        Some(field) => Err(Fault::new(format!(
            "{field} is not open: the pod would have rights beyond its namespace, or be another account; the defaults of the class, in the system namespace, may set it"
        ))),
        None => Ok(()),
    }
}

/// What a patch says of the object or item in which it stands.
const DIRECTIVE: &str = "$patch";

fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get(DIRECTIVE).and_then(Value::as_str)
}

/// Merges a patch into a value, which stands at the field `at`.
fn merge(value: &mut Value, patch: &Value, at: &str) -> Result<(), Fault> {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return Ok(());
    };
    check_directives(patch, at)?;
    if directive(patch) == Some("replace") || !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return Ok(()) };
    for (key, patch) in patch.iter().filter(|(key, _)| *key != DIRECTIVE) {
        let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match patch {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(of) if directive(of) == Some("delete") => {
                fields.remove(key);
            }
            Value::Array(items) => {
                let list = fields.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, key, &at)?;
            }
            patch => merge(fields.entry(key.clone()).or_insert(Value::Null), patch, &at)?,
        }
    }
    Ok(())
}

fn check_directives(patch: &Map<String, Value>, at: &str) -> Result<(), Fault> {
    let known = |(key, value): &(&String, &Value)| {
        key.as_str() == DIRECTIVE && matches!(value.as_str(), Some("replace" | "delete" | "merge"))
    };
    let unknown = patch.iter().find(|entry| entry.0.starts_with('$') && !known(entry));
    unknown.map_or(Ok(()), |(key, value)| {
        Err(Fault::new(format!(
            "{at}: the directive {key}: {value} is not known; $patch: replace and delete are"
        )))
    })
}

fn merge_list(list: &mut Value, patch: &[Value], field: &str, at: &str) -> Result<(), Fault> {
    let is_replaced = patch.iter().any(|item| {
        item.as_object().is_some_and(|item| item.len() == 1 && directive(item) == Some("replace"))
    });
    let patch: Vec<&Value> =
        patch.iter().filter(|item| !is_replaced || item.get(DIRECTIVE).is_none()).collect();
    let own: Vec<Value> = patch.iter().map(|item| (*item).clone()).collect();
    let Some(key) = merge_key(field, &own) else {
        *list = Value::Array(own);
        return Ok(());
    };
    let mut items = match std::mem::take(list) {
        Value::Array(items) if !is_replaced => items,
        _ => Vec::new(),
    };
    for (i, patch) in patch.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        let fields = patch.as_object().ok_or_else(|| Fault::new(format!("{at}: expected an object")))?;
        if !fields.contains_key(key) {
            return Err(Fault::new(format!("{at}: missing field {key}")));
        }
        let place = items.iter().position(|item| is_same(key, patch, item));
        match (directive(fields), place) {
            (Some("delete"), Some(place)) => drop(items.remove(place)),
            (Some("delete"), None) => {}
            (_, Some(place)) => merge(&mut items[place], patch, &at)?,
            (_, None) => {
                let mut item = Value::Object(Map::new());
                merge(&mut item, patch, &at)?;
                items.push(item);
            }
        }
    }
    *list = Value::Array(items);
    Ok(())
}

/// Writes numbers of resources as text, as an API server takes them either way.
fn quantities(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if matches!(key.as_str(), "limits" | "requests")
                    && let Value::Object(all) = value
                {
                    for quantity in all.values_mut().filter(|quantity| quantity.is_number()) {
                        *quantity = Value::String(quantity.to_string());
                    }
                }
                quantities(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities),
        _ => {}
    }
}

/// Refuses fields that the kind does not have, and values that they cannot have.
fn is_known(kind: ManifestKind, body: &Value) -> Result<(), Fault> {
    let read = match kind {
        ManifestKind::ServiceAccount => read::<ServiceAccount>(body),
        ManifestKind::Deployment => read::<Deployment>(body),
        ManifestKind::Service => read::<Service>(body),
        ManifestKind::HorizontalPodAutoscaler => read::<HorizontalPodAutoscaler>(body),
        ManifestKind::PodDisruptionBudget => read::<PodDisruptionBudget>(body),
    }?;
    match lost(body, &read, "") {
        Some(field) => Err(Fault::new(format!("{field}: a {kind} has no such field"))),
        None => Ok(()),
    }
}

fn read<T: DeserializeOwned + Serialize>(body: &Value) -> Result<Value, Fault> {
    let object: T = serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        Fault::new(format!("{path}: {}", error.into_inner()))
    })?;
    serde_json::to_value(&object).map_err(|error| Fault::new(error.to_string()))
}

/// Returns a field that has something in `written` and is absent in `read`.
fn lost(written: &Value, read: &Value, at: &str) -> Option<String> {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(key, value)| {
            let at = below(key);
            match read.get(key) {
                Some(read) => lost(value, read, &at),
                None => Some(at),
            }
        }),
        (Value::Array(written), Value::Array(read)) => {
            let pairs = written.iter().zip(read).enumerate();
            pairs.into_iter().find_map(|(i, (one, other))| lost(one, other, &format!("{at}[{i}]")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "wp", "labels": {
                "gateway.istio.io/managed": "x", "gateway.networking.k8s.io/gateway-name": "wp",
            }},
            "spec": {
                "selector": {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "wp"}},
                "template": {
                    "metadata": {"labels": {"gateway.networking.k8s.io/gateway-name": "wp"}},
                    "spec": {
                        "containers": [{
                            "name": "istio-proxy", "image": "envoy", "args": ["a", "b"],
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        }],
                        "tolerations": [{"key": "old"}],
                    },
                },
            },
        })
    }

    fn laid_over(key: &str, text: &str) -> Result<Value, String> {
        laid_over_by(Author::Gateway, key, text)
    }

    fn laid_over_by(by: Author, key: &str, text: &str) -> Result<Value, String> {
        let mut overlays = Overlays::default();
        let data = BTreeMap::from([(Str::from(key), Str::from(text))]);
        overlays.read("ConfigMap shop/o", by, &data).map_err(|fault| fault.message)?;
        overlays.apply(ManifestKind::Deployment, deployment()).map_err(|fault| fault.message)
    }

    #[test]
    fn lists_are_merged_by_the_field_that_names_their_items() {
        let text = "
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: istio-proxy
        args: [c]
        env: [{name: B, $patch: delete}, {name: C, value: '3'}, {name: A, value: '9'}]
        resources: {limits: {cpu: 2}}
      - {name: beside, image: x}
      tolerations: [{key: new}]
";
        let merged = laid_over("deployment", text).unwrap();
        assert_eq!(merged["spec"]["replicas"], 3);
        let pod = &merged["spec"]["template"]["spec"];
        assert_eq!(
            pod["containers"],
            json!([
                {
                    "name": "istio-proxy", "image": "envoy", "args": ["c"],
                    "env": [{"name": "A", "value": "9"}, {"name": "C", "value": "3"}],
                    "resources": {"limits": {"cpu": "2"}},
                },
                {"name": "beside", "image": "x"},
            ])
        );
        assert_eq!(pod["tolerations"], json!([{"key": "new"}]));
    }

    #[test]
    fn fields_are_removed_and_objects_and_lists_replaced_where_a_patch_says_so() {
        let text = "
spec: {template: {spec: {tolerations: null, containers: [{$patch: replace}, {name: other}]}}}
";
        let merged = laid_over("deployment", text).unwrap();
        let pod = &merged["spec"]["template"]["spec"];
        assert_eq!((pod.get("tolerations"), &pod["containers"]), (None, &json!([{"name": "other"}])));
        let text = "spec: {strategy: {rollingUpdate: {maxSurge: 1}}, template: {spec: {$patch: replace, containers: [{name: a}]}}}";
        let merged = laid_over("deployment", text).unwrap();
        assert_eq!(merged["spec"]["template"]["spec"], json!({"containers": [{"name": "a"}]}));
    }

    #[test]
    fn what_cannot_be_laid_over_is_named_with_place_and_field() {
        for (key, text, expected) in [
            ("deploy", "{}", "ConfigMap shop/o: unknown key \"deploy\""),
            ("deployment", "spec: [", "ConfigMap shop/o, key deployment: "),
            ("deployment", "[]", "ConfigMap shop/o, key deployment: expected an object"),
            ("deployment", "metadata: {name: other}", "illegal metadata change of metadata.name"),
            ("deployment", "spec: {replica: 2}", "spec.replica: a Deployment has no such field"),
            ("deployment", "spec: {replicas: many}", "spec.replicas: invalid type"),
            (
                "deployment",
                "spec: {template: {spec: {containers: [{image: x}]}}}",
                "spec.template.spec.containers[0]: missing field name",
            ),
            ("deployment", "spec: {selector: {matchLabels: {a: b}}}", "spec.selector is not open"),
            (
                "deployment",
                "metadata: {labels: {gateway.istio.io/managed: null}}",
                "metadata.labels.gateway.istio.io/managed is not open",
            ),
            ("deployment", "spec: {$retainKeys: [replicas]}", "spec: the directive $retainKeys"),
        ] {
            let error = laid_over(key, text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_author_gives_the_pod_nothing_beyond_its_namespace_and_the_system_may() {
        let of_container = |text: &str| {
            format!("spec: {{template: {{spec: {{containers: [{{name: istio-proxy, {text}}}]}}}}}}")
        };
        let of_pod = |text: &str| format!("spec: {{template: {{spec: {{{text}}}}}}}");
        for (text, field) in [
            (of_pod("hostNetwork: true"), "spec.template.spec.hostNetwork"),
            (of_pod("hostPID: true"), "hostPID"),
            (of_pod("hostIPC: true"), "hostIPC"),
            (of_pod("serviceAccountName: admin"), "serviceAccountName: \"admin\""),
            (of_pod("volumes: [{name: node, hostPath: {path: /}}]"), "volumes[name=\"node\"].hostPath"),
            (
                of_pod("securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}"),
                "sysctls[name=\"kernel.msgmax\"]",
            ),
            (
                of_pod("securityContext: {seccompProfile: {type: Unconfined}}"),
                "securityContext.seccompProfile",
            ),
            (
                of_pod("initContainers: [{name: x, securityContext: {privileged: true}}]"),
                "initContainers[name=\"x\"].securityContext.privileged",
            ),
            (of_container("securityContext: {privileged: true}"), "securityContext.privileged"),
            (
                of_container("securityContext: {capabilities: {add: [NET_ADMIN]}}"),
                "capabilities.add: \"NET_ADMIN\"",
            ),
            (of_container("securityContext: {procMount: Unmasked}"), "procMount"),
            (of_container("securityContext: {seLinuxOptions: {type: spc_t}}"), "seLinuxOptions"),
            (of_container("securityContext: {windowsOptions: {hostProcess: true}}"), "hostProcess"),
            (of_container("ports: [{containerPort: 80, hostPort: 80}]"), "ports.hostPort: 80"),
        ] {
            let error = laid_over("deployment", &text).unwrap_err();
            assert!(error.contains(field) && error.contains("is not open"), "{text}: {error}");
            laid_over_by(Author::System, "deployment", &text).unwrap();
        }
        for text in [
            of_pod("hostNetwork: false"),
            of_pod("volumes: [{name: own, emptyDir: {}}]"),
            of_container("securityContext: {capabilities: {add: [NET_BIND_SERVICE], drop: [ALL]}}"),
            of_container("ports: [{containerPort: 80}]"),
        ] {
            laid_over("deployment", &text).unwrap();
        }
    }

    #[test]
    fn an_empty_text_changes_nothing() {
        assert_eq!(laid_over("deployment", "").unwrap(), deployment());
        assert_eq!(laid_over("service", "spec: {type: ClusterIP}").unwrap(), deployment());
    }
}
