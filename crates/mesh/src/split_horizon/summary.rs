//! One workload for each service of another network.

use engine::{Builder, Cx, Memo, Table};
use model::{Diagnostic, Kind, Name, Severity, Str};
use output::{Encoded, Outputs, Resource};
use proto::ResourceType;
use proto::workload::{self, PortList, TunnelProtocol, WorkloadType};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

use super::global_service::GlobalService;
use crate::capabilities::BEHIND_GATEWAY;
use crate::network::{NetworkGateway, Networks};
use crate::settings::Settings;
use crate::waypoint::HBONE_PORT;
use crate::workload::{EntryWorkload, Remote, RemoteKey, Workloads};
use crate::{encode, key, rank};

/// A part of the workloads of a service on another network, drawn by their names: so that one that
/// changes is summed up with some of them, and not with thousands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct PartKey {
    of: RemoteKey,
    part: u8,
}

/// What workloads are together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Sum {
    capacity: u32,
    accounts: BTreeSet<Name>,
}

impl Sum {
    fn and<'a>(mut self, capacity: u32, accounts: impl IntoIterator<Item = &'a Name>) -> Self {
        self.capacity = self.capacity.saturating_add(capacity);
        for account in accounts {
            // Most have one of a few: a name is copied once.
            if !self.accounts.contains(account) {
                self.accounts.insert(account.clone());
            }
        }
        self
    }
}

/// What stands for the workloads of a service on another network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    pub of: RemoteKey,
    pub encoded: Encoded,
    /// Who may answer there; ascending.
    pub accounts: Vec<Name>,
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct SplitHorizon {
    pub global: Table<Name, GlobalService>,
    /// What stands for workloads of other networks, by its name.
    pub summaries: Table<Str, Summary>,
    accounts: Memo<Name, Vec<String>>,
}

/// Declares them over the workloads that are no pods: pods are of the local network.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    workloads: Workloads,
    global: Table<Name, GlobalService>,
    networks: Networks,
    settings: Settings,
) -> SplitHorizon {
    let by_part = b.index(workloads.entries, "remote_by_part", |uid: &Str, w: &EntryWorkload| {
        let keys = w.remote().into_iter().flat_map(Remote::keys);
        keys.map(|of| PartKey { of, part: xxh3_64(uid.as_bytes()) as u8 }).collect::<Vec<_>>()
    });
    let parts = b.group("remote_parts", by_part, |_, _: &PartKey, workloads| {
        let remotes = workloads.iter().filter_map(|(_, w)| w.remote());
        Some(remotes.fold(Sum::default(), |sum, remote| sum.and(remote.capacity, [&remote.account])))
    });
    let by_key = b.index(parts, "remote_parts_by_network_and_service", |key: &PartKey, _| [key.of.clone()]);
    let sums = b.group("remote_sums", by_key, |_, _: &RemoteKey, parts| {
        Some(parts.iter().fold(Sum::default(), |sum, (_, part)| sum.and(part.capacity, &part.accounts)))
    });
    let by_service = b.index(sums, "remote_sums_by_service", |of: &RemoteKey, _| [of.service.clone()]);
    // Named after its gateway, a summary that gets another gateway is another resource.
    let summaries = b.expand("split_horizon", sums, move |cx, of: &RemoteKey, sum| {
        let summary = summary(cx, global, networks, settings, of, sum);
        summary.into_iter().collect()
    });
    let accounts = b.memo("remote_accounts", move |cx, service: &Name| {
        let domain = cx.single(settings.trust_domain)?;
        let networks = cx.lookup(by_service, service);
        let accounts: BTreeSet<&Name> = networks.iter().flat_map(|(_, sum)| &sum.accounts).collect();
        let names = accounts.iter().map(|a| format!("spiffe://{domain}/ns/{}/sa/{}", a.ns, a.name));
        Some(names.collect::<Vec<_>>())
    });
    out.resources(b, summaries, ResourceType::Address, rank::SUMMARY, |uid, summary| {
        Some(Resource::new(uid.as_str(), &summary.encoded).needs(BEHIND_GATEWAY))
    });
    let by_key =
        b.index(summaries, "summary_by_network_and_service", |_, summary: &Summary| [summary.of.clone()]);
    // That a summary becomes another one is nothing to the workloads behind it.
    let reached = b.group("reached_services", by_key, |_, _: &RemoteKey, _| Some(()));
    let sources =
        [("unreached_entry_findings", workloads.entries), ("unreached_inline_findings", workloads.inline)];
    for (name, table) in sources {
        let is_elsewhere = |_: &Str, workload: &EntryWorkload| workload.remote().is_some();
        out.diagnostics_where(b, name, table, is_elsewhere, move |cx, _, workload| {
            unreached(cx, global, reached, workload.remote()?)
        });
    }
    SplitHorizon { global, summaries, accounts }
}

fn summary(
    cx: &Cx<'_>,
    global: Table<Name, GlobalService>,
    networks: Networks,
    settings: Settings,
    of: &RemoteKey,
    sum: &Sum,
) -> Option<(Str, Summary)> {
    let service = cx.get(global, &of.service)?;
    let gateway = networks.gateways(cx, &of.network).next()?;
    let NetworkGateway { identity, name, cluster, .. } = &*gateway;
    let object = Name { ns: identity.ns.clone(), name: name.clone() };
    let uid = key::split_horizon_uid(&of.network, &object, &gateway.address_text()?, &service.resource);
    let mut through = gateway.gateway_address()?;
    if through.hbone_mtls_port == 0 {
        through.hbone_mtls_port = u32::from(HBONE_PORT);
    }
    let sent = workload::Workload {
        uid: uid.clone(),
        name: uid.clone(),
        namespace: of.service.ns.to_string(),
        network: of.network.to_string(),
        network_gateway: Some(through),
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        trust_domain: cx.single(settings.sent_trust_domain)?.to_string(),
        workload_type: WorkloadType::Pod.into(),
        services: BTreeMap::from([(service.resource.to_string(), PortList { ports: service.ports.clone() })]),
        cluster_id: cluster.to_string(),
        capacity: Some(sum.capacity),
        ..Default::default()
    };
    let accounts = sum.accounts.iter().cloned().collect();
    Some((Str::from(uid), Summary { of: of.clone(), encoded: encode::workload(sent, 0), accounts }))
}

impl SplitHorizon {
    /// Returns who may answer for a service on other networks, ascending; nothing for a service that
    /// is not for them. Behind a gateway a client sees no workload, only that it proves one of these.
    pub fn subject_alt_names(&self, cx: &Cx<'_>, service: &Name) -> Vec<String> {
        let accounts = cx.get(self.global, service).and_then(|_| cx.memo(self.accounts, service));
        accounts.map(|a| (*a).clone()).unwrap_or_default()
    }
}

/// Codes of the diagnostics that arise here.
mod code {
    /// A workload of another network is behind no gateway.
    pub(super) const UNREACHED: &str = "NW001";
}

/// Returns what the author of a workload should know that nobody reaches, since no summary stands for it.
fn unreached(
    cx: &Cx<'_>,
    global: Table<Name, GlobalService>,
    reached: Table<RemoteKey, ()>,
    remote: &Remote,
) -> Option<Diagnostic> {
    if remote.keys().any(|key| cx.get(reached, &key).is_some()) {
        return None;
    }
    let is_global = remote.services.iter().any(|s| cx.get(global, s).is_some());
    let network = &remote.network;
    let (message, help) = if is_global {
        (
            format!("network {network:?} has no gateway, so nobody reaches this workload"),
            "declare one: a Gateway of class istio-remote, labelled with the network, with an HBONE listener",
        )
    } else if remote.object.kind == Kind::ServiceEntry {
        (
            format!("network {network:?} is another one, and a ServiceEntry is not for other networks"),
            "declare a WorkloadEntry instead, selected by a Service with scope GLOBAL",
        )
    } else {
        (
            format!(
                "network {network:?} is another one, and no Service with scope GLOBAL selects this workload"
            ),
            "give its Service what serviceScopeConfigs of the mesh settings asks for, such as istio.io/global",
        )
    };
    let at = remote.endpoint.map(|n| format!("endpoints[{n}].")).unwrap_or_default();
    Some(Diagnostic {
        code: code::UNREACHED,
        severity: Severity::Warning,
        object: Some(remote.object.clone()),
        field: format!("spec.{at}network"),
        message,
        help: help.to_owned(),
        place: None,
    })
}
