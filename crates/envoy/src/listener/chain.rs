//! Filter chains, and the listeners within Envoy that have them.

use prost::{Message, Name};
use proto::envoy::config::core::v3::TrafficDirection;
use proto::envoy::config::listener::v3::listener::{InternalListenerConfig, ListenerSpecifier};
use proto::envoy::config::listener::v3::{FilterChain, Listener};

use crate::message::{network_filter, original_dst};

pub(super) fn in_chain<M: Message + Name>(name: &str, filter: &str, config: &M) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters: vec![network_filter(filter, config)],
        ..FilterChain::default()
    }
}

pub(super) fn internal(name: &str, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        filter_chains: chains,
        listener_filters: vec![original_dst()],
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_specifier: Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})),
        ..Listener::default()
    }
}
