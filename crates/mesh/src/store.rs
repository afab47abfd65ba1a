//! The input tables, one per kind, and how events reach them.

use engine::{Builder, Graph, Key, Row, Table};
use hashbrown::{HashMap, HashSet};
use model::facts::{
    AuthorizationPolicy, EndpointSlice, Gateway, GatewayClass, MeshSettings, Namespace, Node, Object,
    PeerAuthentication, Pod, Service, ServiceEntry, WorkloadEntry,
};
use model::{Diagnostic, Event, Kind, Name, Ns, ObjectRef};
use output::Outputs;

/// One input table per kind, and one for what was refused at the door.
#[derive(Clone, Copy)]
pub struct Inputs {
    pub namespaces: Table<Ns, Namespace>,
    pub nodes: Table<Name, Node>,
    pub config_maps: Table<Name, MeshSettings>,
    pub pods: Table<Name, Pod>,
    pub services: Table<Name, Service>,
    pub slices: Table<Name, EndpointSlice>,
    pub classes: Table<Name, GatewayClass>,
    pub gateways: Table<Name, Gateway>,
    pub policies: Table<Name, AuthorizationPolicy>,
    pub peers: Table<Name, PeerAuthentication>,
    pub service_entries: Table<Name, ServiceEntry>,
    pub workload_entries: Table<Name, WorkloadEntry>,
    pub rejected: Table<ObjectRef, Diagnostic>,
}

impl Inputs {
    /// Declares them.
    pub fn declare(b: &mut Builder, out: &mut Outputs) -> Self {
        let rejected = b.input("rejected");
        b.sink(rejected);
        out.diagnostics(rejected, |_, _, diagnostic: &Diagnostic| [diagnostic.clone()]);
        Self {
            namespaces: b.input("Namespace"),
            nodes: b.input("Node"),
            config_maps: b.input("ConfigMap"),
            pods: b.input("Pod"),
            services: b.input("Service"),
            slices: b.input("EndpointSlice"),
            classes: b.input("GatewayClass"),
            gateways: b.input("Gateway"),
            policies: b.input("AuthorizationPolicy"),
            peers: b.input("PeerAuthentication"),
            service_entries: b.input("ServiceEntry"),
            workload_entries: b.input("WorkloadEntry"),
            rejected,
        }
    }

    fn put(&self, graph: &mut Graph, object: Object) {
        match object {
            Object::Namespace(o) => graph.put(self.namespaces, o.name.clone(), o),
            Object::Node(o) => graph.put(self.nodes, o.name.clone(), o),
            Object::ConfigMap(o) => graph.put(self.config_maps, o.name.clone(), o),
            Object::Pod(o) => graph.put(self.pods, o.name.clone(), o),
            Object::Service(o) => graph.put(self.services, o.meta.name.clone(), o),
            Object::EndpointSlice(o) => graph.put(self.slices, o.name.clone(), o),
            Object::GatewayClass(o) => graph.put(self.classes, o.meta.name.clone(), o),
            Object::Gateway(o) => graph.put(self.gateways, o.meta.name.clone(), o),
            Object::AuthorizationPolicy(o) => graph.put(self.policies, o.meta.name.clone(), o),
            Object::PeerAuthentication(o) => graph.put(self.peers, o.meta.name.clone(), o),
            Object::ServiceEntry(o) => graph.put(self.service_entries, o.meta.name.clone(), o),
            Object::WorkloadEntry(o) => graph.put(self.workload_entries, o.meta.name.clone(), o),
        }
    }

    fn remove(&self, graph: &mut Graph, of: &ObjectRef) {
        let name = &of.name;
        match of.kind {
            Kind::Namespace => graph.remove(self.namespaces, &name.ns.beside(&name.name)),
            Kind::Node => graph.remove(self.nodes, name),
            Kind::ConfigMap => graph.remove(self.config_maps, name),
            Kind::Pod => graph.remove(self.pods, name),
            Kind::Service => graph.remove(self.services, name),
            Kind::EndpointSlice => graph.remove(self.slices, name),
            Kind::GatewayClass => graph.remove(self.classes, name),
            Kind::Gateway => graph.remove(self.gateways, name),
            Kind::AuthorizationPolicy => graph.remove(self.policies, name),
            Kind::PeerAuthentication => graph.remove(self.peers, name),
            Kind::ServiceEntry => graph.remove(self.service_entries, name),
            Kind::WorkloadEntry => graph.remove(self.workload_entries, name),
        }
    }

    /// Returns the names of everything of a kind; a walk, for the end of a listing.
    fn names(&self, graph: &Graph, kind: Kind) -> Vec<Name> {
        fn keys<K: Key, V: Row>(graph: &Graph, table: Table<K, V>, name: impl Fn(K) -> Name) -> Vec<Name> {
            graph.rows(table).into_iter().map(|(key, _)| name(key)).collect()
        }
        let same = |name: Name| name;
        match kind {
            Kind::Namespace => keys(graph, self.namespaces, |ns| ns.object()),
            Kind::Node => keys(graph, self.nodes, same),
            Kind::ConfigMap => keys(graph, self.config_maps, same),
            Kind::Pod => keys(graph, self.pods, same),
            Kind::Service => keys(graph, self.services, same),
            Kind::EndpointSlice => keys(graph, self.slices, same),
            Kind::GatewayClass => keys(graph, self.classes, same),
            Kind::Gateway => keys(graph, self.gateways, same),
            Kind::AuthorizationPolicy => keys(graph, self.policies, same),
            Kind::PeerAuthentication => keys(graph, self.peers, same),
            Kind::ServiceEntry => keys(graph, self.service_entries, same),
            Kind::WorkloadEntry => keys(graph, self.workload_entries, same),
        }
    }
}

/// Brackets of full listings, and which kinds are complete.
#[derive(Default)]
pub struct Listings {
    seen: HashMap<Kind, HashSet<Name>>,
    synced: HashSet<Kind>,
}

impl Listings {
    /// Tells whether every kind has been listed once.
    pub fn are_complete(&self) -> bool {
        Kind::ALL.iter().all(|k| self.synced.contains(k))
    }

    /// Returns the kinds that have not been listed yet.
    pub fn missing(&self) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|k| !self.synced.contains(k)).collect()
    }

    /// Puts one event into the tables.
    pub fn feed(&mut self, inputs: &Inputs, graph: &mut Graph, event: Event) {
        match event {
            Event::Begin(kind) => {
                self.seen.insert(kind, HashSet::new());
            }
            Event::Put(object) => {
                self.note(object.kind(), object.name());
                graph.remove(inputs.rejected, &object.reference());
                inputs.put(graph, object);
            }
            Event::Reject(of, diagnostic) => {
                self.note(of.kind, of.name.clone());
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
                self.synced.insert(kind);
            }
        }
    }

    fn note(&mut self, kind: Kind, name: Name) {
        if let Some(seen) = self.seen.get_mut(&kind) {
            seen.insert(name);
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
