//! Fields of the kinds of Kubernetes: what belongs to networking and identity has lines of its own, the rest is
//! outside as a whole. None of Pod and EndpointSlice is told as not supported, so those are not walked for it.

use super::line::Line::{self, Outside, Read, Unsupported};

const LABELS: &str = "labels and annotations say what it is to the mesh";
const KUBE_PROXY: &str = "it is for traffic that comes through nodes, which is up to kube-proxy";
const RUNNING: &str = "what runs in a pod, and where, is up to the scheduler and the kubelet";
const NAMES: &str = "names inside of a pod are up to the kubelet; the mesh has the addresses of its status";

pub(super) const NAMESPACE: &[Line] = &[Outside("", "spec status", LABELS)];

pub(super) const NODE: &[Line] = &[Outside("", "spec status", "the labels say where it is")];

const PORTS: &[Line] = &[Read("", "name containerPort protocol")];

pub(super) const POD: &[Line] = &[
    Read("spec", "nodeName serviceAccountName hostNetwork"),
    Outside(
        "spec",
        "serviceAccount",
        "the former name of serviceAccountName: API servers keep the two equal",
    ),
    Line::Within("spec.containers[].ports[]", PORTS),
    Line::Within("spec.initContainers[].ports[]", PORTS),
    Read("spec.initContainers[]", "restartPolicy"),
    Outside("spec.containers[].ports[]", "hostIP hostPort", KUBE_PROXY),
    Outside("spec.initContainers[].ports[]", "hostIP hostPort", KUBE_PROXY),
    Outside(
        "spec",
        "dnsConfig dnsPolicy hostAliases hostname hostnameOverride setHostnameAsFQDN subdomain enableServiceLinks",
        NAMES,
    ),
    Outside("spec", "readinessGates", "the condition Ready tells what comes of them"),
    Outside("spec", "automountServiceAccountToken", "ztunnels have tokens of their own"),
    Outside("spec", "", RUNNING),
    Read("status", "phase podIP podIPs[].ip conditions[].type conditions[].status"),
    Outside("status", "hostIP hostIPs", "they are those of the node"),
    Outside("status", "", RUNNING),
];

pub(super) const SERVICE: &[Line] = &[
    Read("spec", "type selector.* clusterIP clusterIPs[] ipFamilies[]"),
    Read("spec", "internalTrafficPolicy trafficDistribution publishNotReadyAddresses"),
    Read("spec.ports[]", "name port protocol targetPort appProtocol"),
    Read("spec", "externalIPs[]"),
    Read("status.loadBalancer.ingress[]", "ip hostname"),
    Unsupported(
        "spec.sessionAffinity",
        "None",
        "a ztunnel chooses an endpoint for each connection: let the application keep its sessions",
    ),
    Outside("spec", "sessionAffinityConfig", "it says more of sessionAffinity"),
    Outside("spec", "externalName", "such a Service is a name of DNS, and is not sent"),
    Outside("spec", "ipFamilyPolicy", "it decides about clusterIPs and ipFamilies, which are read"),
    Outside("spec.ports[]", "nodePort", KUBE_PROXY),
    Outside(
        "spec",
        "allocateLoadBalancerNodePorts externalTrafficPolicy healthCheckNodePort loadBalancerClass",
        KUBE_PROXY,
    ),
    Outside("spec", "loadBalancerIP loadBalancerSourceRanges", KUBE_PROXY),
    Outside("status", "", "conditions are written here; the rest is up to load balancers"),
];

pub(super) const ENDPOINT_SLICE: &[Line] = &[
    Read("", "addressType"),
    Read("endpoints[]", "addresses[] conditions.ready"),
    Read("endpoints[].targetRef", "kind namespace name uid"),
    Read("ports[]", "name port protocol"),
    Outside("endpoints[].targetRef", "apiVersion fieldPath resourceVersion", "the other fields name the pod"),
    Outside(
        "endpoints[].conditions",
        "serving terminating",
        "a ztunnel has no endpoints that are about to end: ready says whether it may use one",
    ),
    Outside("endpoints[]", "deprecatedTopology hints nodeName zone", "of a pod, its node says where it is"),
    Outside("endpoints[]", "hostname", "names of single endpoints are up to the DNS of the cluster"),
    Outside("ports[]", "appProtocol", "that of the port of the Service is read"),
];
