//! ConfigMaps by which deployments of gateways are customized.

use engine::{Builder, Cx, Table};
use model::facts::{CLASS_DEFAULTS, ConfigMap, Gateway};
use model::{Name, Ns};
use std::sync::Arc;

use crate::reference::{Missing, References};

/// What customizes the deployment of a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// What gateways of its class have by default: the oldest ConfigMap for the class in the system namespace.
    pub defaults: Option<Arc<ConfigMap>>,
    /// What it has by `spec.infrastructure.parametersRef`, which goes before that.
    pub own: Option<Arc<ConfigMap>>,
    /// Why one of them cannot be used, as the message of the condition `Accepted`.
    pub fault: Option<String>,
    /// Whether one of them was not read yet.
    pub is_pending: bool,
}

/// Declares them, for gateways that are served.
pub(crate) fn declare(
    b: &mut Builder,
    gateways: Table<Name, Gateway>,
    is_served: impl Fn(&Cx<'_>, &Name) -> bool + Send + 'static,
    references: References,
    system: Ns,
) -> Table<Name, Parameters> {
    b.derive("gateway_parameters", gateways, move |cx, name, gateway| {
        is_served(cx, name).then(|| {
            let mut parameters = Parameters::default();
            match references.class_defaults(cx, &system) {
                Ok(maps) => parameters.defaults = of_class(&maps, &gateway.class),
                Err(Missing::Pending) => parameters.is_pending = true,
                Err(Missing::Absent) => {}
                Err(Missing::Unreadable(why)) => {
                    parameters.fault = Some(format!("defaults of the class cannot be read: {why}"));
                }
            }
            let own = gateway.parameters.as_ref().filter(|of| of.is("", "ConfigMap"));
            if let Some(reference) = own {
                // The API lets it refer to its own namespace only.
                let target = Name { ns: name.ns.clone(), name: reference.name.clone() };
                match references.config_map(cx, &target) {
                    Ok(map) => parameters.own = Some(map),
                    Err(Missing::Pending) => parameters.is_pending = true,
                    Err(Missing::Absent) => {
                        parameters.fault = Some(format!("parametersRef ConfigMap {target} does not exist"));
                    }
                    Err(Missing::Unreadable(why)) => {
                        parameters.fault =
                            Some(format!("parametersRef ConfigMap {target} cannot be read: {why}"));
                    }
                }
            }
            parameters
        })
    })
}

/// Returns the oldest of those that are for a class; of equal ages the first by name.
fn of_class(maps: &[Arc<ConfigMap>], class: &str) -> Option<Arc<ConfigMap>> {
    let of_class = maps.iter().filter(|map| map.labels.get(CLASS_DEFAULTS).is_some_and(|of| of == class));
    of_class.min_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name))).cloned()
}
