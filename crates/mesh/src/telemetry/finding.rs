//! What authors of a `Telemetry` are told.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{Metric, Sink, Telemetry};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity, Str};
use output::Outputs;
use std::sync::Arc;

use super::{ResolvedSink, TelemetryRules, code};
use crate::policy::{Fault, PolicyTarget};

/// What is to be told of one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Findings {
    /// What of it is not as written; `None` if all is.
    pub fault: Option<Fault>,
    diagnostics: Vec<Diagnostic>,
}

/// What it is found in.
#[derive(Clone, Copy)]
struct Sources {
    by_target: Index<PolicyTarget, Name, TelemetryRules>,
    sinks: Memo<Str, ResolvedSink>,
    configures_waypoints: bool,
}

/// Declares what is told of each.
pub(crate) fn declare_findings(
    b: &mut Builder,
    out: &mut Outputs,
    (telemetries, rules): (Table<Name, Telemetry>, Table<Name, TelemetryRules>),
    sinks: Memo<Str, ResolvedSink>,
    configures_waypoints: bool,
) -> Table<Name, Findings> {
    let by_target = b.index(rules, "telemetry_by_target_for_findings", |_, of| of.targets.clone());
    let sources = Sources { by_target, sinks, configures_waypoints };
    let findings = b.derive("telemetry_faults", rules, move |cx, name, of| {
        let telemetry = cx.get(telemetries, name)?;
        Some(sources.of(cx, name, &telemetry, of))
    });
    out.diagnostics(b, "telemetry_findings", findings, |_, of| of.diagnostics.clone());
    findings
}

impl Sources {
    fn of(self, cx: &Cx<'_>, name: &Name, telemetry: &Telemetry, rules: &TelemetryRules) -> Findings {
        let object = ObjectRef { kind: Kind::Telemetry, name: name.clone() };
        let told = |code, severity, field: String, message: String, help: &str| Diagnostic {
            code,
            severity,
            object: Some(object.clone()),
            field,
            message,
            help: help.to_owned(),
            place: None,
        };
        let warning = Severity::Warning;
        let mut all = Vec::new();
        let is_untargeted = telemetry.target_refs.is_empty();
        if is_untargeted && telemetry.has_selector {
            let message = "it is for nobody: gateways are not selected by labels".to_owned();
            let help = "name gateways and services in spec.targetRefs";
            all.push(told(code::SELECTED, warning, "spec.selector".to_owned(), message, help));
        } else if is_untargeted && !self.configures_waypoints {
            let message = "it is for nobody: this control plane configures no gateways".to_owned();
            let help = "ztunnels have metrics and access logs by themselves";
            all.push(told(code::SELECTED, warning, "spec".to_owned(), message, help));
        }
        all.extend(self.older(cx, name, rules).map(|older| {
            let message = format!("{older} is older and for the same, so that one holds there");
            told(code::OLDER, warning, "spec".to_owned(), message, "write both into one object")
        }));
        for of in &telemetry.ignored {
            all.push(told(code::IGNORED, warning, of.field.clone(), of.message.clone(), of.help));
        }
        for (field, provider, is_its, what) in named(telemetry) {
            let sink: Option<Arc<ResolvedSink>> = cx.memo(self.sinks, provider);
            let why = match sink.as_deref() {
                Some(Ok(at)) if is_its(&at.sink) => continue,
                Some(Ok(_)) => format!("provider {:?} gets no {what} of gateways", provider.as_str()),
                Some(Err(why)) => why.clone(),
                None => continue,
            };
            let help = "name an entry of extensionProviders in the mesh settings, and let it name a service and a port \
                        that are there";
            all.push(told(code::PROVIDER, warning, field, format!("{why}: it has no effect"), help));
        }
        let messages = [Metric::GrpcRequestMessages, Metric::GrpcResponseMessages];
        let overrides = telemetry.metrics.iter().flat_map(|of| &of.overrides);
        if overrides.filter_map(|of| of.metric).any(|metric| messages.contains(&metric)) {
            let message = "messages of gRPC are not counted: it has no effect".to_owned();
            let help = "use the count of requests, which has their status";
            all.push(told(code::METRIC, Severity::Info, "spec.metrics".to_owned(), message, help));
        }
        let faults: Vec<_> = all.iter().filter(|of| of.severity == warning).collect();
        let fault = faults.first().map(|first| {
            let more = match faults.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let is_for_nobody = first.code == code::SELECTED;
            Fault {
                status: !is_for_nobody,
                reason: if is_for_nobody { "NoTarget" } else { "PartiallyInvalid" },
                message: format!("{}: {}{more}", first.field, first.message),
            }
        });
        Findings { fault, diagnostics: all }
    }

    /// Returns an older one that is for something that this one is for.
    fn older(self, cx: &Cx<'_>, name: &Name, rules: &TelemetryRules) -> Option<Name> {
        let age = (rules.created, name);
        let others = rules.targets.iter().flat_map(|target| cx.lookup(self.by_target, target));
        others.filter(|(other, of)| (of.created, other) < age).map(|(other, _)| other).min()
    }
}

type IsIts = fn(&Sink) -> bool;

/// Returns the providers that are named: where, by which name, whether one is of use there, and for what.
fn named(of: &Telemetry) -> Vec<(String, &Str, IsIts, &'static str)> {
    let mut all: Vec<(String, &Str, IsIts, &'static str)> = Vec::new();
    for (i, entry) in of.access_logging.iter().enumerate() {
        for (n, provider) in entry.providers.iter().enumerate() {
            let field = format!("spec.accessLogging[{i}].providers[{n}].name");
            all.push((field, provider, is_log, "access logs"));
        }
    }
    for (i, entry) in of.metrics.iter().enumerate() {
        for (n, provider) in entry.providers.iter().enumerate() {
            let field = format!("spec.metrics[{i}].providers[{n}].name");
            all.push((field, provider, |of| matches!(of, Sink::Prometheus), "metrics"));
        }
    }
    for (i, entry) in of.tracing.iter().enumerate() {
        let field = format!("spec.tracing[{i}].providers[0].name");
        all.extend(entry.provider.iter().map(|provider| (field.clone(), provider, IS_TRACER, "spans")));
    }
    all
}

const IS_TRACER: IsIts = |of| matches!(of, Sink::OpenTelemetry(_) | Sink::Zipkin(_));

fn is_log(of: &Sink) -> bool {
    matches!(of, Sink::File(..) | Sink::HttpLog(_) | Sink::TcpLog(_) | Sink::OtelLog(_))
}
