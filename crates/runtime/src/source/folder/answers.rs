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
