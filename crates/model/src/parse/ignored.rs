//! Labels and annotations of the mesh that have no effect on an object.

use super::code;
use crate::field::{self, Doubt, MetadataPart};
use crate::{Diagnostic, Kind, ObjectRef, Severity};

/// Returns the field of a label or annotation.
pub(super) fn path(part: MetadataPart, name: &str) -> String {
    format!("metadata.{}[{name}]", part.field())
}

/// Returns why a label or annotation has no effect on an object of a kind, if so.
pub(super) fn doubt(kind: Kind, part: MetadataPart, name: &str, value: &str) -> Option<Doubt> {
    field::doubt(Some(kind), part, name, value)
}

/// Returns what is told of a label or annotation that has no effect on an object: `field` is its path, such as
/// `metadata.labels[istio.io/use-waypoint]`. `None` if it has an effect.
pub fn diagnostic(object: &ObjectRef, field: &str, value: &str) -> Option<Diagnostic> {
    let (part, name) = field.strip_prefix("metadata.")?.strip_suffix(']')?.split_once('[')?;
    let part = [MetadataPart::Label, MetadataPart::Annotation].into_iter().find(|of| of.field() == part)?;
    let doubt = doubt(object.kind, part, name, value)?;
    let (code, severity) = match doubt {
        Doubt::Unsupported { .. } => (code::UNSUPPORTED_FIELD, Severity::Warning),
        _ if doubt.is_mistake() => (code::METADATA, Severity::Warning),
        _ => (code::METADATA, Severity::Info),
    };
    Some(Diagnostic {
        code,
        severity,
        object: Some(object.clone()),
        field: field.to_owned(),
        message: doubt.message(value),
        help: doubt.help(value),
        place: None,
    })
}

/// Returns what is told of an object that has more of them than are told.
pub(super) fn more(object: &ObjectRef) -> Diagnostic {
    Diagnostic {
        code: code::METADATA,
        severity: Severity::Info,
        object: Some(object.clone()),
        field: "metadata".to_owned(),
        message: "has more labels and annotations without effect".to_owned(),
        help: "fix those that are told, and the next will be".to_owned(),
        place: None,
    }
}
