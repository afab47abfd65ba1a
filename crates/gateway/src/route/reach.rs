//! From which gateways routes lead to a service.

use engine::{Builder, Index, Table};
use model::Name;
use model::facts::{Filter, Route};
use std::collections::BTreeSet;

use super::backend::Backends;
use super::kinds::PerKind;
use super::parent::Attachments;
use crate::key::ServiceTarget;

/// A gateway at which some route leads to a service.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Reach {
    pub service: ServiceTarget,
    pub gateway: Name,
}

/// Gateways by the services that routes attached to them lead to.
pub(crate) type Reaches = Index<ServiceTarget, Reach, ()>;

/// Declares them: one row for each pair, however many routes there are of it.
pub(crate) fn declare(
    b: &mut Builder,
    routes: PerKind<Table<Name, Route>>,
    attachments: PerKind<Attachments>,
    backends: Backends,
) -> Reaches {
    let reached = b.memo("reached_services", |_, _: &Reach| Some(()));
    routes.zip(attachments).map(|kind, (routes, attachments)| {
        b.derive("route_reaches", routes, move |cx, name, route| {
            let parents = cx.get(attachments.parents, name)?;
            let gateways: BTreeSet<&Name> = parents
                .attached()
                .filter_map(|attached| Some(&attached.target.listener()?.gateway))
                .collect();
            if gateways.is_empty() {
                return None;
            }
            let mirrors =
                route.rules.iter().flat_map(|rule| &rule.filters).filter_map(|filter| match filter {
                    Filter::Mirror(mirror) => Some(&mirror.backend),
                    _ => None,
                });
            let backends_of = route.rules.iter().flat_map(|rule| &rule.backends).chain(mirrors);
            let services: BTreeSet<ServiceTarget> =
                backends_of.filter_map(|backend| backends.service_of(cx, kind, &name.ns, backend)).collect();
            let pairs = services.iter().flat_map(|service| {
                gateways
                    .iter()
                    .map(|gateway| Reach { service: service.clone(), gateway: Name::clone(gateway) })
            });
            let pairs: Vec<Reach> = pairs.collect();
            for pair in &pairs {
                cx.memo(reached, pair);
            }
            Some(pairs)
        })
    });
    let reached = b.in_use("gateways_of_services", reached);
    b.index(reached, "gateway_by_service", |reach: &Reach, ()| [reach.service.clone()])
}
