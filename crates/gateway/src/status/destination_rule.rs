//! DestinationRules: a condition, and what their authors should know.

use engine::{Builder, Cx, Table};
use mesh::Ownership;
use model::facts::{ClientTls, DestinationRule, Ignored, TlsMode};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity, Str};
use output::{Condition, Conditions, Outputs};
use std::collections::BTreeSet;

use super::istio::{ACCEPTED, NO_MATCHING_HOST, NOT_EXPORTED, PARTIALLY_INVALID, right, some_of};
use super::wrong;
use crate::hostname::is_wildcard;
use crate::key::ServiceTarget;
use crate::policy::{Policies, PolicyTarget};
use crate::route::{Backends, Destinations, TlsOf, destination_keys, destination_tls};

mod code {
    /// The host is that of no service.
    pub(super) const HOST: &str = "DR001";
    /// A part has no effect.
    pub(super) const IGNORED: &str = "DR002";
    /// An older rule says it.
    pub(super) const SHADOWED: &str = "DR003";
    /// A Secret for TLS is not there, or has not what is needed.
    pub(super) const CREDENTIAL: &str = "DR004";
    /// A policy of the Gateway API says it.
    pub(super) const OVERRIDDEN: &str = "DR005";
}

/// What the statuses are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub facts: Table<Name, DestinationRule>,
    pub destinations: Destinations,
    pub backends: Backends,
    /// The policies of the Gateway API that go first.
    pub policies: Policies,
    /// Whose statuses are written here.
    pub ownership: Ownership,
}

/// What became of a rule.
struct Outcome {
    /// For what it holds.
    ///
    /// # Errors
    /// Why for nothing: the reason, the field and the rest of a sentence.
    holds: Result<String, (&'static str, &'static str, String)>,
    /// What older rules for the host say already.
    shadowed: Vec<(String, String)>,
    /// What is wrong with Secrets for TLS.
    credentials: Vec<(String, String)>,
    /// What policies of the Gateway API say instead.
    overridden: Vec<(String, String)>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) {
    let own = inputs.clone();
    let conditions = b.derive("destination_rule_conditions", inputs.facts, move |cx, name, facts| {
        own.ownership.owns(cx, &facts.meta).then_some(())?;
        let rule = cx.get(own.destinations.rules, name)?;
        let outcome = own.outcome(cx, name, &rule);
        Some(Conditions {
            generation: facts.meta.generation,
            conditions: conditions(&rule, outcome),
            ..Conditions::default()
        })
    });
    out.conditions(b, Kind::DestinationRule, conditions);
    let own = inputs.clone();
    out.diagnostics_where(
        b,
        "destination_rule_findings",
        inputs.destinations.rules,
        |_, _| true,
        move |cx, name, rule| findings(name, rule, own.outcome(cx, name, rule)),
    );
}

impl Inputs {
    fn outcome(&self, cx: &Cx<'_>, name: &Name, rule: &DestinationRule) -> Outcome {
        let keys = destination_keys(name, rule);
        let holds = self.holds(cx, name, &rule.host, !keys.is_empty());
        let mut shadowed = Vec::new();
        for key in keys {
            let Some(row) = cx.get(self.destinations.rows, &key) else { continue };
            for older in row.rules.iter().take_while(|other| *other != name) {
                let Some(older) = cx.get(self.destinations.rules, older) else { continue };
                let by = format!(
                    "is not that of DestinationRule {}, which is older and goes first",
                    older.meta.name
                );
                if older.policy != Default::default() && rule.policy != Default::default() {
                    shadowed.push(("spec.trafficPolicy".to_owned(), by.clone()));
                }
                let is_there = |subset: &Str| older.subsets.iter().any(|other| other.name == *subset);
                let subsets = rule.subsets.iter().enumerate().filter(|(_, subset)| is_there(&subset.name));
                shadowed.extend(subsets.map(|(i, _)| (format!("spec.subsets[{i}]"), by.clone())));
            }
        }
        shadowed.sort();
        shadowed.dedup_by(|a, b| a.0 == b.0);
        let credentials = destination_tls(rule).into_iter().filter_map(|TlsOf { field, tls, .. }| {
            Some((format!("{field}.credentialName"), self.lacking(cx, name, tls)?))
        });
        let (credentials, overridden) = (credentials.collect(), self.overridden(cx, name, rule));
        Outcome { holds, shadowed, credentials, overridden }
    }

    /// Returns the fields with TLS for which a BackendTLSPolicy for a service of the host goes first.
    fn overridden(&self, cx: &Cx<'_>, name: &Name, rule: &DestinationRule) -> Vec<(String, String)> {
        let fields = destination_tls(rule);
        if fields.is_empty() {
            return Vec::new();
        }
        let own = self.backends.of_namespace(cx, &name.ns, &rule.host).into_iter();
        let named = self.backends.with_hostname(cx, &name.ns, &rule.host);
        let services: BTreeSet<ServiceTarget> = own.map(|(service, _)| service).chain(named).collect();
        let mut policies = Vec::new();
        for service in services {
            let ports = self.backends.ports(cx, &service).map(|of| of.port_names.clone()).unwrap_or_default();
            let all = std::iter::once((Str::new(), None));
            for (port, number) in all.chain(ports.into_iter().map(|(name, number)| (name, Some(number)))) {
                let target = PolicyTarget { service: service.clone(), port };
                if let Some(tls) = self.policies.tls.get(cx, &target) {
                    policies.push((target, number, tls.policy.clone()));
                }
            }
        }
        let told = |TlsOf { field, port, .. }: TlsOf<'_>| {
            let is_for = |number: Option<u16>| port.is_none() || number.is_none() || port == number;
            let (target, _, policy) = policies.iter().find(|(_, number, _)| is_for(*number))?;
            let (kind, service) = (target.service.kind, &target.service.name);
            let place = match target.port.as_str() {
                "" => String::new(),
                port => format!(" at port {port:?}"),
            };
            Some((
                field,
                format!("does not hold for {kind} {service}{place}: BackendTLSPolicy {policy} goes first"),
            ))
        };
        fields.into_iter().filter_map(told).collect()
    }

    /// Returns what the Secret lacks that a rule names for TLS: nothing is sent then.
    fn lacking(&self, cx: &Cx<'_>, rule: &Name, tls: &ClientTls) -> Option<String> {
        if tls.credential.is_empty() || !matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual) {
            return None;
        }
        let name = Name { ns: rule.ns.clone(), name: tls.credential.clone() };
        let secret = match &*cx.get(self.destinations.credentials, &name)? {
            Ok(secret) => secret.clone(),
            Err(why) => return Some(format!("{why}: nothing is sent")),
        };
        let pair = secret.key_pair.as_ref().err().filter(|_| tls.mode == TlsMode::Mutual);
        let why = pair.or_else(|| secret.roots.as_ref().err().filter(|_| !tls.is_insecure))?;
        Some(format!("Secret {name} is not valid: {why}: nothing is sent"))
    }

    fn holds(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        host: &Str,
        is_exported: bool,
    ) -> Result<String, (&'static str, &'static str, String)> {
        if !is_exported {
            let message = "has no namespace: it holds for nothing".to_owned();
            return Err((NOT_EXPORTED, "spec.exportTo", message));
        }
        if cx.single(self.destinations.root).is_some_and(|root| *root == name.ns) {
            return Ok(format!("holds for {:?} where other namespaces have no rules", host.as_str()));
        }
        if !self.backends.of_namespace(cx, &name.ns, host).is_empty() {
            return Ok(format!("holds for {:?}", host.as_str()));
        }
        if !is_wildcard(host) && self.backends.with_hostname(cx, &name.ns, host).is_none() {
            return Err((
                NO_MATCHING_HOST,
                "spec.host",
                format!("{:?} is that of no service", host.as_str()),
            ));
        }
        let ns = &*name.ns;
        Ok(format!("holds for what routes of namespace {ns:?} alone send to {:?}", host.as_str()))
    }
}

fn conditions(
    rule: &DestinationRule,
    Outcome { holds, shadowed, credentials, overridden }: Outcome,
) -> Vec<Condition> {
    let mut conditions = match holds {
        Ok(message) => vec![right(ACCEPTED, "Accepted", message)],
        Err((reason, field, message)) => return vec![wrong(ACCEPTED, reason, format!("{field} {message}"))],
    };
    let ignored = rule.ignored.iter().map(|of| format!("{}: {}", of.field, of.message));
    let reason = match (shadowed.is_empty() && overridden.is_empty(), credentials.is_empty()) {
        (false, _) => "Conflicted",
        (true, false) => "InvalidCredential",
        (true, true) => "UnsupportedValue",
    };
    let shadowed = shadowed.into_iter().chain(overridden);
    let shadowed = shadowed.map(|(field, message)| format!("{field} {message}"));
    let credentials = credentials.into_iter().map(|(field, message)| format!("{field}: {message}"));
    let parts: Vec<String> = shadowed.chain(credentials).chain(ignored).collect();
    if !parts.is_empty() {
        conditions.push(right(PARTIALLY_INVALID, reason, some_of(&parts)));
    }
    conditions
}

fn findings(name: &Name, rule: &DestinationRule, outcome: Outcome) -> Vec<Diagnostic> {
    let told = |code, field: String, message: String, help: &str| Diagnostic {
        code,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::DestinationRule, name: name.clone() }),
        field,
        message,
        help: help.to_owned(),
        place: None,
    };
    let ignored = rule.ignored.iter().cloned();
    let ignored = ignored.map(|Ignored { field, message, help }| told(code::IGNORED, field, message, help));
    let host = outcome.holds.err().map(|(reason, field, message)| match reason {
        NOT_EXPORTED => told(code::IGNORED, field.to_owned(), message, "add a namespace, or remove the rule"),
        _ => {
            let help = "name the host of a Service or ServiceEntry, in full for another namespace";
            told(code::HOST, field.to_owned(), message, help)
        }
    });
    let shadowed = outcome
        .shadowed
        .into_iter()
        .map(|(field, message)| told(code::SHADOWED, field, message, "write it into one rule for the host"));
    let credentials = outcome.credentials.into_iter();
    let help = "create the Secret with ca.crt, and for MUTUAL with tls.crt and tls.key";
    let credentials = credentials.map(|(field, message)| told(code::CREDENTIAL, field, message, help));
    let overridden = outcome.overridden.into_iter();
    let help = "remove it, or say in the policy all that is to hold of TLS";
    let overridden = overridden.map(|(field, message)| told(code::OVERRIDDEN, field, message, help));
    host.into_iter().chain(shadowed).chain(credentials).chain(overridden).chain(ignored).collect()
}
