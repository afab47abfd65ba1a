//! Takes an object as an API server would take it, or keeps what was there.

use std::sync::Arc;

use model::Severity;
use serde_json::Value;

use crate::apiserver::{code_of, is_policy, judge, judge_template};
use crate::cluster::has_foreign_template;
use crate::code;
use crate::field::{Flaw, Step, path_text};
use crate::load::effect;
use crate::locate::place;
use crate::object::Object;
use crate::problem::Problem;

/// What became of an object.
#[derive(Default)]
pub(crate) struct Admitted {
    /// What is active from now on.
    pub(crate) object: Option<Arc<Object>>,
    /// Why the object is refused; one of the problems, unless these were reported before.
    pub(crate) refused: Option<Problem>,
    pub(crate) problems: Vec<Problem>,
}

/// Judges an object of the file with this text; `before` is the version that is active.
pub(crate) fn admit(mut object: Object, before: Option<&Arc<Object>>, text: &str) -> Admitted {
    if let (false, Some(metadata)) =
        (object.key.namespace.is_empty(), object.value.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("namespace".to_owned(), object.key.namespace.as_str().into());
    }
    let good = before.filter(|before| before.refused.is_none());
    if object.refused.is_some() {
        let refused = object.refused.clone();
        let active = good.cloned().unwrap_or_else(|| Arc::new(object));
        return Admitted { object: Some(active), refused, problems: Vec::new() };
    }
    let mut validation = judge(&object.key, &object.value, good.map(|good| &good.value));
    if has_foreign_template(&object) {
        validation.flaws.extend(judge_template(&object.value));
    }
    let mut problems: Vec<Problem> =
        validation.notes.into_iter().map(|note| problem(&object, text, &note, Severity::Warning)).collect();
    let Some(first) = validation.flaws.first() else {
        let value = validation.stored.unwrap_or_else(|| object.value.clone());
        return Admitted { object: Some(Arc::new(Object { value, ..object })), refused: None, problems };
    };
    if good.is_none() && is_patch(&object, &validation.flaws) {
        let kind = &object.key.kind;
        let flaw = Flaw::new(
            Vec::new(),
            format!("has not what a {kind} must have: a patch, which is left out"),
            "list it in a kustomization beside it",
        );
        problems.push(Problem { code: code::PATCH, ..problem(&object, text, &flaw, Severity::Warning) });
        return Admitted { problems, ..Admitted::default() };
    }
    let mut reported: Vec<Problem> =
        validation.flaws.iter().map(|flaw| problem(&object, text, flaw, Severity::Error)).collect();
    let mut refused = problem(&object, text, first, Severity::Error);
    let active = match good {
        Some(good) => {
            refused.message.push_str("; its last good version stays active");
            Some(Arc::clone(good))
        }
        None if is_policy(&object.key) => {
            refused.message.push_str(&format!("; it is refused, so {}", effect(&object.key)));
            let mut object = Object { refused: Some(refused.clone()), ..object };
            forget(&mut object.value, &validation.flaws);
            Some(Arc::new(object))
        }
        None => {
            refused.message.push_str("; it is left out");
            None
        }
    };
    reported[0] = refused.clone();
    problems.extend(reported);
    Admitted { object: active, refused: Some(refused), problems }
}

/// Tells whether an object is a patch for another by all appearances: a controller without a selector
/// and labels, or one whose file says so and that only lacks fields.
fn is_patch(object: &Object, flaws: &[Flaw]) -> bool {
    let is_missing = |flaw: &Flaw| !flaw.is_unknown && flaw.message == "Required value";
    let lacks = |path: &str| object.value.pointer(path).is_none();
    let is_controller =
        object.key.group == "apps" && lacks("/spec/selector") && lacks("/spec/template/metadata/labels");
    let says = object.origin.as_ref().is_some_and(|origin| origin.file.contains("patch"));
    !is_policy(&object.key) && flaws.iter().all(is_missing) && (is_controller || says)
}

/// Takes away the selector and the targets of a policy where they have a flaw: as they stand, they
/// would name less than was meant.
fn forget(value: &mut Value, flaws: &[Flaw]) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for flaw in flaws {
        if let [Step::Key(outer), Step::Key(inner), ..] = flaw.path.as_slice()
            && outer == "spec"
            && ["selector", "targetRef", "targetRefs"].contains(&inner.as_str())
        {
            spec.remove(inner);
        }
    }
}

fn problem(object: &Object, text: &str, flaw: &Flaw, severity: Severity) -> Problem {
    let origin = object.origin.as_ref();
    let (line, column) =
        origin.map_or((1, 1), |origin| place(text, origin, &flaw.path).unwrap_or((origin.line, 1)));
    Problem {
        file: origin.map(|origin| Arc::clone(&origin.file)).unwrap_or_default(),
        line,
        column,
        severity,
        code: if has_foreign_template(object) { code::CONTROLLER } else { code_of(&object.key, flaw) },
        object: Some(object.key.clone()),
        field: path_text(&flaw.path),
        message: flaw.message.clone(),
        help: flaw.help.clone(),
    }
}
