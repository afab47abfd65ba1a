//! Sessions that stay with one endpoint.

use model::Str;
use model::facts::SessionPersistence;
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
};
use proto::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use proto::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use proto::envoy::r#type::http::v3::Cookie;

use crate::message::{duration, seconds};

/// Returns how requests of a rule of this name find the endpoint of their session. A cookie lives as long as the
/// browser, unless it is permanent.
pub(super) fn encode(of: &SessionPersistence, rule: &Str) -> Any {
    let own = || format!("session-{}", rule.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let name = if of.name.is_empty() { own() } else { of.name.to_string() };
    let state = if of.by_header {
        let state = HeaderBasedSessionState { name };
        extension("header", any(&state))
    } else {
        let ttl = of.absolute_timeout.filter(|_| of.is_permanent).map_or(seconds(0), duration);
        let cookie = Cookie { name, ttl: Some(ttl), path: "/".to_owned() };
        extension("cookie", any(&CookieBasedSessionState { cookie: Some(cookie) }))
    };
    let session = StatefulSession { session_state: Some(state) };
    any(&StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) })
}

fn extension(by: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: format!("envoy.http.stateful_session.{by}"), typed_config: Some(config) }
}
