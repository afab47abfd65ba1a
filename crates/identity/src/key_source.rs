//! Where the keys of tokens are published.

use super::published_keys::{KeysAway, Published};
use super::stats::{Counts, IdentityStats};
use super::web::{Web, WebError};
use ca::token::{IssuerRule, KeySet, KeySetError};
use http::Request;
use kube::Client;
use serde::Deserialize;

/// Who publishes keys.
pub enum KeySource {
    /// An API server, for the tokens that it issues itself. Read from `/openid/v1/jwks` of that server,
    /// whatever address its discovery document names.
    ApiServer(Client),
    /// An issuer that a setting names, at the address set, or else where its own document says.
    Issuer(IssuerRule, Web),
}

/// What is read of a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

impl KeySource {
    /// Returns its name, for people.
    pub fn name(&self) -> &str {
        match self {
            Self::ApiServer(_) => "the API server",
            Self::Issuer(rule, _) => &rule.issuer,
        }
    }

    /// Returns the counts of its fetches, by outcome.
    pub fn counts<'s>(&self, stats: &'s IdentityStats) -> &'s Counts {
        match self {
            Self::ApiServer(_) => &stats.key_fetches,
            Self::Issuer(..) => &stats.issuer_key_fetches,
        }
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub async fn read(&self) -> Result<Published, KeysAway> {
        match self {
            Self::ApiServer(client) => of_api_server(client).await,
            Self::Issuer(rule, web) => of_issuer(rule, web).await,
        }
    }
}

async fn of_api_server(client: &Client) -> Result<Published, KeysAway> {
    let discovery = text(client, "/.well-known/openid-configuration").await?;
    let Discovery { issuer, .. } = serde_json::from_str(&discovery).map_err(|_| KeysAway::Withheld)?;
    let text = text(client, "/openid/v1/jwks").await?.into_bytes();
    let keys = KeySet::from_json(&text).map_err(|error| {
        tracing::warn!(%error, "the published keys of tokens cannot be used; tokens are reviewed instead");
        KeysAway::Withheld
    })?;
    Ok(Published { keys, issuer, text })
}

async fn text(client: &Client, path: &str) -> Result<String, KeysAway> {
    let request = Request::get(path).body(Vec::new()).map_err(|_| KeysAway::Withheld)?;
    client.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => KeysAway::Withheld,
        other => KeysAway::Unreachable(other.to_string()),
    })
}

async fn of_issuer(rule: &IssuerRule, web: &Web) -> Result<Published, KeysAway> {
    let away = |address: &str, error: WebError| match error {
        WebError::Forbidden(_) => KeysAway::Blocked(format!("{address}: {error}")),
        _ => KeysAway::Unreachable(format!("{address}: {error}")),
    };
    let address = if rule.jwks_uri.is_empty() {
        let at = rule.discovery_uri();
        let document = web.get(&at).await.map_err(|error| away(&at, error))?;
        let found: Discovery = serde_json::from_slice(&document)
            .map_err(|error| KeysAway::Unreachable(format!("{at} is no discovery document: {error}")))?;
        if found.issuer != rule.issuer {
            let detail = format!("{at} is of another issuer, {:?}", found.issuer);
            return Err(KeysAway::Unreachable(detail));
        }
        found.jwks_uri
    } else {
        rule.jwks_uri.clone()
    };
    let text = web.get(&address).await.map_err(|error| away(&address, error))?.to_vec();
    let keys = match KeySet::from_json(&text) {
        Ok(keys) => keys,
        Err(error @ KeySetError::Empty) => {
            // Whoever publishes none has withdrawn them all.
            tracing::warn!(address, %error, "no token of this issuer is accepted");
            KeySet::default()
        }
        Err(error) => return Err(KeysAway::Unreachable(format!("{address}: {error}"))),
    };
    Ok(Published { keys, issuer: rule.issuer.clone(), text })
}
