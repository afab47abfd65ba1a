//! Whom waypoints ask about requests: a provider of the mesh settings, and the service that it is.

use model::Str;
use model::facts::{Authorizer, AuthorizerProtocol};
use std::sync::Arc;

use super::request::{is_path, is_token};

/// Somebody who decides about requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its name in the mesh settings.
    pub provider: Str,
    /// The service, `NAMESPACE/HOSTNAME`.
    pub service: Str,
    /// The port of the service.
    pub port: u16,
    /// How it is asked.
    pub authorizer: Authorizer,
}

impl Asked {
    /// Returns the hostname of the service.
    pub fn hostname(&self) -> &str {
        self.service.split_once('/').map_or("", |(_, host)| host)
    }
}

/// Who is asked for a provider's name.
///
/// # Errors
/// Why nobody can be asked, in words.
pub(crate) type Resolved = Result<Arc<Asked>, String>;

/// Looks for what Envoy would refuse of an authorizer.
///
/// # Errors
/// What that is, in words.
pub(crate) fn check(of: &Authorizer) -> Result<(), String> {
    let AuthorizerProtocol::Http(http) = &of.protocol else { return Ok(()) };
    if !(http.path_prefix.is_empty() || is_path(&http.path_prefix)) {
        return Err(format!("its pathPrefix {:?} is no beginning of a path", http.path_prefix.as_str()));
    }
    let names = http.more_headers.keys();
    if let Some(name) = names.into_iter().find(|name| name.is_empty() || !name.bytes().all(is_token)) {
        return Err(format!("its includeAdditionalHeadersInCheck has {:?}, no header", name.as_str()));
    }
    Ok(())
}
