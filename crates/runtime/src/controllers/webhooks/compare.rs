//! What of a configuration differs from what it should be.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use serde_json::{Value, json};

/// What an entry does with a write when nobody answers: refuse it, or let it pass.
const FAIL: &str = "Fail";

fn entries(config: &ValidatingWebhookConfiguration) -> &[ValidatingWebhook] {
    config.webhooks.as_deref().unwrap_or_default()
}

/// Tells whether a write passes some entry when nobody answers.
pub(super) fn is_open(config: &ValidatingWebhookConfiguration) -> bool {
    entries(config).iter().any(|entry| entry.failure_policy.as_deref() != Some(FAIL))
}

/// Tells whether all entries trust these roots, and no other.
pub(super) fn has_roots(config: &ValidatingWebhookConfiguration, roots: &str) -> bool {
    entries(config).iter().all(|entry| has(entry, roots))
}

fn has(entry: &ValidatingWebhook, roots: &str) -> bool {
    entry.client_config.ca_bundle.as_ref().is_some_and(|bundle| bundle.0 == roots.as_bytes())
}

/// Returns the patch after which every entry trusts `roots` and, where the webhook works, fails closed; `None` if nothing
/// differs. It is refused over any other version than this one.
pub(super) fn change(config: &ValidatingWebhookConfiguration, roots: &str, works: bool) -> Option<Value> {
    let changed = entries(config).iter().filter_map(|entry| {
        let closes = works && entry.failure_policy.as_deref() != Some(FAIL);
        let mut change = json!({"name": entry.name});
        if !has(entry, roots) {
            change["clientConfig"] = json!({"caBundle": ByteString(roots.as_bytes().to_vec())});
        }
        if closes {
            change["failurePolicy"] = FAIL.into();
        }
        (change.as_object()?.len() > 1).then_some(change)
    });
    let changed: Vec<Value> = changed.collect();
    let version = &config.metadata.resource_version;
    (!changed.is_empty()).then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": changed}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config(entries: Value) -> ValidatingWebhookConfiguration {
        let entry = |of: &Value| {
            let mut entry = json!({"sideEffects": "None", "admissionReviewVersions": ["v1"]});
            entry.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
            entry
        };
        let entries: Vec<Value> = entries.as_array().unwrap().iter().map(entry).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "istio-validator-istio-system", "resourceVersion": "7"}, "webhooks": entries,
        }))
        .unwrap()
    }

    #[test]
    fn only_what_differs_is_written() {
        let roots = "PEM";
        let right = json!({"caBundle": ByteString(b"PEM".to_vec())});
        let entries = json!([
            {"name": "right", "clientConfig": right, "failurePolicy": "Fail"},
            {"name": "open", "clientConfig": right, "failurePolicy": "Ignore"},
            {"name": "other", "clientConfig": {"url": "https://a.example/"}, "failurePolicy": "Fail"},
        ]);
        let found = config(entries);
        assert!(is_open(&found) && !has_roots(&found, roots));
        let other = json!({"name": "other", "clientConfig": right});
        let change_of = |works| change(&found, roots, works).unwrap();
        assert_eq!(change_of(false), json!({"metadata": {"resourceVersion": "7"}, "webhooks": [other]}));
        let open = json!({"name": "open", "failurePolicy": "Fail"});
        assert_eq!(change_of(true)["webhooks"], json!([open, other]));
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let right = json!({"caBundle": ByteString(b"PEM".to_vec())});
        let closed = config(json!([{"name": "a", "clientConfig": right, "failurePolicy": "Fail"}]));
        let open = config(json!([{"name": "a", "clientConfig": right}]));
        assert_eq!(
            [change(&closed, "PEM", true), change(&closed, "PEM", false), change(&open, "PEM", false)],
            [None, None, None]
        );
        assert!(has_roots(&open, "PEM") && is_open(&open) && !is_open(&closed));
        assert_eq!(change(&config(json!([])), "PEM", true), None);
    }
}
