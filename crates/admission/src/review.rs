//! `AdmissionReview`, of `admission.k8s.io/v1` and `v1beta1`, which have the same fields here.

use crate::decision::Decision;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The versions that are read.
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
/// The most warnings of one answer: an API server leaves out what is beyond 4096 bytes together.
const MOST_WARNINGS: usize = 16;
/// The code of a denial, as of an object that is not valid.
const DENIED: u16 = 422;

/// What is asked.
#[derive(Debug)]
pub struct Review<'a> {
    /// The version in which it is asked, and answered.
    version: &'static str,
    /// What is to be judged.
    pub request: Request<'a>,
}

/// One write.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request in the answer.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of the object.
    pub kind: GroupKind,
    /// The namespace of the object; empty for a kind without namespaces.
    #[serde(default, borrow)]
    pub namespace: Cow<'a, str>,
    /// What is done to it.
    #[serde(default)]
    pub operation: Operation,
    /// The object as it is to be.
    #[serde(default, borrow)]
    pub object: Option<&'a RawValue>,
    /// The object as it is, where it is updated.
    #[serde(default, borrow)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing is written in the end.
    #[serde(default, deserialize_with = "or_false")]
    pub dry_run: bool,
}

/// A kind by its name; its version says nothing here, since all that are served have one shape.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct GroupKind {
    /// The API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The version in which the object is written.
    #[serde(default)]
    pub version: String,
    /// The name of the kind.
    pub kind: String,
}

/// What is done to an object.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted, or something is done that is not known.
    #[default]
    #[serde(other)]
    Other,
}

fn or_false<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(deserializer)?.unwrap_or_default())
}

impl<'a> Review<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Why it is no review with a request, in a sentence.
    pub fn read(body: &'a [u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Manifest<'a> {
            #[serde(default, borrow)]
            api_version: Cow<'a, str>,
            #[serde(default, borrow)]
            kind: Cow<'a, str>,
            #[serde(default, borrow)]
            request: Option<Request<'a>>,
        }
        let manifest: Manifest<'_> =
            serde_json::from_slice(body).map_err(|error| format!("no AdmissionReview: {error}"))?;
        let version = VERSIONS.into_iter().find(|version| *version == manifest.api_version);
        let Some(version) = version.filter(|_| manifest.kind == "AdmissionReview") else {
            let (kind, version) = (&manifest.kind, &manifest.api_version);
            return Err(format!(
                "{kind:?} of {version:?} is no AdmissionReview of {}",
                VERSIONS.join(" or ")
            ));
        };
        let request = manifest.request.ok_or("the AdmissionReview has no request")?;
        Ok(Self { version, request })
    }

    /// Returns the body that answers.
    pub fn answer(&self, decision: &Decision) -> Vec<u8> {
        let mut response = json!({"uid": self.request.uid, "allowed": decision.is_allowed()});
        let warnings = decision.warnings();
        if !warnings.is_empty() {
            let told = warnings.iter().take(MOST_WARNINGS).map(|text| model::printable(text));
            response["warnings"] = told.collect();
        }
        if let Decision::Denied { message, .. } = decision {
            let message = model::printable(message);
            response["status"] = json!({
                "status": "Failure", "reason": "Invalid", "code": DENIED, "message": message,
            });
        }
        let review = json!({"apiVersion": self.version, "kind": "AdmissionReview", "response": response});
        review.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::Value;

    fn body(version: &str) -> Vec<u8> {
        let of = json!({"group": "networking.istio.io", "version": "v1", "kind": "Sidecar"});
        let request = json!({"uid": "a\"b", "kind": of, "operation": "CREATE", "dryRun": null, "object": {}});
        json!({"apiVersion": version, "kind": "AdmissionReview", "request": request}).to_string().into_bytes()
    }

    #[test]
    fn both_versions_are_answered_in_the_version_that_asks() {
        for version in VERSIONS {
            let body = body(version);
            let review = Review::read(&body).unwrap();
            assert_eq!((review.request.operation, review.request.dry_run), (Operation::Create, false));
            let told = vec!["a\nb".to_owned(); 40];
            let answer = review.answer(&Decision::Allowed { warnings: told });
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(
                (answer["apiVersion"].as_str(), &answer["kind"]),
                (Some(version), &json!("AdmissionReview"))
            );
            let response = &answer["response"];
            assert_eq!((&response["uid"], &response["allowed"]), (&json!("a\"b"), &json!(true)));
            let warnings = response["warnings"].as_array().unwrap();
            assert_eq!((warnings.len(), &warnings[0]), (MOST_WARNINGS, &json!("a\\nb")));
        }
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        let deep = "[".repeat(1_000_000);
        let in_request = format!("{{\"request\": {{\"object\": {deep}");
        let wrong = [
            ("", "no AdmissionReview: EOF"),
            ("null", "no AdmissionReview"),
            ("{}", "is no AdmissionReview of admission.k8s.io/v1 or"),
            (&deep, "no AdmissionReview"),
            (&in_request, "no AdmissionReview"),
            (r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#, "has no request"),
            (r#"{"apiVersion": "admission.k8s.io/v1", "kind": "Pod"}"#, "\"Pod\" of"),
            (
                r#"{"apiVersion": "admission.k8s.io/v2", "kind": "AdmissionReview"}"#,
                "of \"admission.k8s.io/v2\"",
            ),
        ];
        for (body, why) in wrong {
            let error = Review::read(body.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_done_may_be_something_new() {
        let body = String::from_utf8(body("admission.k8s.io/v1")).unwrap().replace("CREATE", "MOVE");
        assert_eq!(Review::read(body.as_bytes()).unwrap().request.operation, Operation::Other);
    }
}
