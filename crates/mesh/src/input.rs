//! The input tables, one per kind, and how events reach them.

use engine::{Builder, Graph, Table};
use hashbrown::{HashMap, HashSet};
use model::facts::{self, Answer, Facts, FetchedKeys, KeySource, ObjectKey, Referent};
use model::{Diagnostic, Event, Kind, Name, Object, ObjectRef};
use output::Outputs;
use std::sync::Arc;

/// The input table of a kind.
pub type InputTable<F> = Table<<F as Facts>::Key, F>;

macro_rules! inputs {
    ($($(#[$doc:meta])* $kind:ident($facts:ident, $plural:ident, $parse:path) $api:tt)*) => {
        /// One input table per kind, by its plural name, one for what was refused at ingest, and what is read by
        /// reference.
        #[derive(Clone, Copy)]
        pub struct Inputs {
            $($(#[$doc])* pub $plural: InputTable<facts::$facts>,)*
            /// What was refused.
            pub rejected: Table<ObjectRef, Diagnostic>,
            /// What is read by reference, as far as a source has answered.
            pub answers: Table<Referent, Answer>,
            /// Has a row if the source reads what is wanted, so that what has no answer may be there.
            pub on_demand: Table<(), ()>,
            /// Keys for tokens, by where they are published.
            pub keys: Table<KeySource, FetchedKeys>,
        }

        impl Inputs {
            /// Declares them.
            pub fn declare(b: &mut Builder, out: &mut Outputs) -> Self {
                let rejected = b.input("rejected");
                out.diagnostics(b, "rejected_findings", rejected, |_, why: &Diagnostic| [why.clone()]);
                let inputs = Self {
                    $($plural: b.input(stringify!($kind)),)*
                    rejected,
                    answers: b.input("answers"),
                    on_demand: b.input("on_demand"),
                    keys: b.input("keys"),
                };
                $(if facts::$facts::IS_TOLD {
                    let name = concat!(stringify!($plural), "_unsupported_findings");
                    out.diagnostics(b, name, inputs.$plural, |_, facts: &facts::$facts| {
                        facts.unsupported().to_vec()
                    });
                })*
                inputs
            }

            fn put(&self, graph: &mut Graph, object: Object) {
                match object { $(Object::$kind(facts) => graph.put(self.$plural, facts.key(), facts),)* }
            }

            fn remove(&self, graph: &mut Graph, of: &ObjectRef) {
                match of.kind { $(Kind::$kind => graph.remove(self.$plural, &ObjectKey::of(&of.name)),)* }
            }

            /// Tells whether there is an object of this name, refused or not.
            pub fn holds(&self, graph: &Graph, of: &ObjectRef) -> bool {
                graph.get(self.rejected, of).is_some()
                    || match of.kind {
                        $(Kind::$kind => graph.get(self.$plural, &ObjectKey::of(&of.name)).is_some(),)*
                    }
            }

            /// Returns the names of everything of a kind; a walk, for the end of a listing.
            fn names(&self, graph: &Graph, kind: Kind) -> Vec<Name> {
                match kind {
                    $(Kind::$kind => graph.rows(self.$plural).iter().map(|(key, _)| key.name()).collect(),)*
                }
            }
        }
    };
}

model::for_each_kind!(inputs);

impl Inputs {
    /// Returns the mesh settings with what they have of the last ones, and any other object as it is.
    fn kept(&self, graph: &Graph, object: Object) -> Object {
        match object {
            Object::ConfigMap(new) if !new.refused.is_empty() => {
                let last = graph.get(self.configmaps, &new.name);
                Object::ConfigMap(
                    last.map_or_else(|| new.clone(), |last| Arc::new((*new).clone().keep(&last))),
                )
            }
            other => other,
        }
    }
}

/// Brackets of full listings, and which kinds are complete.
pub struct Listings {
    seen: HashMap<Kind, HashSet<Name>>,
    /// The kinds that have not been listed yet, ascending.
    missing: Vec<Kind>,
}

impl Default for Listings {
    fn default() -> Self {
        Self { seen: HashMap::new(), missing: Kind::ALL.to_vec() }
    }
}

impl Listings {
    /// Tells whether every kind has been listed once.
    pub fn are_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Returns the kinds that have not been listed yet.
    pub fn missing(&self) -> Vec<Kind> {
        self.missing.clone()
    }

    /// Puts one event into the tables.
    pub fn feed(&mut self, inputs: &Inputs, graph: &mut Graph, event: Event) {
        match event {
            Event::Begin(kind) => {
                self.seen.insert(kind, HashSet::new());
            }
            Event::Put(object) => {
                let of = object.reference();
                graph.remove(inputs.rejected, &of);
                self.note(of);
                inputs.put(graph, inputs.kept(graph, object));
            }
            Event::Reject(of, diagnostic) => {
                self.note(of.clone());
                graph.put(inputs.rejected, of, diagnostic);
            }
            Event::Remove(of) => {
                graph.remove(inputs.rejected, &of);
                inputs.remove(graph, &of);
            }
            Event::Synced(kind) => {
                if let Some(seen) = self.seen.remove(&kind) {
                    self.end_listing(inputs, graph, kind, &seen);
                }
                self.missing.retain(|missing| *missing != kind);
            }
            Event::OnDemand => graph.put(inputs.on_demand, (), ()),
            Event::Answer(of, answer) => graph.put(inputs.answers, of, answer),
            Event::Forget(of) => graph.remove(inputs.answers, &of),
            Event::Keys(of, Some(keys)) => graph.put(inputs.keys, of, keys),
            Event::Keys(of, None) => graph.remove(inputs.keys, &of),
        }
    }

    fn note(&mut self, of: ObjectRef) {
        if let Some(seen) = self.seen.get_mut(&of.kind) {
            seen.insert(of.name);
        }
    }

    /// What a listing did not name is gone.
    fn end_listing(&self, inputs: &Inputs, graph: &mut Graph, kind: Kind, seen: &HashSet<Name>) {
        for name in inputs.names(graph, kind) {
            if !seen.contains(&name) {
                inputs.remove(graph, &ObjectRef { kind, name });
            }
        }
        for (of, _) in graph.rows(inputs.rejected) {
            if of.kind == kind && !seen.contains(&of.name) {
                graph.remove(inputs.rejected, &of);
            }
        }
    }
}
