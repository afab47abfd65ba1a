//! Filter state that says what a connection is for.

use proto::envoy::extensions::filters::common::set_filter_state::v3::{FilterStateValue, filter_state_value};

use crate::message::text_format;

/// The filter state that names the scope of requests within a CONNECT.
pub(super) const DESTINATION: &str = "pilothouse.destination";
/// The filter state that has the address that a connection is to.
pub(super) const LOCAL_IP: &str = "envoy.filters.listener.original_dst.local_ip";
/// The filter state that has the address that a connection by HBONE goes to.
pub(super) const DIALLED: &str = "envoy.network.transport_socket.original_dst_address";

/// Returns filter state of a request, which the connection within Envoy that comes of it has, too.
pub(super) fn state(key: &str, factory: &str, value: &str) -> FilterStateValue {
    FilterStateValue {
        key: Some(filter_state_value::Key::ObjectKey(key.to_owned())),
        factory_key: factory.to_owned(),
        value: Some(filter_state_value::Value::FormatString(text_format(value))),
        shared_with_upstream: filter_state_value::SharedWithUpstream::Once.into(),
        ..FilterStateValue::default()
    }
}

pub(super) const HASHABLE: &str = "envoy.hashable_string";
/// A text by which connections to backends are not told apart.
pub(super) const STRING: &str = "envoy.string";
