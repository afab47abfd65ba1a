//! Which classes are ours, and what their gateways are.

use engine::{Builder, Memo, Table};
use model::Name;
use model::facts::GatewayClass;

/// What gateways of a class are for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Class {
    /// They take requests and streams from outside (`istio`).
    Gateway,
    /// They are on the way to services of the mesh (`istio-waypoint`).
    Waypoint,
    /// They take traffic of other networks (`istio-east-west`).
    EastWest,
    /// They stand for gateways of other clusters (`istio-remote`).
    Remote,
}

/// Name of the class, its controller, and what it is.
const BUILT_IN: [(&str, &str, Class); 4] = [
    ("istio", GATEWAY_CONTROLLER, Class::Gateway),
    ("istio-waypoint", "istio.io/mesh-controller", Class::Waypoint),
    ("istio-east-west", "istio.io/eastwest-controller", Class::EastWest),
    ("istio-remote", "istio.io/unmanaged-gateway", Class::Remote),
];

/// The controller in whose name statuses of routes are written, whatever their parents are.
pub(crate) const GATEWAY_CONTROLLER: &str = "istio.io/gateway-controller";

/// What the tests of this tree show, by the names that the Gateway API gives to features, ascending.
pub(crate) const SUPPORTED_FEATURES: &[&str] =
    &["GRPCRoute", "Gateway", "HTTPRoute", "ReferenceGrant", "TCPRoute", "TLSRoute"];

impl Class {
    /// Returns what gateways of the classes of a controller are; `None` for one that is not ours.
    pub fn of_controller(controller: &str) -> Option<Self> {
        BUILT_IN.iter().find(|(_, name, _)| *name == controller).map(|(.., class)| *class)
    }

    /// Tells whether ListenerSets may attach.
    pub fn has_listener_sets(self) -> bool {
        self == Self::Gateway
    }

    /// Tells whether routes may name its gateways as parents.
    pub fn has_routes(self) -> bool {
        matches!(self, Self::Gateway | Self::EastWest)
    }
}

/// Declares what gateways of a class are, by its name. A class that is ours by name counts while it is not
/// in the cluster.
pub(crate) fn declare(b: &mut Builder, classes: Table<Name, GatewayClass>) -> Memo<Name, Class> {
    b.memo("gateway_classes", move |cx, name: &Name| match cx.get(classes, name) {
        Some(class) => Class::of_controller(&class.controller),
        None => BUILT_IN.iter().find(|(built_in, ..)| name.name == *built_in).map(|(.., class)| *class),
    })
}
