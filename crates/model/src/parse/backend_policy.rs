//! Policies of the Gateway API for backends.

use super::duration;
use super::listener::hostname;
use super::metadata::Metadata;
use super::number::Bounded;
use super::pairs::LabelPairs;
use super::reference::{Reference, object_reference};
use super::session::SessionManifest;
use super::text::{Text, or_empty};
use super::wrong::Wrong;
use super::{code, read};
use crate::facts::{
    BackendTarget, BackendTlsPolicy, BackendTrafficPolicy, Rate, RetryConstraint, SubjectAltName,
};
use crate::{Kind, shared};
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(expecting = "an object", bound(deserialize = "S: Deserialize<'de>"))]
struct Manifest<'a, S> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    spec: Option<S>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TlsSpec<'a> {
    #[serde(borrow)]
    target_refs: Option<Vec<Target<'a>>>,
    #[serde(borrow)]
    validation: Option<Validation<'a>>,
    #[serde(borrow)]
    options: Option<LabelPairs<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Target<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    section_name: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Validation<'a> {
    #[serde(borrow)]
    ca_certificate_refs: Option<Vec<Reference<'a>>>,
    // Not as `rename_all` has it.
    #[serde(borrow, rename = "wellKnownCACertificates")]
    well_known: Option<Text<'a>>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    subject_alt_names: Option<Vec<AltName<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct AltName<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    uri: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TrafficSpec<'a> {
    #[serde(borrow)]
    target_refs: Option<Vec<Target<'a>>>,
    #[serde(borrow)]
    retry_constraint: Option<Constraint<'a>>,
    #[serde(borrow)]
    session_persistence: Option<SessionManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Constraint<'a> {
    #[serde(borrow)]
    budget: Option<RateManifest<'a>>,
    #[serde(borrow)]
    min_retry_rate: Option<RateManifest<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct RateManifest<'a> {
    /// `percent` of a budget.
    #[serde(alias = "percent")]
    count: Option<Bounded<1_000_000, false>>,
    #[serde(borrow)]
    interval: Option<Text<'a>>,
}

/// Returns the facts of a Gateway API `BackendTLSPolicy`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_tls(json: &[u8]) -> Result<BackendTlsPolicy, Wrong> {
    let Manifest::<TlsSpec<'_>> { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    let validation = spec.validation.unwrap_or_default();
    let roots = validation.ca_certificate_refs.unwrap_or_default();
    Ok(BackendTlsPolicy {
        meta: metadata.meta(Kind::BackendTLSPolicy)?,
        targets: spec.target_refs.iter().flatten().map(Target::lower).collect(),
        hostname: hostname(or_empty(&validation.hostname)),
        roots: roots.iter().map(|reference| reference.lower("", "")).collect(),
        well_known: shared(or_empty(&validation.well_known)),
        subject_alt_names: validation.subject_alt_names.iter().flatten().map(AltName::lower).collect(),
        options: spec.options.as_ref().map(LabelPairs::labels).unwrap_or_default(),
    })
}

/// Returns the facts of a Gateway API `XBackendTrafficPolicy`.
///
/// # Errors
/// As [`super::parse`], and when a duration is none.
pub(super) fn parse_traffic(json: &[u8]) -> Result<BackendTrafficPolicy, Wrong> {
    let Manifest::<TrafficSpec<'_>> { metadata, spec } = read::manifest(json)?;
    let meta = metadata.meta(Kind::XBackendTrafficPolicy)?;
    let spec = spec.unwrap_or_default();
    let session = spec.session_persistence.map(|session| {
        let wrong =
            |(field, message)| Wrong::new(code::FIELD, format!("spec.sessionPersistence.{field}"), message);
        session.lower().map_err(wrong)
    });
    Ok(BackendTrafficPolicy {
        meta,
        targets: spec.target_refs.iter().flatten().map(Target::lower).collect(),
        retries: spec.retry_constraint.map(Constraint::lower).transpose()?,
        session: session.transpose()?,
    })
}

impl Target<'_> {
    fn lower(&self) -> BackendTarget {
        BackendTarget {
            object: object_reference((&self.group, ""), (&self.kind, ""), &None, &self.name),
            section: shared(or_empty(&self.section_name)),
        }
    }
}

impl AltName<'_> {
    fn lower(&self) -> SubjectAltName {
        match or_empty(&self.kind) {
            "Hostname" => SubjectAltName::Hostname(hostname(or_empty(&self.hostname))),
            "URI" => SubjectAltName::Uri(shared(or_empty(&self.uri))),
            other => SubjectAltName::Unknown(shared(other)),
        }
    }
}

impl Constraint<'_> {
    fn lower(self) -> Result<RetryConstraint, Wrong> {
        let rate = |of: Option<RateManifest<'_>>, field: &str, (count, seconds): (u32, u64)| {
            let of = of.unwrap_or_default();
            let interval = duration::optional(&of.interval).map_err(|message| {
                Wrong::new(code::FIELD, format!("spec.retryConstraint.{field}.interval"), message)
            })?;
            Ok(Rate {
                count: of.count.map_or(count, Bounded::get),
                interval: interval.unwrap_or(Duration::from_secs(seconds)),
            })
        };
        Ok(RetryConstraint {
            budget: rate(self.budget, "budget", (20, 10))?,
            min_rate: rate(self.min_retry_rate, "minRetryRate", (10, 1))?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::{Value, json};

    fn manifest(spec: Value) -> Vec<u8> {
        json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec}).to_string().into_bytes()
    }

    #[test]
    fn a_tls_policy_says_how_a_backend_is_verified() {
        let policy = parse_tls(&manifest(json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "web", "sectionName": "https"}],
            "validation": {
                "hostname": "Web.Example.com",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                "wellKnownCACertificates": "System",
                "subjectAltNames": [{"type": "Hostname", "hostname": "a"}, {"type": "URI", "uri": "spiffe://a"}, {"type": "X"}],
            },
        })))
        .unwrap();
        assert!(policy.targets[0].object.is("", "Service") && policy.targets[0].section == "https");
        assert!(policy.roots[0].is("", "ConfigMap"));
        assert_eq!((policy.hostname.as_str(), policy.well_known.as_str()), ("web.example.com", "System"));
        let expected = [
            SubjectAltName::Hostname("a".into()),
            SubjectAltName::Uri("spiffe://a".into()),
            SubjectAltName::Unknown("X".into()),
        ];
        assert_eq!(policy.subject_alt_names, expected);
    }

    #[test]
    fn a_traffic_policy_has_the_defaults_of_its_rates() {
        let retries = |constraint: Value| {
            parse_traffic(&manifest(json!({"retryConstraint": constraint}))).unwrap().retries.unwrap()
        };
        let rate = |count, seconds| Rate { count, interval: Duration::from_secs(seconds) };
        let default = RetryConstraint { budget: rate(20, 10), min_rate: rate(10, 1) };
        assert_eq!(retries(json!({})), default);
        let own = retries(json!({"budget": {"percent": 5}, "minRetryRate": {"count": 3, "interval": "2s"}}));
        assert_eq!(own, RetryConstraint { budget: rate(5, 10), min_rate: rate(3, 2) });
        let none = parse_traffic(&manifest(json!({}))).unwrap();
        assert_eq!((none.retries, none.session), (None, None));
    }

    #[test]
    fn a_traffic_policy_with_a_wrong_duration_names_the_field() {
        let wrong = parse_traffic(&manifest(json!({"retryConstraint": {"budget": {"interval": "soon"}}})));
        let expected = Wrong::new(
            code::FIELD,
            "spec.retryConstraint.budget.interval",
            "\"soon\" is no duration such as 10s or 500ms",
        );
        assert_eq!(wrong, Err(expected));
    }
}
