//! What is published: every scope at one step.

use std::sync::Arc;

use proto::{ResourceType, Scope};

use crate::log::{Proxies, ProxyView};
use crate::lookup::LookupCell;
use crate::mesh::MeshView;
use crate::wire::ResourceRef;

/// Everything published at one step, in all scopes; immutable and cheap to share.
#[derive(Debug)]
pub struct Snapshot {
    step: u64,
    mesh: Arc<MeshView>,
    lookup: LookupCell,
    proxies: Proxies,
}

impl Snapshot {
    pub(crate) fn new(step: u64, mesh: Arc<MeshView>, lookup: LookupCell, proxies: Proxies) -> Self {
        Self { step, mesh, lookup, proxies }
    }

    /// Number of the step; 1 for the first publication.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// What ztunnels are served.
    pub fn mesh(&self) -> &Arc<MeshView> {
        &self.mesh
    }

    pub(crate) fn lookup(&self) -> &LookupCell {
        &self.lookup
    }

    pub(crate) fn proxy(&self, name: &str) -> Option<&Arc<ProxyView>> {
        self.proxies.get(name)
    }

    /// Step of the last change of a scope; 0 for a proxy without resources.
    pub fn changed(&self, scope: &Scope) -> u64 {
        match scope {
            Scope::Mesh => self.mesh.step(),
            Scope::Proxy(name) => self.proxy(name).map_or(0, |view| view.changed()),
        }
    }

    /// Names of the proxies that have resources, in order.
    pub fn proxies(&self) -> impl Iterator<Item = &Arc<str>> {
        self.proxies.iter().map(|(name, _)| name)
    }

    /// Names of the scopes that have resources for the replicas of a proxy at one place alone: that of the proxy, an `@`
    /// and the place; in order.
    pub fn places_of<'s>(&'s self, proxy: &str) -> impl Iterator<Item = &'s Arc<str>> + use<'s> {
        let begin = format!("{proxy}@");
        let names = self.proxies.names_from(begin.as_str().into());
        names.take_while(move |scope| scope.starts_with(&begin))
    }

    /// Names of the proxies whose resources changed after a step, in the order of their last change;
    /// nothing when it is so long ago that some of those without resources are forgotten. A proxy that
    /// lost all resources and has some again may be named twice.
    pub fn proxies_changed_after(&self, step: u64) -> Option<impl Iterator<Item = &Arc<str>>> {
        self.proxies.changed_after(step)
    }

    /// Number of resources of a type in a scope.
    pub fn len(&self, scope: &Scope, of: ResourceType) -> usize {
        match scope {
            Scope::Mesh => self.mesh.len(of),
            Scope::Proxy(name) => self.proxy(name).map_or(0, |view| view.of(of).len()),
        }
    }

    /// True when no scope has a resource.
    pub fn is_empty(&self) -> bool {
        self.mesh.is_empty() && self.proxies.len() == 0
    }

    /// Resources of a type in a scope: of the mesh in the order of their last change, of a proxy by name.
    pub fn resources(
        &self,
        scope: &Scope,
        of: ResourceType,
    ) -> Box<dyn Iterator<Item = ResourceRef<'_>> + '_> {
        match scope {
            Scope::Mesh => Box::new(self.mesh.resources(of)),
            Scope::Proxy(name) => {
                Box::new(self.proxy(name).into_iter().flat_map(move |view| view.of(of).resources()))
            }
        }
    }
}
