//! Status conditions, from the same rows as what is sent.
//!
//! Types, reasons and messages are those of istiod, which people and tools read.

mod attachment;
mod bindings;
mod cut_off;
mod enforcement;
mod ignored;
mod programming;

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{
    AuthorizationPolicy, Gateway, GatewayClass, Meta, Pod, Protocol, RequestAuthentication, Service,
    ServiceEntry, ServiceEntryAddress, Telemetry, Visibility, WorkloadEntry,
};
use model::{Kind, Name, Ns, ObjectRef, Str, shared};
use output::{Condition, Conditions, Outputs};
use std::sync::Arc;

use self::attachment::{Targets, WAYPOINT_ACCEPTED};
use crate::enforcement::EnforcementTables;
use crate::extension::Extensions;
use crate::labels::INGRESS_LABEL;
use crate::namespace::NamespaceView;
use crate::policy::{Fault, PolicyRow, Resolved, TokenRow, token_targets, unanswered};
use crate::service::{EndpointFault, Entries, HostKey, ServiceRow, ServiceView, endpoint_faults, ingress};
use crate::settings::Settings;
use crate::telemetry::Findings;
use crate::waypoint::{BehindWaypoints, BindError, Binder};
use crate::workload::EntryWorkload;
use crate::{Options, key};

pub use bindings::WaypointBindings;
pub(crate) use enforcement::{Reported, declare_diagnostics};

const WAYPOINT_BOUND: &str = "istio.io/WaypointBound";
const WAYPOINT_MISSING: &str = "istio.io/WaypointMissing";
const VISIBILITY_APPLIED: &str = "istio.io/VisibilityApplied";
/// Of our own; absent while all of a ServiceEntry or WorkloadEntry is sent.
const ACCEPTED: &str = "pilothouse.io/Accepted";
const ZTUNNEL_ACCEPTED: &str = "ZtunnelAccepted";
const CONNECT_STRATEGY: &str = "istio.io/connect-strategy";

/// What is said of a policy about tokens that no waypoint enforces.
const NO_TARGET: &str =
    "nothing enforces it: ztunnels see no requests, and waypoints take policies with targetRefs";

/// An object without any keeps a row: it tells the writer that former ones must go.
fn all(conditions: Vec<Condition>) -> Option<Conditions> {
    Some(Conditions { conditions, ..Conditions::default() })
}

/// `Accepted` of an object of which not all is sent.
fn unaccepted(reason: &'static str, message: String) -> Condition {
    Condition { kind: ACCEPTED, status: false, reason, message }
}

/// What conditions are made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub pods: Table<Name, Pod>,
    pub services: Table<Name, Service>,
    pub service_entries: Table<Name, ServiceEntry>,
    pub workload_entries: Table<Name, WorkloadEntry>,
    pub policies: Table<Name, AuthorizationPolicy>,
    pub gateways: Table<Name, Gateway>,
    pub classes: Table<Name, GatewayClass>,
    pub service_views: Table<Name, ServiceView>,
    pub service_rows: Table<Name, ServiceRow>,
    pub hostnames: Index<Str, Name, ServiceView>,
    pub entries: Entries,
    pub policy_rows: Table<Name, PolicyRow>,
    /// Whom waypoints ask for a policy.
    pub answers: Table<Name, Resolved>,
    pub request_authentications: Table<Name, RequestAuthentication>,
    pub token_rows: Table<Name, TokenRow>,
    pub telemetries: Table<Name, Telemetry>,
    pub telemetry_findings: Table<Name, Findings>,
    pub extensions: [Extensions; 2],
    pub namespaces: Memo<Ns, NamespaceView>,
    pub settings: Settings,
    pub binder: Binder,
    pub enforcements: EnforcementTables,
    /// WorkloadEntries as they are sent, by resource name.
    pub entry_workloads: Table<Str, EntryWorkload>,
    /// What workloads say of the waypoints before them.
    pub behind: BehindWaypoints,
    /// Whether waypoints of our classes are programmed.
    pub configures_waypoints: bool,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: Inputs, options: &Options) {
    let Inputs { service_rows, entries, policy_rows, namespaces, .. } = inputs;
    let cluster = shared(&options.cluster_id);
    let services = b.derive("service_conditions", inputs.services, move |cx, name, service| {
        let row = cx.get(service_rows, name)?;
        let view = cx.memo(namespaces, &name.ns)?;
        let of = (&service.meta, &*view, row.canary.as_ref());
        let views = [cx.get(inputs.service_views, name)?];
        let has_datagrams = service.ports.iter().any(|port| port.protocol != Protocol::Tcp);
        let required = inputs.required(cx, &name.ns, &views, &row, has_datagrams);
        let why_not = programming::why_not(cx, &inputs.binder, &row.waypoint);
        all(bound(&row.waypoint, why_not, Some(of)).into_iter().chain(required).collect())
    });
    let entry_conditions = b.derive("entry_conditions", entries.entries, move |cx, name, entry| {
        all(inputs.entry(cx, name, entry))
    });
    let workload_entries =
        b.derive("workload_entry_conditions", inputs.workload_entries, move |cx, name, _| {
            let row = cx.get(inputs.entry_workloads, &Str::from(key::workload_entry_uid(&cluster, name)))?;
            if let Some(text) = row.invalid_address() {
                let message = format!(
                    "nothing of it is sent: address {text:?} is neither an IP address nor a hostname"
                );
                return all(vec![unaccepted("AddressInvalid", message)]);
            }
            let required = row.requirement.as_ref();
            let required = required
                .and_then(|of| enforcement::of_workload(cx, &inputs.binder, &name.ns, of, row.is_captured));
            let why_not = programming::why_not(cx, &inputs.binder, &row.waypoint);
            all(bound(&row.waypoint, why_not, None).into_iter().chain(required).collect())
        });
    let targets = Targets {
        services: inputs.services,
        service_rows,
        service_entries: inputs.service_entries,
        entries,
        gateways: inputs.gateways,
        classes: inputs.classes,
        settings: inputs.settings,
        binder: inputs.binder,
        configures_waypoints: inputs.configures_waypoints,
    };
    let has_targets = |_: &Name, policy: &AuthorizationPolicy| !policy.target_refs().is_empty();
    let attachments =
        b.derive_where("policy_attachments", inputs.policies, has_targets, move |cx, name, policy| {
            cx.get(policy_rows, name)?;
            let object = ObjectRef { kind: Kind::AuthorizationPolicy, name: name.clone() };
            targets.attachment(cx, &object, policy.target_refs())
        });
    let policies = b.derive("policy_conditions", inputs.policies, move |cx, name, policy| {
        let row = cx.get(policy_rows, name)?;
        let ztunnel = row.condition.as_ref().map(|c| Condition {
            kind: ZTUNNEL_ACCEPTED,
            status: c.status,
            reason: c.reason,
            message: c.message.clone(),
        });
        let unanswered = row.provider.as_ref().and_then(|provider| {
            let answer = cx.get(inputs.answers, name)?;
            Some(unanswered(name, provider, answer.as_ref().as_ref().err()?).0)
        });
        let fault = unanswered.as_ref().or(row.fault.as_ref());
        let has_targets = !policy.target_refs().is_empty();
        let attached = has_targets.then(|| cx.get(attachments, name)).flatten();
        let waypoint = attached.map(|attached| at_waypoints(&attached, fault));
        Some(Conditions {
            generation: policy.meta.generation,
            conditions: ztunnel.into_iter().chain(waypoint).collect(),
            ..Conditions::default()
        })
    });
    let token_attachments =
        b.derive("token_attachments", inputs.request_authentications, move |cx, name, policy| {
            cx.get(inputs.token_rows, name)?;
            let object = ObjectRef { kind: Kind::RequestAuthentication, name: name.clone() };
            targets.attachment(cx, &object, token_targets(policy))
        });
    let tokens = b.derive("token_conditions", inputs.request_authentications, move |cx, name, policy| {
        let row = cx.get(inputs.token_rows, name)?;
        let condition = match cx.get(token_attachments, name) {
            Some(attached) => at_waypoints(&attached, row.fault.as_ref()),
            None => unaccepted("NoTarget", NO_TARGET.to_owned()),
        };
        Some(Conditions {
            generation: policy.meta.generation,
            conditions: vec![condition],
            ..Conditions::default()
        })
    });
    let telemetry_attachments = b.derive("telemetry_attachments", inputs.telemetries, move |cx, name, of| {
        cx.get(inputs.telemetry_findings, name)?;
        let object = ObjectRef { kind: Kind::Telemetry, name: name.clone() };
        targets.attachment(cx, &object, &of.target_refs)
    });
    let telemetries = b.derive("telemetry_conditions", inputs.telemetries, move |cx, name, of| {
        let found = cx.get(inputs.telemetry_findings, name)?;
        let condition = match cx.get(telemetry_attachments, name) {
            Some(attached) => Some(at_waypoints(&attached, found.fault.as_ref())),
            None => found.fault.as_ref().map(|fault| Condition {
                kind: ACCEPTED,
                status: fault.status,
                reason: fault.reason,
                message: fault.message.clone(),
            }),
        };
        Some(Conditions {
            generation: of.meta.generation,
            conditions: condition.into_iter().collect(),
            ..Conditions::default()
        })
    });
    for extensions in inputs.extensions {
        declare_extensions(b, out, targets, extensions);
    }
    out.conditions(b, Kind::Service, services);
    out.conditions(b, Kind::ServiceEntry, entry_conditions);
    out.conditions(b, Kind::WorkloadEntry, workload_entries);
    out.conditions(b, Kind::AuthorizationPolicy, policies);
    out.conditions(b, Kind::RequestAuthentication, tokens);
    out.conditions(b, Kind::Telemetry, telemetries);
    programming::declare(b, out, inputs.binder, service_rows, entries.rows);
    // With these, waypoints are let through.
    if !options.allow_waypoints {
        cut_off::declare(b, out, policy_rows, inputs.behind, inputs.settings, inputs.binder);
    }
    ignored::declare(b, out, inputs.pods, namespaces);
    let tables = [
        ("target_findings", attachments, Kind::AuthorizationPolicy),
        ("token_target_findings", token_attachments, Kind::RequestAuthentication),
        ("telemetry_target_findings", telemetry_attachments, Kind::Telemetry),
    ];
    for (findings, table, kind) in tables {
        out.diagnostics(b, findings, table, move |name, attached| {
            attachment::unattached(ObjectRef { kind, name: name.clone() }, attached)
        });
    }
}

/// Declares the conditions of extensions of a kind, and what is told of their targets.
fn declare_extensions(b: &mut Builder, out: &mut Outputs, targets: Targets, of: Extensions) {
    let Extensions { kind, objects, rules, faults } = of;
    let (attachments, conditions, findings) = match kind {
        Kind::WasmPlugin => ("plugin_attachments", "plugin_conditions", "plugin_target_findings"),
        _ => ("extension_attachments", "extension_conditions", "extension_target_findings"),
    };
    let attachments = b.derive(attachments, objects, move |cx, name, of| {
        cx.get(rules, name)?;
        let object = ObjectRef { kind, name: name.clone() };
        let found = targets.attachment(cx, &object, &of.target_refs)?;
        Some(targets.elsewhere(cx, name, &of.target_refs).unwrap_or(found))
    });
    let conditions = b.derive(conditions, objects, move |cx, name, of| {
        cx.get(rules, name)?;
        let fault = cx.get(faults, name);
        let condition = match cx.get(attachments, name) {
            Some(attached) => Some(at_waypoints(&attached, fault.as_deref())),
            None => fault.as_ref().map(|fault| unaccepted(fault.reason, fault.message.clone())),
        };
        Some(Conditions {
            generation: of.meta.generation,
            conditions: condition.into_iter().collect(),
            ..Conditions::default()
        })
    });
    out.conditions(b, kind, conditions);
    out.diagnostics(b, findings, attachments, move |name, attached| {
        attachment::unattached(ObjectRef { kind, name: name.clone() }, attached)
    });
}

/// `WaypointAccepted` of a policy: where it is attached, and whether it is enforced there as written.
fn at_waypoints(attached: &Condition, fault: Option<&Fault>) -> Condition {
    let Some(fault) = fault.filter(|_| attached.status) else { return attached.clone() };
    Condition {
        kind: WAYPOINT_ACCEPTED,
        status: fault.status,
        reason: fault.reason,
        message: format!("{}; {}", attached.message, fault.message),
    }
}

/// `istio.io/WaypointBound`; nothing when no waypoint is named. `why_not` tells that the waypoint is not
/// programmed. A service also has its metadata, its namespace's view and what is wrong with its canary.
fn bound(
    binding: &Result<Option<Name>, BindError>,
    why_not: Option<String>,
    service: Option<(&Meta, &NamespaceView, Option<&BindError>)>,
) -> Option<Condition> {
    let condition =
        |status, reason, message| Some(Condition { kind: WAYPOINT_BOUND, status, reason, message });
    match binding {
        Ok(None) => None,
        Err(error) => {
            let (reason, message) = error.condition();
            condition(false, reason, message)
        }
        Ok(Some(waypoint)) => {
            // Put together at once: each service of a waypoint that moves has it made anew.
            let waypoint = waypoint.to_string();
            let mut message = vec!["Successfully attached to waypoint ", &waypoint];
            let unattached = service.and_then(|(.., canary)| canary).map(|error| error.condition().1);
            if let Some((meta, view, _)) = service {
                let is_set = meta.labels.get(INGRESS_LABEL).or(view.ingress_use_waypoint.as_ref()).is_some();
                if ingress(&meta.labels, view) {
                    message.push(". Ingress traffic will traverse the waypoint");
                } else if is_set {
                    message.push(
                        ". Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to true if desired.",
                    );
                }
            }
            if let Some(unattached) = &unattached {
                message.extend([". Canary waypoint not attached: ", unattached]);
            }
            if let Some(why_not) = &why_not {
                message.extend([". The waypoint ", why_not]);
            }
            condition(true, "WaypointAccepted", message.concat())
        }
    }
}

impl Inputs {
    fn entry(&self, cx: &Cx<'_>, name: &Name, entry: &ServiceEntry) -> Vec<Condition> {
        let Some(view) = cx.memo(self.namespaces, &name.ns) else { return Vec::new() };
        // Every host of an entry has the same waypoint: the first that it won stands for all.
        let (mut rows, mut views, mut won) = (Vec::new(), Vec::new(), Vec::new());
        for host in &entry.hosts {
            let key = HostKey { ns: name.ns.clone(), host: host.clone() };
            if let Some(row) = cx.get(self.entries.rows, &key).filter(|row| row.object == *name) {
                rows.push(row);
                won.push(host);
                views.extend(cx.get(self.entries.views, &key));
            }
        }
        let Some(seen) = cx.get(self.entries.seen, name).map(|v| *v) else { return Vec::new() };
        let mut conditions: Vec<Condition> = self.accepted(cx, name, entry, seen).into_iter().collect();
        let Some(row) = rows.first() else { return conditions };
        let why_not = programming::why_not(cx, &self.binder, &row.waypoint);
        conditions.extend(bound(&row.waypoint, why_not, Some((&entry.meta, &view, row.canary.as_ref()))));
        let is_unbound = !matches!(row.waypoint, Ok(Some(_)));
        let races =
            entry.meta.annotations.get(CONNECT_STRATEGY).is_some_and(|s| s == "RACE_FIRST_TCP_CONNECT");
        let missing = if !is_unbound {
            None
        } else if races {
            Some((
                "NoWaypointForRacingConnectStrategy",
                "ServiceEntry has a non-default connect strategy but no waypoint bound. A waypoint is required for \
                 connect strategies to take effect for ambient clients.",
            ))
        } else if won.iter().any(|h| h.starts_with('*')) {
            Some((
                "NoWaypointForWildcardService",
                "ServiceEntry will not apply until it is bound to a valid waypoint.",
            ))
        } else {
            None
        };
        let has_datagrams = entry.ports.iter().any(|port| port.protocol.eq_ignore_ascii_case("UDP"));
        conditions.extend(self.required(cx, &name.ns, &views, row, has_datagrams));
        conditions.extend(missing.map(|(reason, message)| Condition {
            kind: WAYPOINT_MISSING,
            status: true,
            reason,
            message: message.to_owned(),
        }));
        if cx.single(self.settings.visibility).is_some_and(|v| v.is_some()) {
            let (reason, message) = match seen {
                Visibility::Namespace => (
                    "Namespace",
                    "ServiceEntry is visible only within its own namespace (NAMESPACE), per mesh serviceEntryVisibility.",
                ),
                _ => ("Public", "ServiceEntry is visible to the entire mesh (PUBLIC)."),
            };
            conditions.push(Condition {
                kind: VISIBILITY_APPLIED,
                status: true,
                reason,
                message: message.to_owned(),
            });
        }
        conditions
    }

    /// `Accepted`, False for an entry of which not all is sent; nothing for any other.
    fn accepted(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        entry: &ServiceEntry,
        seen: Visibility,
    ) -> Option<Condition> {
        let invalid = entry.addresses.iter().find_map(|address| match address {
            ServiceEntryAddress::Invalid(text) => Some(text),
            _ => None,
        });
        if let Some(text) = invalid {
            let message = format!(
                "nothing of it is sent: address {text:?} is neither an IP address nor a range of them"
            );
            return Some(unaccepted("AddressInvalid", message));
        }
        if seen == Visibility::None {
            let message =
                "nothing of it is sent: serviceEntryVisibility of the mesh settings hides it from everybody";
            return Some(unaccepted("NotVisible", message.to_owned()));
        }
        let taken: Vec<String> = entry
            .hosts
            .iter()
            .filter_map(|host| {
                let key = HostKey { ns: name.ns.clone(), host: host.clone() };
                let other = match cx.get(self.entries.winners, &key) {
                    Some(winner) => {
                        (winner.entry != *name).then(|| (Kind::ServiceEntry, winner.entry.clone()))
                    }
                    None => {
                        let services = cx.lookup(self.hostnames, host).into_iter();
                        let service =
                            services.map(|(service, _)| service).find(|service| service.ns == key.ns);
                        service.map(|service| (Kind::Service, service))
                    }
                };
                let (kind, name) = other?;
                Some(format!("host {host:?} is that of {}", ObjectRef { kind, name }))
            })
            .collect();
        if !taken.is_empty() {
            return Some(unaccepted("HostTaken", taken.join("; ")));
        }
        let taken = self.entries.addresses.taken(cx, entry);
        if !taken.is_empty() {
            let each =
                taken.iter().map(|(n, holder)| format!("spec.addresses[{n}] is the address of {holder}"));
            return Some(unaccepted("AddressTaken", each.collect::<Vec<_>>().join("; ")));
        }
        let faults = endpoint_faults(entry);
        let is_invalid = faults.iter().any(|(_, fault)| matches!(fault, EndpointFault::Invalid(_)));
        let reason = if is_invalid { "EndpointInvalid" } else { "EndpointRepeated" };
        let faults: Vec<String> =
            faults.iter().map(|(n, fault)| format!("spec.endpoints[{n}] is not sent: {fault}")).collect();
        (!faults.is_empty()).then(|| unaccepted(reason, faults.join("; ")))
    }

    /// `WaypointRequired` of what is sent as `views`, all of one object.
    fn required(
        &self,
        cx: &Cx<'_>,
        ns: &Ns,
        views: &[Arc<ServiceView>],
        row: &ServiceRow,
        has_datagrams: bool,
    ) -> Option<Condition> {
        let is_bound = matches!(row.waypoint, Ok(Some(_)));
        enforcement::of_service(cx, &self.enforcements, &self.binder, ns, views, is_bound, has_datagrams)
    }
}
