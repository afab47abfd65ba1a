//! Plays the controller that gives addresses to the hosts of ServiceEntries.
//!
//! In a cluster an elected replica writes them to statuses, and everybody reads them there. A folder has
//! one reader: the statuses are completed on the way to it, by the same [`Allocator`].

use folder::{Key, Objects};
use mesh::{AddressProblem, AddressRequest, Allocator, Pools};
use model::facts::{ServiceEntry, ServiceEntryAddress};
use model::{Diagnostic, Event, Kind, Name, Ns, Object, ObjectRef, Place, Severity, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The allocator, and the entries as they were sent.
pub(super) struct Addresses {
    allocator: Allocator,
    /// The domain of hostnames of services.
    domain: String,
    sent: BTreeMap<Name, Arc<ServiceEntry>>,
    /// What the allocator knows of each.
    requests: BTreeMap<Name, AddressRequest>,
    /// The entries with a host that found no address, or lost one.
    problems: BTreeMap<Name, AddressProblem>,
}

impl Addresses {
    /// Starts without an entry.
    pub(super) fn new(pools: Pools, domain: &str) -> Self {
        Self {
            allocator: Allocator::new(pools),
            domain: domain.to_owned(),
            sent: BTreeMap::new(),
            requests: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Gives the entries of a batch their addresses, adds those whose addresses change by others, and
    /// returns what went wrong.
    pub(super) fn complete(&mut self, events: &mut Vec<Event>, objects: &Objects) -> Vec<Diagnostic> {
        for event in events.iter() {
            match event {
                Event::Put(Object::ServiceEntry(entry)) => {
                    let name = entry.meta.name.clone();
                    self.problems.remove(&name);
                    self.requests.remove(&name);
                    self.sent.insert(name, Arc::clone(entry));
                }
                Event::Remove(ObjectRef { kind: Kind::ServiceEntry, name }) => {
                    self.problems.remove(name);
                    self.requests.remove(name);
                    self.allocator.remove(name);
                    self.sent.remove(name);
                }
                _ => {}
            }
        }
        let claims = self.claims(objects);
        // A host is given back, too, when the object that has it is gone.
        for (name, entry) in &self.sent {
            let request = request(entry, &claims);
            if self.requests.get(name) != Some(&request) {
                self.allocator.put(request.clone());
                self.requests.insert(name.clone(), request);
            }
        }
        let (assignments, problems) = self.allocator.assign();
        let mut others = Vec::new();
        for assignment in assignments {
            let Some(entry) = self.sent.get_mut(&assignment.entry) else { continue };
            Arc::make_mut(entry).status_addresses = assignment.wanted;
            // As a status that was written comes back.
            let request = request(entry, &claims);
            self.allocator.put(request.clone());
            self.requests.insert(assignment.entry.clone(), request);
            let same = |event: &&mut Event| matches!(event, Event::Put(Object::ServiceEntry(put)) if put.meta.name == assignment.entry);
            match events.iter_mut().find(same) {
                Some(event) => *event = Event::Put(Object::ServiceEntry(Arc::clone(entry))),
                None => others.push(Event::Put(Object::ServiceEntry(Arc::clone(entry)))),
            }
        }
        events.extend(others);
        for problem in problems {
            let (AddressProblem::Exhausted { entry, .. } | AddressProblem::Conflict { entry, .. }) = &problem;
            self.problems.insert(entry.clone(), problem);
        }
        self.problems.iter().map(|(name, problem)| diagnostic(name, problem, objects)).collect()
    }

    /// Which object has a host of a namespace that an entry names, as a mesh decides it: a Service, else the
    /// oldest entry.
    fn claims(&self, objects: &Objects) -> Claims {
        let mut claims = Claims::new();
        for entry in self.sent.values() {
            let name = &entry.meta.name;
            let is_valid = !entry.addresses.iter().any(|a| matches!(a, ServiceEntryAddress::Invalid(_)));
            for host in entry.hosts.iter().filter(|_| is_valid) {
                let claim = match self.has_service(objects, name, host) {
                    true => None,
                    false => Some((entry.meta.created, name.clone())),
                };
                let first = claims.entry((name.ns.clone(), host.clone())).or_insert_with(|| claim.clone());
                *first = std::mem::take(first).min(claim);
            }
        }
        claims
    }

    /// Tells whether a host is that of a Service of the namespace of an entry.
    fn has_service(&self, objects: &Objects, entry: &Name, host: &str) -> bool {
        let service = host.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix(".svc."));
        let service = service.and_then(|rest| rest.strip_suffix(&*entry.ns)?.strip_suffix('.'));
        let key = |name: &str| Key::new("", Kind::Service.name(), &entry.ns, name);
        let kind = |object: &folder::Object| object.value.pointer("/spec/type").cloned();
        let found = service.and_then(|name| objects.get(&key(name)));
        found.is_some_and(|object| kind(object).is_none_or(|kind| kind != "ExternalName"))
    }
}

/// The claim that has each host: its age and its entry, or `None` where it is that of a Service.
type Claims = BTreeMap<(Ns, Str), Option<(i64, Name)>>;

fn request(entry: &ServiceEntry, claims: &Claims) -> AddressRequest {
    let name = &entry.meta.name;
    AddressRequest::of(entry, true, |host| {
        let claim = claims.get(&(name.ns.clone(), host.clone()));
        claim.is_none_or(|claim| claim.as_ref().is_some_and(|(_, holder)| holder == name))
    })
}

fn diagnostic(name: &Name, problem: &AddressProblem, objects: &Objects) -> Diagnostic {
    let kind = Kind::ServiceEntry;
    let key = Key::new(kind.group(), kind.name(), &name.ns, &name.name);
    let origin = objects.get(&key).and_then(|object| object.origin.as_ref());
    Diagnostic {
        code: folder::code::AUTOMATIC_ADDRESS,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind, name: name.clone() }),
        field: String::new(),
        message: problem.to_string(),
        help: String::new(),
        place: origin.map(|origin| Place {
            file: origin.file.to_string(),
            line: origin.line as usize,
            column: 1,
        }),
    }
}
