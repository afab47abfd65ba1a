//! What is wrong with a manifest, before the object is named.

use crate::{Diagnostic, ObjectRef, Severity};

/// A finding about a manifest whose object is not yet attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    /// One of [`super::code`].
    code: &'static str,
    /// The path of the field; empty for the whole object.
    field: String,
    /// What is wrong.
    message: String,
    /// How to fix it.
    help: String,
}

impl Wrong {
    /// Builds a finding without help.
    pub(super) fn new(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into(), help: String::new() }
    }

    /// Returns the finding with `help`.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Returns the finding as an error of `object`.
    pub(super) fn into_diagnostic(self, object: Option<ObjectRef>) -> Diagnostic {
        Diagnostic {
            code: self.code,
            severity: Severity::Error,
            object,
            field: self.field,
            message: self.message,
            help: self.help,
            place: None,
        }
    }
}
