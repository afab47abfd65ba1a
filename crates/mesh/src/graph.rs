//! The wiring, and nothing else.

use engine::{Builder, Cx, Graph, Memo, Table};
use model::facts::{
    AccessLog, AuthorizationPolicy, DefaultProviders, GatewayTopology, KeySource, LocalitySetting, Meta,
    PathNormalization, PeerAuthentication, ServiceEntry, TracingDefaults,
};
use model::{Diagnostic, Kind, Name, Ns, Str, shared};
use output::{Outputs, Resource};
use proto::ResourceType;
use std::sync::Arc;
use std::time::Duration;

use crate::address::AddressRequest;
use crate::destination::{self, Destinations};
use crate::enforcement::Enforcements;
use crate::extension::ExtensionRules;
use crate::input::Inputs;
use crate::namespace::LeftOutPods;
use crate::policy::{
    Policies, PolicyRow, Resolved, TokenInputs, Tokens, WaypointAction, WaypointPolicy, WaypointTokens,
};
use crate::revision::{self, NamespaceRevisions, Ownership};
use crate::service::EntryHosts;
use crate::settings::{self, Settings};
use crate::telemetry::{ResolvedSink, TelemetryRules};
use crate::waypoint::{self, BehindWaypoints, Binder, ImplicitAllowPolicies, UnboundWorkloads};
use crate::{
    Options, authorizer, extension, identity, namespace, network, policy, rank, service, split_horizon,
    status, telemetry, workload,
};

/// The tables of the mesh that others read.
#[derive(Clone, Copy)]
pub struct Tables {
    /// What exists, by kind.
    pub inputs: Inputs,
    /// Whether a namespace takes part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    /// The revisions that namespaces name.
    pub namespace_revisions: NamespaceRevisions,
    /// The namespace whose objects are for all others.
    pub root_namespace: Table<(), Ns>,
    /// The network of the cluster; empty where it has none.
    pub network: Table<(), Str>,
    /// The host that proxies are told to find their control plane at; empty where none is set.
    pub discovery_host: Table<(), Str>,
    /// What identity depends on.
    pub identity: identity::Tables,
    /// Which ServiceEntry a hostname means.
    pub entry_hosts: EntryHosts,
    /// What each ServiceEntry that takes part has to do with automatic addresses.
    pub address_requests: Table<Name, AddressRequest>,
    /// What became of the waypoints of services.
    pub waypoint_bindings: status::WaypointBindings,
    /// Policies that waypoints enforce; none where they are not configured.
    pub waypoint_policies: Table<Name, WaypointPolicy>,
    /// Which tokens of requests waypoints take; none where they are not configured.
    pub waypoint_tokens: Table<Name, WaypointTokens>,
    /// Where keys for tokens are published that somebody needs, and how long to wait for each.
    pub wanted_keys: Table<KeySource, Duration>,
    /// How waypoints normalise the paths of requests.
    pub path_normalization: Table<(), PathNormalization>,
    /// What Envoys write of requests and streams; `None` for nothing.
    pub access_log: Table<(), Option<AccessLog>>,
    /// How many combinations of labels an Envoy counts by.
    pub metric_label_sets: u32,
    /// What each `WasmPlugin` and each `TrafficExtension` is.
    pub extensions: [Table<Name, ExtensionRules>; 2],
    /// What each `Telemetry` says.
    pub telemetries: Table<Name, TelemetryRules>,
    /// Who gets access logs, metrics and spans, by the names of providers.
    pub telemetry_sinks: Memo<Str, ResolvedSink>,
    /// Who gets them where no `Telemetry` says it, and how traces are made.
    pub telemetry_defaults: Table<(), (DefaultProviders, TracingDefaults)>,
    /// What is in front of gateways at the edge.
    pub gateway_topology: Table<(), GatewayTopology>,
    /// Which endpoints waypoints prefer by where they are, where nothing else says it.
    pub locality: Table<(), LocalitySetting>,
    /// What waypoints are told; none where they are not configured.
    pub destinations: Option<Destinations>,
}

impl Tables {
    /// Returns why the mesh cannot be served: settings that nothing stands in for are wrong, and there are
    /// no last good ones.
    pub fn unusable_settings(&self, graph: &Graph, options: &Options) -> Option<Diagnostic> {
        settings::unusable(graph, self.inputs, options)
    }
}

/// Declares the tables of the mesh and their outputs.
pub fn declare(b: &mut Builder, out: &mut Outputs, options: &Options) -> Tables {
    let revision = shared(&options.revision);
    let ours = move |meta: &Meta| is_ours(&revision, meta);
    let inputs = Inputs::declare(b, out);
    let settings = Settings::declare(b, out, inputs, options, ours.clone());
    let namespaces = namespace::declare(b, inputs.namespaces, settings, options);
    let traffic = waypoint::declare_traffic(b, inputs.gateways, inputs.gatewayclasses, namespaces);
    let namespace_revisions = revision::declare(b, inputs.namespaces);
    let waypoints = waypoint::declare(
        b,
        waypoint::Inputs {
            gateways: inputs.gateways,
            classes: inputs.gatewayclasses,
            traffic,
            settings,
            ownership: Ownership::new(namespace_revisions, options),
        },
        options,
    );
    let waypoint::Instances { accounts, families, located, leaving } =
        waypoint::declare_instances(b, waypoints, (inputs.pods, inputs.nodes), options);
    let binder = Binder { waypoints, traffic, accounts, namespaces: inputs.namespaces };
    let networks = network::declare(b, out, inputs.gateways, namespaces, settings, options);
    let implicit_allow =
        options.allow_waypoints.then(|| ImplicitAllowPolicies::declare(b, out, accounts, settings));
    let enforcements = Enforcements::declare(b);
    let unbound = UnboundWorkloads::declare(b);
    let left_out = LeftOutPods::declare(b);
    let services = service::declare(b, inputs.services, namespaces, options);

    let lowering = policy::Options {
        dry_run_enabled: options.dry_run_policies,
        configures_waypoints: options.configures_waypoints,
    };
    let policies = {
        let ours = ours.clone();
        b.derive(
            "authorization_policies",
            inputs.authorizationpolicies,
            move |cx, name, p: &AuthorizationPolicy| {
                let root = cx.single(settings.root_namespace)?;
                let in_scope = cx.memo(namespaces, &name.ns)?.in_scope;
                let trust = cx.single(settings.trust)?;
                let normalization = *cx.single(settings.path_normalization)?;
                let at_waypoints = || policy::at_waypoints(p, &root, &trust, normalization);
                (in_scope && ours(&p.meta)).then(|| {
                    let scope = policy::scope_of(p, &root, lowering);
                    PolicyRow::new(p, policy::lower(p, &root, &trust, lowering), scope)
                        .and_at(lowering.configures_waypoints.then(at_waypoints).flatten())
                })
            },
        )
    };
    out.resources(b, policies, ResourceType::Authorization, rank::AUTHORIZATION_POLICY, |name, row| {
        Some(Resource::new(name.to_string(), row.encoded.as_ref()?).needs(row.needs))
    });
    out.diagnostics(b, "policy_findings", policies, |_, row| row.diagnostics.clone());
    let tokens = {
        let ours = ours.clone();
        let inputs = TokenInputs {
            policies: inputs.requestauthentications,
            keys: inputs.keys,
            root_namespace: settings.root_namespace,
            configures_waypoints: options.configures_waypoints,
            in_scope: move |cx: &Cx<'_>, meta: &Meta| {
                cx.memo(namespaces, &meta.name.ns).is_some_and(|view| view.in_scope) && ours(meta)
            },
        };
        Tokens::declare(b, out, inputs)
    };
    // Apart from the rules: an edit of those concerns no workload.
    let scopes = b.derive("policy_scopes", policies, |_, _, row| row.scope.clone());
    let scopes = policy::index_scopes(b, scopes);
    let peers_in_mesh = {
        let ours = ours.clone();
        b.derive(
            "peer_authentications",
            inputs.peerauthentications,
            move |cx, name, p: &PeerAuthentication| {
                (cx.memo(namespaces, &name.ns)?.in_scope && ours(&p.meta)).then(|| p.clone())
            },
        )
    };
    let peers = policy::declare_peers(b, out, peers_in_mesh, settings);

    let entries = {
        let ours = ours.clone();
        let in_mesh =
            b.derive("service_entries", inputs.serviceentries, move |cx, name, e: &ServiceEntry| {
                (cx.memo(namespaces, &name.ns)?.in_scope && ours(&e.meta)).then(|| e.clone())
            });
        service::declare_entries(
            b,
            out,
            in_mesh,
            inputs.namespaces,
            namespaces,
            settings,
            binder,
            services,
            options,
        )
    };
    let directory = authorizer::Directory { services: inputs.services, views: services, entries };
    let asked =
        authorizer::declare(b, authorizer::Sources { providers: settings.extension_providers, directory });
    let telemetries = {
        let ours = ours.clone();
        telemetry::declare(b, inputs.telemetries, settings.root_namespace, move |cx, meta| {
            cx.memo(namespaces, &meta.name.ns).is_some_and(|view| view.in_scope) && ours(meta)
        })
    };
    let plugins = extension::Names {
        rules: "wasm_plugins",
        faults: "wasm_plugin_faults",
        findings: "wasm_plugin_findings",
    };
    let traffic_extensions = extension::Names {
        rules: "traffic_extensions",
        faults: "traffic_extension_faults",
        findings: "traffic_extension_findings",
    };
    let extensions = [
        (Kind::WasmPlugin, inputs.wasmplugins, plugins),
        (Kind::TrafficExtension, inputs.trafficextensions, traffic_extensions),
    ];
    let extensions = extensions.map(|of| {
        let ours = ours.clone();
        extension::declare(b, out, of, (settings.root_namespace, directory), move |cx, meta| {
            cx.memo(namespaces, &meta.name.ns).is_some_and(|view| view.in_scope) && ours(meta)
        })
    });
    let telemetry_sinks = telemetry::declare_sinks(b, settings.telemetry_providers, directory);
    let telemetry_findings = telemetry::declare_findings(
        b,
        out,
        (inputs.telemetries, telemetries),
        telemetry_sinks,
        options.configures_waypoints,
    );
    let asks = |_: &Name, row: &PolicyRow| row.provider.is_some();
    let answers = b.derive_where("asked_by_policies", policies, asks, move |cx, _, row| {
        cx.memo(asked, row.provider.as_ref()?).map(|of| (*of).clone())
    });
    let is_unanswered = |_: &Name, answer: &Resolved| answer.is_err();
    out.diagnostics_where(b, "provider_findings", answers, is_unanswered, move |cx, name, answer| {
        let provider = cx.get(policies, name).and_then(|row| row.provider.clone()).unwrap_or_default();
        answer.as_ref().err().map(|why| policy::unanswered(name, &provider, why).1)
    });
    let selected_services = service::declare_services(b, services, entries);
    let selected_policies = policy::declare_policies(b, Policies { scopes, peers }, settings);
    let behind = BehindWaypoints::declare(b, selected_policies);
    let of_workloads = workload::Inputs {
        cluster: shared(&options.cluster_id),
        pods: inputs.pods,
        nodes: inputs.nodes,
        slices: inputs.endpointslices,
        entries,
        workload_entries: inputs.workloadentries,
        is_ours: Arc::new(ours),
        namespaces,
        settings,
        services,
        networks,
        binder,
        leaving,
        implicit_allow,
        behind,
        enforcements,
        unbound,
        left_out,
        requires_waypoints: options.require_waypoints,
        selected_services,
        entries_select_pods: options.entries_select_pods,
        services_select_entries: options.services_select_entries,
        multi_network: options.multi_network,
    };
    let workloads = workload::declare(b, out, of_workloads);
    let enforcements = enforcements.declare_policies(b, out, binder, settings);
    unbound.declare_rows(b, out);
    left_out.declare_findings(b, out, inputs, namespaces);
    let horizon = options.multi_network.then(|| {
        let global = split_horizon::declare_global(
            b,
            inputs.services,
            inputs.namespaces,
            namespaces,
            settings,
            options,
        );
        split_horizon::declare(b, out, workloads, global, networks, settings)
    });
    let accounts_elsewhere = move |cx: &Cx<'_>, service: &Name| {
        horizon.map(|h| h.subject_alt_names(cx, service)).unwrap_or_default()
    };
    let service_rows = service::declare_rows(
        b,
        out,
        inputs.services,
        namespaces,
        settings,
        binder,
        accounts_elsewhere,
        options,
    );
    status::declare(
        b,
        out,
        status::Inputs {
            pods: inputs.pods,
            services: inputs.services,
            service_entries: inputs.serviceentries,
            workload_entries: inputs.workloadentries,
            policies: inputs.authorizationpolicies,
            gateways: inputs.gateways,
            classes: inputs.gatewayclasses,
            service_views: services.views,
            service_rows,
            hostnames: services.by_hostname,
            entries,
            policy_rows: policies,
            answers,
            request_authentications: inputs.requestauthentications,
            token_rows: tokens.rows,
            telemetries: inputs.telemetries,
            telemetry_findings,
            extensions,
            namespaces,
            settings,
            binder,
            enforcements,
            entry_workloads: workloads.entries,
            behind,
            configures_waypoints: options.configures_waypoints,
        },
        options,
    );
    let reported = status::Reported {
        inputs,
        services,
        service_rows,
        entries,
        pods: workloads.pods,
        entry_workloads: workloads.entries,
    };
    status::declare_diagnostics(b, out, enforcements, reported, shared(&options.cluster_id));
    let identity = identity::declare(b, inputs, namespaces, settings, located);
    let in_scope = b.memo("namespace_in_scope", move |cx, ns: &Ns| Some(cx.memo(namespaces, ns)?.in_scope));
    let waypoint_bindings = status::WaypointBindings { binder, services: service_rows, hosts: entries.rows };
    let is_there = |_: &Name, row: &PolicyRow| row.at_waypoints.is_some();
    let waypoint_policies = b.derive_where("waypoint_policies", policies, is_there, move |cx, name, row| {
        let mut policy = row.at_waypoints.clone()?;
        if let WaypointAction::Ask(asked) = &mut policy.action {
            *asked = cx.get(answers, name).and_then(|answer| answer.as_ref().as_ref().ok().cloned());
        }
        Some(policy)
    });
    let waypoint_tokens = b.derive("waypoint_tokens", tokens.rows, |_, _, row| row.at_waypoints.clone());
    let destinations = options.configures_waypoints.then(|| {
        let (services, pods) = (inputs.services, inputs.pods);
        if !options.is_one_machine {
            crate::own_address::declare_findings(b, out, inputs.serviceentries, inputs.workloadentries);
        }
        let of = destination::Inputs {
            services,
            pods,
            service_rows,
            entries,
            workloads,
            summaries: horizon.map(|horizon| horizon.summaries),
            global: horizon.map(|horizon| horizon.global),
            networks,
            network: settings.network,
            binder,
            families,
            located,
            leaving,
            is_one_machine: options.is_one_machine,
        };
        Destinations::declare(b, of)
    });
    Tables {
        inputs,
        in_scope,
        namespace_revisions,
        root_namespace: settings.root_namespace,
        network: settings.network,
        discovery_host: settings.discovery_host,
        identity,
        entry_hosts: entries.hosts,
        address_requests: entries.address_requests,
        waypoint_bindings,
        destinations,
        waypoint_policies,
        waypoint_tokens,
        wanted_keys: tokens.wanted,
        path_normalization: settings.path_normalization,
        access_log: settings.access_log,
        metric_label_sets: options.metric_label_sets,
        extensions: extensions.map(|of| of.rules),
        telemetries,
        telemetry_sinks,
        telemetry_defaults: settings.telemetry_defaults,
        gateway_topology: settings.gateway_topology,
        locality: settings.locality,
    }
}

/// Tells whether an object is of the revision that is served: without one, or without a label on the
/// object, everything is.
pub fn is_ours(revision: &str, meta: &Meta) -> bool {
    revision.is_empty() || meta.labels.get("istio.io/rev").is_none_or(|r| r == revision)
}
