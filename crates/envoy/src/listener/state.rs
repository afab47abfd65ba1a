//! Filter state that says what a connection is for.

use proto::envoy::extensions::filters::common::set_filter_state::v3::{FilterStateValue, filter_state_value};
use proto::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;

use crate::message::text_format;

/// The filter that sets which destination a CONNECT is for, by its route.
pub(crate) const DESTINATION_FILTER: &str = "destination";
/// The filter state that it sets.
pub(super) const DESTINATION: &str = "pilothouse.destination";

/// Returns filter state of a request, which the connection within Envoy that comes of it has, too.
pub(super) fn state(key: &str, factory: &str, value: &str) -> FilterStateValue {
    FilterStateValue {
        key: Some(filter_state_value::Key::ObjectKey(key.to_owned())),
        factory_key: factory.to_owned(),
        value: Some(filter_state_value::Value::FormatString(text_format(value))),
        shared_with_upstream: filter_state_value::SharedWithUpstream::Once.into(),
    }
}

/// The filter state that has the address that a connection is to.
pub(super) const LOCAL_IP: &str = "envoy.filters.listener.original_dst.local_ip";

/// Returns the settings of [`DESTINATION_FILTER`] for a CONNECT to what has this scope.
pub(crate) fn destination(scope: &str) -> SetFilterState {
    SetFilterState {
        on_request_headers: vec![state(DESTINATION, HASHABLE, scope)],
        ..SetFilterState::default()
    }
}

pub(super) const HASHABLE: &str = "envoy.hashable_string";
/// A text by which connections to backends are not told apart.
pub(super) const STRING: &str = "envoy.string";
