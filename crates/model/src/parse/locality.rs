//! `localityLbSetting` of DestinationRules and of the mesh settings.

use super::fault::join;
use super::number::ProtoNumber;
use super::text::{Text, or_empty};
use super::unset::Unset;
use crate::facts::{Distribution, FailoverLabel, LocalityPattern, LocalitySetting};
use crate::{Str, shared};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct LocalityManifest<'a> {
    #[serde(borrow)]
    distribute: Option<Vec<DistributionManifest<'a>>>,
    #[serde(borrow)]
    failover: Option<Vec<FailoverManifest<'a>>>,
    #[serde(borrow, alias = "failover_priority")]
    failover_priority: Option<Vec<Text<'a>>>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct DistributionManifest<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    to: Option<BTreeMap<String, ProtoNumber>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct FailoverManifest<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<Text<'a>>,
}

const PATTERN: &str = "write REGION, REGION/ZONE or REGION/ZONE/SUBZONE, or * for what is below";

impl LocalityManifest<'_> {
    /// Lowers what stands at the field `at`.
    pub(super) fn lower(self, at: &str, unset: &mut Unset) -> LocalitySetting {
        let mut distribute: Vec<Distribution> = Vec::new();
        for (i, of) in self.distribute.unwrap_or_default().into_iter().enumerate() {
            let at = format!("{at}.distribute[{i}]");
            if let Some(of) = of.lower(&at, unset) {
                if distribute.iter().any(|other| other.from == of.from) {
                    let message = "is there before, and this has no effect".to_owned();
                    unset.push(join(&at, "from"), message, "write one entry for each place");
                    continue;
                }
                distribute.push(of);
            }
        }
        let mut regions: Vec<(Str, Str)> = Vec::new();
        for (i, of) in self.failover.unwrap_or_default().into_iter().enumerate() {
            let (from, to) = (shared(or_empty(&of.from)), shared(or_empty(&of.to)));
            let is_region = |of: &Str| !of.is_empty() && !of.contains(['/', '*']);
            let why = match () {
                () if !is_region(&from) || !is_region(&to) => "names no two regions",
                () if from == to => "has a region stand in for itself",
                () if regions.iter().any(|(other, _)| *other == from) => "has a region that is there before",
                () => {
                    regions.push((from, to));
                    continue;
                }
            };
            let message = format!("{why}, and has no effect");
            unset.push(format!("{at}.failover[{i}]"), message, "write another region for each region");
        }
        let mut labels: Vec<FailoverLabel> = Vec::new();
        for (i, text) in self.failover_priority.unwrap_or_default().iter().enumerate() {
            let (key, value) = match text.as_str().split_once('=') {
                Some((key, value)) => (key, Some(shared(value))),
                None => (text.as_str(), None),
            };
            if key.is_empty() || labels.iter().any(|other| other.key == key) {
                let why = if key.is_empty() { "is empty" } else { "is there before" };
                let message = format!("{why}, and has no effect");
                let help = "write each label once, alone or with =VALUE";
                unset.push(format!("{at}.failoverPriority[{i}]"), message, help);
                continue;
            }
            labels.push(FailoverLabel { key: shared(key), value });
        }
        let fails_over = !labels.is_empty() || !regions.is_empty();
        if fails_over && !distribute.is_empty() {
            let field = if labels.is_empty() { "failover" } else { "failoverPriority" };
            let message = "has no effect beside `distribute`, which says where all of it goes".to_owned();
            unset.push(join(at, field), message, "write one of the two");
            (labels, regions) = Default::default();
        }
        LocalitySetting { is_disabled: self.enabled == Some(false), distribute, labels, regions }
    }
}

impl DistributionManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Option<Distribution> {
        let pattern = |text: &str, field: &str, unset: &mut Unset| {
            let found = pattern(text);
            if found.is_none() {
                let message = format!("{text:?} is no locality, so the entry has no effect");
                unset.push(join(at, field), message, PATTERN);
            }
            found
        };
        let from = pattern(or_empty(&self.from), "from", unset)?;
        let mut to = Vec::new();
        for (text, share) in self.to.unwrap_or_default() {
            let place = pattern(&text, "to", unset)?;
            if share.get() > 0 {
                to.push((place, share.get()));
            }
        }
        // Whatever is most specific takes an endpoint.
        to.sort_by_key(|(place, _)| std::cmp::Reverse(place.0.iter().flatten().count()));
        let sum: u64 = to.iter().map(|(_, share)| u64::from(*share)).sum();
        if sum != 100 {
            let message = format!("shares are {sum} % together, so the entry has no effect");
            unset.push(join(at, "to"), message, "write shares that are 100 together");
            return None;
        }
        Some(Distribution { from, to })
    }
}

/// Returns what a text of localities stands for: what is not written, or `*`, may be any.
fn pattern(text: &str) -> Option<LocalityPattern> {
    let mut parts = [None, None, None];
    let mut is_any = false;
    for (i, part) in text.split('/').enumerate() {
        let place = parts.get_mut(i)?;
        match part {
            "*" => is_any = true,
            "" => return None,
            // Nothing can be told of what is below any.
            _ if is_any || part.contains('*') => return None,
            part => *place = Some(shared(part)),
        }
    }
    Some(LocalityPattern(parts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn lower(setting: Value) -> (LocalitySetting, Vec<String>) {
        let (text, mut unset) = (setting.to_string(), Unset::default());
        let manifest: LocalityManifest<'_> = serde_json::from_str(&text).unwrap();
        let lowered = manifest.lower("at", &mut unset);
        (lowered, unset.into_list().into_iter().map(|of| of.field).collect())
    }

    #[test]
    fn a_pattern_is_a_locality_or_what_is_below_one() {
        let some = |text: &str| Some(Str::from(text));
        for (text, expected) in [
            ("*", Some([None, None, None])),
            ("r", Some([some("r"), None, None])),
            ("r/*", Some([some("r"), None, None])),
            ("r/z/*", Some([some("r"), some("z"), None])),
            ("r/z/s", Some([some("r"), some("z"), some("s")])),
            ("", None),
            ("r/", None),
            ("r/z/s/t", None),
            ("*/z", None),
            ("r/z*", None),
        ] {
            assert_eq!(pattern(text).map(|of| of.0), expected, "{text}");
        }
    }

    #[test]
    fn shares_are_whole_and_the_most_specific_goes_first() {
        let (setting, wrong) = lower(json!({"distribute": [
            {"from": "r/a/*", "to": {"r/*": 30, "r/a/s": 50, "r/a/*": 20, "q": 0}},
            {"from": "q", "to": {"*": 90}},
            {"from": "r/a", "to": {"*": 100}},
        ]}));
        let shares: Vec<u32> = setting.distribute[0].to.iter().map(|(_, share)| *share).collect();
        assert_eq!((setting.distribute.len(), shares), (1, vec![50, 20, 30]));
        assert_eq!(wrong, ["at.distribute[1].to", "at.distribute[2].from"]);
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let (setting, wrong) = lower(json!({
            "failover": [{"from": "a", "to": "b"}, {"from": "a", "to": "c"}, {"from": "b", "to": "b"}, {"from": "c/d", "to": "e"}],
            "failoverPriority": ["a", "b=c", "", "a"],
            "enabled": false,
        }));
        assert!(setting.is_disabled);
        assert_eq!(setting.regions, [("a".into(), "b".into())]);
        assert_eq!(setting.labels[1], FailoverLabel { key: "b".into(), value: Some("c".into()) });
        assert_eq!(
            wrong,
            [
                "at.failover[1]",
                "at.failover[2]",
                "at.failover[3]",
                "at.failoverPriority[2]",
                "at.failoverPriority[3]"
            ]
        );
        let both =
            json!({"distribute": [{"from": "*", "to": {"*": 100}}], "failover": [{"from": "a", "to": "b"}]});
        let (setting, wrong) = lower(both);
        assert!(setting.regions.is_empty());
        assert_eq!(wrong, ["at.failover"]);
    }
}
