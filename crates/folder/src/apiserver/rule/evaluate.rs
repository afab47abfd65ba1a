//! Evaluates a rule for a value.

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

use super::parse::{Expression, Function, Macro, Operator};

/// The answer of a rule that says true or false; `None` if it cannot be evaluated.
pub(super) fn evaluate(rule: &Expression, value: &Value) -> Option<bool> {
    Scope { name: "self", value, around: None }.truth(rule)
}

/// The variables that an expression sees.
struct Scope<'s> {
    name: &'s str,
    value: &'s Value,
    around: Option<&'s Scope<'s>>,
}

impl<'s> Scope<'s> {
    fn truth(&self, expression: &Expression) -> Option<bool> {
        match expression {
            // An error on one side does not count where the other side decides.
            Expression::Binary(Operator::And, left, right) => match (self.truth(left), self.truth(right)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Expression::Binary(Operator::Or, left, right) => match (self.truth(left), self.truth(right)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Expression::Not(inside) => self.truth(inside).map(|truth| !truth),
            other => self.value(other)?.as_bool(),
        }
    }

    fn value<'v>(&'v self, expression: &'v Expression) -> Option<Cow<'v, Value>> {
        let owned = |value: Value| Some(Cow::Owned(value));
        match expression {
            Expression::Text(text) => owned(Value::from(text.as_str())),
            Expression::Integer(number) => owned(Value::from(*number)),
            Expression::Boolean(truth) => owned(Value::from(*truth)),
            Expression::List(items) => {
                let items: Option<Vec<Value>> =
                    items.iter().map(|item| self.value(item).map(Cow::into_owned)).collect();
                owned(Value::Array(items?))
            }
            Expression::Variable(name) => self.variable(name).map(Cow::Borrowed),
            Expression::Field(of, name) => match self.value(of)? {
                Cow::Borrowed(of) => of.get(name).map(Cow::Borrowed),
                Cow::Owned(of) => owned(of.get(name)?.clone()),
            },
            Expression::Has(of, name) => owned(Value::from(self.value(of)?.get(name).is_some())),
            Expression::Not(_) | Expression::Binary(Operator::And | Operator::Or, ..) => {
                owned(Value::from(self.truth(expression)?))
            }
            Expression::Binary(operator, left, right) => {
                owned(Value::from(compare(*operator, &*self.value(left)?, &*self.value(right)?)?))
            }
            Expression::Call(function, arguments) => owned(self.call(*function, arguments)?),
            Expression::Macro(macro_, over, variable, body) => {
                owned(self.expand(*macro_, &*self.value(over)?, variable, body)?)
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&'s Value> {
        if self.name == name {
            Some(self.value)
        } else {
            self.around.and_then(|around| around.variable(name))
        }
    }

    fn call(&self, function: Function, arguments: &[Expression]) -> Option<Value> {
        let first = self.value(arguments.first()?)?;
        let second = arguments.get(1).and_then(|argument| self.value(argument));
        let texts = || Some((first.as_str()?.to_owned(), second.as_ref()?.as_str()?.to_owned()));
        match function {
            Function::Size => {
                let size = match &*first {
                    Value::String(text) => text.chars().count(),
                    Value::Array(items) => items.len(),
                    Value::Object(map) => map.len(),
                    _ => return None,
                };
                i64::try_from(size).ok().map(Value::from)
            }
            Function::Int => match &*first {
                Value::String(text) => text.parse::<i64>().ok().map(Value::from),
                Value::Number(_) => Some(first.into_owned()),
                _ => None,
            },
            Function::Duration => first.as_str().and_then(seconds).map(Value::from),
            Function::Contains => texts().map(|(text, part)| text.contains(&part).into()),
            Function::StartsWith => texts().map(|(text, part)| text.starts_with(&part).into()),
            Function::EndsWith => texts().map(|(text, part)| text.ends_with(&part).into()),
            Function::Matches => texts().and_then(|(text, pattern)| {
                Regex::new(&pattern).ok().map(|pattern| pattern.is_match(&text).into())
            }),
        }
    }

    /// A macro goes over the items of a list, or over the keys of a mapping.
    fn expand(&self, macro_: Macro, over: &Value, variable: &str, body: &Expression) -> Option<Value> {
        let items: Vec<Cow<'_, Value>> = match over {
            Value::Array(items) => items.iter().map(Cow::Borrowed).collect(),
            Value::Object(map) => map.keys().map(|key| Cow::Owned(Value::from(key.as_str()))).collect(),
            _ => return None,
        };
        let truths: Vec<Option<bool>> = items
            .iter()
            .map(|item| Scope { name: variable, value: item, around: Some(self) }.truth(body))
            .collect();
        match macro_ {
            Macro::All if truths.contains(&Some(false)) => Some(false.into()),
            Macro::Exists if truths.contains(&Some(true)) => Some(true.into()),
            _ if truths.contains(&None) => None,
            Macro::All => Some(true.into()),
            Macro::Exists => Some(false.into()),
            Macro::ExistsOne => {
                Some((truths.iter().filter(|truth| **truth == Some(true)).count() == 1).into())
            }
            Macro::Filter => {
                let kept = items.into_iter().zip(&truths).filter(|(_, truth)| **truth == Some(true));
                Some(Value::Array(kept.map(|(item, _)| item.into_owned()).collect()))
            }
        }
    }
}

/// Reads a duration as Go writes it, such as `1m30.5s`.
fn seconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    if rest == "0" {
        return Some(0.0);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, of) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum += value.parse::<f64>().ok()? * of;
        rest = after;
    }
    (!text.is_empty()).then_some(sign * sum)
}

fn compare(operator: Operator, left: &Value, right: &Value) -> Option<bool> {
    let numbers = || Some((left.as_f64()?, right.as_f64()?));
    match operator {
        Operator::Equal => Some(left == right),
        Operator::NotEqual => Some(left != right),
        Operator::Less => numbers().map(|(left, right)| left < right),
        Operator::LessOrEqual => numbers().map(|(left, right)| left <= right),
        Operator::Greater => numbers().map(|(left, right)| left > right),
        Operator::GreaterOrEqual => numbers().map(|(left, right)| left >= right),
        Operator::In => match right {
            Value::Array(items) => Some(items.contains(left)),
            Value::Object(map) => left.as_str().map(|key| map.contains_key(key)),
            _ => None,
        },
        Operator::And | Operator::Or => None,
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1ms", Some(0.001)),
            ("1m30.5s", Some(90.5)),
            ("-2h", Some(-7_200.0)),
            ("0", Some(0.0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1d", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }
}
