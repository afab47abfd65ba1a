//! Which profile holds where.
//!
//! ```text
//! Telemetry of the root namespace, of the gateway's namespace, of its class, of the gateway ──▶ main_internal
//!     and of the namespace of a service, or of the service ──▶ main_internal|PROFILE, for those services alone
//! ```
//!
//! Routes and policies are found by scope, so that all ports of requests share one listener. What is logged, counted and
//! traced is in the connection manager itself, and has no settings by route. So services for which something of their own
//! holds have a listener of their own, which CONNECTs to them lead to; those for which the same holds share one.

use engine::{Builder, Cx, Memo, Table};
use gateway::Backend;
use mesh::extension::ExtensionRules;
use mesh::policy::PolicyTarget;
use mesh::telemetry::{ResolvedSink, SinkAt, TelemetryRules, effective};
use model::facts::{AccessLog, DefaultProviders, ExtensionCode, Sink, TracingDefaults, TrafficMode};
use model::{Name, Ns, Str};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::attached::ByTarget;
use crate::extension::Running;
use crate::key::{ModuleKey, PortKey};
use crate::port::Port;
use crate::profile::{Profile, ProfileKey};
use crate::route::Sources as Routes;
use crate::settings::Settings;
use crate::telemetry::{Log, Reporting, Tracer};

/// What profiles are made from.
#[derive(Clone, Copy)]
struct Sources {
    telemetries: ByTarget<TelemetryRules>,
    extensions: [(ByTarget<ExtensionRules>, Table<Name, ExtensionRules>); 2],
    rules: Table<Name, TelemetryRules>,
    /// What holds for all that a gateway does, by name, from the least specific one.
    of_gateways: Memo<Name, Vec<Name>>,
    /// Extensions for all that a gateway does, or for some of its ports.
    extensions_of_gateways: Memo<Name, Vec<(usize, Name)>>,
    sinks: Memo<Str, ResolvedSink>,
    defaults: Table<(), (DefaultProviders, TracingDefaults)>,
    root_namespace: Table<(), Ns>,
    settings: Settings,
    routes: Routes,
}

/// Profiles, by what they are of.
#[derive(Clone, Copy)]
pub(crate) struct Profiles {
    sources: Sources,
    /// Whoever leads to a listener of its own reads it here.
    wanted: Memo<ProfileKey, ()>,
    /// Has those of which spans are made: who asks is not concerned with what else there is.
    traced: Memo<(ProfileKey, TrafficMode), ()>,
    /// Where modules are fetched: whoever runs one reads it here.
    modules: Memo<(Name, ModuleKey), ()>,
}

impl Profiles {
    pub fn declare(b: &mut Builder, mesh: &mesh::Tables, settings: Settings, routes: Routes) -> Self {
        let gateways = mesh.inputs.gateways;
        let telemetries = ByTarget::declare(b, mesh.telemetries, |rules| &rules.targets);
        let root_namespace = mesh.root_namespace;
        let of_gateways = b.memo("gateway_telemetries", move |cx, gateway: &Name| {
            let root = cx.single(root_namespace).map(|root| (*root).clone()).unwrap_or_default();
            let class = cx.get(gateways, gateway).map(|of| PolicyTarget::Class(of.class.clone()));
            let of_namespace = (gateway.ns != root).then(|| PolicyTarget::Namespace(gateway.ns.clone()));
            let all = [
                Some(PolicyTarget::Namespace(root)),
                of_namespace,
                class,
                Some(PolicyTarget::Gateway(gateway.clone())),
            ];
            let all = all.into_iter().flatten();
            Some(all.filter_map(|target| oldest(telemetries, cx, &target)).collect())
        });
        let extensions = mesh.extensions.map(|rules| (ByTarget::declare(b, rules, |of| &of.targets), rules));
        let extensions_of_gateways = b.memo("gateway_extensions", move |cx, gateway: &Name| {
            let root = cx.single(root_namespace).map(|root| (*root).clone()).unwrap_or_default();
            let class = cx.get(gateways, gateway).map(|of| PolicyTarget::Class(of.class.clone()));
            let all = [
                Some(PolicyTarget::Namespace(root)),
                Some(PolicyTarget::Namespace(gateway.ns.clone())),
                class,
                Some(PolicyTarget::Gateway(gateway.clone())),
            ];
            let mut found: Vec<(usize, Name)> = Vec::new();
            for target in all.into_iter().flatten() {
                for (kind, (by_target, _)) in extensions.into_iter().enumerate() {
                    found.extend(by_target.of(cx, &target).into_iter().map(|(name, _)| (kind, name)));
                }
            }
            found.sort();
            found.dedup();
            Some(found)
        });
        let sources = Sources {
            telemetries,
            extensions,
            extensions_of_gateways,
            rules: mesh.telemetries,
            of_gateways,
            sinks: mesh.telemetry_sinks,
            defaults: mesh.telemetry_defaults,
            root_namespace,
            settings,
            routes,
        };
        Self {
            sources,
            wanted: b.memo("wanted_profiles", |_, _: &ProfileKey| Some(())),
            modules: b.memo("wanted_modules", |_, _: &(Name, ModuleKey)| Some(())),
            traced: b.memo("traced_profiles", move |cx, (key, side): &(ProfileKey, TrafficMode)| {
                // Without clusters: who makes something of the answer asks for them.
                let sink = |name: &Str| {
                    sources.sink_by(cx, name, |of, port| {
                        let is_there = sources.routes.has_provider(cx, &key.gateway, &backend(of, port)?);
                        is_there.then(String::new)
                    })
                };
                sources.with_sinks(cx, key, *side, sink).reporting.tracer.map(|_| ())
            }),
        }
    }

    /// Tells whether spans are made of requests by a profile.
    pub fn is_traced(self, cx: &Cx<'_>, key: &ProfileKey, side: TrafficMode) -> bool {
        cx.memo(self.traced, &(key.clone(), side)).is_some()
    }

    /// Tells whether a gateway at the edge makes spans.
    pub fn is_gateway_traced(self, cx: &Cx<'_>, gateway: &Name) -> bool {
        self.is_traced(cx, &ProfileKey::of_gateway(gateway), TrafficMode::Client)
    }

    /// Declares where modules are fetched, by gateway; to be called after all tables of listeners.
    pub fn declare_modules(self, b: &mut Builder) -> Table<(Name, ModuleKey), ()> {
        b.in_use("modules_in_use", self.modules)
    }

    /// Declares the profiles of listeners of their own; to be called after all tables that lead to one.
    pub fn declare_wanted(self, b: &mut Builder) -> Table<ProfileKey, ()> {
        b.in_use("profiles_in_use", self.wanted)
    }

    /// Returns the profile of a port of a service at its waypoint.
    pub fn of_port(self, cx: &Cx<'_>, key: &PortKey, port: &Port) -> ProfileKey {
        let ns = &port.object.ns;
        let is_other =
            key.waypoint.ns != *ns && cx.single(self.sources.root_namespace).is_none_or(|root| *root != *ns);
        let all = [
            is_other.then(|| PolicyTarget::Namespace(ns.clone())),
            Some(PolicyTarget::Service(port.kind, port.object.clone())),
        ];
        let all = all.into_iter().flatten();
        let telemetries = all.filter_map(|target| oldest(self.sources.telemetries, cx, &target)).collect();
        let (side, at) = (TrafficMode::Server, Some(key.port));
        let sources = self.sources;
        let root = cx.single(sources.root_namespace).map(|root| (*root).clone()).unwrap_or_default();
        let of_gateway = cx.memo(sources.extensions_of_gateways, &key.waypoint);
        // Those that are for some ports alone are not in the listener of all.
        let of_gateway = of_gateway.iter().flat_map(|all| all.iter()).cloned();
        let of_gateway =
            of_gateway.filter(|of| sources.runs(cx, of, side, at) && !sources.runs(cx, of, side, None));
        let service = PolicyTarget::Service(port.kind, port.object.clone());
        let may_run = *ns == key.waypoint.ns || *ns == root;
        let of_service = sources.extensions.into_iter().enumerate().filter(|_| may_run);
        let of_service = of_service.flat_map(|(kind, (by_target, _))| {
            by_target.of(cx, &service).into_iter().map(move |(name, _)| (kind, name))
        });
        let of_service = of_service.filter(|of| sources.runs(cx, of, side, at));
        let mut extensions: Vec<(usize, Name)> = of_gateway.chain(of_service).collect();
        extensions.sort();
        extensions.dedup();
        ProfileKey { gateway: key.waypoint.clone(), telemetries, extensions }
    }

    /// Returns the listener of requests to a port, which is there from then on.
    pub fn listener(self, cx: &Cx<'_>, key: &PortKey, port: &Port) -> String {
        let profile = self.of_port(cx, key, port);
        if !profile.is_general() {
            cx.memo(self.wanted, &profile);
        }
        profile.listener()
    }

    /// Returns what holds for all that a gateway does.
    pub fn of_gateway(self, cx: &Cx<'_>, gateway: &Name, side: TrafficMode) -> Profile {
        self.profile(cx, &ProfileKey::of_gateway(gateway), side)
    }

    /// Returns what holds at a gateway that sends nothing to services: it writes its logs, and no more.
    pub fn without_services(self, cx: &Cx<'_>, gateway: &Name) -> Profile {
        let file = |name: &Str| {
            let resolved: Arc<ResolvedSink> = cx.memo(self.sources.sinks, name)?;
            let at = resolved.as_ref().as_ref().ok().filter(|at| at.service.is_none())?;
            Some((Arc::clone(at), None))
        };
        self.sources.with_sinks(cx, &ProfileKey::of_gateway(gateway), TrafficMode::Server, file)
    }

    /// Tells whether what holds for all that a gateway does is the same at every one that nothing else is said of.
    pub fn is_everywhere(self, cx: &Cx<'_>, gateway: &Name) -> bool {
        let root = cx.single(self.sources.root_namespace);
        let of = cx.memo(self.sources.of_gateways, gateway);
        let is_of_root = |name: &Name| root.as_ref().is_some_and(|root| name.ns == **root);
        let extensions = cx.memo(self.sources.extensions_of_gateways, gateway);
        extensions.is_none_or(|all| all.is_empty())
            && gateway.ns != *root.clone().unwrap_or_default()
            && of.as_ref().is_none_or(|of| of.len() <= 1 && of.iter().all(is_of_root))
            && self
                .profile(cx, &ProfileKey::of_gateway(gateway), TrafficMode::Server)
                .reporting
                .has_no_service()
    }

    /// Returns what listeners of a profile have. The modules that they run are fetched from then on.
    pub fn profile(self, cx: &Cx<'_>, key: &ProfileKey, side: TrafficMode) -> Profile {
        self.at_port(cx, key, side, None)
    }

    /// As [`profile`](Self::profile), of the listener of one port.
    pub fn at_port(self, cx: &Cx<'_>, key: &ProfileKey, side: TrafficMode, port: Option<u16>) -> Profile {
        let mut profile = self.sources.profile(cx, key, side);
        profile.extensions = self.sources.running(cx, key, side, port);
        for of in &profile.extensions {
            if let Ok(ExtensionCode::Wasm(module)) = &of.rules.code {
                cx.memo(self.modules, &(key.gateway.clone(), ModuleKey::of(module)));
            }
        }
        profile
    }

    /// Returns what holds for all that a gateway does at a port.
    pub fn of_gateway_at(self, cx: &Cx<'_>, gateway: &Name, side: TrafficMode, port: u16) -> Profile {
        self.at_port(cx, &ProfileKey::of_gateway(gateway), side, Some(port))
    }
}

impl Sources {
    /// Returns an extension.
    fn extension(self, cx: &Cx<'_>, (kind, name): &(usize, Name)) -> Option<Arc<ExtensionRules>> {
        let (_, table) = self.extensions.get(*kind)?;
        cx.get(*table, name)
    }

    /// Tells whether an extension is for a port on a side of traffic.
    fn runs(self, cx: &Cx<'_>, of: &(usize, Name), side: TrafficMode, port: Option<u16>) -> bool {
        self.extension(cx, of).is_some_and(|rules| {
            rules.matches.is_empty() || rules.matches.iter().any(|of| of.includes(side, port))
        })
    }

    /// Returns the extensions of a profile, in order.
    fn running(self, cx: &Cx<'_>, key: &ProfileKey, side: TrafficMode, port: Option<u16>) -> Vec<Running> {
        let of_gateway = cx.memo(self.extensions_of_gateways, &key.gateway);
        let of_gateway = of_gateway.iter().flat_map(|all| all.iter());
        let of_gateway = of_gateway.filter(|of| self.runs(cx, of, side, port));
        let all: BTreeSet<&(usize, Name)> = of_gateway.chain(&key.extensions).collect();
        let rules = all.into_iter().filter_map(|of| {
            let rules = self.extension(cx, of)?;
            let processor = match &rules.code {
                Ok(ExtensionCode::Processor(of)) => self.provider(cx, &key.gateway, &of.service, of.port),
                _ => None,
            };
            Some(Running { name: of.1.clone(), rules, processor })
        });
        let mut running: Vec<Running> = rules.collect();
        running.sort_by_key(|of| {
            (of.rules.phase, Reverse(of.rules.priority), of.rules.created, of.name.clone(), of.rules.kind)
        });
        running
    }

    fn profile(self, cx: &Cx<'_>, key: &ProfileKey, side: TrafficMode) -> Profile {
        let sink = |name: &Str| self.sink(cx, &key.gateway, name);
        self.with_sinks(cx, key, side, sink)
    }

    /// Returns a profile with the providers that `sink` finds, and the clusters of their services.
    fn with_sinks(
        self,
        cx: &Cx<'_>,
        key: &ProfileKey,
        side: TrafficMode,
        sink: impl Fn(&Str) -> Option<(Arc<SinkAt>, Option<String>)>,
    ) -> Profile {
        let of_gateway = cx.memo(self.of_gateways, &key.gateway);
        let levels = of_gateway.iter().flat_map(|all| all.iter()).chain(&key.telemetries);
        let levels: Vec<_> = levels.filter_map(|name| cx.get(self.rules, name)).collect();
        let levels: Vec<&TelemetryRules> = levels.iter().map(|of| &**of).collect();
        let defaults = cx.single(self.defaults).map(|of| (*of).clone()).unwrap_or_default();
        let all = effective(&levels, &defaults.0, defaults.1, side);
        let logs = match all.logs {
            None => self.settings.access_log(cx).map(Log::of_settings).into_iter().collect(),
            Some(logs) => {
                let log = |of: mesh::telemetry::LogTo| {
                    let (at, cluster) = sink(&of.provider)?;
                    Some(Log { at, cluster, filter: of.filter })
                };
                logs.into_iter().filter_map(log).collect()
            }
        };
        let tracer = all.tracing.and_then(|of| {
            let (at, cluster) = sink(&of.provider)?;
            let is_tracer = matches!(at.sink, Sink::OpenTelemetry(_) | Sink::Zipkin(_));
            let mesh_id = self.settings.trust_domain(cx);
            is_tracer.then(|| Tracer {
                at,
                cluster: cluster.unwrap_or_default(),
                of,
                gateway: key.gateway.clone(),
                mesh_id,
            })
        });
        let label_sets = self.settings.label_sets;
        let reporting = Reporting { logs, metrics: all.metrics, label_sets, tracer };
        Profile { reporting, extensions: Vec::new() }
    }

    /// Returns a provider and the cluster by which a gateway sends to it; `None` where it cannot be used.
    fn sink(self, cx: &Cx<'_>, gateway: &Name, name: &Str) -> Option<(Arc<SinkAt>, Option<String>)> {
        self.sink_by(cx, name, |service, port| Some(self.provider(cx, gateway, service, port)?.0))
    }

    /// Returns a provider and the cluster that `cluster` has of its service and port.
    fn sink_by(
        self,
        cx: &Cx<'_>,
        name: &Str,
        cluster: impl Fn(&Str, u16) -> Option<String>,
    ) -> Option<(Arc<SinkAt>, Option<String>)> {
        let resolved: Arc<ResolvedSink> = cx.memo(self.sinks, name)?;
        let at = resolved.as_ref().as_ref().ok()?;
        let Some((service, port)) = &at.service else { return Some((Arc::clone(at), None)) };
        Some((Arc::clone(at), Some(cluster(service, *port)?)))
    }

    /// Returns the cluster by which a gateway reaches a service, `NAMESPACE/HOSTNAME`, and what the service is called
    /// there; `None` where it cannot.
    fn provider(self, cx: &Cx<'_>, gateway: &Name, service: &Str, port: u16) -> Option<(String, String)> {
        let to = backend(service, port)?;
        let cluster = self.routes.provider(cx, gateway, &to)?;
        Some((cluster, format!("{}:{port}", to.hostname)))
    }
}

/// Returns a port of a service, `NAMESPACE/HOSTNAME`.
fn backend(service: &Str, port: u16) -> Option<Backend> {
    let (ns, hostname) = service.split_once('/')?;
    Some(Backend { ns: Ns::own(ns), hostname: hostname.into(), port: Some(port), subset: Str::new() })
}

/// Returns the oldest that is for a target.
fn oldest(all: ByTarget<TelemetryRules>, cx: &Cx<'_>, target: &PolicyTarget) -> Option<Name> {
    let found = all.of(cx, target).into_iter();
    found.max_by_key(|(name, of)| Reverse((of.created, name.clone()))).map(|(name, _)| name)
}

impl Log {
    fn of_settings(of: AccessLog) -> Self {
        let at = Arc::new(SinkAt { sink: Sink::File(of, false), service: None });
        Self { at, cluster: None, filter: None }
    }
}
