//! Where a name is defined: follows paths, imports and re-exports to the file.

use super::source::Crate;
use std::collections::BTreeSet;

/// What a path leads to inside the crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A module as such.
    Module(usize),
    /// An item, by the file that defines it and its name there.
    Item(usize, String),
}

/// The names that are being looked up: imports may lead in a circle.
type Seen = BTreeSet<(usize, String)>;

impl Crate {
    /// Returns what a path means inside a module: nothing if it leads out of the crate, and more than
    /// one thing where a module and a function have one name.
    pub fn resolve(&self, module: usize, path: &[String]) -> Vec<Found> {
        self.resolve_seen(module, path, &mut Seen::new())
    }

    fn resolve_seen(&self, module: usize, path: &[String], seen: &mut Seen) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(0)],
            "self" => vec![Found::Module(module)],
            name => self.step(module, name, !rest.is_empty(), seen),
        };
        for (index, name) in rest.iter().enumerate() {
            let inner = found.iter().find_map(|found| match found {
                Found::Module(module) => Some(*module),
                Found::Item(..) => None,
            });
            // What follows an item belongs to it: a variant, a constant or a function of a type.
            let Some(inner) = inner else { break };
            found = self.step(inner, name, index + 1 < rest.len(), seen);
            if found.is_empty() {
                // The module has it from a macro or from another crate.
                return vec![Found::Item(self.modules[inner].file, name.clone())];
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Follows one segment of a path; what has more after it is a module or a type.
    fn step(&self, module: usize, name: &str, has_more: bool, seen: &mut Seen) -> Vec<Found> {
        let here = &self.modules[module];
        match (name, here.children.get(name)) {
            ("super", _) => here.parent.map(Found::Module).into_iter().collect(),
            (_, Some(child)) if has_more => vec![Found::Module(*child)],
            _ => self.lookup(module, name, seen),
        }
    }

    /// Returns what one name means inside a module.
    fn lookup(&self, module: usize, name: &str, seen: &mut Seen) -> Vec<Found> {
        let here = &self.modules[module];
        if !seen.insert((module, name.to_owned())) {
            return Vec::new();
        }
        let mut found: Vec<Found> = Vec::new();
        found.extend(here.children.get(name).copied().map(Found::Module));
        if here.items.contains(name) {
            found.push(Found::Item(here.file, name.to_owned()));
        }
        for import in here.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            // `use a::b` in a module that itself has an `a`: the import must not find itself.
            if import.path.len() == 1 && import.path[0] == name {
                continue;
            }
            found.extend(self.resolve_seen(module, &import.path, seen));
        }
        if found.is_empty() {
            for import in here.imports.iter().filter(|import| import.name.is_none()) {
                for source in self.resolve_seen(module, &import.path, &mut Seen::new()) {
                    if let Found::Module(source) = source
                        && source != module
                    {
                        found.extend(self.lookup(source, name, seen));
                    }
                }
            }
        }
        seen.remove(&(module, name.to_owned()));
        found
    }
}
