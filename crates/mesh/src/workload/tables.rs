//! The tables of workloads of all sources.

use engine::{Builder, Table};
use model::facts::{EndpointPort, EndpointSlice, EndpointTarget, EntryAddress, Phase, WorkloadEntry};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str};
use output::{Encoded, Outputs, Resource};
use proto::ResourceType;

use super::entry::EntryWorkload;
use super::inputs::{
    Around, Inputs, NamedPod, NamespaceContext, PodTarget, SliceTarget, TargetKey, shared_fields,
};
use super::slice::{deciding, slice_ports};
use crate::service::ServiceView;
use crate::{key, rank};

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Workloads {
    pub pods: Table<Name, Encoded>,
    /// By resource name, as the following.
    pub entries: Table<Str, EntryWorkload>,
    pub inline: Table<Str, EntryWorkload>,
    pub endpoints: Table<Str, Encoded>,
}

/// Code of a diagnostic that arises here: the address of a WorkloadEntry is none.
const ADDRESS: &str = "WE001";
/// Code of a diagnostic that arises here: the ports of a slice are none of its service.
const UNMATCHED_PORTS: &str = "ES001";

fn invalid_address(entry: &Name, text: &str) -> Diagnostic {
    Diagnostic {
        code: ADDRESS,
        severity: Severity::Error,
        object: Some(ObjectRef { kind: Kind::WorkloadEntry, name: entry.clone() }),
        field: "spec.address".to_owned(),
        message: format!("{text:?} is neither an IP address nor a hostname"),
        help: "write one such as 10.0.0.1 or vm.example.org, and ports in `ports`; until then the workload is not sent"
            .to_owned(),
        place: None,
    }
}

/// Returns what the author of a slice should know that has endpoints and leads to none of the ports of its
/// service, since their names differ.
fn unmatched_ports(name: &Name, slice: &EndpointSlice, service: &ServiceView) -> Option<Diagnostic> {
    let is_known =
        |port: &EndpointPort| service.ports.iter().any(|own| Some(&own.name) == port.name.as_ref());
    if slice.endpoints.is_empty() || slice.ports.is_empty() || slice.ports.iter().any(is_known) {
        return None;
    }
    let names = |names: &mut dyn Iterator<Item = &Str>| {
        names.map(|name| format!("{:?}", name.as_str())).collect::<Vec<_>>().join(", ")
    };
    let own = names(&mut service.ports.iter().map(|port| &port.name));
    let empty = Str::new();
    Some(Diagnostic {
        code: UNMATCHED_PORTS,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::EndpointSlice, name: name.clone() }),
        field: "ports".to_owned(),
        message: format!(
            "Service {} has no port called {}, so no connection gets to these endpoints",
            service.object,
            names(&mut slice.ports.iter().map(|port| port.name.as_ref().unwrap_or(&empty)))
        ),
        help: match own.is_empty() {
            true => "give the Service the ports".to_owned(),
            false => format!("call them as the Service does: {own}"),
        },
        place: None,
    })
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: Inputs) -> Workloads {
    let services = inputs.services;
    let targets = b.expand("slice_targets", inputs.slices, move |cx, name, slice| {
        let service = Name { ns: name.ns.clone(), name: slice.service.clone() };
        let Some(view) = deciding(cx, services, &service, slice) else { return Vec::new() };
        let ports = slice_ports(&view, slice);
        let named = slice.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
            EndpointTarget::Pod { name: pod, uid } => {
                let of = PodTarget { uid: *uid, addresses: endpoint.addresses.to_vec() };
                let key = (name.clone(), pod.clone(), *endpoint.addresses.first()?);
                let (pod, is_ready) = (pod.clone(), endpoint.ready);
                Some((key, SliceTarget { pod, of, service: service.clone(), is_ready, ports: ports.clone() }))
            }
            EndpointTarget::Other => None,
        });
        named.collect()
    });
    let by_pod = b.index(targets, "slice_target_by_pod", |_: &TargetKey, t: &SliceTarget| [t.pod.clone()]);
    let by_ns = b.index(targets, "slice_target_by_namespace", |_, t: &SliceTarget| [t.pod.ns.clone()]);
    // Asked once for a namespace, and not by each of its workloads.
    let (namespaces, binder) = (inputs.namespaces, inputs.binder);
    let namespace_context = b.memo("namespace_context", move |cx, ns: &Ns| {
        let view = cx.memo(namespaces, ns).filter(|view| view.in_scope)?;
        let inherited = binder.inherited(cx, ns, &view);
        Some(NamespaceContext { view, inherited, has_slice_targets: cx.any(by_ns, ns) })
    });
    let around = Around { namespace_context, by_pod };
    let shared = shared_fields(b, inputs.settings);
    let slices = inputs.slices;
    let all_pods = inputs.pods;
    // Read only for the pods that slices name.
    let named_pods = b.memo("named_pod", move |cx, name: &Name| {
        let pod = cx.get(all_pods, name).filter(|pod| pod.phase == Phase::Live && !pod.ips.is_empty())?;
        let is_in_scope = cx.memo(namespaces, &name.ns)?.in_scope;
        is_in_scope.then(|| NamedPod { uid: pod.uid, ips: pod.ips.to_vec() })
    });
    let of_pods = inputs.clone();
    let pods = b.derive("pod_workloads", inputs.pods, move |cx, name, pod| {
        of_pods.pod(cx, around, shared, name, pod)
    });
    let of_entries = inputs.clone();
    let entries = b.expand("entry_workloads", inputs.workload_entries, move |cx, name, entry| {
        of_entries.workload_entry(cx, namespace_context, name, entry)
    });
    let of_inline = inputs.clone();
    let own_cluster = inputs.cluster.clone();
    let is_invalid = |_: &Name, entry: &WorkloadEntry| matches!(entry.spec.address, EntryAddress::Invalid(_));
    out.diagnostics_where(
        b,
        "workload_entry_findings",
        inputs.workload_entries,
        is_invalid,
        move |cx, name, _| {
            let row = cx.get(entries, &Str::from(key::workload_entry_uid(&own_cluster, name)))?;
            row.invalid_address().map(|text| invalid_address(name, text))
        },
    );
    // What a controller makes is no matter of an author.
    let is_by_hand = |_: &Name, slice: &EndpointSlice| !slice.follows_selector;
    out.diagnostics_where(b, "slice_findings", slices, is_by_hand, move |cx, name, slice| {
        let service = Name { ns: name.ns.clone(), name: slice.service.clone() };
        unmatched_ports(name, slice, &*deciding(cx, services, &service, slice)?)
    });
    let inline = b.expand("inline_workloads", inputs.entries.entries, move |cx, name, entry| {
        of_inline.service_entry(cx, namespace_context, name, entry)
    });
    let cluster = inputs.cluster.clone();
    let endpoints = b.expand("endpoint_workloads", slices, move |cx, name, slice| {
        inputs.endpoints(cx, shared, named_pods, name, slice)
    });
    out.resources(b, pods, ResourceType::Address, rank::POD, move |name, encoded| {
        Some(Resource::new(key::pod_uid(&cluster, name), encoded))
    });
    EntryWorkload::declare_output(b, out, entries, rank::WORKLOAD_ENTRY);
    EntryWorkload::declare_output(b, out, inline, rank::INLINE_ENDPOINT);
    out.resources(b, endpoints, ResourceType::Address, rank::SLICE_ENDPOINT, |uid, encoded| {
        Some(Resource::new(uid.as_str(), encoded))
    });
    Workloads { pods, entries, inline, endpoints }
}
