//! Gateways, ListenerSets and their listeners.

use engine::{Builder, Cx, Table};
use model::facts::{Gateway, ListenerSet, Meta};
use model::{Kind, Name};
use output::{Condition, Conditions, Entry, EntryList, Outputs};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ACCEPTED, PROGRAMMED, RESOLVED_REFS, fine, wrong};
use crate::class::Class;
use crate::grant::Grants;
use crate::key::{ListenerKey, Owner, Target};
use crate::listener::{GatewayListeners, Listener, Listeners, SetState};
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
    pub grants: Grants,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// The status of one listener.
#[derive(Clone, PartialEq, Debug)]
struct ListenerStatus {
    is_active: bool,
    entry: Entry,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) {
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
            (inputs.is_ours)(&gateway.meta).then(|| inputs.gateway(cx, entries, name, gateway, &merged))
        })
    };
    out.conditions(b, Kind::Gateway, gateways);
    let sets = {
        let inputs = inputs.clone();
        b.derive("listener_set_conditions", inputs.sets, move |cx, name, set| {
            let gateway = cx.get(inputs.set_parents, name)?;
            let merged = cx.get(inputs.merged, &gateway)?;
            inputs.set(cx, entries, name, set, &gateway, &merged)
        })
    };
    out.conditions(b, Kind::ListenerSet, sets);
}

impl Inputs {
    fn listener(&self, cx: &Cx<'_>, key: &ListenerKey, listener: &Listener) -> ListenerStatus {
        let mut conditions = Vec::new();
        let fault: Option<(&'static str, String)> = match (&listener.protocol, listener.conflict) {
            (Err(message), _) => Some(("UnsupportedProtocol", message.clone())),
            (_, Some(conflict)) => {
                let message = "Listener has a conflict with another listener attached to the same Gateway";
                Some((conflict.reason(), message.to_owned()))
            }
            _ => None,
        };
        let fault = fault.as_ref().map(|(reason, message)| (*reason, message.as_str()));
        conditions.push(match fault {
            Some((reason, message)) => wrong(ACCEPTED, reason, message),
            None => fine(ACCEPTED, NO_ERRORS),
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
        let unresolved = self.unresolved(cx, key, listener);
        conditions.push(match (fault, &unresolved) {
            (Some((reason, message)), _) if listener.conflict.is_some() => wrong(PROGRAMMED, reason, message),
            (Some((_, message)), _) => wrong(PROGRAMMED, "Invalid", message),
            (None, Some(_)) => wrong(PROGRAMMED, "Invalid", "Bad TLS configuration"),
            (None, None) => fine(PROGRAMMED, NO_ERRORS),
        });
        conditions.push(match unresolved {
            _ if listener.has_invalid_kinds => {
                wrong(RESOLVED_REFS, "InvalidRouteKinds", "Invalid route kinds")
            }
            Some((reason, message)) => wrong(RESOLVED_REFS, reason, message),
            None => fine(RESOLVED_REFS, NO_ERRORS),
        });
        let kinds: Vec<_> =
            listener.kinds.iter().map(|kind| json!({"group": kind.group(), "kind": kind.name()})).collect();
        ListenerStatus {
            is_active: listener.is_active(),
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
        let of_kind = |(_, attachments): (Kind, Attachments)| {
            let rows = cx.lookup(attachments.by_target, &target);
            rows.into_iter().map(|((_, route, _), _)| route).collect::<BTreeSet<_>>().len()
        };
        self.attachments.iter().map(of_kind).sum()
    }

    /// Why a certificate cannot be used, as far as its reference tells; one that can be hides all others.
    fn unresolved(
        &self,
        cx: &Cx<'_>,
        key: &ListenerKey,
        listener: &Listener,
    ) -> Option<(&'static str, String)> {
        let tls = listener.tls.as_ref().filter(|tls| tls.is_terminated && listener.is_active())?;
        let references = &tls.facts.certificates;
        let needs_none = |mode: &str| matches!(mode, "ISTIO_SIMPLE" | "ISTIO_MUTUAL");
        let mode = tls.facts.options.get("gateway.istio.io/tls-terminate-mode");
        if listener.class != Class::Gateway || mode.is_some_and(|mode| needs_none(mode)) {
            return None;
        }
        if references.is_empty() {
            return Some(("InvalidCertificateRef", "TLS is terminated without a certificate".to_owned()));
        }
        if references.len() > 2 {
            let message = "TLS mode can only support up to 2 server certificates";
            return Some(("InvalidCertificateRef", message.to_owned()));
        }
        let (kind, ns) = (key.owner.kind(), &key.owner.name().ns);
        let mut found = Vec::new();
        for reference in references {
            let target = reference.target(ns);
            found.push(if !reference.is("", "Secret") {
                let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
                let message = format!(
                    "invalid certificate reference {group}/{kind}/{}.{}, only secret is allowed",
                    target.name, target.ns
                );
                ("InvalidCertificateRef", message)
            } else if !self.grants.permit(cx, kind, ns, reference) {
                let message = format!(
                    "certificateRef {}/{} not accessible to a Gateway in namespace {:?} (missing a ReferenceGrant?)",
                    target.name, target.ns, &**ns
                );
                ("RefNotPermitted", message)
            } else {
                return None;
            });
        }
        let reason = found.first().map(|(reason, _)| *reason)?;
        Some((reason, found.into_iter().map(|(_, message)| message).collect::<Vec<_>>().join("; ")))
    }

    fn gateway(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        name: &Name,
        gateway: &Gateway,
        merged: &GatewayListeners,
    ) -> Conditions {
        let generation = gateway.meta.generation;
        if merged.class == Class::Remote {
            let programmed = "This Gateway is remote; Istio will not program it";
            let conditions = vec![fine(ACCEPTED, ACCEPTED_MESSAGE), fine(PROGRAMMED, programmed)];
            return Conditions { generation, conditions, ..Conditions::default() };
        }
        let owner = Owner::Gateway(name.clone());
        let (listeners, valid) = self.entries(cx, entries, merged, &owner);
        let has_set = |(set, state): &&(Name, SetState)| {
            let (_, valid) = self.entries(cx, entries, merged, &Owner::Set(set.clone()));
            *state == SetState::Attached && valid > 0
        };
        let sets = merged.sets.iter().filter(has_set).count();
        let certificate = gateway.backend_certificate.as_ref().and_then(|reference| {
            let target = reference.target(&name.ns);
            if !reference.is("", "Secret") {
                let message =
                    format!("invalid client certificate reference {}.{}, only secret is allowed", target.name, target.ns);
                return Some(wrong(RESOLVED_REFS, "InvalidClientCertificateRef", message));
            }
            (!self.grants.permit(cx, Kind::Gateway, &name.ns, reference)).then(|| {
                let message = format!(
                    "clientCertificateRef {}/{} not accessible to a Gateway in namespace {:?} (missing a ReferenceGrant?)",
                    target.name, target.ns, &*name.ns
                );
                wrong(RESOLVED_REFS, "RefNotPermitted", message)
            })
        });
        let mut conditions = vec![
            accepted(gateway, listeners.len(), valid, sets),
            certificate.unwrap_or_else(|| fine(RESOLVED_REFS, "All references resolved")),
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
            lists: vec![EntryList { field: "listeners", entries: listeners, ..EntryList::default() }],
            fields: vec![("attachedListenerSets", json!(sets))],
        }
    }

    fn set(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        name: &Name,
        set: &ListenerSet,
        gateway: &Name,
        merged: &GatewayListeners,
    ) -> Option<Conditions> {
        let (_, state) = merged.sets.iter().find(|(other, _)| other == name)?;
        let refused = |message: String| {
            vec![wrong(ACCEPTED, NOT_ALLOWED, message.clone()), wrong(PROGRAMMED, NOT_ALLOWED, message)]
        };
        let mut listeners = Vec::new();
        let conditions = match state {
            SetState::Unsupported => {
                let class = cx.get(self.gateways, gateway).map(|gateway| gateway.class.clone());
                let class = class.unwrap_or_default();
                refused(format!("The {:?} GatewayClass does not support ListenerSet", class.as_str()))
            }
            SetState::NotAllowed => refused(
                "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'".to_owned(),
            ),
            SetState::Attached => {
                let (all, valid) = self.entries(cx, entries, merged, &Owner::Set(name.clone()));
                listeners = all;
                if valid == 0 {
                    let message = "None of the ListenerSet's listeners are valid";
                    vec![wrong(ACCEPTED, NOT_VALID, message), wrong(PROGRAMMED, NOT_VALID, message)]
                } else {
                    vec![fine(ACCEPTED, ACCEPTED_MESSAGE)]
                }
            }
        };
        Some(Conditions {
            generation: set.meta.generation,
            conditions,
            lists: vec![EntryList { field: "listeners", entries: listeners, ..EntryList::default() }],
            ..Conditions::default()
        })
    }

    /// The entries of the listeners of an object, in the order in which they are written, and how many of
    /// them are valid.
    fn entries(
        &self,
        cx: &Cx<'_>,
        entries: Table<ListenerKey, ListenerStatus>,
        merged: &GatewayListeners,
        owner: &Owner,
    ) -> (Vec<Entry>, usize) {
        let keys = merged.listeners.iter().map(|(key, _)| key).filter(|key| key.owner == *owner);
        let rows: Vec<Arc<ListenerStatus>> = keys.filter_map(|key| cx.get(entries, key)).collect();
        let valid = rows.iter().filter(|row| row.is_active).count();
        (rows.iter().map(|row| row.entry.clone()).collect(), valid)
    }
}

const NO_ERRORS: &str = "No errors found";
const ACCEPTED_MESSAGE: &str = "Resource accepted";
const NOT_ALLOWED: &str = "NotAllowed";
const NOT_VALID: &str = "ListenersNotValid";

/// Whether a gateway is accepted: what is asked of it at all, then its listeners.
fn accepted(gateway: &Gateway, listeners: usize, valid: usize, sets: usize) -> Condition {
    if let Some(reference) = gateway.parameters.as_ref().filter(|of| !of.is("", "ConfigMap")) {
        let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
        let message =
            format!("Unsupported parametersRef group/kind {group:?}/{kind:?}, only ConfigMap is supported");
        return wrong(ACCEPTED, "InvalidParameters", message);
    }
    let is_managed = match gateway.requested.as_slice() {
        [] => true,
        [one] => one.kind == "IPAddress",
        _ => false,
    };
    let skipped: Vec<&str> =
        gateway.requested.iter().map(|one| one.kind.as_str()).filter(|kind| *kind != "Hostname").collect();
    if !is_managed && !skipped.is_empty() {
        let message = format!("only Hostname is supported, ignoring {skipped:?}");
        return wrong(ACCEPTED, "UnsupportedAddress", message);
    }
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
