//! What authors are told, gathered from the tables. This walks the mesh: it is meant for people.

use model::facts::{Meta, Visibility};
use model::{Diagnostic, Kind, Name, ObjectRef};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::graph::is_ours;
use crate::service::ServiceRow;
use crate::service_entry::HostKey;
use crate::{Mesh, condition, peer, service_entry, settings};

impl Mesh {
    /// Returns what is wrong with the objects at hand: those refused, policies that are not
    /// enforced as written, services and workloads that are not bound to the waypoint that they name,
    /// waypoints that are required in vain, workloads of other networks that nobody reaches, and a root
    /// namespace that is left out.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let refused = self.graph.rows(self.facts.rejected).into_iter().map(|(_, d)| (*d).clone());
        let all = refused.chain(self.of_policies()).chain(self.of_services()).chain(self.guard_diagnostics());
        let unbound =
            self.graph.rows(self.sinks.unbound).into_iter().map(|(unbound, _)| unbound.diagnostic());
        let workloads = [self.sinks.entries, self.sinks.inline];
        let unreached = self.sinks.horizon.iter().flat_map(|h| h.diagnostics(&self.graph, workloads));
        all.chain(unbound).chain(unreached).chain(self.root_left_out()).collect()
    }

    fn of_policies(&self) -> Vec<Diagnostic> {
        let rows = self.graph.rows(self.sinks.policies).into_iter();
        let found = rows.flat_map(|(_, row)| row.diagnostics.clone());
        let statuses = self.graph.rows(self.sinks.statuses.policies).into_iter();
        let unattached = statuses.filter_map(|(name, all)| condition::unattached(&name, &all));
        let peers: Vec<_> = self.graph.rows(self.sinks.peers).into_iter().map(|(_, peer)| peer).collect();
        let root = self.graph.get(self.sinks.root_namespace, &());
        let of_peers = root.map(|root| peer::diagnostics(&peers, &root)).unwrap_or_default();
        found.chain(unattached).chain(of_peers).collect()
    }

    fn of_services(&self) -> impl Iterator<Item = Diagnostic> {
        let services = self.graph.rows(self.sinks.services).into_iter();
        let unbound = services.filter_map(|(name, row)| row.diagnostic(Kind::Service, &name));
        let hosts = self.graph.rows(self.sinks.entry_services).into_iter();
        // The hosts of an entry have one waypoint: it is told once.
        let entries: BTreeSet<Diagnostic> =
            hosts.filter_map(|(_, row)| row.diagnostic(Kind::ServiceEntry, &row.object)).collect();
        let own = self.graph.rows(self.sinks.service_entries).into_iter();
        let own = own.flat_map(|(name, entry)| {
            let is_seen =
                self.graph.get(self.sinks.entry_visibility, &name).is_none_or(|v| *v != Visibility::None);
            service_entry::diagnostics(&entry, is_seen, |key| self.holder(key))
        });
        unbound.chain(entries).chain(own)
    }

    /// Returns that the root namespace is left out of discovery, with policies in it.
    fn root_left_out(&self) -> Option<Diagnostic> {
        let root = (*self.graph.get(self.sinks.root_left_out, &())?).clone()?;
        let ours = |meta: &Meta| is_ours(&self.revision, meta);
        let of = |kind, name| ObjectRef { kind, name };
        let policies = self.graph.rows(self.facts.policies).into_iter().filter(|(_, p)| ours(&p.meta));
        let policies = policies.map(|(name, _)| of(Kind::AuthorizationPolicy, name));
        let peers = self.graph.rows(self.facts.peers).into_iter().filter(|(_, p)| ours(&p.meta));
        let peers = peers.map(|(name, _)| of(Kind::PeerAuthentication, name));
        let first = policies.chain(peers).find(|policy| policy.name.ns == root)?;
        Some(settings::root_left_out(self.settings_map.clone(), &root, &first))
    }

    /// Returns the object that has a hostname in a namespace.
    pub(crate) fn holder(&self, key: &HostKey) -> Option<ObjectRef> {
        let of = |kind, name| ObjectRef { kind, name };
        if let Some(winner) = self.graph.get(self.sinks.winners, key) {
            return Some(of(Kind::ServiceEntry, winner.entry.clone()));
        }
        let service = self.service_of(key)?;
        Some(of(Kind::Service, service.object.clone()))
    }

    /// Returns the Service that has a hostname in its namespace.
    pub(crate) fn service_of(&self, key: &HostKey) -> Option<Arc<ServiceRow>> {
        let label = key.host.split('.').next().unwrap_or_default();
        let service = self.graph.get(self.sinks.services, &Name::new(&key.ns, label))?;
        let is_its = service.resource.split_once('/').is_some_and(|(_, host)| key.host == host);
        is_its.then_some(service)
    }
}
