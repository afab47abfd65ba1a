//! Questions a ztunnel asks its state: who is behind an IP, which policies count, may this pass.

use std::net::IpAddr;

use proto::security::{Action, Authorization, Scope};
use proto::workload::address::Type;
use proto::workload::{NetworkMode, Service, Workload};

use super::rbac::{self, Connection, Decision};
use super::state::{Held, State, accepts};

impl State {
    /// The workload of that resource name.
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        match &self.addresses.get(name)?.message {
            Type::Workload(workload) => Some(workload),
            Type::Service(_) => None,
        }
    }

    /// The service of that resource name (`namespace/hostname`).
    pub fn service(&self, name: &str) -> Option<&Service> {
        match &self.addresses.get(name)?.message {
            Type::Service(service) => Some(service),
            Type::Workload(_) => None,
        }
    }

    /// The policy of that resource name (`namespace/name`).
    pub fn authorization(&self, name: &str) -> Option<&Authorization> {
        self.authorizations.get(name).map(|held| &held.message)
    }

    /// Every workload with that address, in order of name: several share a node's address.
    pub fn workloads_by_ip(&self, network: &str, ip: IpAddr) -> Vec<&Workload> {
        let names = self.by_ip.get(&(network.to_owned(), ip));
        names.into_iter().flatten().filter_map(|name| self.workload(name)).collect()
    }

    /// The workload that traffic to this address belongs to: one with an address of its own
    /// before those on the node's.
    pub fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Workload> {
        let all = self.workloads_by_ip(network, ip);
        let own = all.iter().find(|workload| workload.network_mode() != NetworkMode::HostNetwork);
        own.or_else(|| all.first()).copied()
    }

    /// The services held that a workload is an endpoint of, with their names in order.
    pub fn services_of<'a>(&'a self, workload: &'a Workload) -> Vec<(&'a str, &'a Service)> {
        let known = |key: &'a String| Some((key.as_str(), self.service(key)?));
        workload.services.keys().filter_map(known).collect()
    }

    /// The workloads to which a ztunnel sends the traffic of a service (`namespace/hostname`), by name.
    pub fn endpoints_of(&self, service: &str) -> Vec<(&str, &Workload)> {
        let names = self.service(service).and_then(|_| self.endpoints.get(service));
        let names = names.into_iter().flatten();
        names.filter_map(|name| Some((name.as_str(), self.workload(name)?))).collect()
    }

    /// Services (`namespace/hostname`) with workloads that they should send traffic to and do not: a
    /// ztunnel has forgotten these, and they were not sent again.
    pub fn forgotten(&self) -> Vec<(&str, &str)> {
        let all = self.workloads().flat_map(|(name, workload)| {
            self.services_of(workload).into_iter().map(move |(key, service)| (name, workload, key, service))
        });
        let is_known =
            |name: &str, key: &str| self.endpoints.get(key).is_some_and(|names| names.contains(name));
        all.filter(|(name, workload, key, service)| accepts(service, workload) && !is_known(name, key))
            .map(|(name, _, key, _)| (key, name))
            .collect()
    }

    /// The policies that a ztunnel evaluates for a workload: those of its namespace and of the
    /// mesh, and those it names; in order of name, without the names it names in vain.
    pub fn policies_of<'a>(&'a self, workload: &'a Workload) -> Vec<(&'a str, &'a Authorization)> {
        let counts = |name: &str, policy: &Authorization| match policy.scope() {
            Scope::Global => true,
            Scope::Namespace => policy.namespace == workload.namespace,
            Scope::WorkloadSelector => workload.authorization_policies.iter().any(|named| named == name),
        };
        self.authorizations
            .iter()
            .map(|(name, Held { message, .. })| (name.as_str(), message))
            .filter(|(name, policy)| counts(name, policy))
            .collect()
    }

    /// Decides on a connection to a workload: a DENY that matches denies; with no ALLOW policy
    /// all else passes; with one, only what an ALLOW matches. Dry-run policies do not count.
    pub fn decide(&self, workload: &Workload, connection: &Connection) -> Decision {
        let policies: Vec<_> =
            self.policies_of(workload).into_iter().filter(|(_, policy)| !policy.dry_run).collect();
        let of = |action: Action| policies.iter().filter(move |(_, policy)| policy.action() == action);
        let matching = |action| of(action).find(|(_, policy)| rbac::matches(policy, connection));
        if let Some((name, _)) = matching(Action::Deny) {
            return Decision::Denied { by: Some((*name).to_owned()) };
        }
        if of(Action::Allow).next().is_none() {
            return Decision::Allowed { by: None };
        }
        match matching(Action::Allow) {
            Some((name, _)) => Decision::Allowed { by: Some((*name).to_owned()) },
            None => Decision::Denied { by: None },
        }
    }

    /// Decides on a connection from `source` (an identity such as
    /// `spiffe://cluster.local/ns/a/sa/b`, or none for plaintext) at `source_ip` to the first
    /// address of the workload of that resource name; `None` if there is no such workload.
    pub fn allowed(
        &self,
        source: Option<&str>,
        source_ip: IpAddr,
        workload: &str,
        port: u16,
    ) -> Option<Decision> {
        let workload = self.workload(workload)?;
        let first = workload.addresses.iter().find_map(|bytes| super::ip(bytes));
        let destination_ip = first.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let source = source.map(str::to_owned);
        Some(self.decide(workload, &Connection { source, source_ip, destination_ip, port }))
    }
}
