//! The wiring, and nothing else.

use engine::{Builder, Graph, Table};
use model::facts::{AuthorizationPolicy, Meta, PeerAuthentication, ServiceEntry, Visibility};
use model::{Name, Ns, Str, shared};
use std::sync::Arc;

use crate::allocation::AddressRequest;
use crate::condition::{self, Statuses};
use crate::encode::Encoded;
use crate::guard::{GuardPolicies, Guards};
use crate::peer;
use crate::policy;
use crate::policy_row::{PolicyRow, SentPolicy};
use crate::selection::{self, Policies};
use crate::service::{self, ServiceRow};
use crate::service_entry::{self, HostKey, Winner};
use crate::settings::Settings;
use crate::split_horizon::SplitHorizon;
use crate::store::Facts;
use crate::waypoint::{self, Binder, Passes, Unbound, UnboundWorkloads};
use crate::workload::{self, EntryWorkload, Inputs};
use crate::{Options, namespace, network, scope, split_horizon};

/// The tables whose rows are sent.
#[derive(Clone, Copy)]
pub(crate) struct Sinks {
    pub services: Table<Name, ServiceRow>,
    pub entry_services: Table<HostKey, ServiceRow>,
    pub service_entries: Table<Name, ServiceEntry>,
    pub entry_visibility: Table<Name, Visibility>,
    pub address_requests: Table<Name, AddressRequest>,
    pub winners: Table<HostKey, Winner>,
    pub pods: Table<Name, Encoded>,
    pub endpoints: Table<Str, Encoded>,
    pub entries: Table<Str, EntryWorkload>,
    pub inline: Table<Str, EntryWorkload>,
    pub networks: Table<Str, Encoded>,
    pub horizon: Option<SplitHorizon>,
    pub policies: Table<Name, PolicyRow>,
    pub peer_ports: Table<Name, SentPolicy>,
    pub peer_strict: Table<Name, SentPolicy>,
    pub passes: Option<Table<Name, SentPolicy>>,
    pub guards: GuardPolicies,
    pub unbound: Table<Unbound, ()>,
    pub statuses: Statuses,
    /// Those that are ours and in scope.
    pub peers: Table<Name, PeerAuthentication>,
    pub root_namespace: Table<(), Ns>,
    pub root_left_out: Table<(), Option<Ns>>,
}

/// Declares the graph.
pub(crate) fn declare(options: &Options) -> (Graph, Facts, Sinks) {
    let mut b = Builder::default();
    let b = &mut b;
    let facts = Facts::declare(b);
    let settings = Settings::declare(b, options, facts.config_maps, facts.namespaces);
    let namespaces = namespace::declare(b, facts.namespaces, settings, options);
    let traffic = waypoint::declare_traffic(b, facts.gateways, facts.classes, namespaces);
    let waypoints = waypoint::declare(b, facts.gateways, facts.classes, traffic, settings);
    let accounts = waypoint::declare_accounts(b, waypoints, facts.pods);
    let binder = Binder { waypoints, traffic, accounts, namespaces: facts.namespaces };
    let networks = network::declare(b, facts.gateways, namespaces, settings, options);
    let passes = options.allow_waypoints.then(|| Passes::declare(b, accounts, settings));
    let guards = Guards::declare(b);
    let unbound = UnboundWorkloads::declare(b);
    let services = service::declare(b, facts.services, namespaces, options);

    let revision = shared(&options.revision);
    let ours = move |meta: &Meta| is_ours(&revision, meta);
    let lowering = policy::Options { dry_run_enabled: options.dry_run_policies };
    let policies = {
        let ours = ours.clone();
        b.derive("authorization_policies", facts.policies, move |cx, name, p: &AuthorizationPolicy| {
            let root = cx.single(settings.root_namespace)?;
            let in_scope = cx.memo(namespaces, &name.ns)?.in_scope;
            (in_scope && ours(&p.meta)).then(|| PolicyRow::from(policy::lower(p, &root, lowering)))
        })
    };
    let scopes = {
        let ours = ours.clone();
        b.derive("policy_scopes", facts.policies, move |cx, name, p: &AuthorizationPolicy| {
            let root = cx.single(settings.root_namespace)?;
            let in_scope = cx.memo(namespaces, &name.ns)?.in_scope;
            if in_scope && ours(&p.meta) { policy::scope_of(p, &root, lowering) } else { None }
        })
    };
    let scopes = selection::index_scopes(b, scopes);
    let peers_in_mesh = {
        let ours = ours.clone();
        b.derive("peer_authentications", facts.peers, move |cx, name, p: &PeerAuthentication| {
            (cx.memo(namespaces, &name.ns)?.in_scope && ours(&p.meta)).then(|| p.clone())
        })
    };
    let peers = peer::declare(b, peers_in_mesh, settings);

    let entries = {
        let ours = ours.clone();
        let in_mesh =
            b.derive("service_entries", facts.service_entries, move |cx, name, e: &ServiceEntry| {
                (cx.memo(namespaces, &name.ns)?.in_scope && ours(&e.meta)).then(|| e.clone())
            });
        service_entry::declare(b, in_mesh, facts.namespaces, namespaces, settings, binder, services, options)
    };
    let selected_services = selection::declare_services(b, services, entries);
    let selected_policies = selection::declare_policies(b, Policies { scopes, peers }, settings);
    let inputs = Inputs {
        cluster: shared(&options.cluster_id),
        pods: facts.pods,
        nodes: facts.nodes,
        slices: facts.slices,
        entries,
        workload_entries: facts.workload_entries,
        is_ours: Arc::new(ours),
        namespaces,
        settings,
        services,
        networks,
        binder,
        passes,
        guards,
        unbound,
        requires_waypoints: options.require_waypoints,
        selected_services,
        entries_select_pods: options.entries_select_pods,
        services_select_entries: options.services_select_entries,
        multi_network: options.multi_network,
        selected_policies,
    };
    let workloads = workload::declare(b, inputs);
    let guards = guards.declare_policies(b, binder, settings);
    let unbound = unbound.declare_rows(b);
    let horizon = options.multi_network.then(|| {
        let global = scope::declare(b, facts.services, facts.namespaces, namespaces, settings, options);
        split_horizon::declare(b, workloads.entries, global, networks, settings)
    });
    let service_rows =
        service::declare_rows(b, facts.services, namespaces, settings, binder, horizon, options);
    let statuses = condition::declare(
        b,
        condition::Inputs {
            services: facts.services,
            workload_entries: facts.workload_entries,
            policies: facts.policies,
            classes: facts.classes,
            service_views: services.views,
            service_rows,
            hostnames: services.by_hostname,
            entries,
            policy_rows: policies,
            namespaces,
            settings,
            binder,
            guards,
            entry_workloads: workloads.entries,
        },
        options,
    );
    let sinks = Sinks {
        services: service_rows,
        entry_services: entries.rows,
        service_entries: entries.entries,
        entry_visibility: entries.seen,
        address_requests: entries.address_requests,
        winners: entries.winners,
        pods: workloads.pods,
        endpoints: workloads.endpoints,
        entries: workloads.entries,
        inline: workloads.inline,
        networks: networks.rows,
        horizon,
        policies,
        peer_ports: peers.ports,
        peer_strict: peers.strict,
        passes: passes.map(|p| p.policies),
        guards,
        unbound,
        statuses,
        peers: peers_in_mesh,
        root_namespace: settings.root_namespace,
        root_left_out: settings.root_left_out,
    };
    b.sink(facts.rejected);
    b.sink(sinks.address_requests);
    b.sink(statuses.services);
    b.sink(statuses.entries);
    b.sink(statuses.workload_entries);
    b.sink(statuses.policies);
    b.sink(sinks.services);
    b.sink(sinks.entry_services);
    b.sink(sinks.entries);
    b.sink(sinks.inline);
    b.sink(sinks.pods);
    b.sink(sinks.endpoints);
    b.sink(sinks.networks);
    if let Some(horizon) = sinks.horizon {
        b.sink(horizon.summaries);
    }
    b.sink(sinks.policies);
    b.sink(sinks.peer_ports);
    b.sink(sinks.peer_strict);
    if let Some(passes) = sinks.passes {
        b.sink(passes);
    }
    b.sink(guards.policies);
    (std::mem::take(b).build(), facts, sinks)
}

/// Without a revision of our own, or a label on the object, everything is ours.
pub(crate) fn is_ours(revision: &str, meta: &Meta) -> bool {
    revision.is_empty() || meta.labels.get("istio.io/rev").is_none_or(|r| r == revision)
}
