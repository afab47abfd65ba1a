use super::metadata::Metadata;
use super::pairs::StrictPairs;
use super::read;
use super::text::{Text, or_empty, shared_host, shared_list};
use super::traffic_policy::PolicyManifest;
use super::unset::Unset;
use super::wrong::Wrong;
use crate::facts::{DestinationRule, PortPolicy, Subset, TrafficPolicy};
use crate::{Kind, shared};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    host: Option<Text<'a>>,
    #[serde(borrow)]
    traffic_policy: Option<PolicyManifest<'a>>,
    #[serde(borrow)]
    subsets: Option<Vec<SubsetManifest<'a>>>,
    #[serde(borrow)]
    export_to: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct SubsetManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    labels: Option<StrictPairs<'a>>,
    #[serde(borrow)]
    traffic_policy: Option<PolicyManifest<'a>>,
}

/// Returns the facts of a `DestinationRule`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<DestinationRule, Wrong> {
    let Manifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    let mut unset = Unset::default();
    let policy = spec.traffic_policy.map(|policy| policy.lower("spec.trafficPolicy", &mut unset));
    let mut subsets: Vec<Subset> = Vec::new();
    for (i, manifest) in spec.subsets.unwrap_or_default().into_iter().enumerate() {
        let at = format!("spec.subsets[{i}]");
        let name = shared(or_empty(&manifest.name));
        if subsets.iter().any(|other| other.name == name) {
            let message = format!("subset {:?} is there before", name.as_str());
            unset.push(format!("{at}.name"), message, "give each subset a name of its own");
            continue;
        }
        let policy =
            manifest.traffic_policy.map(|policy| policy.lower(&format!("{at}.trafficPolicy"), &mut unset));
        subsets.push(Subset {
            name,
            labels: manifest.labels.as_ref().map(StrictPairs::labels).unwrap_or_default(),
            policy: policy.unwrap_or_default(),
        });
    }
    let policy = policy.unwrap_or_default();
    without_outliers("spec.trafficPolicy", &policy, None, &mut unset);
    for (i, subset) in subsets.iter().enumerate() {
        without_outliers(
            &format!("spec.subsets[{i}].trafficPolicy"),
            &subset.policy,
            Some(&policy),
            &mut unset,
        );
    }
    Ok(DestinationRule {
        meta: metadata.meta(Kind::DestinationRule)?,
        host: shared_host(or_empty(&spec.host)),
        export_to: shared_list(spec.export_to),
        policy,
        subsets,
        ignored: unset.into_list(),
    })
}

/// Names what is said of failing over where nothing says when an endpoint fails: it has no effect.
fn without_outliers(at: &str, policy: &TrafficPolicy, of_all: Option<&TrafficPolicy>, unset: &mut Unset) {
    let of_all = of_all.and_then(|of| of.common.outliers);
    let mut check = |at: String, of: &PortPolicy, detects: bool| {
        let Some(setting) = of.load_balancer.as_ref().and_then(|of| of.locality.as_ref()) else { return };
        let (labels, regions) = (!setting.labels.is_empty(), !setting.regions.is_empty());
        if detects || setting.is_disabled || !(labels || regions) {
            return;
        }
        let field = if labels { "failoverPriority" } else { "failover" };
        unset.push(
            format!("{at}.loadBalancer.localityLbSetting.{field}"),
            "has no effect without outlierDetection, which says when an instance fails".to_owned(),
            "write outlierDetection beside loadBalancer, or use trafficDistribution of the Service",
        );
    };
    check(at.to_owned(), &policy.common, policy.common.outliers.or(of_all).is_some());
    for (i, (_, of)) in policy.ports.iter().enumerate() {
        check(format!("{at}.portLevelSettings[{i}]"), of, of.outliers.is_some());
    }
}

#[cfg(test)]
mod tests;
