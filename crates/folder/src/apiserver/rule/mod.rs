//! Rules of validation: the part of CEL (Common Expression Language) that our definitions use.
//!
//! ```text
//! text ──parse──▶ Expression ──evaluate(self)──▶ holds, or does not
//! ```
//!
//! The definitions in `charts/base/crds` are the one place where a rule is written; an API server
//! and a folder judge by the same text. A rule that this does not know is no check; a test holds
//! that every rule of our definitions is known.

mod evaluate;
mod parse;

use serde_json::Value;

/// A rule of validation.
pub(super) struct Rule {
    expression: parse::Expression,
    /// What is wrong where the rule does not hold.
    pub(super) message: String,
}

impl Rule {
    /// Reads an entry of `x-kubernetes-validations`; `None` for what is not known here.
    pub(super) fn read(json: &Value) -> Option<Self> {
        let text = json.get("rule")?.as_str()?;
        let message = json.get("message").and_then(Value::as_str).unwrap_or("does not hold what it must");
        Self::new(text, message)
    }

    fn new(text: &str, message: &str) -> Option<Self> {
        Some(Self { expression: parse::parse(text)?, message: message.to_owned() })
    }

    /// Tells whether the rule holds for a value. One that cannot be evaluated, as for a value of the
    /// wrong type, holds: the type is reported already.
    pub(super) fn holds(&self, value: &Value) -> bool {
        evaluate::evaluate(&self.expression, value) != Some(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_rule_of_our_definitions_is_known() {
        fn check(schema: &Value, count: &mut usize) {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(Rule::read(rule).is_some(), "{rule}");
                *count += 1;
            }
            let children = schema["properties"].as_object().into_iter().flatten().map(|(_, child)| child);
            for child in children
                .chain([&schema["items"], &schema["additionalProperties"]])
                .filter(|child| child.is_object())
            {
                check(child, count);
            }
        }
        let mut count = 0;
        for (_, schema) in model::crd::schemas() {
            check(&schema, &mut count);
        }
        assert!(count > 20, "{count} rules");
    }

    #[test]
    fn rules_hold_or_do_not() {
        let value = json!({
            "name": "web", "empty": "", "port": 80, "list": ["a", "b", "a"], "map": {"80": 1, "x": 2},
            "ports": [{"number": 1}, {"number": 2}],
        });
        for (rule, expected) in [
            ("has(self.name) && !has(self.missing)", true),
            ("has(self.missing) || self.port == 80", true),
            ("self.name == 'web' && self.name != 'db'", true),
            ("self.name in ['db', 'web']", true),
            ("self.list.all(x, x.size() == 1)", true),
            ("self.list.exists(x, x == 'c')", false),
            ("self.list.exists_one(x, x == 'a')", false),
            ("self.list.exists_one(x, x == 'b')", true),
            ("self.ports.all(a, self.ports.exists_one(b, a.number == b.number))", true),
            ("[true, false, true].filter(x, x).size() <= 1", false),
            ("self.map.all(key, key.matches('^[0-9]+$') && int(key) >= 1)", false),
            ("size(self.list) == 3 && self.list.size() > 2", true),
            ("self.name.startsWith('w') && self.name.endsWith('b') && self.name.contains('e')", true),
            ("!(self.port < 80) && self.port <= 80 && self.port > 79 && self.port >= 80", true),
            ("self.empty == '' && \"\" == self.empty", true),
        ] {
            assert_eq!(Rule::new(rule, "").unwrap().holds(&value), expected, "{rule}");
        }
    }

    #[test]
    fn what_cannot_be_evaluated_holds_and_what_cannot_be_read_is_no_rule() {
        assert!(Rule::new("self.name.size() > 3", "").unwrap().holds(&json!({"name": 1})));
        for text in ["self.name.frobnicate()", "self ==", "(self", "self.a ? 1 : 2", "", "'open"] {
            assert!(Rule::new(text, "").is_none(), "{text}");
        }
    }

    #[test]
    fn an_error_counts_only_where_the_other_side_leaves_the_answer_open() {
        let value = json!({});
        assert!(!Rule::new("self.missing == 1 && false", "").unwrap().holds(&value));
        assert!(Rule::new("self.missing == 1 || true", "").unwrap().holds(&value));
    }
}
