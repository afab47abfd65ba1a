use super::{AllowedNamespaces, Listener, Meta, ObjectReference};
use crate::{Labels, Str};
use std::net::IpAddr;

/// Facts of a Gateway API `GatewayClass`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GatewayClass {
    /// Metadata (cluster-scoped).
    pub meta: Meta,
    /// `spec.controllerName`.
    pub controller: Str,
}

/// An entry of `status.addresses`, or of a load balancer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayAddress {
    /// Type `IPAddress` (the default) that parses.
    Ip(IpAddr),
    /// Type `Hostname`, in lower case.
    Hostname(Str),
    /// Another type, or an address that does not parse; it still makes the gateway ready.
    Other,
}

/// An entry of `spec.addresses`: an address that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestedAddress {
    /// `type`, `IPAddress` when unset.
    pub kind: Str,
    /// `value`; empty for any of the type.
    pub value: Str,
}

/// `spec.tls.frontend`: how certificates of clients are verified.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrontendTls {
    /// `default.validation`.
    pub default: Option<FrontendValidation>,
    /// `perPort`: port and `tls.validation`, in order.
    pub ports: Vec<(u16, Option<FrontendValidation>)>,
}

impl FrontendTls {
    /// Returns what holds for a port: what is said of it, else the default.
    pub fn of_port(&self, port: u16) -> Option<&FrontendValidation> {
        let own = self.ports.iter().find(|(number, _)| *number == port);
        own.map_or(self.default.as_ref(), |(_, validation)| validation.as_ref())
    }
}

/// `validation` of client certificates.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrontendValidation {
    /// `caCertificateRefs`, in order.
    pub roots: Vec<ObjectReference>,
    /// `mode` is `AllowInsecureFallback`: certificates are asked for and not required to be valid.
    pub is_optional: bool,
}

/// `spec.infrastructure`, without the parameters: what is put on all that is deployed for a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Infrastructure {
    /// `labels`; `None` when unset.
    pub labels: Option<Labels>,
    /// `annotations`; `None` when unset.
    pub annotations: Option<Labels>,
}

/// Facts of a Gateway API `Gateway`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gateway {
    /// Metadata.
    pub meta: Meta,
    /// `metadata.uid`, as written; empty when unset.
    pub uid: Str,
    /// Whether it is being deleted (`metadata.deletionTimestamp`).
    pub is_deleted: bool,
    /// All annotations but `kubectl.kubernetes.io/last-applied-configuration`, since what is deployed for a
    /// gateway has them.
    pub annotations: Labels,
    /// `spec.gatewayClassName`.
    pub class: Str,
    /// `spec.listeners`, in order.
    pub listeners: Vec<Listener>,
    /// `spec.addresses`, in order.
    pub requested: Vec<RequestedAddress>,
    /// `spec.allowedListeners.namespaces`: whose ListenerSets may attach; `None` for nobody's.
    pub allowed_listeners: Option<AllowedNamespaces>,
    /// `spec.infrastructure`.
    pub infrastructure: Infrastructure,
    /// `spec.infrastructure.parametersRef`.
    pub parameters: Option<ObjectReference>,
    /// `spec.tls.frontend`.
    pub frontend: FrontendTls,
    /// `spec.tls.backend.clientCertificateRef`.
    pub backend_certificate: Option<ObjectReference>,
    /// `status.addresses`, in order.
    pub addresses: Vec<GatewayAddress>,
}
