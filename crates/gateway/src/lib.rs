//! Gateway API: classes, listeners and routes in; a small routing model and statuses out.
//!
//! ```text
//! GatewayClass ─┐
//! Gateway ──────┼─▶ listeners (merged, conflicts, isolation) ──▶ parents of routes ──▶ attachments
//! ListenerSet ──┘        │                                          ▲      │               │
//! ReferenceGrant ──▶ grants ──▶ backends ──▶ rules of routes ───────┼──────┼──────▶ hosts: rules in order
//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute ───────────────┘      │
//! VirtualService ──▶ services of its namespace, rules ─────────────────────┤
//! BackendTLSPolicy, XBackendTrafficPolicy ──▶ policies of services         └──▶ conditions of each object
//!
//! Gateway, its ports ──▶ deployments: manifests of proxies
//! Services, their ready endpoints ──▶ programming of gateways: conditions and addresses
//! ```
//!
//! Routes of every kind have one shape from ingest on; where a table of each kind is needed, one function
//! declares all of them. What comes out is [`Routing`]: for each hostname at each listener or service the
//! rules for requests, or for streams, in the order in which they are tried.
//!
//! Invariants:
//! * Work is proportional to what changed: a route's rules reach the hostnames of that route, a Service's
//!   endpoints reach nothing here.
//! * Nothing of another namespace is used unless a listener or a grant there says so.
//! * A rule that is not valid is refused what it matches; it lets nothing through to other rules.

mod allowed;
mod class;
pub mod deployment;
mod feature;
mod grant;
mod hostname;
mod key;
mod listener;
mod name;
mod parameters;
mod policy;
mod reference;
mod route;
mod routing;
mod status;

pub use class::{BuiltInClass, Class};
pub use deployment::{GatewayDeployment, Manifest, ManifestKind};
pub use feature::{FEATURES, Feature, ShownBy, supported_features};
pub use key::{HostKey, ListenerKey, Owner, RouteKey, ServiceTarget, Target};
pub use listener::{
    Authorities, Certificate, ClientCertificate, ClientCertificates, Conflict, GatewayListeners, Listener,
    Material, MaterialContent, Protocol, ServerCertificates, SetState, Termination, Tls, Unserved,
};
pub use parameters::Parameters;
pub use policy::{BackendTls, BackendTraffic, Held, Policies, PolicyTarget, Verification};
pub use route::{
    Action, Backend, Destination, DestinationKey, Destinations, MirrorTo, Path, PathPolicy, PortPath, Rule,
    WeightedBackend,
};
pub use routing::{Host, Outcome, Placed, Request, Routing};

use engine::{Builder, Cx, Graph, Table};
use grant::Grants;
use mesh::{Options, Ownership};
use model::facts::{GatewayClass, Meta, Referent, Route, VirtualService};
use model::{Diagnostic, Kind, Name, Ns, Str, shared};
use output::Outputs;
use reference::References;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Returns what is not valid of the rules of a VirtualService, whatever services there are.
pub fn rule_faults(service: &VirtualService) -> impl Iterator<Item = Diagnostic> {
    status::rule_faults(service)
}

/// The tables that others read.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The gateways that are ours by class.
    pub gateways: Table<Name, GatewayListeners>,
    /// Listeners, also those that take no traffic.
    pub listeners: Table<ListenerKey, Listener>,
    /// What is routed where.
    pub routing: Routing,
    /// What holds of the way to backends.
    pub policies: Policies,
    /// What DestinationRules say of it, with the subsets that backends name.
    pub destinations: Destinations,
    /// How TLS is terminated, by listener.
    pub terminations: Table<ListenerKey, Termination>,
    /// What gateways show to backends.
    pub client_certificates: Table<Name, ClientCertificate>,
    /// What gateways are sent of Secrets and ConfigMaps: whose gateway, and what.
    pub materials: Table<(Name, Material), MaterialContent>,
    /// What customizes deployments of gateways.
    pub parameters: Table<Name, Parameters>,
    /// What a source is to read besides what it lists. It is a sink.
    pub wanted: Table<Referent, ()>,
    /// What is deployed for gateways; none where somebody else deploys them.
    pub deployments: Option<Table<Name, GatewayDeployment>>,
    routes: route::PerKind<Table<Name, Route>>,
    classes: Table<Name, GatewayClass>,
    is_multi_network: bool,
}

impl Tables {
    /// Returns the classes that the cluster should have and has not.
    pub fn missing_classes(&self, graph: &Graph) -> Vec<BuiltInClass> {
        class::missing(graph, self.classes, self.is_multi_network)
    }

    /// Returns how TLS is terminated at each listener where it is, as a sentence, ascending by listener. This walks the
    /// table: it is meant for people.
    pub fn terminations_in_words(&self, graph: &Graph) -> Vec<String> {
        let rows = graph.rows(self.terminations).into_iter();
        rows.map(|(listener, termination)| format!("{listener}: {termination}")).collect()
    }

    /// Returns the gateways at the edge, each with the hostnames of the services that its rules lead to. This walks the
    /// tables: it is meant for people.
    pub fn lead_to(&self, graph: &Graph) -> BTreeMap<Name, BTreeSet<Str>> {
        let gateways = graph.rows(self.gateways).into_iter();
        let edges = gateways.filter(|(_, of)| of.class == Class::Gateway);
        let mut all: BTreeMap<Name, BTreeSet<Str>> = edges.map(|(name, _)| (name, BTreeSet::new())).collect();
        for (key, host) in self.routing.hosts(graph) {
            let Target::Listener(listener) = &key.target else { continue };
            let Some(hostnames) = all.get_mut(&listener.gateway) else { continue };
            hostnames.extend(host.rules.iter().flat_map(|placed| placed.rule.leads_to()).cloned());
        }
        all
    }

    /// Returns the routes of every kind as they are written, ascending by kind and name. This walks the tables: it
    /// is meant for people.
    pub fn routes(&self, graph: &Graph) -> Vec<(RouteKey, Arc<Route>)> {
        let of_kind = |(kind, table)| {
            let rows = graph.rows(table).into_iter();
            rows.map(move |(name, route)| (RouteKey { kind, name }, route))
        };
        self.routes.iter().flat_map(of_kind).collect()
    }
}

/// Declares the tables of the Gateway API and their outputs on a graph that has those of the mesh.
pub fn declare(b: &mut Builder, out: &mut Outputs, mesh: &mesh::Tables, options: &Options) -> Tables {
    let revision = shared(&options.revision);
    let is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync> =
        Arc::new(move |meta: &Meta| mesh::is_ours(&revision, meta));
    let (inputs, in_scope) = (mesh.inputs, mesh.in_scope);
    let ownership = Ownership::new(mesh.namespace_revisions, options);
    let classes = class::declare(b, inputs.gatewayclasses);
    let grants = Grants::declare(b, inputs.referencegrants, is_ours.clone());
    let references = References::declare(b, &inputs, grants);
    let merged = listener::declare_gateways(
        b,
        &listener::Inputs {
            gateways: inputs.gateways,
            sets: inputs.listenersets,
            namespaces: inputs.namespaces,
            classes,
            in_scope,
            is_ours: is_ours.clone(),
        },
    );
    let listeners = listener::declare(b, merged);
    let materials = listener::Materials::declare(b);
    let terminations = listener::declare_tls(b, inputs.gateways, listeners.rows, (references, materials));
    let is_merged = move |cx: &Cx<'_>, name: &Name| cx.get(merged, name).is_some();
    let client_certificates =
        listener::declare_client_certificates(b, inputs.gateways, is_merged, (references, materials));
    let system = Ns::own(&options.system_namespace);
    let parameters = parameters::declare(b, inputs.gateways, is_merged, references, system);
    let set_parents = {
        let is_ours = is_ours.clone();
        b.derive("listener_set_gateways", inputs.listenersets, move |cx, name, set| {
            let gateway = set.parent.target(&name.ns);
            let is_gateway = set.parent.is(Kind::Gateway.group(), Kind::Gateway.name());
            let is_served = is_gateway && is_ours(&set.meta) && *cx.memo(in_scope, &name.ns)?;
            (is_served && cx.get(merged, &gateway).is_some()).then_some(gateway)
        })
    };
    let destinations = route::declare_destinations(
        b,
        &route::DestinationInputs {
            rules: inputs.destinationrules,
            references,
            in_scope,
            root: mesh.root_namespace,
            domain_suffix: shared(&options.domain_suffix),
            is_ours: is_ours.clone(),
        },
    );
    let backends = route::declare_backends(
        b,
        route::BackendInputs {
            services: inputs.services,
            entries: inputs.serviceentries,
            entry_hosts: mesh.entry_hosts,
            in_scope,
            grants,
            destinations,
            domain_suffix: shared(&options.domain_suffix),
            is_ours: is_ours.clone(),
        },
    );
    let routes = route::PerKind::inputs(&inputs);
    let hosts = route::RoutedHosts::declare(b);
    let attachments = route::declare_parents(
        b,
        routes,
        &route::Inputs {
            gateways: merged,
            set_parents,
            listeners,
            namespaces: inputs.namespaces,
            in_scope,
            backends,
            hosts,
            is_ours: is_ours.clone(),
        },
    );
    let rules = route::declare_rules(b, routes, attachments, backends);
    let virtual_services = route::declare_virtual_services(
        b,
        &route::VirtualServiceInputs {
            virtual_services: inputs.virtualservices,
            in_scope,
            backends,
            hosts,
            is_ours: is_ours.clone(),
        },
    );
    let routing = routing::declare(
        b,
        routing::Inputs { listeners, backends, attachments, rules, virtual_services, hosts },
    );
    let reaches = route::declare_reaches(b, routes, attachments, backends);
    let policies = policy::declare(
        b,
        out,
        &policy::Inputs {
            tls: inputs.backendtlspolicies,
            traffic: inputs.xbackendtrafficpolicies,
            backends,
            references,
            reaches,
            in_scope,
            is_ours,
            ownership: ownership.clone(),
        },
    );
    let deployments = options.proxies.clone().map(|proxies| {
        let inputs = deployment::Inputs {
            gateways: inputs.gateways,
            merged,
            parameters,
            network: mesh.network,
            discovery_host: mesh.discovery_host,
            options: proxies,
            is_multi_network: options.multi_network,
            revision: options.revision.clone(),
            system_namespace: options.system_namespace.clone(),
            ownership: ownership.clone(),
        };
        deployment::declare(b, inputs)
    });
    status::declare_classes(b, out, inputs.gatewayclasses, ownership.clone());
    status::declare_without_class(b, out, inputs.gateways, inputs.gatewayclasses, in_scope);
    status::declare_listeners(
        b,
        out,
        &status::ListenerInputs {
            gateways: inputs.gateways,
            sets: inputs.listenersets,
            merged,
            set_parents,
            listeners,
            attachments,
            terminations,
            client_certificates,
            parameters,
            deployments,
            services: inputs.services,
            slices: inputs.endpointslices,
            domain: shared(&options.domain_suffix),
            ownership: ownership.clone(),
        },
    );
    let waypoints = status::Waypoints { bindings: mesh.waypoint_bindings, entries: backends.entries };
    status::declare_routes(
        b,
        out,
        &status::RouteInputs { routes, attachments, rules, waypoints, ownership: ownership.clone() },
    );
    status::declare_virtual_services(
        b,
        out,
        &status::VirtualServiceInputs {
            facts: inputs.virtualservices,
            of: virtual_services,
            waypoints,
            ownership: ownership.clone(),
        },
    );
    status::declare_destination_rules(
        b,
        out,
        &status::DestinationRuleInputs {
            facts: inputs.destinationrules,
            destinations,
            backends,
            policies,
            ownership,
        },
    );
    let materials = materials.contents(b, references);
    let wanted = references.wanted(b);
    Tables {
        gateways: merged,
        listeners: listeners.rows,
        routing,
        policies,
        destinations,
        terminations,
        client_certificates,
        materials,
        parameters,
        wanted,
        deployments,
        routes,
        classes: inputs.gatewayclasses,
        is_multi_network: options.multi_network,
    }
}
