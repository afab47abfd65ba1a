//! Further issuers whose tokens are accepted, as a setting says (`JWT_RULE`).

use super::{PodBinding, TokenPolicy};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest setting, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Most issuers.
const MAX_RULES: usize = 16;

/// One issuer, and what is expected of its tokens.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRule {
    /// What its tokens name as their issuer.
    pub issuer: String,
    /// Where its keys are; without it, where its discovery document (OpenID Connect Discovery 1.0,
    /// section 4) says.
    #[serde(default, alias = "jwksUri")]
    pub jwks_uri: String,
    /// Audiences, of which a token must be for one.
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// The issuers of a setting, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IssuerRules(pub Vec<IssuerRule>);

/// Why a setting is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssuerRuleError {
    /// It is longer than is read, or names more issuers.
    #[error("more than {} bytes or {} issuers are not read", MAX_BYTES, MAX_RULES)]
    TooLong,
    /// It is no JSON, or has another shape.
    #[error("{0}; write {{\"issuer\": …, \"jwks_uri\": …, \"audiences\": […]}}, or a list of such")]
    Malformed(String),
    /// An issuer is not named.
    #[error("a rule names no issuer: set \"issuer\" to what its tokens have as \"iss\"")]
    NoIssuer,
    /// An issuer has two rules.
    #[error("issuer {0:?} has two rules: merge their audiences")]
    Twice(String),
    /// No token could be accepted.
    #[error(
        "issuer {0:?} has no audiences: set \"audiences\" to what its tokens for this mesh have as \"aud\""
    )]
    NoAudience(String),
    /// Keys would be fetched without TLS.
    #[error(
        "keys of issuer {0:?} cannot be fetched: \"jwks_uri\", or else the issuer itself, must be an https:// address"
    )]
    NotHttps(String),
}

impl IssuerRules {
    /// Reads one rule or a list of them, as JSON; nothing written is none.
    ///
    /// # Errors
    /// [`IssuerRuleError`]: a rule that could accept nothing, or not safely, is refused.
    pub fn parse(text: &str) -> Result<Self, IssuerRuleError> {
        if text.len() > MAX_BYTES {
            return Err(IssuerRuleError::TooLong);
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let malformed = |error: serde_json::Error| IssuerRuleError::Malformed(error.to_string());
        let rules: Vec<IssuerRule> = match serde_json::from_str(text).map_err(malformed)? {
            Value::Array(list) => {
                list.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().map_err(malformed)?
            }
            one => vec![serde_json::from_value(one).map_err(malformed)?],
        };
        if rules.len() > MAX_RULES {
            return Err(IssuerRuleError::TooLong);
        }
        let mut seen = BTreeSet::new();
        for rule in &rules {
            rule.check()?;
            if !seen.insert(&rule.issuer) {
                return Err(IssuerRuleError::Twice(rule.issuer.clone()));
            }
        }
        Ok(Self(rules))
    }
}

impl IssuerRule {
    fn check(&self) -> Result<(), IssuerRuleError> {
        if self.issuer.is_empty() {
            return Err(IssuerRuleError::NoIssuer);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(IssuerRuleError::NoAudience(self.issuer.clone()));
        }
        let address = if self.jwks_uri.is_empty() { &self.issuer } else { &self.jwks_uri };
        if !address.starts_with("https://") {
            return Err(IssuerRuleError::NotHttps(self.issuer.clone()));
        }
        Ok(())
    }

    /// Returns where the discovery document of the issuer is.
    pub fn discovery_uri(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// Returns what its tokens must say. Whatever they say of pods counts for nothing: the issuer is
    /// not the one that knows the pods of this cluster.
    pub fn policy(&self, leeway: Duration) -> TokenPolicy {
        TokenPolicy {
            issuers: vec![self.issuer.clone()],
            audiences: self.audiences.clone(),
            leeway,
            pod: PodBinding::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_rule_and_a_list_are_read() {
        let one = IssuerRules::parse(
            r#"{"issuer": "https://a", "jwks_uri": "https://keys/a", "audiences": ["x", "y"]}"#,
        );
        let rule = one.unwrap().0.remove(0);
        assert_eq!((rule.issuer.as_str(), rule.jwks_uri.as_str()), ("https://a", "https://keys/a"));
        assert_eq!(rule.audiences, ["x", "y"]);
        let list = r#"[{"issuer": "https://a/", "audiences": ["x"]},
                       {"issuer": "b", "jwksUri": "https://b", "audiences": ["x"]}]"#;
        let list = IssuerRules::parse(list).unwrap().0;
        assert_eq!(list[0].discovery_uri(), "https://a/.well-known/openid-configuration");
        assert_eq!(list[1].jwks_uri, "https://b");
        assert_eq!(IssuerRules::parse(" ").unwrap(), IssuerRules::default());
    }

    #[test]
    fn what_could_accept_nothing_or_not_safely_is_refused() {
        let refused = |text: &str| IssuerRules::parse(text).unwrap_err();
        let of = |issuer: &str| issuer.to_owned();
        for text in ["{", "1", "[[]]", r#"{"issuer": 1}"#, r#"{"audiences": ["x"]}"#] {
            assert!(matches!(refused(text), IssuerRuleError::Malformed(_)), "{text}");
        }
        let unknown = r#"{"issuer": "https://a", "audiences": ["x"], "jwks": "{}"}"#;
        assert!(refused(unknown).to_string().contains("unknown field `jwks`"));
        assert_eq!(refused(r#"{"issuer": "", "audiences": ["x"]}"#), IssuerRuleError::NoIssuer);
        assert_eq!(refused(r#"{"issuer": "https://a"}"#), IssuerRuleError::NoAudience(of("https://a")));
        assert_eq!(
            refused(r#"{"issuer": "https://a", "audiences": [""]}"#),
            IssuerRuleError::NoAudience(of("https://a"))
        );
        for insecure in [
            r#"{"issuer": "http://a", "audiences": ["x"]}"#,
            r#"{"issuer": "a", "audiences": ["x"]}"#,
            r#"{"issuer": "https://a", "jwks_uri": "http://a", "audiences": ["x"]}"#,
            r#"{"issuer": "https://a", "jwks_uri": "file:///a", "audiences": ["x"]}"#,
        ] {
            assert!(matches!(refused(insecure), IssuerRuleError::NotHttps(_)), "{insecure}");
        }
        let rule = r#"{"issuer": "https://a", "audiences": ["x"]}"#;
        assert_eq!(refused(&format!("[{rule}, {rule}]")), IssuerRuleError::Twice(of("https://a")));
        assert_eq!(refused(&format!("[{}]", [rule; 17].join(","))), IssuerRuleError::TooLong);
        assert_eq!(refused(&" ".repeat(MAX_BYTES + 1)), IssuerRuleError::TooLong);
    }
}
