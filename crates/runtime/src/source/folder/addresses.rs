//! Plays the controller that gives addresses to the hosts of ServiceEntries.
//!
//! In a cluster an elected replica writes them to statuses, and everybody reads them there. A folder has
//! one reader: the statuses are completed on the way to it, by the same [`Allocator`].

use folder::{Key, Objects};
use mesh::{AddressProblem, AddressRequest, Allocator, Pools};
use model::facts::ServiceEntry;
use model::{Diagnostic, Event, Kind, Name, Object, ObjectRef, Place, Severity};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The allocator, and the entries as they were sent.
pub(super) struct Addresses {
    allocator: Allocator,
    sent: BTreeMap<Name, Arc<ServiceEntry>>,
    /// The entries with a host that found no address, or lost one.
    problems: BTreeMap<Name, AddressProblem>,
}

impl Addresses {
    /// Starts without an entry.
    pub(super) fn new(pools: Pools) -> Self {
        Self { allocator: Allocator::new(pools), sent: BTreeMap::new(), problems: BTreeMap::new() }
    }

    /// Gives the entries of a batch their addresses, adds those whose addresses change by others, and
    /// returns what went wrong.
    pub(super) fn complete(&mut self, events: &mut Vec<Event>, objects: &Objects) -> Vec<Diagnostic> {
        for event in events.iter() {
            match event {
                Event::Put(Object::ServiceEntry(entry)) => {
                    let name = entry.meta.name.clone();
                    self.problems.remove(&name);
                    self.allocator.put(AddressRequest::of(entry, true));
                    self.sent.insert(name, Arc::clone(entry));
                }
                Event::Remove(ObjectRef { kind: Kind::ServiceEntry, name }) => {
                    self.problems.remove(name);
                    self.allocator.remove(name);
                    self.sent.remove(name);
                }
                _ => {}
            }
        }
        let (assignments, problems) = self.allocator.assign();
        let mut others = Vec::new();
        for assignment in assignments {
            let Some(entry) = self.sent.get_mut(&assignment.entry) else { continue };
            Arc::make_mut(entry).status_addresses = assignment.wanted;
            // As a status that was written comes back.
            self.allocator.put(AddressRequest::of(entry, true));
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
