use engine::{Builder, Cx, Graph, Key, Row, Table, Trace};
use model::{Diagnostic, Kind, Name, ObjectRef};
use proto::{ResourceType, Scope};
use std::sync::Arc;

use crate::condition::{ConditionTable, Conditions};
use crate::diagnostic::{DiagnosticSource, Findings, OfRows, OfWalk};
use crate::resource::{self, Changed, Declared, Rank, Resource, ResourceChange, ResourceTable};

/// The outputs of a graph. Each table is declared once, by the module that it is from.
#[derive(Default)]
pub struct Outputs {
    /// By rank, then in order of declaration.
    resources: Vec<(Rank, Box<dyn ResourceTable>)>,
    conditions: Vec<ConditionTable>,
    diagnostics: Vec<Box<dyn DiagnosticSource>>,
}

impl Outputs {
    /// Declares that the rows of a table are sent, as `encode` says; a row for which it says nothing
    /// is not.
    pub fn resources<K: Key, V: Row>(
        &mut self,
        b: &mut Builder,
        table: Table<K, V>,
        resource_type: ResourceType,
        rank: Rank,
        encode: impl for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>> + Send + 'static,
    ) {
        self.declare(b, Declared { table, resource_type, key_of: None, encode }, rank);
    }

    /// As [`resources`](Self::resources), where scope and name of a resource tell the key of its row: what it was made
    /// from is found without a walk.
    pub fn named_resources<K: Key, V: Row>(
        &mut self,
        b: &mut Builder,
        table: Table<K, V>,
        resource_type: ResourceType,
        rank: Rank,
        key_of: fn(&Scope, &str) -> Option<K>,
        encode: impl for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>> + Send + 'static,
    ) {
        self.declare(b, Declared { table, resource_type, key_of: Some(key_of), encode }, rank);
    }

    fn declare<K: Key, V: Row, F>(&mut self, b: &mut Builder, of: Declared<K, V, F>, rank: Rank)
    where
        F: for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>> + Send + 'static,
    {
        b.sink(of.table);
        let at = self.resources.partition_point(|(other, _)| *other <= rank);
        self.resources.insert(at, (rank, Box::new(of)));
    }

    /// Declares that the rows of a table are the conditions of objects of a kind, by name. There is one
    /// such table of a kind.
    pub fn conditions(&mut self, b: &mut Builder, kind: Kind, table: Table<Name, Conditions>) {
        b.sink(table);
        self.conditions.push(ConditionTable { kind, table });
        self.conditions.sort_by_key(|of| of.kind);
    }

    /// Declares that `describe` says of each row of a table what the authors of objects should know. What it says makes a
    /// table of this name; a row of which there is nothing to say costs the question, and has no place there.
    pub fn diagnostics<K: Key, V: Row, I: IntoIterator<Item = Diagnostic>>(
        &mut self,
        b: &mut Builder,
        name: &'static str,
        table: Table<K, V>,
        describe: impl Fn(&K, &V) -> I + Send + Sync + 'static,
    ) {
        let describe = Arc::new(describe);
        let says = Arc::clone(&describe);
        let is_told = move |key: &K, row: &V| says(key, row).into_iter().next().is_some();
        self.diagnostics_where(b, name, table, is_told, move |_, key, row| describe(key, row));
    }

    /// As [`diagnostics`](Self::diagnostics), of the rows that `concerns` says, where `describe` reads other rows.
    pub fn diagnostics_where<K: Key, V: Row, I: IntoIterator<Item = Diagnostic>>(
        &mut self,
        b: &mut Builder,
        name: &'static str,
        table: Table<K, V>,
        concerns: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        describe: impl Fn(&Cx<'_>, &K, &V) -> I + Send + 'static,
    ) {
        let rows = b.derive_where(name, table, concerns, move |cx, key, row| {
            let found: Vec<Diagnostic> = describe(cx, key, row).into_iter().collect();
            (!found.is_empty()).then_some(found)
        });
        b.sink(rows);
        self.diagnostics.push(Box::new(OfRows(rows)));
    }

    /// Declares diagnostics that are no matter of single rows. The tables are walked again after each
    /// commit that changes one of those that were read: what pods change is better told of rows.
    pub fn findings(&mut self, find: impl Fn(&Graph) -> Vec<Diagnostic> + Send + 'static) {
        self.diagnostics.push(Box::new(OfWalk::new(find)));
    }

    /// Takes what the last commit changed of the resources.
    pub fn changed_resources(&self, graph: &mut Graph) -> Changed {
        resource::changed(&self.resources, graph)
    }

    /// Takes the objects whose conditions the last commit changed, ascending.
    pub fn changed_conditions(&self, graph: &mut Graph) -> Vec<ObjectRef> {
        self.conditions.iter().flat_map(|table| table.changed(graph)).collect()
    }

    /// Returns every resource, by rank, then by key. This walks the tables: it is meant for people and
    /// tests.
    pub fn all_resources(&self, graph: &Graph) -> Vec<ResourceChange> {
        let mut all = Vec::new();
        self.resources.iter().for_each(|(_, table)| table.walk(graph, &mut all));
        all
    }

    /// Returns the conditions of every object that has a status of ours, ascending. This walks the
    /// tables, as a newly elected writer does.
    pub fn all_conditions(&self, graph: &Graph) -> Vec<(ObjectRef, Arc<Conditions>)> {
        self.conditions.iter().flat_map(|table| table.all(graph)).collect()
    }

    /// Returns the conditions of one object; `None` when it has no status of ours.
    pub fn conditions_of(&self, graph: &Graph, object: &ObjectRef) -> Option<Arc<Conditions>> {
        let of = self.conditions.iter().find(|of| of.kind == object.kind)?;
        graph.get(of.table, &object.name)
    }

    /// Returns the kinds whose objects may have a status of ours, in order.
    pub fn condition_kinds(&self) -> impl Iterator<Item = Kind> {
        self.conditions.iter().map(|of| of.kind)
    }

    /// Returns all diagnostics, in the order of their declarations. This walks the tables: it is meant
    /// for people.
    pub fn all_diagnostics(&self, graph: &Graph) -> Vec<Diagnostic> {
        let mut all = Vec::new();
        self.diagnostics.iter().for_each(|source| source.all(graph, &mut all));
        all
    }

    /// Takes which diagnostics the last commit began or ended.
    pub fn changed_diagnostics(&mut self, graph: &mut Graph) -> Findings {
        let mut found = Findings::default();
        self.diagnostics.iter_mut().for_each(|source| source.changed(graph, &mut found));
        found
    }

    /// Returns the rows of inputs that a resource was made from, nearest first; nothing for one that is not there or is
    /// not declared by [`named_resources`](Self::named_resources). It looks at no more than `limit` rows.
    pub fn origins(
        &self,
        graph: &Graph,
        of: ResourceType,
        scope: &Scope,
        name: &str,
        limit: usize,
    ) -> Vec<Trace> {
        let tables = self.resources.iter().filter(|(_, table)| table.resource_type() == of);
        tables.flat_map(|(_, table)| table.origins(graph, scope, name, limit)).collect()
    }

    /// Returns what the resources of this name were made from, `depth` levels down, and the conditions
    /// of the object that is written so, such as `Service shop/web`. Resources of several types and
    /// scopes may have one name; the answer is empty when nothing has it.
    ///
    /// This walks the tables: it is meant for people and tests.
    pub fn why(&self, graph: &Graph, name: &str, depth: usize) -> Vec<Trace> {
        let mut found = Vec::new();
        self.resources.iter().for_each(|(_, table)| table.why(graph, name, depth, &mut found));
        for ConditionTable { kind, table } in &self.conditions {
            let Some(object) = name.strip_prefix(kind.name()).and_then(|rest| rest.strip_prefix(' ')) else {
                continue;
            };
            let keys = graph.keys_of(*table, |name, _| name.to_string() == object);
            found.extend(keys.iter().filter_map(|name| graph.why(*table, name, depth)));
        }
        found
    }
}
