use schemars::JsonSchema;
use std::collections::BTreeMap;

/// The value of a label; wildcards are not supported.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.contains('*')", "message": "a label is selected by its whole value: wildcards are not supported"}
]))]
pub struct LabelValue(#[schemars(length(max = 63))] pub String);

/// Which workloads a policy applies to.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct PolicySelector {
    /// Labels that a workload must all have.
    #[schemars(extend("maxProperties" = 4096, "x-kubernetes-validations" = [
        {"rule": "self.all(key, !key.contains('*'))", "message": "a label is selected by its whole key: wildcards are not supported"},
        {"rule": "self.all(key, key.size() != 0)", "message": "the key of a label is not empty"}
    ]))]
    pub match_labels: Option<BTreeMap<String, LabelValue>>,
}
