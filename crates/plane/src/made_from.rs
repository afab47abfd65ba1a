//! Whose doing a resource is.

use engine::Trace;
use model::{Kind, Name, ObjectRef};

/// How many objects are told as authors of a resource.
const MAX_AUTHORS: usize = 16;
/// How many services are told that a resource is made from.
const MAX_SERVICES: usize = 64;

/// What people write for proxies to do.
const CONFIGURATION: [Kind; 14] = [
    Kind::HTTPRoute,
    Kind::GRPCRoute,
    Kind::TLSRoute,
    Kind::TCPRoute,
    Kind::UDPRoute,
    Kind::BackendTLSPolicy,
    Kind::XBackendTrafficPolicy,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::AuthorizationPolicy,
    Kind::RequestAuthentication,
    Kind::Telemetry,
    Kind::WasmPlugin,
    Kind::TrafficExtension,
];

/// The objects that a resource is made from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MadeFrom {
    /// Routes, rules and policies; where there are none, the services: whose authors should know if a proxy does not
    /// take it. Ascending, a few at most.
    pub authors: Vec<ObjectRef>,
    /// Services and ServiceEntries, ascending.
    pub services: Vec<ObjectRef>,
}

impl MadeFrom {
    /// Reads the inputs that a resource was made from, nearest first; of the objects, those that are about it.
    pub(crate) fn read(origins: &[Trace], is_about: impl Fn(&ObjectRef) -> bool) -> Self {
        let objects: Vec<ObjectRef> = origins.iter().filter_map(object).filter(is_about).collect();
        let some_of = |is_wanted: &dyn Fn(Kind) -> bool, most: usize| {
            let some = objects.iter().filter(|object| is_wanted(object.kind)).take(most);
            let mut some: Vec<ObjectRef> = some.cloned().collect();
            some.sort();
            some.dedup();
            some
        };
        let is_service = |kind| matches!(kind, Kind::Service | Kind::ServiceEntry);
        let services = some_of(&is_service, MAX_SERVICES);
        let authors = some_of(&|kind| CONFIGURATION.contains(&kind), MAX_AUTHORS);
        let authors =
            if authors.is_empty() { services.iter().take(MAX_AUTHORS).cloned().collect() } else { authors };
        Self { authors, services }
    }
}

/// Returns the object that a row stands for; `None` unless it is that of an input table of objects.
pub fn object(trace: &Trace) -> Option<ObjectRef> {
    // Such tables are named by their kind, and names are written as people do.
    let kind = *Kind::ALL.iter().find(|kind| kind.name() == trace.table)?;
    let key = trace.key.trim_matches('"');
    let (ns, name) = key.split_once('/').unwrap_or(("", key));
    Some(ObjectRef { kind, name: Name::new(ns, name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &'static str, key: &str) -> Trace {
        Trace { table, key: format!("{key:?}"), present: true, reads: Vec::new(), truncated: false }
    }

    fn texts(of: &[ObjectRef]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_people_write_for_proxies_is_told_and_else_the_services() {
        let mut origins = vec![
            row("settings", "()"),
            row("Service", "shop/b"),
            row("Service", "shop/a"),
            row("Namespace", "shop"),
        ];
        let read = MadeFrom::read(&origins, |_| true);
        assert_eq!(texts(&read.authors), ["Service shop/a", "Service shop/b"]);
        origins.extend([
            row("HTTPRoute", "shop/r"),
            row("AuthorizationPolicy", "shop/p"),
            row("HTTPRoute", "shop/r"),
        ]);
        let read = MadeFrom::read(&origins, |_| true);
        assert_eq!(texts(&read.authors), ["HTTPRoute shop/r", "AuthorizationPolicy shop/p"]);
        assert_eq!(texts(&read.services), ["Service shop/a", "Service shop/b"]);
        origins.extend((0..100).map(|n| row("VirtualService", &format!("shop/v{n}"))));
        assert_eq!(MadeFrom::read(&origins, |_| true).authors.len(), MAX_AUTHORS - 1);
    }

    #[test]
    fn an_object_of_the_cluster_has_no_namespace() {
        let class = object(&row("GatewayClass", "istio"));
        assert_eq!(class, Some(ObjectRef { kind: Kind::GatewayClass, name: Name::new("", "istio") }));
        assert_eq!(object(&row("clusters", "shop/waypoint")), None);
    }
}
