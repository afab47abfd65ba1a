//! What policies share: they fail closed.

use super::annotation::DRY_RUN;
use super::metadata::{self, Metadata};
use super::selector::WorkloadSelector;
use super::text::{Text, or_empty};
use super::{read, wrong::Wrong};
use crate::facts::{Meta, PolicyTargetRef, Refused};
use crate::{Diagnostic, Kind, Labels, ObjectRef, shared};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A policy whose name is known.
pub(super) struct Policy<S> {
    pub(super) meta: Meta,
    pub(super) dry_run: bool,
    pub(super) spec: Result<S, Refused>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// The spec alone, for a policy whose metadata is wrong.
#[derive(Deserialize)]
struct SpecOnly<'a> {
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// Reads a policy: `M` is the shape of the spec, `lower` makes facts of it, `code` is that of a field
/// with the wrong type.
///
/// # Errors
/// Only when the document is no JSON or names no object; all else is a refused spec.
pub(super) fn parse<'a, M, S>(
    kind: Kind,
    json: &'a [u8],
    code: &'static str,
    lower: fn(M) -> Result<S, Wrong>,
) -> Result<Policy<S>, Wrong>
where
    M: Deserialize<'a> + Default,
{
    let (meta, dry_run, raw, outcome) = match read::manifest::<Manifest<'a>>(json) {
        Ok(Manifest { metadata, spec }) => {
            let outcome = match spec {
                Some(raw) => read::part::<M>(raw.get(), "spec", code).and_then(lower),
                None => lower(M::default()),
            };
            let dry_run = metadata.annotation(DRY_RUN).is_some_and(parse_bool);
            (metadata.meta(kind)?, dry_run, spec, outcome)
        }
        Err(wrong) => {
            let Some(ObjectRef { name, .. }) = metadata::reference(kind, json) else { return Err(wrong) };
            let raw = serde_json::from_slice::<SpecOnly<'a>>(json).ok().and_then(|s| s.spec);
            (Meta { name, ..Meta::default() }, false, raw, Err(wrong))
        }
    };
    let spec = outcome.map_err(|wrong| Refused {
        selector: raw.and_then(|raw| selector_of(raw.get())),
        target_refs: raw.map(|raw| target_refs_of(raw.get())).unwrap_or_default(),
        diagnostic: wrong.into_diagnostic(Some(ObjectRef { kind, name: meta.name.clone() })),
    });
    Ok(Policy { meta, dry_run, spec })
}

/// Reads a policy whose spec somebody else refused: its selector and targets count as far as they can
/// be read.
///
/// # Errors
/// When the document is no JSON or names no object.
pub(super) fn refuse<S>(kind: Kind, json: &[u8], diagnostic: Diagnostic) -> Result<Policy<S>, Wrong> {
    let Manifest { metadata, spec } = read::manifest::<Manifest<'_>>(json)?;
    let refused = Refused {
        selector: spec.and_then(|raw| selector_of(raw.get())),
        target_refs: spec.map(|raw| target_refs_of(raw.get())).unwrap_or_default(),
        diagnostic,
    };
    let dry_run = metadata.annotation(DRY_RUN).is_some_and(parse_bool);
    Ok(Policy { meta: metadata.meta(kind)?, dry_run, spec: Err(refused) })
}

/// Tells whether `text` is true in the sense of Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Returns the selector of a spec that is wrong elsewhere.
fn selector_of(spec: &str) -> Option<Labels> {
    #[derive(Deserialize)]
    struct SelectorOnly<'a> {
        #[serde(borrow)]
        selector: Option<WorkloadSelector<'a>>,
    }
    let spec = serde_json::from_str::<SelectorOnly<'_>>(spec).ok()?;
    spec.selector.map(|s| s.labels())
}

/// Returns the target references of a spec that is wrong elsewhere.
fn target_refs_of(spec: &str) -> Vec<PolicyTargetRef> {
    serde_json::from_str::<TargetRefs<'_>>(spec).map(TargetRefs::lower).unwrap_or_default()
}

/// `targetRefs` and the legacy `targetRef`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct TargetRefs<'a> {
    #[serde(borrow, alias = "target_refs")]
    pub(super) target_refs: Option<Vec<TargetRef<'a>>>,
    #[serde(borrow, alias = "target_ref")]
    pub(super) target_ref: Option<TargetRef<'a>>,
}

/// `istio.type.v1beta1.PolicyTargetReference`.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct TargetRef<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
}

impl TargetRefs<'_> {
    /// Returns the references: `targetRefs` in order, then `targetRef`.
    pub(super) fn lower(self) -> Vec<PolicyTargetRef> {
        let all = self.target_refs.into_iter().flatten().chain(self.target_ref);
        all.map(|t| PolicyTargetRef {
            group: shared(or_empty(&t.group)),
            kind: shared(or_empty(&t.kind)),
            name: shared(or_empty(&t.name)),
            namespace: shared(or_empty(&t.namespace)),
        })
        .collect()
    }
}
