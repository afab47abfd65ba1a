//! Finds the name of a policy in a document that cannot be read.
//!
//! Policies fail closed: one that was never read in a good version must not be as if it were not
//! there. What is found here has a `spec` that no reader accepts, which refuses it by its name.

use serde_json::{Value, json};

use crate::object::group_of;

/// The kinds that restrict traffic.
const POLICIES: [&str; 2] = ["AuthorizationPolicy", "PeerAuthentication"];

/// The policy that a broken YAML document is about, as far as its lines tell: block style with
/// `apiVersion`, `kind` and `metadata` at the start of a line.
pub(crate) fn policy(text: &str) -> Option<Value> {
    let (mut api_version, mut kind, mut name, mut namespace) = (None, None, None, None);
    let mut in_metadata = false;
    // The indentation of the entries of `metadata`; deeper ones are labels and the like.
    let mut indentation = None;
    for line in text.lines() {
        let content = line.trim_start_matches(' ');
        let depth = line.len() - content.len();
        if content.trim().is_empty() || content.starts_with('#') {
            continue;
        }
        if depth == 0 {
            in_metadata = content.split(" #").next().is_some_and(|key| key.trim_end() == "metadata:");
            first(&mut api_version, content, "apiVersion:");
            first(&mut kind, content, "kind:");
        } else if in_metadata && *indentation.get_or_insert(depth) == depth {
            first(&mut name, content, "name:");
            first(&mut namespace, content, "namespace:");
        }
    }
    let (api_version, kind, name) = (api_version?, kind?, name?);
    (group_of(api_version) == "security.istio.io" && POLICIES.contains(&kind)).then(|| {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace.unwrap_or("default")},
            "spec": "the document cannot be read",
        })
    })
}

/// Takes the scalar behind a key, if the line has that key and none was taken before.
fn first<'t>(taken: &mut Option<&'t str>, line: &'t str, key: &str) {
    if let (None, Some(rest)) = (&taken, line.strip_prefix(key)) {
        let value = rest.split(" #").next().unwrap_or(rest).trim().trim_matches(['"', '\'']);
        *taken = Some(value).filter(|value| !value.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_found_around_the_damage() {
        let text = "# who\n---\napiVersion: security.istio.io/v1 # stable\nkind: \"AuthorizationPolicy\"\nmetadata: # its name\n  \
                    labels:\n    name: not-this\n  name: deny # this\n  namespace: shop\nspec: [\n";
        let found = policy(text);
        let found = found.as_ref().map(|found| &found["metadata"]);
        assert_eq!(found, Some(&json!({"name": "deny", "namespace": "shop"})));
    }

    #[test]
    fn other_kinds_and_nameless_policies_are_not_found() {
        for text in [
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec: [\n",
            "apiVersion: example.com/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: a\nspec: [\n",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\nspec: [\n",
            "kind: [\n",
        ] {
            assert_eq!(policy(text), None, "{text}");
        }
    }
}
