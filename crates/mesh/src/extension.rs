//! `TrafficExtension` and `WasmPlugin`: what gateways run besides, for whom, and what authors are told.
//!
//! An extension runs with all that its gateway has: its identity and the certificates of its namespace. So it is one of the
//! gateway's own namespace, or of the root namespace; a tenant has none at the gateway of another.

use engine::{Builder, Cx, Table};
use model::facts::{Extension, ExtensionCode, ExtensionPhase, Ignored, Meta, Processor, TrafficSelector};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str};
use output::Outputs;

use crate::authorizer::Directory;
use crate::policy::{Fault, PolicyTarget, targets};

/// What an extension is, and of what.
#[derive(Clone, PartialEq, Debug)]
pub struct ExtensionRules {
    /// `TrafficExtension` or `WasmPlugin`.
    pub kind: Kind,
    /// What it is for; one of them is enough.
    pub targets: Vec<PolicyTarget>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Where among the filters it is.
    pub phase: ExtensionPhase,
    /// Of one phase, higher ones go first.
    pub priority: i32,
    /// Which traffic it is for: one of them is enough; empty for all.
    pub matches: Vec<TrafficSelector>,
    /// What runs, a processor by the name of its service as a resource; or why nothing can.
    pub code: Result<ExtensionCode, Ignored>,
    /// Whether requests pass where it cannot run.
    pub fails_open: bool,
}

/// The extensions of one kind, and what their authors are told.
#[derive(Clone, Copy)]
pub(crate) struct Extensions {
    pub kind: Kind,
    pub objects: Table<Name, Extension>,
    pub rules: Table<Name, ExtensionRules>,
    /// What of each is not as written; none where all is.
    pub faults: Table<Name, Fault>,
}

/// Codes of the diagnostics that arise here.
mod code {
    /// It cannot run.
    pub(super) const CANNOT_RUN: &str = "EX101";
    /// It is for nobody, since gateways are not selected by labels.
    pub(super) const SELECTED: &str = "EX102";
}

/// The names of the tables of one kind.
pub(crate) struct Names {
    pub rules: &'static str,
    pub faults: &'static str,
    pub findings: &'static str,
}

/// Declares those of a kind.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    (kind, objects, names): (Kind, Table<Name, Extension>, Names),
    (root_namespace, directory): (Table<(), Ns>, Directory),
    in_scope: impl Fn(&Cx<'_>, &Meta) -> bool + Send + 'static,
) -> Extensions {
    let rules = b.derive(names.rules, objects, move |cx, name, of| {
        if !in_scope(cx, &of.meta) {
            return None;
        }
        let root = cx.single(root_namespace)?;
        let targets = match (of.target_refs.as_slice(), of.has_selector) {
            ([], true) => Vec::new(),
            ([], false) => vec![PolicyTarget::Namespace(name.ns.clone())],
            (refs, _) => targets(&name.ns, refs, &root),
        };
        Some(ExtensionRules {
            kind,
            targets,
            created: of.meta.created,
            phase: of.phase,
            priority: of.priority,
            matches: of.matches.clone(),
            code: of.code.clone().and_then(|code| resolved(cx, directory, code)),
            fails_open: of.fails_open,
        })
    });
    let faults = b.derive(names.faults, rules, move |cx, name, rules| {
        let diagnostic = found(kind, name, &*cx.get(objects, name)?, rules)?;
        let is_for_nobody = diagnostic.code == code::SELECTED;
        Some(Fault {
            status: false,
            reason: if is_for_nobody { "NoTarget" } else { "CannotRun" },
            message: format!("{}: {}", diagnostic.field, diagnostic.message),
        })
    });
    let all = |_: &Name, _: &_| true;
    out.diagnostics_where(b, names.findings, rules, all, move |cx, name, rules| {
        found(kind, name, &*cx.get(objects, name)?, rules)
    });
    Extensions { kind, objects, rules, faults }
}

/// Returns what runs with the service that a processor is.
fn resolved(cx: &Cx<'_>, directory: Directory, code: ExtensionCode) -> Result<ExtensionCode, Ignored> {
    let ExtensionCode::Processor(of) = code else { return Ok(code) };
    let service = directory.find(cx, &of.service, of.port, true).map_err(|why| Ignored {
        field: "spec.extProc.service".to_owned(),
        message: format!("{why}: it cannot run"),
        help: "name a service of the mesh by its whole hostname, and a port of gRPC",
    })?;
    Ok(ExtensionCode::Processor(Processor { service, ..of }))
}

/// Returns what is wrong with an extension.
fn found(kind: Kind, name: &Name, of: &Extension, rules: &ExtensionRules) -> Option<Diagnostic> {
    let told = |code, severity, field: &str, message: String, help: &str| Diagnostic {
        code,
        severity,
        object: Some(ObjectRef { kind, name: name.clone() }),
        field: field.to_owned(),
        message,
        help: help.to_owned(),
        place: None,
    };
    if of.target_refs.is_empty() && of.has_selector {
        let message = "it is for nobody: gateways are not selected by labels".to_owned();
        let help = "name gateways and services in spec.targetRefs";
        return Some(told(code::SELECTED, Severity::Warning, "spec.selector", message, help));
    }
    let why = rules.code.as_ref().err()?;
    let effect =
        if of.fails_open { "requests pass without it" } else { "requests that it is for are refused" };
    let message = format!("{}; {effect}", why.message);
    Some(told(code::CANNOT_RUN, Severity::Error, &why.field, message, why.help))
}

/// Returns how an extension is named in what is sent.
pub fn extension_name(kind: Kind, name: &Name) -> Str {
    Str::from(format!("{kind}/{name}"))
}
