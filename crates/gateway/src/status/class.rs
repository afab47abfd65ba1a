//! GatewayClasses.

use engine::{Builder, Table};
use model::facts::GatewayClass;
use model::{Kind, Name};
use output::{Conditions, Outputs};
use serde_json::json;

use super::{ACCEPTED, fine};
use crate::class::Class;
use crate::feature::supported_features;
use crate::revision::Ownership;

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
