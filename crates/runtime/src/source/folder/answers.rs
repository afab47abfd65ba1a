//! What of a folder is read by reference: all of it is at hand, and told whoever refers to it.

use folder::{Change, Key, Object, Objects};
use model::facts::{Answer, CLASS_DEFAULTS, ConfigMap, Referent};
use model::parse::{ReferentKind, referent};
use model::{Event, Name, Ns};
use std::sync::Arc;

/// Remembers what was told of what is not told object by object.
pub(super) struct Answers {
    /// The namespace of the control plane.
    system: Ns,
    class_defaults: Vec<Arc<ConfigMap>>,
}

impl Answers {
    pub fn new(system: Ns) -> Self {
        Self { system, class_defaults: Vec::new() }
    }

    /// Returns the events that lead from what was sent to what the folder makes now.
    pub fn events(&mut self, sent: Option<&Objects>, objects: &Objects) -> Vec<Event> {
        let none = Objects::default();
        let mut events = Vec::new();
        for change in folder::changes(sent.unwrap_or(&none), objects) {
            match change {
                Change::Put(object) => events.extend(
                    referent_of(&object.key)
                        .map(|(kind, name)| Event::Answer(kind.referent(name), answer(kind, &object))),
                ),
                Change::Remove(key) => {
                    events.extend(referent_of(&key).map(|(kind, name)| Event::Forget(kind.referent(name))));
                }
            }
        }
        let defaults = self.class_defaults(objects);
        if defaults != self.class_defaults {
            self.class_defaults.clone_from(&defaults);
            let of = Referent::ClassDefaults(self.system.clone());
            events.push(Event::Answer(of, Answer::ConfigMaps(defaults)));
        }
        events
    }

    /// The ConfigMaps with defaults of classes of gateways, ascending by name.
    fn class_defaults(&self, objects: &Objects) -> Vec<Arc<ConfigMap>> {
        let kind = ReferentKind::ConfigMap;
        let first = Key::new("", kind.name(), &self.system, "");
        let maps = objects.range(&first..).take_while(|(key, _)| {
            key.group.is_empty() && key.kind == kind.name() && key.namespace == *self.system
        });
        let labelled =
            maps.filter(|(_, object)| !object.value["metadata"]["labels"][CLASS_DEFAULTS].is_null());
        labelled
            .filter_map(|(_, object)| match answer(kind, object) {
                Answer::ConfigMap(map) => Some(map),
                _ => None,
            })
            .collect()
    }
}

fn referent_of(key: &Key) -> Option<(ReferentKind, Name)> {
    let kind = ReferentKind::ALL.into_iter().find(|of| key.group.is_empty() && of.name() == key.kind)?;
    Some((kind, Name::new(&key.namespace, &key.name)))
}

fn answer(kind: ReferentKind, object: &Object) -> Answer {
    match referent(kind, object.value.to_string().as_bytes()) {
        Ok((_, answer)) => answer,
        Err(why) => Answer::Unreadable(why.message.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::folder::{FolderSettings, load_once};

    #[test]
    fn secrets_and_config_maps_are_told_to_whoever_refers_to_them() {
        let object = |kind: &str, name: &str, rest: &str| {
            format!(
                "apiVersion: v1\nkind: {kind}\nmetadata: {{namespace: istio-system, name: {name}{rest}\n---\n"
            )
        };
        let defaults = ", labels: {gateway.istio.io/defaults-for-class: istio}}";
        let text = object("Secret", "web", "}\nstringData: {tls.crt: x}")
            + &object("ConfigMap", "ca", "}\ndata: {ca.crt: x}")
            + &object("ConfigMap", "defaults", defaults);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        let (events, problems) = load_once(&FolderSettings::new(vec![dir.path().to_owned()]));
        assert_eq!(problems, []);
        let answers: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Answer(of, answer) => Some((of, answer)),
                _ => None,
            })
            .collect();
        let find = |wanted: &Referent| answers.iter().find(|(of, _)| of == wanted).map(|(_, answer)| answer);
        let name = |name: &str| Name::new("istio-system", name);
        let Some(Answer::Secret(secret)) = find(&Referent::Secret(name("web"))) else {
            panic!("{answers:?}")
        };
        assert_eq!(secret.key_pair, Err("it has no tls.key".to_owned()));
        let Some(Answer::ConfigMap(ca)) = find(&Referent::ConfigMap(name("ca"))) else {
            panic!("{answers:?}")
        };
        assert!(ca.roots.is_err() && ca.data.len() == 1);
        let of_classes = Referent::ClassDefaults("istio-system".into());
        let Some(Answer::ConfigMaps(maps)) = find(&of_classes) else { panic!("{answers:?}") };
        assert_eq!(maps.iter().map(|map| map.name.clone()).collect::<Vec<_>>(), [name("defaults")]);
    }
}
