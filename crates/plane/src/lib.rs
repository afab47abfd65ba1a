//! The one graph, wired from its parts: events in, what changed of the outputs out.
//!
//! ```text
//!  events ──▶ inputs ──▶ tables of the mesh ──▶ outputs ──▶ Delta: resources, and names of the rest
//!            (Listings)     (mesh::declare)       │
//!                           and of gateways       │
//!                           (gateway::declare)    │
//!                           and of Envoys         │
//!                           (envoy::declare)      │
//!                                                 └──▶ asked: everything, conditions, diagnostics, why
//! ```
//!
//! [`Plane::apply`] is synchronous and pure: the daemon, the command line, tests and benchmarks call the
//! same function. Equal facts give equal bytes, whatever the order of events.
//!
//! ```
//! use model::{Event, Kind, parse};
//! use pilothouse_plane::Plane;
//!
//! let service = br#"{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.1.0.1"}}"#;
//! let mut plane = Plane::new(&mesh::Options::default());
//! let put = Event::Put(parse(Kind::Service, service)?);
//! let delta = plane.apply([put].into_iter().chain(Kind::ALL.iter().map(|kind| Event::Synced(*kind))));
//! assert_eq!(delta.resources[0].name, "shop/web.shop.svc.cluster.local");
//! # Ok::<(), model::Diagnostic>(())
//! ```

mod delta;
mod identity;
mod made_from;
mod summary;

pub use delta::{Delta, ReferentChanges};
pub use engine::{StageStats, Trace};
pub use gateway::BuiltInClass;
pub use gateway::deployment::{Fault, MANAGED_LABEL, bootstrap};
pub use gateway::{
    Action, FEATURES, Feature, GatewayDeployment, GatewayListeners, Host, HostKey, Listener, ListenerKey,
    Manifest, ManifestKind, Owner, Placed, Protocol, RouteKey, Rule, SetState, ShownBy, Target, rule_faults,
    supported_features,
};
pub use identity::{GatewayInstance, IdentityDelta, IdentitySnapshot};
pub use made_from::{MadeFrom, object};
pub use mesh::identity::{PodIdentity, TrustSettings};
pub use mesh::{Options, ProxyOptions};
pub use output::{Condition, Conditions, Entry, EntryList, Findings, ResourceChange, ResourceType, Scope};
pub use summary::GatewaySummary;

use engine::{Builder, Graph};
use mesh::{AddressRequest, Listings, Tables};
use model::facts::{BackendTarget, PolicyTargetRef, Referent, Route, Service, ServiceEntry};
use model::{Diagnostic, Event, Kind, Name, ObjectRef, Str};
use output::{Changed, Outputs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many rows are looked at to tell whose doing a resource is.
const MAX_ORIGINS: usize = 4096;
/// How many instances of a proxy are looked at for what is for one place alone.
const MAX_PLACES: usize = 64;

/// The mesh as this control plane sees it. It has one writer.
pub struct Plane {
    graph: Graph,
    outputs: Outputs,
    mesh: Tables,
    gateway: Option<gateway::Tables>,
    listings: Listings,
    identity: Arc<IdentitySnapshot>,
    options: Options,
    /// Whether nothing is computed before there are settings that can be used.
    awaits_settings: bool,
    /// Whether something was computed.
    started: bool,
}

impl Plane {
    /// Makes an empty mesh.
    pub fn new(options: &Options) -> Self {
        let (mut b, mut outputs) = (Builder::default(), Outputs::default());
        let mesh = mesh::declare(&mut b, &mut outputs, options);
        let gateway = options.gateway_api.then(|| gateway::declare(&mut b, &mut outputs, &mesh, options));
        if let Some(gateway) = &gateway {
            envoy::declare(&mut b, &mut outputs, &mesh, gateway);
        }
        Self {
            graph: b.build(),
            outputs,
            mesh,
            gateway,
            listings: Listings::default(),
            identity: Arc::default(),
            options: options.clone(),
            awaits_settings: false,
            started: false,
        }
    }

    /// Computes nothing until the mesh settings can be used, as [`Plane::unusable`] tells: for whoever
    /// serves the mesh, and not for people who look at one.
    #[must_use]
    pub fn awaiting_settings(self) -> Self {
        Self { awaits_settings: true, ..self }
    }

    /// Applies events as one commit and returns what changed.
    ///
    /// Until [`Plane::is_synced`] nothing is computed: part of a mesh serves nobody, and pods that
    /// are listed before their services would be computed twice.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Delta {
        for event in events {
            self.listings.feed(&self.mesh.inputs, &mut self.graph, event);
        }
        if !self.is_synced() {
            return Delta::default();
        }
        self.graph.commit();
        self.started = true;
        let graph = &mut self.graph;
        let Changed { resources, nodes } = self.outputs.changed_resources(graph);
        let requests = graph.changes(self.mesh.address_requests).into_iter();
        let deployments = self.gateway.and_then(|tables| tables.deployments);
        let changed_deployments = deployments.map(|table| graph.changes(table)).unwrap_or_default();
        let changed_deployments = changed_deployments.into_iter().map(|change| change.key).collect();
        Delta {
            resources,
            nodes,
            deployments: changed_deployments,
            address_requests: requests.map(|change| change.key).collect(),
            conditions: self.outputs.changed_conditions(graph),
            findings: self.outputs.changed_diagnostics(graph),
            identity: IdentitySnapshot::follow(&mut self.identity, graph, self.mesh.identity),
            referents: self.changed_referents(),
            keys: {
                let changes = self.graph.changes(self.mesh.wanted_keys).into_iter();
                changes.map(|change| (change.key, change.new.as_deref().copied())).collect()
            },
        }
    }

    fn changed_referents(&mut self) -> ReferentChanges {
        let mut changed = ReferentChanges::default();
        let changes = self.gateway.map(|tables| self.graph.changes(tables.wanted)).unwrap_or_default();
        for change in changes {
            let list = if change.new.is_some() { &mut changed.wanted } else { &mut changed.unwanted };
            list.push(change.key);
        }
        changed
    }

    /// Returns what something refers to and a source is to read besides what it lists, ascending. This walks
    /// the table: it is meant for people and tests.
    pub fn wanted(&self) -> Vec<Referent> {
        let tables = self.gateway.into_iter();
        tables.flat_map(|tables| self.graph.keys_of(tables.wanted, |_, _| true)).collect()
    }

    /// Tells whether every kind has been listed once, and there are settings to wait for no more.
    pub fn is_synced(&self) -> bool {
        let is_usable = self.started || !self.awaits_settings || self.unusable().is_none();
        self.listings.are_complete() && is_usable
    }

    /// Returns why the mesh should not be served though every kind is listed; `None` when it can be. Its
    /// settings have a trust domain or a root namespace that cannot be, or cannot be read at all, and there
    /// are no last good ones: with any other, what is served would be wrong for everybody.
    pub fn unusable(&self) -> Option<Diagnostic> {
        self.mesh.unusable_settings(&self.graph, &self.options)
    }

    /// Returns the kinds that have not been listed yet.
    pub fn missing(&self) -> Vec<Kind> {
        self.listings.missing()
    }

    /// Returns every resource in a fixed order: services, workloads, authorizations, of each first those
    /// of one source, then those of the next, ascending by key. This walks the mesh: it is meant for
    /// people and tests.
    pub fn resources(&self) -> Vec<ResourceChange> {
        self.outputs.all_resources(&self.graph)
    }

    /// Returns the conditions of every object that has a status of ours, ascending by kind and name.
    /// This walks the mesh, as a newly elected writer does.
    pub fn conditions(&self) -> Vec<(ObjectRef, Arc<Conditions>)> {
        self.outputs.all_conditions(&self.graph)
    }

    /// Returns the conditions of one object; `None` when it has no status of ours.
    pub fn conditions_of(&self, object: &ObjectRef) -> Option<Arc<Conditions>> {
        self.outputs.conditions_of(&self.graph, object)
    }

    /// Returns the kinds whose objects may have a status of ours, in order.
    pub fn status_kinds(&self) -> Vec<Kind> {
        self.outputs.condition_kinds().collect()
    }

    /// Returns the GatewayClasses that the cluster should have and has not, in a fixed order.
    pub fn missing_classes(&self) -> Vec<BuiltInClass> {
        self.gateway.map(|tables| tables.missing_classes(&self.graph)).unwrap_or_default()
    }

    /// Returns what an entry has to do with addresses; `None` when it does not exist, is not ours,
    /// or its namespace takes no part in the mesh.
    pub fn address_request(&self, entry: &Name) -> Option<AddressRequest> {
        self.graph.get(self.mesh.address_requests, entry).map(|request| (*request).clone())
    }

    /// Returns the requests of all entries, ascending by name. This walks the entries, as a newly
    /// elected allocator does.
    pub fn address_requests(&self) -> Vec<AddressRequest> {
        let rows = self.graph.rows(self.mesh.address_requests).into_iter();
        rows.map(|(_, request)| (*request).clone()).collect()
    }

    /// Returns what is deployed for a gateway; `None` when that is nobody's business here.
    pub fn deployment(&self, gateway: &Name) -> Option<Arc<GatewayDeployment>> {
        self.graph.get(self.gateway?.deployments?, gateway)
    }

    /// Returns what is deployed for each gateway, ascending by name. This walks the gateways, as a newly
    /// elected deployer does.
    pub fn deployments(&self) -> Vec<(Name, Arc<GatewayDeployment>)> {
        let table = self.gateway.and_then(|tables| tables.deployments);
        table.map(|table| self.graph.rows(table)).unwrap_or_default()
    }

    /// Returns what is wrong with the objects at hand: those refused, policies that are not enforced as
    /// written, services and workloads that are not bound to the waypoint that they name, waypoints that
    /// are required in vain, workloads of other networks that nobody reaches, and a root namespace that
    /// is left out. This walks the mesh: it is meant for people.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.outputs.all_diagnostics(&self.graph)
    }

    /// Tells whether an object is at hand, refused or not.
    pub fn holds(&self, object: &ObjectRef) -> bool {
        self.mesh.inputs.holds(&self.graph, object)
    }

    /// Returns what the resources of this name were made from, `depth` levels down, and likewise the
    /// conditions of an object that is written as `Service shop/web`; nothing when none has the name. This walks the
    /// mesh: it is meant for people.
    pub fn why(&self, name: &str, depth: usize) -> Vec<Trace> {
        self.outputs.why(&self.graph, name, depth)
    }

    /// Returns whose doing a resource of a proxy is, or one of that name which is for instances of the proxy at some place; of
    /// nobody if it is not there. What it costs is bounded, however large the mesh is.
    pub fn made_from(&self, of: ResourceType, scope: &Scope, name: &str) -> MadeFrom {
        let origins_in = |scope: &Scope| self.outputs.origins(&self.graph, of, scope, name, MAX_ORIGINS);
        let mut origins = origins_in(scope);
        if origins.is_empty() {
            let mut places = self.places(scope);
            origins = places
                .find_map(|place| Some(origins_in(&place)).filter(|all| !all.is_empty()))
                .unwrap_or_default();
        }
        let host = name.rsplit_once('|').map(|(_, host)| host);
        MadeFrom::read(&origins, |object| host.is_none_or(|host| self.may_be_about(object, host)))
    }

    /// Returns the scopes of what is for instances of a proxy at one place alone.
    fn places(&self, scope: &Scope) -> impl Iterator<Item = Scope> {
        let name = match scope {
            Scope::Proxy(of) => of.split_once('/').map(|(ns, name)| Name::new(ns, name)),
            Scope::Mesh => None,
        };
        let instances = name.and_then(|name| self.graph.get(self.mesh.identity.instances, &name));
        let instances = instances.iter().flat_map(|all| all.iter().take(MAX_PLACES));
        let places: BTreeSet<Str> = instances.flat_map(|of| of.location.scope_suffixes()).collect();
        let scope = scope.to_string();
        places.into_iter().map(move |place| Scope::proxy(&format!("{scope}{place}")))
    }

    /// Tells whether an object can say something of a host: what names hosts has to name this one. It may have been read
    /// for no more than that it does not.
    fn may_be_about(&self, object: &ObjectRef, host: &str) -> bool {
        let (graph, inputs, Name { ns, name }) = (&self.graph, &self.mesh.inputs, &object.name);
        let is_service = |name: &str| host == format!("{name}.{ns}.svc.{}", self.options.domain_suffix);
        let covers = |of: &str| of == host || of.strip_prefix('*').is_some_and(|end| host.ends_with(end));
        let is_entry = |name: &Name| {
            let entry = graph.get(inputs.serviceentries, name);
            entry.is_some_and(|entry| entry.hosts.iter().any(|of| covers(of)))
        };
        let is_target = |kind: &str, name: &str| match kind {
            "Service" => is_service(name),
            "ServiceEntry" => is_entry(&Name::new(ns, name)),
            // A waypoint or a class of them: for all that is there.
            _ => true,
        };
        let some_target =
            |targets: &[PolicyTargetRef]| targets.iter().any(|of| is_target(&of.kind, &of.name));
        let some_backend =
            |targets: &[BackendTarget]| targets.iter().any(|of| is_target(&of.object.kind, &of.object.name));
        match object.kind {
            Kind::Service => is_service(name),
            Kind::ServiceEntry => is_entry(&object.name),
            Kind::DestinationRule => graph
                .get(inputs.destinationrules, &object.name)
                .is_some_and(|rule| covers(&rule.host) || is_service(&rule.host)),
            Kind::BackendTLSPolicy => graph
                .get(inputs.backendtlspolicies, &object.name)
                .is_some_and(|policy| some_backend(&policy.targets)),
            Kind::XBackendTrafficPolicy => graph
                .get(inputs.xbackendtrafficpolicies, &object.name)
                .is_some_and(|policy| some_backend(&policy.targets)),
            Kind::AuthorizationPolicy => graph
                .get(inputs.authorizationpolicies, &object.name)
                .is_some_and(|policy| some_target(policy.target_refs())),
            Kind::Telemetry => graph
                .get(inputs.telemetries, &object.name)
                .is_some_and(|of| of.target_refs.is_empty() || some_target(&of.target_refs)),
            Kind::WasmPlugin => graph
                .get(inputs.wasmplugins, &object.name)
                .is_some_and(|of| of.target_refs.is_empty() || some_target(&of.target_refs)),
            Kind::TrafficExtension => graph
                .get(inputs.trafficextensions, &object.name)
                .is_some_and(|of| of.target_refs.is_empty() || some_target(&of.target_refs)),
            Kind::RequestAuthentication => {
                graph.get(inputs.requestauthentications, &object.name).is_some_and(|policy| {
                    some_target(match &policy.spec {
                        Ok(spec) => &spec.target_refs,
                        Err(refused) => &refused.target_refs,
                    })
                })
            }
            _ => true,
        }
    }

    /// Returns every rule of every hostname as a sentence, ascending by where it is. This walks the mesh: it
    /// is meant for people.
    pub fn routes(&self) -> Vec<String> {
        self.gateway.map(|tables| tables.routing.sentences(&self.graph)).unwrap_or_default()
    }

    /// Returns how TLS is terminated at each listener where it is, as a sentence. This walks the listeners: it is meant
    /// for people and tests.
    pub fn terminations(&self) -> Vec<String> {
        self.gateway.map(|tables| tables.terminations_in_words(&self.graph)).unwrap_or_default()
    }

    /// Returns what policies of the Gateway API say of each service, as a sentence. This walks them: it is meant for
    /// people and tests.
    pub fn backend_policies(&self) -> Vec<String> {
        self.gateway.map(|tables| tables.policies.sentences(&self.graph)).unwrap_or_default()
    }

    /// Returns every hostname at a listener or service with the rules of routes, in the order in which they are
    /// tried. This walks the mesh: it is meant for people.
    pub fn hosts(&self) -> Vec<(HostKey, Arc<Host>)> {
        self.gateway.map(|tables| tables.routing.hosts(&self.graph)).unwrap_or_default()
    }

    /// Returns the routes as they are written, ascending by kind and name. This walks the routes: it is meant for
    /// people.
    pub fn written_routes(&self) -> Vec<(RouteKey, Arc<Route>)> {
        self.gateway.map(|tables| tables.routes(&self.graph)).unwrap_or_default()
    }

    /// Returns the gateways that are served, ascending by name. This walks the gateways: it is meant for people.
    pub fn gateways(&self) -> Vec<GatewaySummary> {
        let rows = self.gateway.map(|tables| self.graph.rows(tables.gateways)).unwrap_or_default();
        let status = |kind, name: &Name| self.conditions_of(&ObjectRef { kind, name: name.clone() });
        let summary = |(name, listeners): (Name, Arc<GatewayListeners>)| {
            let sets = listeners.sets.iter();
            Some(GatewaySummary {
                facts: self.graph.get(self.mesh.inputs.gateways, &name)?,
                status: status(Kind::Gateway, &name),
                sets: sets
                    .filter_map(|(set, _)| Some((set.clone(), status(Kind::ListenerSet, set)?)))
                    .collect(),
                deployment: self.deployment(&name),
                listeners,
                name,
            })
        };
        rows.into_iter().filter_map(summary).collect()
    }

    /// Returns the waypoints that are configured here, each with the hostnames of its services, and the gateways at the
    /// edge with those that they lead to. This walks services and routes: it is meant for people.
    pub fn waypoints(&self) -> BTreeMap<Name, BTreeSet<Str>> {
        let Some(destinations) = self.mesh.destinations else { return BTreeMap::new() };
        let waypoints = self.graph.rows(destinations.waypoints).into_iter();
        let mut all: BTreeMap<_, BTreeSet<_>> = waypoints.map(|(name, _)| (name, BTreeSet::new())).collect();
        for service in destinations.services.into_iter().flat_map(|table| self.graph.rows(table)) {
            for waypoint in &service.1.waypoints {
                all.entry(waypoint.clone()).or_default().insert(service.1.hostname.clone());
            }
        }
        all.extend(self.gateway.iter().flat_map(|gateway| gateway.lead_to(&self.graph)));
        all
    }

    /// Returns the namespace whose objects are for all others; `None` before there are settings.
    pub fn root_namespace(&self) -> Option<Str> {
        self.graph.get(self.mesh.root_namespace, &()).map(|root| Str::from(root.to_string().as_str()))
    }

    /// Returns the Services at hand as their authors wrote them, ascending by name. This walks them: it is meant for
    /// people.
    pub fn services(&self) -> Vec<(Name, Arc<Service>)> {
        self.graph.rows(self.mesh.inputs.services)
    }

    /// Returns the ServiceEntries at hand as their authors wrote them, ascending by name. This walks them: it is meant for
    /// people.
    pub fn service_entries(&self) -> Vec<(Name, Arc<ServiceEntry>)> {
        self.graph.rows(self.mesh.inputs.serviceentries)
    }

    /// Returns what identity depends on, as of the last commit; empty until [`Plane::is_synced`].
    pub fn identity(&self) -> &Arc<IdentitySnapshot> {
        &self.identity
    }

    /// Returns the counters of every table, in order of declaration.
    pub fn stats(&self) -> Vec<StageStats> {
        self.graph.stats()
    }
}
