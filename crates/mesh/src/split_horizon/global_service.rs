//! Which services are for every network (`serviceScopeConfigs` of the mesh settings).

use engine::{Builder, Memo, Table};
use model::facts::{Namespace, Service};
use model::{Name, Ns, Selector, Str, shared};
use proto::workload;

use crate::Options;
use crate::namespace::NamespaceView;
use crate::service::{is_sent, ports, resource_name};
use crate::settings::Settings;

/// A Service with scope GLOBAL. Every other one is LOCAL, and what comes from a ServiceEntry has no
/// scope: neither has a row.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct GlobalService {
    /// The resource's name, `namespace/hostname`.
    pub resource: Str,
    /// Its ports, as sent.
    pub ports: Vec<workload::Port>,
}

/// Declares them.
pub(crate) fn declare(
    b: &mut Builder,
    services: Table<Name, Service>,
    namespaces: Table<Ns, Namespace>,
    views: Memo<Ns, NamespaceView>,
    settings: Settings,
    options: &Options,
) -> Table<Name, GlobalService> {
    // What the labels of a namespace decide is the same for all its services.
    let selectors = b.memo("global_selectors", move |cx, ns: &Ns| {
        let scopes = cx.single(settings.global_scopes)?;
        if scopes.is_empty() {
            return None;
        }
        let labels = cx.get(namespaces, ns).map(|n| n.labels.clone()).unwrap_or_default();
        let of_namespace = scopes.iter().filter(|s| s.namespaces.matches(&labels));
        Some(of_namespace.map(|s| s.services.clone()).collect::<Vec<Selector>>())
    });
    let suffix = shared(&options.domain_suffix);
    b.derive("global_services", services, move |cx, name, service: &Service| {
        let selectors = cx.memo(selectors, &name.ns)?;
        let is_global = selectors.iter().any(|s| s.matches(&service.meta.labels));
        (is_global && is_sent(service, &*cx.memo(views, &name.ns)?))
            .then(|| GlobalService { resource: resource_name(name, &suffix), ports: ports(service) })
    })
}
