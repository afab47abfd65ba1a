//! Turns what the folder makes into events.

use super::addresses::Addresses;
use super::answers::Answers;
use super::gateways::Gateways;
use super::settings::FolderSettings;
use folder::{Change, Folder, Key, Objects, Resolved};
use model::{Diagnostic, Event, Kind, Name, Object, ObjectRef, Place, Severity, known_kinds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Remembers what was sent, and sends what changed.
pub(super) struct Emitter {
    config: Name,
    sent: Option<Arc<Objects>>,
    /// What was told of objects: the places move when other lines of a file change.
    told: BTreeMap<Key, Vec<Diagnostic>>,
    /// The objects whose newest version an API server would refuse, and why.
    rejected: BTreeMap<Key, Diagnostic>,
    /// The fields of the mesh settings of which something is told where they are read.
    settings: Vec<String>,
    addresses: Option<Addresses>,
    answers: Answers,
    gateways: Option<Gateways>,
}

impl Emitter {
    /// Starts with nothing sent.
    pub(super) fn new(settings: &FolderSettings) -> Self {
        let config = Name::new(&settings.config_namespace, &settings.config_name);
        let addresses = settings.pools.map(|pools| Addresses::new(pools, &settings.domain));
        let answers = Answers::new(config.ns.clone());
        let gateways = settings.gateways.as_ref().map(Gateways::new);
        let (told, rejected, settings) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { config, sent: None, told, rejected, settings, addresses, answers, gateways }
    }

    /// Resolves a folder, and what is deployed for its gateways with it; returns what [`Emitter::events`]
    /// does.
    pub(super) fn next(&mut self, folder: &mut Folder) -> (Vec<Event>, Vec<Diagnostic>) {
        let (mut events, mut problems) = self.events(folder.resolve(), folder);
        let Some(mut gateways) = self.gateways.take() else { return (events, problems) };
        if gateways.is_started() {
            gateways.take(&mut events);
        } else if events.iter().any(|event| matches!(event, Event::Put(Object::Gateway(_)))) {
            // A folder without gateways pays nothing for them.
            let objects = self.sent.clone().unwrap_or_default();
            let rejected = self.rejected.clone();
            let mut all = self.list(&objects, &rejected, folder);
            all.extend(Answers::new(self.config.ns.clone()).events(None, &objects));
            gateways.take(&mut all);
        } else {
            self.gateways = Some(gateways);
            return (events, problems);
        }
        if folder.set_deployed(gateways.deployed()) {
            let (mut more, found) = self.events(folder.resolve(), folder);
            gateways.take(&mut more);
            events.extend(more);
            problems = found;
        }
        events.extend(gateways.changed());
        self.gateways = Some(gateways);
        (events, problems)
    }

    /// The events that lead from what was sent to what the folder makes now: at first a full listing of
    /// every kind, later removals, then what is new or changed. With them, the problems that no event
    /// tells of.
    fn events(&mut self, resolved: Resolved, folder: &Folder) -> (Vec<Event>, Vec<Diagnostic>) {
        let Resolved { objects, refused, problems } = resolved;
        let objects = Arc::new(objects);
        // A policy that is refused and active says so itself.
        let refused = refused.iter().filter(|(key, _)| {
            self.reference(key).is_some() && objects.get(key).is_none_or(|object| object.refused.is_none())
        });
        let rejected: BTreeMap<Key, Diagnostic> =
            refused.map(|(key, why)| (key.clone(), diagnostic(why))).collect();
        let mut problems: Vec<Diagnostic> = problems.iter().map(diagnostic).collect();
        problems.extend(without_effect(&objects, folder));
        let sent = self.sent.take();
        let answers = self.answers.events(sent.as_deref(), &objects);
        let mut events = match sent {
            None => self.list(&objects, &rejected, folder),
            Some(sent) => self.change(&sent, &objects, &rejected, folder),
        };
        events.extend(answers);
        problems.retain(|problem| !self.tells(problem, &rejected));
        self.rejected = rejected;
        if let Some(addresses) = &mut self.addresses {
            problems.extend(addresses.complete(&mut events, &objects));
        }
        self.sent = Some(objects);
        (events, problems)
    }

    /// Where the objects are that were sent last.
    pub(super) fn places(&self, folder: &Folder) -> folder::Places {
        folder.places(self.sent.clone().unwrap_or_default())
    }

    /// Tells whether an event tells what a problem tells, perhaps in other words.
    fn tells(&self, problem: &Diagnostic, rejected: &BTreeMap<Key, Diagnostic>) -> bool {
        let is_of_settings = problem.code == folder::code::SETTINGS
            && problem.object.as_ref().is_some_and(|of| of.kind == Kind::ConfigMap && of.name == self.config);
        let is_told = |field: &String| {
            let rest = plain(&problem.field).strip_prefix(plain(field).as_str()).map(str::to_owned);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        rejected.values().any(|told| told == problem) || (is_of_settings && self.settings.iter().any(is_told))
    }

    fn list(
        &mut self,
        objects: &Objects,
        rejected: &BTreeMap<Key, Diagnostic>,
        folder: &Folder,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for &kind in Kind::ALL {
            events.push(Event::Begin(kind));
            let first = Key::new(kind.group(), kind.name(), "", "");
            let is_of = |key: &Key| key.group == kind.group() && key.kind == kind.name();
            for (_, object) in objects.range(&first..).take_while(|(key, _)| is_of(key)) {
                events.extend(self.put(object, folder));
            }
            for (key, why) in rejected.range(&first..).take_while(|(key, _)| is_of(key)) {
                events.extend(self.reference(key).map(|of| Event::Reject(of, why.clone())));
            }
            events.push(Event::Synced(kind));
        }
        events
    }

    fn change(
        &mut self,
        sent: &Objects,
        objects: &Objects,
        rejected: &BTreeMap<Key, Diagnostic>,
        folder: &Folder,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        // Putting an object takes back what was told of it.
        let mut put = BTreeSet::new();
        // Those whose value is the same are put again if what is told of them is another now.
        let before = self.told.clone();
        for change in folder::changes(sent, objects) {
            match change {
                Change::Put(object) => {
                    put.insert(object.key.clone());
                    events.extend(self.put(&object, folder));
                }
                Change::Remove(key) => {
                    self.told.remove(&key);
                    events.extend(self.reference(&key).map(Event::Remove));
                }
            }
        }
        for (key, told) in before {
            let (Some(_), Some(new)) = (sent.get(&key), objects.get(&key)) else { continue };
            if !put.contains(&key) {
                let event = self.put(new, folder);
                if self.told.get(&key) != Some(&told) {
                    put.insert(key);
                    events.extend(event);
                }
            }
        }
        for (key, why) in rejected {
            if put.contains(key) || self.rejected.get(key) != Some(why) {
                events.extend(self.reference(key).map(|of| Event::Reject(of, why.clone())));
            }
        }
        let told = std::mem::take(&mut self.rejected);
        for key in told.keys().filter(|key| !rejected.contains_key(*key) && !put.contains(*key)) {
            events.extend(match objects.get(key) {
                Some(object) => self.put(object, folder),
                None => self.reference(key).map(Event::Remove),
            });
        }
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
        let (event, told) = match parsed {
            Ok(parsed) if refused.is_some() => (Event::Put(parsed), refused.into_iter().collect()),
            Ok(mut parsed) => {
                let mut told = Vec::new();
                let mut complete = |diagnostic: &mut Diagnostic| {
                    diagnostic.place = place(&diagnostic.field);
                    told.push(diagnostic.clone());
                };
                refusals(&mut parsed).into_iter().for_each(&mut complete);
                parsed.unsupported_mut().into_iter().flatten().for_each(&mut complete);
                if reference.kind == Kind::ConfigMap {
                    self.settings = told.iter().map(|diagnostic| diagnostic.field.clone()).collect();
                }
                (Event::Put(parsed), told)
            }
            Err(mut diagnostic) => {
                diagnostic.place = diagnostic.place.or_else(|| place(&diagnostic.field));
                (Event::Reject(reference, diagnostic.clone()), vec![diagnostic])
            }
        };
        if told.is_empty() {
            self.told.remove(&object.key);
        } else {
            self.told.insert(object.key.clone(), told);
        }
        Some(event)
    }
}

/// The path of a field without what its two spellings differ in.
fn plain(field: &str) -> String {
    field.replace('_', "").to_lowercase()
}

/// What is to be known of objects of kinds that have no effect in this version.
fn without_effect(objects: &Objects, folder: &Folder) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for kind in known_kinds() {
        let Some(told) = kind.state.told() else { continue };
        let first = Key::new(kind.group, kind.name, "", "");
        let is_of = |key: &Key| key.group == kind.group && key.kind == kind.name;
        for (key, object) in objects.range(&first..).take_while(|(key, _)| is_of(key)) {
            let place = object.origin.as_ref().map(|origin| {
                let (line, column) = folder.locate(origin, "kind").unwrap_or((origin.line, 1));
                Place { file: origin.file.to_string(), line: line as usize, column: column as usize }
            });
            found.push(Diagnostic {
                code: model::parse::code::KIND_WITHOUT_EFFECT,
                severity: Severity::Warning,
                object: None,
                field: String::new(),
                message: format!("{key}: the kind {told}"),
                help: kind.state.instead().to_owned(),
                place,
            });
        }
    }
    found
}

/// What is wrong with a policy that is active as one that denies, and with parts of the mesh settings.
fn refusals(object: &mut Object) -> Vec<&mut Diagnostic> {
    let refused = match object {
        Object::AuthorizationPolicy(policy) => Arc::make_mut(policy).spec.as_mut().err(),
        Object::PeerAuthentication(policy) => Arc::make_mut(policy).spec.as_mut().err(),
        Object::RequestAuthentication(policy) => Arc::make_mut(policy).spec.as_mut().err(),
        Object::ConfigMap(settings) if !(settings.refused.is_empty() && settings.unread.is_empty()) => {
            let settings = Arc::make_mut(settings);
            let refused = settings.refused.iter_mut().map(|of| &mut of.diagnostic);
            return settings.unread.iter_mut().chain(refused).collect();
        }
        _ => None,
    };
    refused.map(|refused| &mut refused.diagnostic).into_iter().collect()
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
