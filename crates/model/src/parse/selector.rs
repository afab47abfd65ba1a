//! Label selectors.

use super::pairs::{LabelPairs, StrictPairs};
use super::text::{Text, or_empty, shared_list};
use crate::{Labels, Selector, SelectorOperator, SelectorRequirement};
use serde::Deserialize;

/// `metav1.LabelSelector`, and the one of the mesh settings, which has the same shape.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct LabelSelector<'a> {
    #[serde(borrow, alias = "match_labels")]
    match_labels: Option<LabelPairs<'a>>,
    #[serde(borrow, alias = "match_expressions")]
    match_expressions: Option<Vec<Requirement<'a>>>,
}

#[derive(Deserialize, Debug)]
#[serde(expecting = "an object")]
struct Requirement<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    operator: Option<Text<'a>>,
    #[serde(borrow)]
    values: Option<Vec<Text<'a>>>,
}

impl LabelSelector<'_> {
    /// Returns the selector.
    ///
    /// # Errors
    /// What is wrong with a requirement, with the path of the field in the selector.
    pub(super) fn selector(self) -> Result<Selector, (String, String)> {
        let mut match_expressions = Vec::new();
        for (i, requirement) in self.match_expressions.unwrap_or_default().into_iter().enumerate() {
            let expression = requirement
                .lower()
                .map_err(|(field, fault)| (format!("matchExpressions[{i}].{field}"), fault))?;
            match_expressions.push(expression);
        }
        let match_labels = self.match_labels.map(|l| l.labels()).unwrap_or_default();
        Ok(Selector { match_labels, match_expressions })
    }
}

impl Requirement<'_> {
    fn lower(self) -> Result<SelectorRequirement, (&'static str, String)> {
        let operator = match or_empty(&self.operator) {
            "In" => SelectorOperator::In,
            "NotIn" => SelectorOperator::NotIn,
            "Exists" => SelectorOperator::Exists,
            "DoesNotExist" => SelectorOperator::DoesNotExist,
            other => return Err(("operator", format!("unknown operator `{other}`"))),
        };
        let key = match &self.key {
            Some(key) if !key.as_str().is_empty() => key.shared(),
            _ => return Err(("key", "missing".to_owned())),
        };
        let values = shared_list(self.values);
        let takes_values = matches!(operator, SelectorOperator::In | SelectorOperator::NotIn);
        match (takes_values, values.is_empty()) {
            (true, true) => Err(("values", format!("operator {operator:?} needs at least one value"))),
            (false, false) => Err(("values", format!("operator {operator:?} takes no values"))),
            _ => Ok(SelectorRequirement { key, operator, values }),
        }
    }
}

/// `istio.type.v1beta1.WorkloadSelector`, the selector of policies.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct WorkloadSelector<'a> {
    #[serde(borrow, alias = "match_labels")]
    match_labels: Option<StrictPairs<'a>>,
}

impl WorkloadSelector<'_> {
    /// Returns the labels that are selected on.
    pub(super) fn labels(&self) -> Labels {
        self.match_labels.as_ref().map(StrictPairs::labels).unwrap_or_default()
    }
}
