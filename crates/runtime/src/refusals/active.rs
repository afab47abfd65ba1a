//! What is refused, by gateway and resource: pure.

use model::{Kind, Name, ObjectRef};
use plane::MadeFrom;
use proto::ResourceType;
use server::ClientRefusals;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many refused resources of all gateways together are told apart; those beyond are shown with their clients only.
const MAX_REFUSALS: usize = 256;

/// A resource that Envoys of a gateway refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gateway or waypoint.
    pub gateway: Name,
    /// The type of the resource.
    pub of: ResourceType,
    /// Its name; none where the Envoy did not say what it refuses.
    pub name: Option<Arc<str>>,
    /// Why, in the words of the Envoy, up to 1 KiB: not printable as it is.
    pub message: Arc<str>,
    /// The node that said so; of several, the first by name.
    pub node: String,
    /// Whose doing it is.
    pub made_from: Arc<MadeFrom>,
}

impl Refusal {
    /// Returns the objects whose authors should know; where nobody's doing it is, the gateway.
    pub fn objects(&self) -> Vec<ObjectRef> {
        match self.made_from.authors.is_empty() {
            true => vec![self.gateway_object()],
            false => self.made_from.authors.clone(),
        }
    }

    /// Returns the gateway.
    pub fn gateway_object(&self) -> ObjectRef {
        ObjectRef { kind: Kind::Gateway, name: self.gateway.clone() }
    }
}

/// A version of a resource that is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `NAMESPACE/NAME`.
    pub gateway: String,
    pub of: ResourceType,
    pub name: Option<Arc<str>>,
    pub step: u64,
}

/// What is refused, of each resource the newest version.
#[derive(Debug, Default)]
pub(super) struct Active(BTreeMap<(String, ResourceType, Option<Arc<str>>), Version>);

#[derive(Debug)]
struct Version {
    step: u64,
    node: String,
    message: Arc<str>,
}

impl Active {
    /// Reads what clients refuse.
    pub fn of(clients: Vec<ClientRefusals>) -> Self {
        let mut all = BTreeMap::new();
        for client in clients {
            for refused in client.refused {
                let key = (client.gateway.clone(), refused.of, refused.name);
                let version =
                    Version { step: refused.step, node: client.node.clone(), message: refused.message };
                // Of those who refuse the same, one is quoted: the first by name.
                let order = |of: &Version| (std::cmp::Reverse(of.step), of.node.clone());
                match all.get(&key) {
                    Some(known) if order(known) <= order(&version) => {}
                    None if all.len() >= MAX_REFUSALS => {}
                    _ => {
                        all.insert(key, version);
                    }
                }
            }
        }
        Self(all)
    }

    /// Returns the version of each resource.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|((gateway, of, name), version)| Key {
            gateway: gateway.clone(),
            of: *of,
            name: name.clone(),
            step: version.step,
        })
    }

    /// Tells whether a version is refused.
    pub fn has(&self, key: &Key) -> bool {
        let version = self.0.get(&(key.gateway.clone(), key.of, key.name.clone()));
        version.is_some_and(|version| version.step == key.step)
    }

    /// Returns those of which it is known whose doing they are, ascending by gateway, type and name.
    pub fn refusals(&self, made_from: &BTreeMap<Key, Arc<MadeFrom>>) -> Vec<Refusal> {
        let refusal = |key: Key| {
            let version = self.0.get(&(key.gateway.clone(), key.of, key.name.clone()))?;
            let made_from = Arc::clone(made_from.get(&key)?);
            let (ns, gateway) = key.gateway.split_once('/')?;
            Some(Refusal {
                gateway: Name::new(ns, gateway),
                of: key.of,
                name: key.name,
                message: Arc::clone(&version.message),
                node: version.node.clone(),
                made_from,
            })
        };
        self.keys().filter_map(refusal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xds::RefusedResource;

    fn client(node: &str, gateway: &str, refused: &[(&str, u64, &str)]) -> ClientRefusals {
        let refused = refused.iter().map(|(name, step, message)| RefusedResource {
            of: ResourceType::Cluster,
            name: Some((*name).into()),
            step: *step,
            message: (*message).into(),
        });
        ClientRefusals { node: node.to_owned(), gateway: gateway.to_owned(), refused: refused.collect() }
    }

    #[test]
    fn replicas_that_refuse_the_same_are_told_once_with_the_newest_version() {
        let active = Active::of(vec![
            client("w2", "shop/waypoint", &[("a", 3, "two"), ("b", 4, "b")]),
            client("w1", "shop/waypoint", &[("a", 3, "one")]),
            client("w0", "shop/waypoint", &[("a", 2, "old")]),
            client("x", "bank/waypoint", &[("a", 9, "x")]),
        ]);
        let known = active.keys().map(|key| (key, Arc::default())).collect();
        let told = active.refusals(&known).into_iter();
        let told: Vec<String> = told.map(|of| format!("{} {} {}", of.gateway, of.node, of.message)).collect();
        assert_eq!(told, ["bank/waypoint x x", "shop/waypoint w1 one", "shop/waypoint w2 b"]);
    }

    #[test]
    fn what_is_told_apart_is_bounded() {
        let names: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        let refused: Vec<_> = names.iter().map(|name| (name.as_str(), 1, "no")).collect();
        assert_eq!(Active::of(vec![client("w", "shop/waypoint", &refused)]).0.len(), MAX_REFUSALS);
    }

    #[test]
    fn what_is_nobodys_doing_is_told_of_the_gateway() {
        let active = Active::of(vec![client("w", "shop/waypoint", &[("a", 1, "no")])]);
        assert_eq!(active.refusals(&BTreeMap::new()), [], "not known yet");
        let known = active.keys().map(|key| (key, Arc::default())).collect();
        let objects = active.refusals(&known)[0].objects();
        assert_eq!(objects, [ObjectRef { kind: Kind::Gateway, name: Name::new("shop", "waypoint") }]);
    }
}
