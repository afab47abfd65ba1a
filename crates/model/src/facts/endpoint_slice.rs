use super::Facts;
use super::Protocol;
use crate::{Name, Str};
use smallvec::SmallVec;
use std::net::IpAddr;

/// `addressType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AddressType {
    /// `IPv4` or `IPv6`.
    #[default]
    Ip,
    /// `FQDN`: makes no workloads.
    Fqdn,
}

/// `targetRef` of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndpointTarget {
    /// A pod, with its uid as in [`super::Pod::uid`].
    Pod {
        /// Namespace (the slice's own when unset) and name.
        name: Name,
        /// `uid`; 0 when unset.
        uid: u128,
    },
    /// Anything else, or nothing.
    Other,
}

/// An entry of `endpoints`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `addresses`, in order; empty when **any** of them does not parse.
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// `conditions.ready`; unset counts as ready.
    pub ready: bool,
    /// `targetRef`.
    pub target: EndpointTarget,
}

/// An entry of `ports`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointPort {
    /// `name`; `None` when unset (which is not the same as empty).
    pub name: Option<Str>,
    /// `port`; `None` when unset.
    pub port: Option<u16>,
    /// `protocol`; `None` when not given explicitly.
    pub protocol: Option<Protocol>,
}

/// Facts of an `EndpointSlice`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: Name,
    /// Label `kubernetes.io/service-name`; empty when absent.
    pub service: Str,
    /// Whether the controller of Kubernetes made it, after the service's selector (label
    /// `endpointslice.kubernetes.io/managed-by`).
    pub follows_selector: bool,
    /// `addressType`.
    pub address_type: AddressType,
    /// `endpoints`, in order.
    pub endpoints: Vec<Endpoint>,
    /// `ports`, in order.
    pub ports: Vec<EndpointPort>,
}

impl Facts for EndpointSlice {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}
