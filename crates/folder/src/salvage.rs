//! Finds the policies in a document that cannot be read.
//!
//! Policies fail closed: one that was never read in a good version must not be as if it were not
//! there. Only its name is wanted, so the document is read as far as its lines and brackets tell,
//! whether it is block style, one line, JSON or a `List`; whatever is wrong with it is stepped over.

use model::nearest;
use serde_json::{Map, Value, json};

use crate::apiserver::{is_dns_label, name_fault};
use crate::hash::{Hasher, letters};
use crate::object::group_of;

/// The group and the kinds that restrict traffic.
const GROUP: &str = "security.istio.io";
const POLICIES: [&str; 3] = ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"];

/// The most policies that are looked for in one document.
const MAX_FOUND: usize = 1_000;

/// The policies of a broken document, as objects with a name and nothing else.
pub(crate) fn policies(text: &str) -> Vec<Map<String, Value>> {
    let nodes = read(text);
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(kind) = node.scalar("kind").filter(|kind| POLICIES.contains(kind)) else { continue };
        if node.scalar("apiVersion").is_some_and(|version| group_of(version) != GROUP) {
            continue;
        }
        let metadata = nodes.iter().find(|child| child.parent == Some(index) && child.key == "metadata");
        let part = |name: &str| metadata.and_then(|metadata| metadata.scalar(name));
        found.push(bare(kind, part("name"), part("namespace"), text));
        if found.len() == MAX_FOUND {
            break;
        }
    }
    found
}

/// A policy that was read and cannot be taken, by its name; fields that are spelt like the right ones
/// count as these, since the policy must not be missing where it was meant to be. `value` is all of it.
pub(crate) fn misspelt(kind: &str, value: &Map<String, Value>) -> Map<String, Value> {
    let field = |map: &Map<String, Value>, name: &str| -> Option<Value> {
        let near = || map.keys().find(|key| nearest(key, [name]).is_some()).and_then(|key| map.get(key));
        map.get(name).or_else(near).cloned()
    };
    let metadata = field(value, "metadata");
    let metadata = metadata.as_ref().and_then(Value::as_object);
    let part = |name: &str| metadata.and_then(|metadata| field(metadata, name));
    let text = |part: &Option<Value>| part.as_ref().and_then(Value::as_str).map(str::to_owned);
    let written = Value::Object(value.clone()).to_string();
    let mut object =
        bare(kind, text(&part("name")).as_deref(), text(&part("namespace")).as_deref(), &written);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for name in ["annotations", "creationTimestamp"] {
            if let Some(value) = part(name) {
                metadata.insert(name.to_owned(), value);
            }
        }
    }
    if let Some(spec) = value.get("spec") {
        object.insert("spec".to_owned(), spec.clone());
    }
    object
}

/// A policy with a usable name: one that has none gets one from `written`, which is all of it.
fn bare(kind: &str, name: Option<&str>, namespace: Option<&str>, written: &str) -> Map<String, Value> {
    let name = name.map(str::to_lowercase).filter(|name| name_fault(GROUP, kind, name).is_none());
    let name = name
        .unwrap_or_else(|| format!("unnamed-{}", letters(Hasher::new("unnamed").part(written).finish(), 5)));
    let namespace = namespace.map(str::to_lowercase).filter(|namespace| is_dns_label(namespace));
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A mapping that was found.
struct Node<'t> {
    parent: Option<usize>,
    /// The key under which it stands; empty for items of lists and documents.
    key: &'t str,
    scalars: Vec<(&'t str, &'t str)>,
}

impl<'t> Node<'t> {
    /// The first scalar under a key.
    fn scalar(&self, key: &str) -> Option<&'t str> {
        self.scalars.iter().find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| *value)
    }
}

/// A mapping in block style that may have more entries.
struct Block<'t> {
    /// The column of its keys.
    indentation: usize,
    node: usize,
    /// The key of its last entry, whose value may be below.
    key: &'t str,
}

/// Reads the mappings of a document.
fn read(text: &str) -> Vec<Node<'_>> {
    let mut reader = Reader { nodes: Vec::new() };
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut rest = text;
    // The column of the key of a block scalar, whose lines are deeper.
    let mut scalar: Option<usize> = None;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let line = rest[..end].trim_end();
        let mut content = line.trim_start_matches(' ');
        let mut column = line.len() - content.len();
        if content.is_empty()
            || content.starts_with('#')
            || content == "---"
            || scalar.is_some_and(|key| column > key)
        {
            rest = &rest[end..];
            continue;
        }
        scalar = None;
        content = content.strip_prefix("--- ").unwrap_or(content);
        let mut is_item = false;
        while let Some(inner) = content.strip_prefix("- ") {
            let inner = inner.trim_start_matches(' ');
            column += content.len() - inner.len();
            content = inner;
            is_item = true;
        }
        let offset = line.len() - content.len();
        if content.starts_with(['{', '[']) {
            let parent = blocks.iter().rev().find(|block| block.indentation < column).map(|block| block.node);
            // A document that is all brackets ends with them; an item of a list may end before.
            let stop = if blocks.is_empty() { None } else { Some(column) };
            let used = reader.flow(&rest[offset..], parent, "", stop);
            rest = &rest[(offset + used).max(end.min(rest.len())).min(rest.len())..];
            continue;
        }
        let Some((key, value)) = entry(content) else {
            rest = &rest[end..];
            continue;
        };
        while blocks
            .last()
            .is_some_and(|block| block.indentation > column || (is_item && block.indentation == column))
        {
            blocks.pop();
        }
        if blocks.last().is_none_or(|block| block.indentation < column) {
            let (parent, under) = match blocks.last() {
                Some(block) => (Some(block.node), if is_item { "" } else { block.key }),
                None => (None, ""),
            };
            let node = reader.node(parent, under);
            blocks.push(Block { indentation: column, node, key });
        }
        let Some(block) = blocks.last_mut() else { break };
        block.key = key;
        let node = block.node;
        if value.starts_with(['{', '[']) {
            let offset = line.len() - value.len();
            let used = reader.flow(&rest[offset..], Some(node), key, Some(column));
            rest = &rest[(offset + used).max(end.min(rest.len())).min(rest.len())..];
            continue;
        }
        if value.starts_with(['|', '>']) {
            scalar = Some(column);
        } else {
            reader.nodes[node].scalars.push((key, unquoted(value.split(" #").next().unwrap_or(value))));
        }
        rest = &rest[end..];
    }
    reader.nodes
}

/// The key and the value of a line, if it has a key.
fn entry(line: &str) -> Option<(&str, &str)> {
    let colon = line.match_indices(':').map(|(at, _)| at).find(|at| {
        let after = &line[at + 1..];
        after.is_empty() || after.starts_with([' ', '\t'])
    })?;
    Some((unquoted(&line[..colon]), line[colon + 1..].trim()))
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

struct Reader<'t> {
    nodes: Vec<Node<'t>>,
}

impl<'t> Reader<'t> {
    fn node(&mut self, parent: Option<usize>, key: &'t str) -> usize {
        self.nodes.push(Node { parent, key, scalars: Vec::new() });
        self.nodes.len() - 1
    }

    /// Reads a value in brackets, and returns how many bytes it has. Brackets that are never closed
    /// end before a line with a key at most at column `stop`.
    fn flow(&mut self, text: &'t str, parent: Option<usize>, key: &'t str, stop: Option<usize>) -> usize {
        // The brackets around the place: the mapping, if it is one, and the innermost mapping around its
        // inside. The items of a list stand under the mapping around it.
        let mut open: Vec<(Option<usize>, Option<usize>)> = Vec::new();
        let mut keys: Vec<&'t str> = vec![key];
        // A scalar that may be a key or a value.
        let mut last: Option<&'t str> = None;
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let around = open.last().and_then(|(_, around)| *around);
            let take = |last: &mut Option<&'t str>, keys: &mut Vec<&'t str>, nodes: &mut Vec<Node<'t>>| {
                if let (Some(value), Some(Some(node)), Some(key)) =
                    (last.take(), open.last().map(|(node, _)| *node), keys.last_mut())
                {
                    if !key.is_empty() {
                        nodes[node].scalars.push((key, value));
                    }
                    *key = "";
                }
            };
            match first {
                '{' | '[' => {
                    last = None;
                    let under = keys.last().copied().unwrap_or_default();
                    let is_mapping = first == '{';
                    let node = is_mapping.then(|| self.node(around.or(parent), under));
                    open.push((node, node.or(around)));
                    keys.push("");
                    at += 1;
                }
                '}' | ']' => {
                    take(&mut last, &mut keys, &mut self.nodes);
                    open.pop();
                    keys.pop();
                    at += 1;
                    if let Some(key) = keys.last_mut().filter(|_| !open.is_empty()) {
                        *key = "";
                    }
                    if open.is_empty() && stop.is_some() {
                        return at;
                    }
                }
                ',' => {
                    take(&mut last, &mut keys, &mut self.nodes);
                    if let Some(key) = keys.last_mut() {
                        *key = "";
                    }
                    at += 1;
                }
                ':' => {
                    if let (Some(key), Some(name)) = (keys.last_mut(), last.take()) {
                        *key = name;
                    }
                    at += 1;
                }
                '\n' => {
                    at += 1;
                    let line = text[at..].split('\n').next().unwrap_or_default();
                    let content = line.trim_start_matches(' ');
                    let column = line.len() - content.len();
                    // A comma may be missing.
                    if entry(content).is_some() {
                        take(&mut last, &mut keys, &mut self.nodes);
                    }
                    let is_key =
                        !content.starts_with(['"', '\'', '{', '[', '}', ']']) && entry(content).is_some();
                    if stop.is_some_and(|stop| column <= stop) && is_key {
                        return at;
                    }
                }
                '"' | '\'' => {
                    let inside = &text[at + 1..];
                    let end = inside.find([first, '\n']).unwrap_or(inside.len());
                    last = Some(&inside[..end]);
                    at += 1 + end + usize::from(inside[end..].starts_with(first));
                }
                _ if first.is_whitespace() => at += first.len_utf8(),
                _ => {
                    let end =
                        text[at..].find([',', ':', '{', '}', '[', ']', '\n']).unwrap_or(text.len() - at);
                    // A colon within a word is part of it (`a:b`), as in addresses.
                    last = Some(text[at..at + end].trim());
                    at += end.max(1);
                }
            }
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let name = |object: Map<String, Value>| {
            let text = |pointer: &str| {
                Value::Object(object.clone())
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
        };
        policies(text).into_iter().map(name).collect()
    }

    #[test]
    fn name_is_found_around_the_damage_in_every_style() {
        let block = "# who\n---\napiVersion: security.istio.io/v1 # stable\nkind: \"AuthorizationPolicy\"\nmetadata: # its name\n  \
                     labels:\n    name: not-this\n  name: deny # this\n  namespace: shop\nspec: [\n";
        let before = "spec:\n\t rules: [\n---x\nmetadata: {labels: {name: no}, namespace: shop, name: deny}\nkind: AuthorizationPolicy\napiVersion: security.istio.io/v1\n";
        let one_line = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: deny, namespace: shop}, spec: {rules: [}}";
        let flow = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny, namespace: shop\nspec:\n  action: DENY\n";
        let json = "{\n  \"apiVersion\": \"security.istio.io/v1\",\n  \"kind\": \"AuthorizationPolicy\"\n  \"metadata\": {\"name\": \"deny\", \"namespace\": \"shop\"},\n  \"spec\": {\n";
        for text in [block, before, one_line, flow, json] {
            assert_eq!(found(text), ["AuthorizationPolicy shop/deny"], "{text}");
        }
    }

    #[test]
    fn every_policy_of_a_list_is_found() {
        let block = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n- apiVersion: security.istio.io/v1\n  kind: AuthorizationPolicy\n  metadata:\n    name: one\n    namespace: shop\n  spec: {rules: [}\n- kind: PeerAuthentication\n  apiVersion: security.istio.io/v1\n  metadata: {name: two}\n";
        let expected = ["AuthorizationPolicy shop/one", "PeerAuthentication default/two"];
        assert_eq!(found(block), expected);
        let json = "{\"kind\": \"List\", \"items\": [{\"kind\": \"Service\"}, {\"kind\": \"AuthorizationPolicy\", \"apiVersion\": \"security.istio.io/v1\", \"metadata\": {\"name\": \"one\", \"namespace\": \"shop\"}, \"spec\": {]}}, {\"kind\": \"PeerAuthentication\", \"metadata\": {\"name\": \"two\"}}";
        assert_eq!(found(json), expected);
    }

    #[test]
    fn a_policy_without_a_usable_name_is_found_all_the_same() {
        for metadata in ["", "metadata:\n", "metadata: {namespace: shop}\n", "metadata: {name: ''}\n"] {
            let text =
                format!("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n{metadata}spec: [\n");
            let found = found(&text);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].contains("/unnamed-"), "{found:?}");
        }
    }

    #[test]
    fn other_kinds_are_not_found() {
        for text in [
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec: [\n",
            "apiVersion: example.com/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: a\nspec: [\n",
            "kind: [\n",
            "data:\n  x: |\n    kind: AuthorizationPolicy\n\tb",
            "",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn anything_is_stepped_over() {
        for text in ["}}}}", "]]]{", "a: {b: [c", "\"", "- - - {", ":::", "{:", "é: {ü", "- \n- x:\n  - y: {"]
        {
            policies(text);
        }
    }
}
