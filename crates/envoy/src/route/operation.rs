//! What spans of requests are called, as Istio calls them.

use gateway::{Action, Rule};
use model::facts::PathMatch;
use proto::envoy::config::route::v3::Decorator;

/// Returns the name of spans of all requests to a service.
pub(super) fn of_service(hostname: &str, port: u16) -> Decorator {
    named(format!("{hostname}:{port}/*"))
}

/// Returns the name of spans of requests that a rule matches, which come by a port: the backend if it is one, else the
/// route, and the path.
pub(super) fn of_rule(rule: &Rule, port: u16) -> Decorator {
    let backend = match &rule.action {
        Action::Forward(backends) => match backends.as_slice() {
            [only] => only.backend.as_ref(),
            _ => None,
        },
        Action::Redirect(_) | Action::Respond(_) | Action::Refuse => None,
    };
    let path = match &rule.matches.path {
        None => "/*".to_owned(),
        Some(PathMatch::Exact(path) | PathMatch::Regex(path)) => path.to_string(),
        Some(PathMatch::Prefix(path) | PathMatch::StartsWith(path)) => format!("{path}*"),
    };
    let (name, port) = match backend {
        Some(to) => (to.hostname.as_str(), to.port.unwrap_or(port)),
        None => (rule.route.name.name.as_str(), port),
    };
    named(format!("{name}:{port}{path}"))
}

fn named(operation: String) -> Decorator {
    // It is nobody else's business.
    Decorator { operation, propagate: Some(false) }
}
