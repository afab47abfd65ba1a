//! Where a token issuer publishes its keys.

use super::keys::{FetchError, FetchedKeys};
use super::web_client::{WebClient, WebError};
use crate::stats::{Counts, IdentityStats};
use ca::token::{IssuerRule, KeySet, KeySetError};
use http::Request;
use kube::Client;
use serde::Deserialize;

/// The publisher of an issuer's keys.
pub(super) enum KeySource {
    /// An API server, for the tokens that it issues. Read from `/openid/v1/jwks` of that server, whatever
    /// address its discovery document names.
    ApiServer(Client),
    /// A configured issuer, read from the configured address or else from the one in its discovery document.
    Issuer(IssuerRule, WebClient),
}

/// The fields read from a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

impl KeySource {
    /// Returns the name for logs.
    pub fn name(&self) -> &str {
        match self {
            Self::ApiServer(_) => "the API server",
            Self::Issuer(rule, _) => &rule.issuer,
        }
    }

    /// Returns the counters of its fetches, by outcome.
    pub fn counts<'s>(&self, stats: &'s IdentityStats) -> &'s Counts {
        match self {
            Self::ApiServer(_) => &stats.key_fetches,
            Self::Issuer(..) => &stats.issuer_key_fetches,
        }
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn read(&self) -> Result<FetchedKeys, FetchError> {
        match self {
            Self::ApiServer(client) => from_api_server(client).await,
            Self::Issuer(rule, client) => from_issuer(rule, client).await,
        }
    }
}

async fn from_api_server(client: &Client) -> Result<FetchedKeys, FetchError> {
    let discovery = text(client, "/.well-known/openid-configuration").await?;
    let Discovery { issuer, .. } = serde_json::from_str(&discovery).map_err(|_| FetchError::Withheld)?;
    let document = text(client, "/openid/v1/jwks").await?.into_bytes();
    let keys = KeySet::from_json(&document).map_err(|error| {
        tracing::warn!(%error, "the published keys of tokens are invalid; tokens are reviewed instead");
        FetchError::Withheld
    })?;
    Ok(FetchedKeys { keys, issuer, document })
}

async fn text(client: &Client, path: &str) -> Result<String, FetchError> {
    let request = Request::get(path).body(Vec::new()).map_err(|_| FetchError::Withheld)?;
    client.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => FetchError::Withheld,
        other => FetchError::Unreachable(cluster::error_message(&other)),
    })
}

async fn from_issuer(rule: &IssuerRule, client: &WebClient) -> Result<FetchedKeys, FetchError> {
    let failed = |address: &str, error: WebError| match error {
        WebError::Forbidden(_) => FetchError::Blocked(format!("{address}: {error}")),
        _ => FetchError::Unreachable(format!("{address}: {error}")),
    };
    let address = if rule.jwks_uri.is_empty() {
        let at = rule.discovery_uri();
        let text = client.get(&at).await.map_err(|error| failed(&at, error))?;
        let found: Discovery = serde_json::from_slice(&text)
            .map_err(|error| FetchError::Unreachable(format!("{at} is not a discovery document: {error}")))?;
        if found.issuer != rule.issuer {
            let detail = format!("{at} belongs to another issuer, {:?}", found.issuer);
            return Err(FetchError::Unreachable(detail));
        }
        found.jwks_uri
    } else {
        rule.jwks_uri.clone()
    };
    let document = client.get(&address).await.map_err(|error| failed(&address, error))?.to_vec();
    let keys = match KeySet::from_json(&document) {
        Ok(keys) => keys,
        Err(error @ KeySetError::Empty) => {
            // An empty set withdraws all keys.
            tracing::warn!(address, %error, "no token of this issuer is accepted");
            KeySet::default()
        }
        Err(error) => return Err(FetchError::Unreachable(format!("{address}: {error}"))),
    };
    Ok(FetchedKeys { keys, issuer: rule.issuer.clone(), document })
}
