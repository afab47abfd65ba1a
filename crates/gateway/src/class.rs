//! Which classes are ours, and what their gateways are.

use engine::{Builder, Graph, Memo, Table};
use model::facts::GatewayClass;
use model::{Kind, Name};
use serde_json::{Value, json};

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

/// A class that every cluster has, as istiod makes them: what is made of it where it is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltInClass {
    /// `metadata.name`.
    pub name: &'static str,
    /// `spec.controllerName`.
    pub controller: &'static str,
    /// `spec.description`.
    pub description: &'static str,
    /// What its gateways are for.
    pub class: Class,
}

const BUILT_IN: [BuiltInClass; 4] = [
    BuiltInClass {
        name: "istio",
        controller: GATEWAY_CONTROLLER,
        description: "The default Istio GatewayClass",
        class: Class::Gateway,
    },
    BuiltInClass {
        name: "istio-waypoint",
        controller: MESH_CONTROLLER,
        description: "The default Istio waypoint GatewayClass",
        class: Class::Waypoint,
    },
    BuiltInClass {
        name: "istio-east-west",
        controller: "istio.io/eastwest-controller",
        description: "The default GatewayClass for Istio East West Gateways",
        class: Class::EastWest,
    },
    BuiltInClass {
        name: "istio-remote",
        controller: "istio.io/unmanaged-gateway",
        description: "Remote to this cluster. Does not deploy or affect configuration.",
        class: Class::Remote,
    },
];

/// The controller in whose name statuses of routes are written, whatever their parents are.
pub(crate) use mesh::EDGE_CONTROLLER as GATEWAY_CONTROLLER;

/// The controller of waypoints, in whose name statuses of policies are written for their targets.
pub(crate) use mesh::WAYPOINT_CONTROLLER as MESH_CONTROLLER;

impl BuiltInClass {
    /// Returns those that a cluster should have, in a fixed order: those for other networks only where these are
    /// reached.
    pub fn wanted(is_multi_network: bool) -> impl Iterator<Item = Self> {
        let is_local = |built_in: &Self| matches!(built_in.class, Class::Gateway | Class::Waypoint);
        BUILT_IN.into_iter().filter(move |built_in| is_multi_network || is_local(built_in))
    }

    /// Returns the GatewayClass, as it is made.
    pub fn manifest(&self) -> Value {
        let kind = Kind::GatewayClass;
        json!({
            "apiVersion": format!("{}/{}", kind.group(), kind.version()),
            "kind": kind.name(),
            "metadata": {"name": self.name},
            "spec": {"controllerName": self.controller, "description": self.description},
        })
    }
}

impl Class {
    /// Returns what gateways of the classes of a controller are; `None` for one that is not ours.
    pub fn of_controller(controller: &str) -> Option<Self> {
        BUILT_IN.iter().find(|built_in| built_in.controller == controller).map(|built_in| built_in.class)
    }

    /// Returns the controller of its classes.
    pub fn controller(self) -> &'static str {
        // Each class is in the table.
        BUILT_IN.iter().find(|built_in| built_in.class == self).map_or("", |built_in| built_in.controller)
    }

    /// Tells whether what proxies of its gateways are sent is made here, where there may be several networks or not.
    pub fn is_configured(self, is_multi_network: bool) -> bool {
        match self {
            Self::Gateway | Self::Waypoint => true,
            Self::EastWest => is_multi_network,
            Self::Remote => false,
        }
    }

    /// Tells whether its gateways take traffic of the mesh.
    pub fn is_in_mesh(self) -> bool {
        matches!(self, Self::Waypoint | Self::EastWest)
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

/// Returns the names of the classes that every cluster has.
pub(crate) fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|built_in| built_in.name)
}

/// Tells whether every cluster has a class of this name.
pub(crate) fn is_built_in(name: &str) -> bool {
    built_in_names().any(|own| own == name)
}

/// Declares what gateways of a class are, by its name. A class that is ours by name counts while it is not
/// in the cluster.
pub(crate) fn declare(b: &mut Builder, classes: Table<Name, GatewayClass>) -> Memo<Name, Class> {
    b.memo("gateway_classes", move |cx, name: &Name| match cx.get(classes, name) {
        Some(class) => Class::of_controller(&class.controller),
        None => BUILT_IN.iter().find(|built_in| name.name == built_in.name).map(|built_in| built_in.class),
    })
}

/// Returns the classes to be made: those that are not in the cluster, and of those for other networks only
/// where these are reached. One that is there is left as it is, whatever its controller is.
pub(crate) fn missing(
    graph: &Graph,
    classes: Table<Name, GatewayClass>,
    is_multi_network: bool,
) -> Vec<BuiltInClass> {
    let is_absent = |built_in: &BuiltInClass| graph.get(classes, &Name::new("", built_in.name)).is_none();
    BuiltInClass::wanted(is_multi_network).filter(is_absent).collect()
}
