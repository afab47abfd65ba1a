//! GatewayClasses, and gateways without one.

use engine::{Builder, Memo, Table};
use mesh::Ownership;
use model::facts::{Gateway, GatewayClass};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, did_you_mean, nearest};
use output::{Conditions, Outputs};
use serde_json::json;

use super::{ACCEPTED, fine};
use crate::class::{Class, built_in_names, is_built_in};
use crate::feature::supported_features;

/// Code of the diagnostic that arises here.
const NO_CLASS: &str = "GW001";

/// Declares the statuses of classes that are ours.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    classes: Table<Name, GatewayClass>,
    ownership: Ownership,
) {
    let conditions = b.derive("gateway_class_conditions", classes, move |cx, _, class| {
        let of = Class::of_controller(&class.controller)?;
        ownership.owns(cx, &class.meta).then_some(())?;
        let features: Vec<_> = supported_features().map(|name| json!({"name": name})).collect();
        Some(Conditions {
            generation: class.meta.generation,
            conditions: vec![fine(ACCEPTED, "Handled by Istio controller")],
            // A class whose gateways take no traffic supports nothing.
            fields: if of == Class::Gateway {
                vec![("supportedFeatures", json!(features))]
            } else {
                Vec::new()
            },
            ..Conditions::default()
        })
    });
    out.conditions(b, Kind::GatewayClass, conditions);
}

/// Declares what the authors of gateways should know whose class is not there: such a gateway has no status.
pub(crate) fn declare_without_class(
    b: &mut Builder,
    out: &mut Outputs,
    gateways: Table<Name, Gateway>,
    classes: Table<Name, GatewayClass>,
    in_scope: Memo<Ns, bool>,
) {
    let names_another =
        |_: &Name, gateway: &Gateway| !gateway.class.is_empty() && !is_built_in(&gateway.class);
    out.diagnostics_where(b, "gateway_class_findings", gateways, names_another, move |cx, name, gateway| {
        let class = &gateway.class;
        let is_there = cx.get(classes, &Name::in_cluster(&name.ns, class)).is_some();
        let is_seen = *cx.memo(in_scope, &name.ns)?;
        (is_seen && !is_there).then(|| without_class(name, class))
    });
}

fn without_class(gateway: &Name, class: &str) -> Diagnostic {
    let near = nearest(class, built_in_names());
    Diagnostic {
        code: NO_CLASS,
        severity: if near.is_some() { Severity::Warning } else { Severity::Info },
        object: Some(ObjectRef { kind: Kind::Gateway, name: gateway.clone() }),
        field: "spec.gatewayClassName".to_owned(),
        message: format!("there is no GatewayClass {class:?}: nobody serves the Gateway"),
        help: near.map_or_else(|| "create the class, or name one that is there".to_owned(), did_you_mean),
        place: None,
    }
}
