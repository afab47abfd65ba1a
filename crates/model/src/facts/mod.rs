//! Facts: what the mesh depends on, of one object, one file per kind.

mod authorization_policy;
mod endpoint_slice;
mod gateway;
mod mesh_settings;
mod meta;
mod namespace;
mod node;
mod peer_authentication;
mod pod;
mod policy;
mod service;
mod service_entry;
mod workload_entry;

pub use authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationSpec, Condition, Operation, Rule, Source,
};
pub use endpoint_slice::{AddressType, Endpoint, EndpointPort, EndpointSlice, EndpointTarget};
pub use gateway::{AllowedNamespaces, Gateway, GatewayAddress, GatewayClass, Listener};
pub use mesh_settings::{
    CaCertificate, MatchingRule, MeshSettings, ServiceScope, Visibility, VisibilityPolicy,
};
pub use meta::Meta;
pub use namespace::Namespace;
pub use node::Node;
pub use peer_authentication::{MtlsMode, PeerAuthentication, PeerAuthenticationSpec};
pub use pod::{Phase, Pod};
pub use policy::{PolicyTargetRef, Refused};
pub use service::{IpFamily, Protocol, Service, ServicePort, ServiceType, TargetPort};
pub use service_entry::{Resolution, ServiceEntry, ServiceEntryAddress, ServiceEntryPort};
pub use workload_entry::{EntryAddress, WorkloadEntry, WorkloadEntrySpec};

use crate::{Kind, Name, ObjectRef};
use std::sync::Arc;

/// The facts of one object of any kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// See [`Namespace`].
    Namespace(Arc<Namespace>),
    /// See [`Node`].
    Node(Arc<Node>),
    /// Mesh settings, from the ConfigMap `istio`.
    ConfigMap(Arc<MeshSettings>),
    /// See [`Pod`].
    Pod(Arc<Pod>),
    /// See [`Service`].
    Service(Arc<Service>),
    /// See [`EndpointSlice`].
    EndpointSlice(Arc<EndpointSlice>),
    /// See [`GatewayClass`].
    GatewayClass(Arc<GatewayClass>),
    /// See [`Gateway`].
    Gateway(Arc<Gateway>),
    /// See [`AuthorizationPolicy`].
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    /// See [`PeerAuthentication`].
    PeerAuthentication(Arc<PeerAuthentication>),
    /// See [`ServiceEntry`].
    ServiceEntry(Arc<ServiceEntry>),
    /// See [`WorkloadEntry`].
    WorkloadEntry(Arc<WorkloadEntry>),
}

impl Object {
    /// Returns the kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::Pod(_) => Kind::Pod,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::GatewayClass(_) => Kind::GatewayClass,
            Object::Gateway(_) => Kind::Gateway,
            Object::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Object::PeerAuthentication(_) => Kind::PeerAuthentication,
            Object::ServiceEntry(_) => Kind::ServiceEntry,
            Object::WorkloadEntry(_) => Kind::WorkloadEntry,
        }
    }

    /// Returns the object's namespace and name.
    pub fn name(&self) -> Name {
        match self {
            Object::Namespace(o) => o.name.object(),
            Object::Node(o) => o.name.clone(),
            Object::ConfigMap(o) => o.name.clone(),
            Object::Pod(o) => o.name.clone(),
            Object::Service(o) => o.meta.name.clone(),
            Object::EndpointSlice(o) => o.name.clone(),
            Object::GatewayClass(o) => o.meta.name.clone(),
            Object::Gateway(o) => o.meta.name.clone(),
            Object::AuthorizationPolicy(o) => o.meta.name.clone(),
            Object::PeerAuthentication(o) => o.meta.name.clone(),
            Object::ServiceEntry(o) => o.meta.name.clone(),
            Object::WorkloadEntry(o) => o.meta.name.clone(),
        }
    }

    /// Returns the reference that names this object.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.name() }
    }
}
