//! Gateways, ListenerSets and their listeners.

use engine::{Builder, Cx, Table};
use mesh::Ownership;
use model::facts::{EndpointSlice, Gateway, ListenerSet, Service};
use model::{Kind, Name, Str};
use output::{Condition, Conditions, Entry, EntryList, Outputs};
use serde_json::json;
use std::sync::Arc;

use super::programming::{self, Programming};
use super::{ACCEPTED, PROGRAMMED, RESOLVED_REFS, fine, wrong};
use crate::class::Class;
use crate::deployment::{GatewayDeployment, SERVICE_TYPE, is_managed};
use crate::key::{ListenerKey, Owner, Target};
use crate::listener::{
    ClientCertificate, GatewayListeners, Listener, Listeners, SetState, Termination, TlsFault,
};
use crate::parameters::Parameters;
use crate::route::{Attachments, PerKind};

/// What the statuses are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub gateways: Table<Name, Gateway>,
    pub sets: Table<Name, ListenerSet>,
    pub merged: Table<Name, GatewayListeners>,
    pub set_parents: Table<Name, Name>,
    pub listeners: Listeners,
    pub attachments: PerKind<Attachments>,
    pub terminations: Table<ListenerKey, Termination>,
    pub client_certificates: Table<Name, ClientCertificate>,
    pub parameters: Table<Name, Parameters>,
    pub deployments: Option<Table<Name, GatewayDeployment>>,
    pub services: Table<Name, Service>,
    pub slices: Table<Name, EndpointSlice>,
    /// The domain of hostnames of services.
    pub domain: Str,
    /// Whose statuses are written here.
    pub ownership: Ownership,
}

/// The status of one listener.
#[derive(Clone, PartialEq, Debug)]
struct ListenerStatus {
    /// Whether it takes traffic.
    is_valid: bool,
    /// Whether something that it depends on was not read yet.
    is_pending: bool,
    entry: Entry,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) {
    let programming = {
        let terminations = inputs.terminations;
        let is_served = move |cx: &Cx<'_>, key: &ListenerKey, listener: &Listener| {
            listener.is_active() && cx.get(terminations, key).is_none_or(|tls| tls.is_served())
        };
        let of = programming::Inputs {
            gateways: inputs.gateways,
            merged: inputs.merged,
            services: inputs.services,
            slices: inputs.slices,
            domain: inputs.domain.clone(),
            deploys: inputs.deployments.is_some(),
        };
        programming::declare(b, of, is_served)
    };
    // A row of its own: a route that comes or goes recomputes the count and nothing else of the gateway.
    let entries = {
        let inputs = inputs.clone();
        b.derive("listener_conditions", inputs.listeners.rows, move |cx, key, listener| {
            Some(inputs.listener(cx, key, listener))
        })
    };
    let gateways = {
        let inputs = inputs.clone();
        b.derive("gateway_conditions", inputs.gateways, move |cx, name, gateway| {
            let merged = cx.get(inputs.merged, name)?;
            let programming = cx.get(programming, name)?;
            let is_owned = inputs.ownership.owns(cx, &gateway.meta);
            is_owned.then(|| inputs.gateway(cx, entries, name, gateway, &merged, &programming))
        })
    };
    out.conditions(b, Kind::Gateway, gateways);
    let sets = {
        let inputs = inputs.clone();
        b.derive("listener_set_conditions", inputs.sets, move |cx, name, set| {
            let gateway = cx.get(inputs.set_parents, name)?;
            let merged = cx.get(inputs.merged, &gateway)?;
            inputs.ownership.owns(cx, &set.meta).then_some(())?;
            let programming = cx.get(programming, &gateway)?;
            inputs.set(cx, entries, name, set, &gateway, &merged, &programming)
        })
    };
    out.conditions(b, Kind::ListenerSet, sets);
}

impl Inputs {
    fn listener(&self, cx: &Cx<'_>, key: &ListenerKey, listener: &Listener) -> ListenerStatus {
        let mut conditions = Vec::new();
        let tls = cx.get(self.terminations, key);
        let faults: Vec<&TlsFault> = tls.iter().flat_map(|tls| tls.faults()).collect();
        let client_fault = tls.as_ref().and_then(|tls| tls.client_fault.as_ref());
        let fault: Option<(&'static str, String)> = match (&listener.protocol, listener.conflict) {
            (Err(why), _) => Some((why.reason, why.message.clone())),
            (_, Some(conflict)) => {
                let message = "Listener has a conflict with another listener attached to the same Gateway";
                Some((conflict.reason(), message.to_owned()))
            }
            _ => None,
        };
        let fault = fault.as_ref().map(|(reason, message)| (*reason, message.as_str()));
        conditions.push(match (fault, client_fault) {
            (Some((reason, message)), _) => wrong(ACCEPTED, reason, message),
            (None, Some(of_clients)) => wrong(ACCEPTED, "NoValidCACertificate", of_clients.message.as_str()),
            (None, None) => fine(ACCEPTED, NO_ERRORS),
        });
        conditions.push(match (listener.conflict, fault) {
            (Some(conflict), Some((_, message))) => Condition {
                kind: "Conflicted",
                status: true,
                reason: conflict.reason(),
                message: message.to_owned(),
            },
            _ => wrong("Conflicted", "NoConflicts", NO_ERRORS),
        });
        // Where one certificate can be used, handshakes succeed with it.
        let is_served = tls.as_ref().is_none_or(|tls| tls.is_served());
        conditions.push(match fault {
            Some((reason, message)) if listener.conflict.is_some() => wrong(PROGRAMMED, reason, message),
            Some((_, message)) => wrong(PROGRAMMED, "Invalid", message),
            None if !is_served => wrong(PROGRAMMED, "Invalid", "Bad TLS configuration"),
            None => fine(PROGRAMMED, NO_ERRORS),
        });
        conditions.push(match faults.as_slice() {
            _ if listener.has_invalid_kinds => {
                wrong(RESOLVED_REFS, "InvalidRouteKinds", "Invalid route kinds")
            }
            [] => fine(RESOLVED_REFS, NO_ERRORS),
            all @ [first, ..] => {
                let messages: Vec<&str> = all.iter().map(|fault| fault.message.as_str()).collect();
                wrong(RESOLVED_REFS, first.reason, messages.join("; "))
            }
        });
        let kinds: Vec<_> =
            listener.kinds.iter().map(|kind| json!({"group": kind.group(), "kind": kind.name()})).collect();
        ListenerStatus {
            is_valid: listener.is_active() && is_served,
            is_pending: tls.is_some_and(|tls| tls.is_pending),
            entry: Entry {
                key: vec![("name", json!(key.name.as_str()))],
                fields: vec![
                    ("attachedRoutes", json!(self.attached_routes(cx, key))),
                    ("supportedKinds", json!(kinds)),
                ],
                conditions,
            },
        }
    }

    /// How many routes are attached, of all kinds.
    fn attached_routes(&self, cx: &Cx<'_>, key: &ListenerKey) -> usize {
        let target = Target::Listener(key.clone());
        self.attachments.iter().map(|(_, attachments)| cx.count(attachments.by_target, &target)).sum()
    }

    fn gateway(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        name: &Name,
        gateway: &Gateway,
        merged: &GatewayListeners,
        programming: &Programming,
    ) -> Conditions {
        let generation = gateway.meta.generation;
        let programmed = programming.condition.clone();
        let addresses = ("addresses", programming.addresses());
        let is_drifted = programming.is_drifted(gateway);
        if merged.class == Class::Remote {
            let conditions = vec![fine(ACCEPTED, ACCEPTED_MESSAGE), programmed];
            let fields = vec![addresses];
            return Conditions { generation, conditions, fields, is_drifted, ..Conditions::default() };
        }
        let owner = Owner::Gateway(name.clone());
        let own = self.entries(cx, entries, merged, &owner);
        let has_set = |(set, state): &&(Name, SetState)| {
            let of_set = self.entries(cx, entries, merged, &Owner::Set(set.clone()));
            *state == SetState::Attached && of_set.valid > 0
        };
        let sets = merged.sets.iter().filter(has_set).count();
        let certificate = cx.get(self.client_certificates, name);
        let fault = certificate.as_ref().and_then(|of| of.fault.as_ref());
        let (refused, is_waiting) = self.refused(cx, name, gateway);
        let mut conditions = vec![
            match refused {
                Some((reason, message)) => wrong(ACCEPTED, reason, message),
                None => accepted(own.entries.len(), own.valid, sets),
            },
            programmed,
            fault.map_or_else(
                || fine(RESOLVED_REFS, "All references resolved"),
                |fault| wrong(RESOLVED_REFS, fault.reason, fault.message.as_str()),
            ),
        ];
        let is_insecure = |port: u16| gateway.frontend.of_port(port).is_some_and(|of| of.is_optional);
        if merged.listeners.iter().any(|(_, listener)| is_insecure(listener.port)) {
            conditions.push(Condition {
                kind: "InsecureFrontendValidationMode",
                status: true,
                reason: "ConfigurationChanged",
                message: "Gateway is operating in AllowInsecureFallback mode for frontend validation"
                    .to_owned(),
            });
        }
        Conditions {
            generation,
            conditions,
            lists: vec![EntryList { field: "listeners", entries: own.entries, ..EntryList::default() }],
            fields: vec![("attachedListenerSets", json!(sets)), addresses],
            is_pending: own.is_pending || is_waiting || certificate.is_some_and(|of| of.is_pending),
            is_drifted,
        }
    }

    /// Why a gateway is not accepted, whatever its listeners are, as reason and message; and whether something that
    /// this depends on was not read yet.
    fn refused(&self, cx: &Cx<'_>, name: &Name, gateway: &Gateway) -> (Option<(&'static str, String)>, bool) {
        let parameters = cx.get(self.parameters, name);
        let deployment = self.deployments.and_then(|table| cx.get(table, name));
        let undeployed = deployment.as_ref().and_then(|of| of.manifests.as_ref().err());
        let of_parameters = parameters.as_ref().and_then(|of| of.fault.as_deref());
        let message = of_parameters.or(undeployed.map(|fault| fault.message.as_str()));
        let refused = message.map(|message| (INVALID_PARAMETERS, message.to_owned()));
        (refused.or_else(|| not_possible(gateway)), parameters.is_some_and(|of| of.is_pending))
    }

    #[allow(clippy::too_many_arguments)]
    fn set(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        name: &Name,
        set: &ListenerSet,
        gateway: &Name,
        merged: &GatewayListeners,
        programming: &Programming,
    ) -> Option<Conditions> {
        let (_, state) = merged.sets.iter().find(|(other, _)| other == name)?;
        let refused = |message: String| {
            vec![wrong(ACCEPTED, NOT_ALLOWED, message.clone()), wrong(PROGRAMMED, NOT_ALLOWED, message)]
        };
        let parent = cx.get(self.gateways, gateway)?;
        let (mut listeners, mut is_waiting) = (OwnEntries::default(), false);
        let conditions = match state {
            SetState::Unsupported => {
                refused(format!("The {:?} GatewayClass does not support ListenerSet", parent.class.as_str()))
            }
            SetState::NotAllowed => refused(
                "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'".to_owned(),
            ),
            SetState::Attached => {
                listeners = self.entries(cx, entries, merged, &Owner::Set(name.clone()));
                if listeners.valid == 0 {
                    let message = "None of the ListenerSet's listeners are valid";
                    vec![wrong(ACCEPTED, NOT_VALID, message), wrong(PROGRAMMED, NOT_VALID, message)]
                } else {
                    let (refused, of_parent) = self.refused(cx, gateway, &parent);
                    is_waiting = of_parent;
                    let accepted = match refused {
                        Some((_, message)) => {
                            wrong(ACCEPTED, "ParentNotAccepted", format!("Parent not accepted: {message}"))
                        }
                        None => fine(ACCEPTED, ACCEPTED_MESSAGE),
                    };
                    vec![accepted, programming.condition.clone()]
                }
            }
        };
        Some(Conditions {
            generation: set.meta.generation,
            conditions,
            lists: vec![EntryList { field: "listeners", entries: listeners.entries, ..EntryList::default() }],
            is_pending: listeners.is_pending || is_waiting,
            ..Conditions::default()
        })
    }

    /// The entries of the listeners of an object.
    fn entries(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        merged: &GatewayListeners,
        owner: &Owner,
    ) -> OwnEntries {
        let keys = merged.listeners.iter().map(|(key, _)| key).filter(|key| key.owner == *owner);
        let rows: Vec<Arc<ListenerStatus>> = keys.filter_map(|key| cx.get(entries, key)).collect();
        OwnEntries {
            valid: rows.iter().filter(|row| row.is_valid).count(),
            is_pending: rows.iter().any(|row| row.is_pending),
            entries: rows.iter().map(|row| row.entry.clone()).collect(),
        }
    }
}

/// What the status of an object has of its listeners.
#[derive(Default)]
struct OwnEntries {
    /// In the order in which they are written.
    entries: Vec<Entry>,
    /// How many are valid.
    valid: usize,
    /// Whether something that one depends on was not read yet.
    is_pending: bool,
}

const NO_ERRORS: &str = "No errors found";
const ACCEPTED_MESSAGE: &str = "Resource accepted";
const NOT_ALLOWED: &str = "NotAllowed";
const INVALID_PARAMETERS: &str = "InvalidParameters";
const NOT_VALID: &str = "ListenersNotValid";

/// Why what is asked of a gateway cannot be, as reason and message.
fn not_possible(gateway: &Gateway) -> Option<(&'static str, String)> {
    if let Some(reference) = gateway.parameters.as_ref().filter(|of| !of.is("", "ConfigMap")) {
        let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
        let message =
            format!("Unsupported parametersRef group/kind {group:?}/{kind:?}, only ConfigMap is supported");
        return Some((INVALID_PARAMETERS, message));
    }
    if is_managed(gateway) {
        return None;
    }
    let skipped: Vec<&str> =
        gateway.requested.iter().map(|one| one.kind.as_str()).filter(|kind| *kind != "Hostname").collect();
    if !skipped.is_empty() {
        return Some(("UnsupportedAddress", format!("only Hostname is supported, ignoring {skipped:?}")));
    }
    gateway.annotations.get(SERVICE_TYPE).map(|_| {
        let message = format!("annotation {SERVICE_TYPE} has no effect: spec.addresses names the Services");
        ("DeprecatedField", message)
    })
}

/// Whether a gateway is accepted by its listeners.
fn accepted(listeners: usize, valid: usize, sets: usize) -> Condition {
    match (valid + sets, valid == listeners) {
        (0, _) => wrong(ACCEPTED, NOT_VALID, "None of the Gateway's listeners are valid"),
        (_, false) => Condition {
            kind: ACCEPTED,
            status: true,
            reason: NOT_VALID,
            message: "One or more of the Gateway's listeners are invalid".to_owned(),
        },
        (_, true) => fine(ACCEPTED, ACCEPTED_MESSAGE),
    }
}
