//! What workloads of all sources are computed from.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{EndpointSlice, Meta, Node, Pod, WorkloadEntry};
use model::{Labels, Name, Ns, Str};
use proto::workload::{self, PortList};
use std::net::IpAddr;
use std::sync::Arc;

use crate::enforcement::{EnforcementTarget, Enforcements};
use crate::key::Selected;
use crate::namespace::{LeftOutPods, NamespaceView};
use crate::network::Networks;
use crate::service::{Entries, SelectedServices, Services};
use crate::settings::Settings;
use crate::waypoint::{
    BehindWaypoints, BindError, Binder, GATEWAY_NAME_LABEL, ImplicitAllowPolicies, Inherited, Leaving,
    UnboundWorkloads, Waypoint,
};

/// An endpoint that names a pod, of a slice that decides about its service.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SliceTarget {
    pub pod: Name,
    pub of: PodTarget,
    pub service: Name,
    /// Whether the slice says so.
    pub is_ready: bool,
    /// The ports of the service, as the slice has them.
    pub ports: PortList,
}

/// What an endpoint says of the pod that it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PodTarget {
    /// 0 where it gives none.
    pub uid: u128,
    pub addresses: Vec<IpAddr>,
}

impl PodTarget {
    /// Tells whether the endpoint is this pod: not one of its name that is gone, and where it is.
    pub fn is(&self, uid: u128, ips: &[IpAddr]) -> bool {
        (self.uid == 0 || self.uid == uid) && self.addresses.iter().any(|address| ips.contains(address))
    }
}

/// A pod that is sent, as endpoints name it. That it becomes ready leaves this equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamedPod {
    pub uid: u128,
    pub ips: Vec<IpAddr>,
}

/// What workloads are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub cluster: Str,
    pub pods: Table<Name, Pod>,
    pub nodes: Table<Name, Node>,
    pub slices: Table<Name, EndpointSlice>,
    pub entries: Entries,
    pub workload_entries: Table<Name, WorkloadEntry>,
    /// Whether an object belongs to the revision served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
    pub namespaces: Memo<Ns, NamespaceView>,
    pub settings: Settings,
    pub services: Services,
    pub networks: Networks,
    pub binder: Binder,
    pub leaving: Leaving,
    pub implicit_allow: Option<ImplicitAllowPolicies>,
    pub behind: BehindWaypoints,
    pub enforcements: Enforcements,
    pub unbound: UnboundWorkloads,
    pub left_out: LeftOutPods,
    /// Whether waypoints are required, where no annotation says otherwise.
    pub requires_waypoints: bool,
    pub selected_services: Memo<Selected, SelectedServices>,
    /// Whether ServiceEntries select pods.
    pub entries_select_pods: bool,
    /// Whether Services select WorkloadEntries.
    pub services_select_entries: bool,
    /// Whether workloads of other networks are summed up behind the gateways of those networks.
    pub multi_network: bool,
}

/// What a namespace says of its workloads.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NamespaceContext {
    pub view: Arc<NamespaceView>,
    pub inherited: Inherited,
    /// Whether slices of services without selectors name any of its pods.
    pub has_slice_targets: bool,
}

/// Where pods find what is around them.
#[derive(Clone, Copy)]
pub(super) struct Around {
    /// Of namespaces in scope.
    pub namespace_context: Memo<Ns, NamespaceContext>,
    pub by_pod: Index<Name, TargetKey, SliceTarget>,
}

/// The slice, the pod that an endpoint of it names, and the endpoint's first address.
pub(super) type TargetKey = (Name, Name, IpAddr);

/// What all workloads of the cluster have in common.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Shared {
    pub network: Str,
    pub trust_domain: Str,
}

pub(super) fn shared_fields(b: &mut Builder, settings: Settings) -> Table<(), Shared> {
    b.single("workload_shared", move |cx| Shared {
        network: cx.single(settings.network).map(|n| (*n).clone()).unwrap_or_default(),
        trust_domain: cx.single(settings.sent_trust_domain).map(|d| (*d).clone()).unwrap_or_default(),
    })
}

impl Inputs {
    /// The names of the policies that a workload lists, in the order in which it lists them.
    pub(super) fn listed(
        &self,
        cx: &Cx<'_>,
        selected: &Selected,
        target: &EnforcementTarget<'_>,
    ) -> Option<Vec<String>> {
        let own = target.requirement.iter().flat_map(|requirement| &requirement.route);
        let of_services = target.services.iter().flat_map(|(s, _)| Some((s, s.requirement.route.as_ref()?)));
        let text = |policies: &[Str]| policies.iter().map(|p| p.to_string()).collect();
        let mut listed: Vec<String> = match &self.implicit_allow {
            Some(implicit_allow) => {
                let mut listed: Vec<String> = text(&self.behind.policies(cx, selected)?);
                let routes = own.chain(of_services.map(|(_, route)| route));
                let names = implicit_allow.names(cx, &self.binder, &selected.ns, routes);
                listed.extend(names.iter().map(|n| n.to_string()));
                listed
            }
            // No ztunnel enforces policies, or nobody comes through a waypoint.
            None if !target.is_captured || target.requirement.is_none() => {
                text(&self.behind.policies(cx, selected)?)
            }
            None => {
                let own = own.map(|route| (None, route));
                let of_services = of_services.map(|(service, route)| (Some(service.object_ref()), route));
                text(&self.behind.policies_behind(cx, selected, own.chain(of_services))?)
            }
        };
        listed.extend(self.enforcements.listed(cx, target).map(|name| name.to_string()));
        Some(listed)
    }

    /// Tells whether a pod is to be sent what is new.
    pub(super) fn is_used(&self, cx: &Cx<'_>, name: &Name, pod: &Pod) -> bool {
        let is_needed = |gateway: &Str| {
            let gateway = Name { ns: name.ns.clone(), name: gateway.clone() };
            self.leaving.is_needed(cx, &gateway, pod) && cx.get(self.binder.waypoints, &gateway).is_some()
        };
        pod.is_ready() || pod.labels.get(GATEWAY_NAME_LABEL).is_some_and(is_needed)
    }

    /// An instance of a gateway has that gateway's tunnel and no waypoint of its own.
    pub(super) fn waypoint(
        &self,
        cx: &Cx<'_>,
        ns: &Ns,
        labels: &Labels,
        inherited: &Inherited,
    ) -> (Result<Option<Arc<Waypoint>>, BindError>, Option<workload::ApplicationTunnel>) {
        if let Some(gateway) = labels.get(GATEWAY_NAME_LABEL) {
            let gateway = Name { ns: ns.clone(), name: gateway.clone() };
            if let Some(instance_of) = cx.get(self.binder.waypoints, &gateway) {
                return (Ok(None), instance_of.application_tunnel());
            }
        }
        (self.binder.bind_workload(cx, labels, ns, inherited), None)
    }
}
