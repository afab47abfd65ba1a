//! What facts with metadata have in common.

use super::{
    AuthorizationPolicy, BackendTlsPolicy, BackendTrafficPolicy, DestinationRule, Extension, Facts, Gateway,
    GatewayClass, ListenerSet, PeerAuthentication, ReferenceGrant, RequestAuthentication, Route, Service,
    ServiceEntry, Telemetry, VirtualService, WorkloadEntry,
};
use crate::{Diagnostic, Name};

macro_rules! with_meta {
    ($($facts:ident)*) => {
        $(impl Facts for $facts {
            type Key = Name;
            const IS_TOLD: bool = true;

            fn key(&self) -> Name {
                self.meta.name.clone()
            }

            fn unsupported(&self) -> &[Diagnostic] {
                &self.meta.unsupported
            }

            fn unsupported_mut(&mut self) -> Option<&mut Vec<Diagnostic>> {
                Some(&mut self.meta.unsupported)
            }
        })*
    };
}

with_meta! {
    AuthorizationPolicy BackendTlsPolicy BackendTrafficPolicy DestinationRule Extension Gateway GatewayClass ListenerSet
    PeerAuthentication ReferenceGrant RequestAuthentication Route Service ServiceEntry Telemetry VirtualService WorkloadEntry
}
