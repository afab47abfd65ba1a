//! Turns what the folder makes into events.

use super::{Event, FolderSettings};
use folder::{Change, Folder, Key, Objects};
use model::{Diagnostic, Kind, Name, Object, ObjectRef, Place};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Remembers what was sent, and sends what changed.
pub(super) struct Emitter {
    config: Name,
    sent: Option<Objects>,
    /// What was wrong with objects: their places move when other lines of a file change.
    wrong: BTreeMap<Key, Diagnostic>,
}

impl Emitter {
    /// Starts with nothing sent.
    pub(super) fn new(settings: &FolderSettings) -> Self {
        let config = Name::new(&settings.config_namespace, &settings.config_name);
        Self { config, sent: None, wrong: BTreeMap::new() }
    }

    /// The events that lead from what was sent to `objects`: at first a full listing of every kind,
    /// later removals, then what is new or changed.
    pub(super) fn events(&mut self, objects: Objects, folder: &Folder) -> Vec<Event> {
        let mut events = Vec::new();
        match self.sent.take() {
            None => {
                for &kind in Kind::ALL {
                    events.push(Event::Begin(kind));
                    let first = Key::new(kind.group(), kind.name(), "", "");
                    let of_kind = objects
                        .range(first..)
                        .take_while(|(key, _)| key.group == kind.group() && key.kind == kind.name());
                    for (_, object) in of_kind {
                        events.extend(self.put(object, folder));
                    }
                    events.push(Event::Synced(kind));
                }
            }
            Some(sent) => {
                // Those whose value is the same are told again if their diagnostic is another now.
                let before: Vec<(Key, Diagnostic)> =
                    self.wrong.iter().map(|(key, wrong)| (key.clone(), wrong.clone())).collect();
                for change in folder::changes(&sent, &objects) {
                    match change {
                        Change::Put(object) => events.extend(self.put(&object, folder)),
                        Change::Remove(key) => {
                            self.wrong.remove(&key);
                            events.extend(self.reference(&key).map(Event::Remove));
                        }
                    }
                }
                for (key, wrong) in before {
                    let (Some(old), Some(new)) = (sent.get(&key), objects.get(&key)) else { continue };
                    if old.value == new.value {
                        let event = self.put(new, folder);
                        if self.wrong.get(&key) != Some(&wrong) {
                            events.extend(event);
                        }
                    }
                }
            }
        }
        self.sent = Some(objects);
        events
    }

    /// The name of an object in the model; `None` for kinds and ConfigMaps that are not read.
    fn reference(&self, key: &Key) -> Option<ObjectRef> {
        let kind =
            Kind::ALL.iter().copied().find(|kind| kind.group() == key.group && kind.name() == key.kind)?;
        let name = Name::new(&key.namespace, &key.name);
        (kind != Kind::ConfigMap || name == self.config).then_some(ObjectRef { kind, name })
    }

    fn put(&mut self, object: &Arc<folder::Object>, folder: &Folder) -> Option<Event> {
        let reference = self.reference(&object.key)?;
        let place = |field: &str| {
            let origin = object.origin.as_ref()?;
            let (line, column) = folder.locate(origin, field).unwrap_or((origin.line, 1));
            Some(Place { file: origin.file.to_string(), line: line as usize, column: column as usize })
        };
        let json = object.value.to_string();
        let refused = object.refused.as_ref().map(diagnostic);
        let parsed = match &refused {
            // A policy that an API server would refuse denies what it may select.
            Some(why) => {
                model::parse::refuse(reference.kind, json.as_bytes(), why.clone()).ok_or_else(|| why.clone())
            }
            None => model::parse(reference.kind, json.as_bytes()),
        };
        let (event, wrong) = match parsed {
            Ok(parsed) if refused.is_some() => (Event::Put(parsed), refused),
            Ok(mut parsed) => {
                let wrong = refusal(&mut parsed).map(|diagnostic| {
                    diagnostic.place = place(&diagnostic.field);
                    diagnostic.clone()
                });
                (Event::Put(parsed), wrong)
            }
            Err(mut diagnostic) => {
                diagnostic.place = diagnostic.place.or_else(|| place(&diagnostic.field));
                (Event::Reject(reference, diagnostic.clone()), Some(diagnostic))
            }
        };
        match wrong {
            Some(diagnostic) => self.wrong.insert(object.key.clone(), diagnostic),
            None => self.wrong.remove(&object.key),
        };
        Some(event)
    }
}

/// What is wrong with a policy that is in force as one that denies.
fn refusal(object: &mut Object) -> Option<&mut Diagnostic> {
    let refused = match object {
        Object::AuthorizationPolicy(policy) => Arc::make_mut(policy).spec.as_mut().err()?,
        Object::PeerAuthentication(policy) => Arc::make_mut(policy).spec.as_mut().err()?,
        _ => return None,
    };
    Some(&mut refused.diagnostic)
}

/// A problem of a file as a diagnostic.
pub(super) fn diagnostic(problem: &folder::Problem) -> Diagnostic {
    let object = problem.object.as_ref().and_then(|key| {
        let kind =
            Kind::ALL.iter().copied().find(|kind| kind.group() == key.group && kind.name() == key.kind)?;
        Some(ObjectRef { kind, name: Name::new(&key.namespace, &key.name) })
    });
    // Kinds that only make pods are none of the model's: they are named by the message.
    let message = match (&problem.object, &object) {
        (Some(key), None) if !problem.field.is_empty() => {
            format!("{key}, {}: {}", problem.field, problem.message)
        }
        (Some(key), None) => format!("{key}: {}", problem.message),
        _ => problem.message.clone(),
    };
    Diagnostic {
        code: problem.code,
        severity: problem.severity,
        object,
        field: problem.field.clone(),
        message,
        help: problem.help.clone(),
        place: Some(Place {
            file: problem.file.to_string(),
            line: problem.line as usize,
            column: problem.column as usize,
        }),
    }
}
