//! The table of resource types: where each is served and by which rules.
//!
//! The order in which types go out is that of [`ResourceType`]; see [`REMOVAL_ORDER`] for removals.

use proto::{ResourceType, Scope};

/// What a client is told of a name that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// That it is removed; in state of the world nothing.
    Removed,
    /// That it is removed; in state of the world an empty resource of this name.
    RemovedOrEmpty,
    /// An empty resource of this name, for Envoy ignores its removal.
    Empty,
}

/// The rules of a type.
#[derive(Debug)]
pub(crate) struct TypeRules {
    /// True for a type of the mesh, false for one of single proxies.
    in_mesh: bool,
    /// Whether resources carry a version.
    pub is_versioned: bool,
    /// Whether a client may follow all resources.
    pub has_wildcard: bool,
    /// Whether a response in state of the world holds all that is followed, so that what it lacks is gone.
    pub is_sent_whole: bool,
    pub missing: Missing,
}

const MESH: TypeRules = TypeRules {
    in_mesh: true,
    is_versioned: true,
    has_wildcard: true,
    is_sent_whole: false,
    missing: Missing::Removed,
};

/// A type that is followed by name alone.
const NAMED: TypeRules =
    TypeRules { in_mesh: false, is_versioned: true, has_wildcard: false, is_sent_whole: false, ..MESH };

/// A type that is followed as a whole, mostly.
const WHOLE: TypeRules = TypeRules { has_wildcard: true, is_sent_whole: true, ..NAMED };

/// Returns the rules of a type.
pub(crate) fn rules(of: ResourceType) -> &'static TypeRules {
    match of {
        // Without a version, as istiod sends them.
        ResourceType::Authorization => &TypeRules { is_versioned: false, ..MESH },
        ResourceType::Address => &MESH,
        ResourceType::Cluster | ResourceType::Listener | ResourceType::ScopedRoute => &WHOLE,
        ResourceType::Secret | ResourceType::ExtensionConfig => &NAMED,
        ResourceType::Endpoint => &TypeRules { missing: Missing::RemovedOrEmpty, ..NAMED },
        ResourceType::Route => &TypeRules { missing: Missing::Empty, ..NAMED },
    }
}

impl TypeRules {
    /// Tells whether resources of the type may be in a scope.
    pub fn are_in(&self, scope: &Scope) -> bool {
        self.in_mesh == (*scope == Scope::Mesh)
    }
}

/// Types of single proxies, in their order.
pub(crate) const PROXY_TYPES: [ResourceType; 7] = [
    ResourceType::Secret,
    ResourceType::Cluster,
    ResourceType::Endpoint,
    ResourceType::ExtensionConfig,
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::ScopedRoute,
];

/// The order in which types are removed: what names others goes before what it names.
pub(crate) const REMOVAL_ORDER: [ResourceType; 7] = [
    ResourceType::ScopedRoute,
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::ExtensionConfig,
    ResourceType::Endpoint,
    ResourceType::Cluster,
    ResourceType::Secret,
];

/// Returns the place of a type among [`PROXY_TYPES`]; `None` for one of the mesh.
pub(crate) fn proxy_slot(of: ResourceType) -> Option<usize> {
    PROXY_TYPES.iter().position(|&other| other == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_proxies_are_all_that_are_not_of_the_mesh_in_order() {
        let of_proxies = ResourceType::ALL.into_iter().filter(|&of| !rules(of).are_in(&Scope::Mesh));
        assert!(of_proxies.eq(PROXY_TYPES));
        let mut removed = REMOVAL_ORDER;
        removed.sort();
        assert_eq!(removed, PROXY_TYPES);
    }
}
