use super::{GatewayAddress, Meta};
use crate::{Labels, Str};
use std::net::IpAddr;

/// `spec.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServiceType {
    /// `ClusterIP` or `NodePort`.
    #[default]
    Internal,
    /// `LoadBalancer`: all the same to a ztunnel.
    LoadBalancer,
    /// `ExternalName`: not sent.
    ExternalName,
}

/// A transport protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Protocol {
    /// `TCP`.
    #[default]
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

/// An entry of `spec.ipFamilies`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpFamily {
    /// `IPv4`.
    V4,
    /// `IPv6`.
    V6,
}

/// `targetPort`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetPort {
    /// A number; the service port itself when `targetPort` is unset.
    Number(u16),
    /// The name of a container port.
    Name(Str),
}

/// An entry of `spec.ports`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// `name`; empty when unset.
    pub name: Str,
    /// `port`.
    pub port: u16,
    /// `protocol`, TCP when unset.
    pub protocol: Protocol,
    /// `targetPort`.
    pub target: TargetPort,
    /// `appProtocol`; empty when unset.
    pub app_protocol: Str,
}

/// Facts of a core `Service`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// Metadata.
    pub meta: Meta,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.selector`; empty selects nothing.
    pub selector: Labels,
    /// `spec.clusterIPs`, else `spec.clusterIP`, without "" and `None`; empty when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`, in order.
    pub ports: Vec<ServicePort>,
    /// `spec.ipFamilies`, in order.
    pub ip_families: Vec<IpFamily>,
    /// `spec.internalTrafficPolicy` is `Local`.
    pub internal_traffic_local: bool,
    /// `spec.trafficDistribution`, as written; empty when unset.
    pub traffic_distribution: Str,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// The addresses outside of the cluster: of each entry of `status.loadBalancer.ingress` its `ip`, else
    /// its `hostname`, then `spec.externalIPs`; in order, what does not parse is left out.
    pub external: Vec<GatewayAddress>,
}
