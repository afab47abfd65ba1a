//! What facts mean.

use super::facts::{ControlPlane, Facts, Webhook};
use ca::Certificate;
use model::known_kinds;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The oldest API server, and the oldest that deploys waypoints, by its minor version.
const OLDEST: (u32, u32) = (29, 30);
/// Days before the end of a root that are worth a warning.
const FEW_DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Something does not work as expected, or will not.
    Warning,
    /// An installation fails, or is not working.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub level: Level,
    /// What it is about.
    pub subject: &'static str,
    /// What there is.
    pub message: String,
    /// What to do; empty if nothing.
    pub help: String,
}

impl Finding {
    fn new(level: Level, subject: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { level, subject, message: message.into(), help: help.into() }
    }

    /// Returns it as an object.
    pub fn document(&self) -> Value {
        json!({"level": self.level.name(), "subject": self.subject, "message": self.message, "help": self.help})
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7}  {}: {}", self.level.name(), self.subject, self.message)?;
        if !self.help.is_empty() {
            write!(f, " (help: {})", self.help)?;
        }
        Ok(())
    }
}

/// Returns what is to be said, at a time in seconds since 1970: of an installation, if there is one, else of what one needs.
pub(super) fn judge(facts: &Facts, now: u64) -> Vec<Finding> {
    let mut all = vec![version(facts)];
    all.extend(definitions(facts));
    let own = facts.control_planes.iter().find(|of| of.is_ours && is_named(of, facts));
    match own {
        None => {
            all.extend(rights(facts));
            all.extend(conflicts(facts));
            all.extend(roots_to_be(facts));
            all.extend(locks(facts, now));
        }
        Some(own) => {
            all.push(replicas(own));
            all.extend(certificates(facts, now));
            all.extend(clients(facts));
        }
    }
    all.extend(webhooks(facts, own.is_some()));
    all.extend(sidecars(facts));
    all.extend(facts.unread.iter().map(|(what, why)| {
        Finding::new(
            Level::Warning,
            "rights of this user",
            format!("cannot read {what}: {why}"),
            "ask somebody who may, or grant it",
        )
    }));
    all
}

fn deployment_name(facts: &Facts) -> String {
    match facts.revision.as_str() {
        "" | "default" => "istiod".to_owned(),
        revision => format!("istiod-{revision}"),
    }
}

fn is_named(of: &ControlPlane, facts: &Facts) -> bool {
    of.namespace == facts.namespace && of.name == deployment_name(facts)
}

fn version(facts: &Facts) -> Finding {
    let (url, text) = (&facts.url, &facts.version);
    let subject = "API server";
    let mut numbers = text
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok());
    let minor = match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(1), Some(minor)) => minor,
        _ => {
            return Finding::new(
                Level::Info,
                subject,
                format!("{text} at {url} is of no version that is known"),
                "",
            );
        }
    };
    if minor < OLDEST.0 {
        let help = format!("bring the cluster to 1.{} or later", OLDEST.0);
        return Finding::new(Level::Error, subject, format!("{text} at {url} is too old"), help);
    }
    if minor < OLDEST.1 {
        let message = format!("{text} at {url} is too old to deploy waypoints");
        return Finding::new(
            Level::Warning,
            subject,
            message,
            format!("bring the cluster to 1.{} or later", OLDEST.1),
        );
    }
    Finding::new(Level::Ok, subject, format!("{text} at {url}"), "")
}

/// The kinds that are read and whose definitions are to be installed.
fn definitions(facts: &Facts) -> Vec<Finding> {
    let subject = "definitions of kinds";
    let read = known_kinds().filter(|kind| kind.group.contains('.') && kind.state.told().is_none());
    let mut missing: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for kind in read.filter(|kind| kind.group != "discovery.k8s.io" && !kind.group.contains(".x-")) {
        count += 1;
        let name = format!("{}.{}", kind.plural, kind.group);
        if !facts.served.contains(&name) {
            missing.entry(kind.group.ends_with(".istio.io")).or_default().push(name);
        }
    }
    if missing.is_empty() {
        return vec![Finding::new(Level::Ok, subject, format!("all {count} are there"), "")];
    }
    let told = |(is_istio, names): (bool, Vec<String>)| {
        let message = format!("{} are not there: their objects cannot be written", names.join(", "));
        match is_istio {
            true => Finding::new(Level::Warning, subject, message, "the chart base brings them"),
            false => {
                let help = "install the definitions of the Gateway API: waypoints and gateways need them";
                Finding::new(Level::Warning, subject, message, help)
            }
        }
    };
    missing.into_iter().map(told).collect()
}

fn rights(facts: &Facts) -> Vec<Finding> {
    let missing: Vec<&str> =
        facts.rights.iter().filter(|(_, may)| !may).map(|(right, _)| right.as_str()).collect();
    let subject = "rights to install";
    if missing.is_empty() {
        return vec![Finding::new(Level::Ok, subject, format!("all {} are there", facts.rights.len()), "")];
    }
    let message = format!("this user may not {}", missing.join(", "));
    vec![Finding::new(
        Level::Error,
        subject,
        message,
        "install as a user who may, such as an administrator of the cluster",
    )]
}

/// What is in the way of an installation, and what it takes over.
fn conflicts(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    for of in &facts.control_planes {
        let ControlPlane { namespace, name, image, ready, wanted, .. } = of;
        let what = if of.is_ours { "Pilothouse" } else { "istiod" };
        let message = format!(
            "{what} runs as Deployment {namespace}/{name} ({image}), {ready} of {wanted} replicas ready"
        );
        all.push(match (of.is_ours, is_named(of, facts)) {
            (true, _) => Finding::new(Level::Info, "other control planes", message, "each serves what names its revision"),
            (false, true) => {
                let help = "install under another name by --set revision=NAME, or beside it by --set shadow.enabled=true in another namespace; \
                            in its place once its release is removed (docs/install.md#in-the-place-of-istiod)";
                Finding::new(Level::Error, "other control planes", message, help)
            }
            (false, false) => {
                let help = "one of both writes at a time; label namespaces by istio.io/rev to say whose they are";
                Finding::new(Level::Warning, "other control planes", message, help)
            }
        });
    }
    let told = facts.taken.iter().map(|(what, release)| match release {
        Some(release) => Finding::new(
            Level::Error,
            "names",
            format!("{what} is of release {release}: helm refuses to install over it"),
            "remove that release, or choose another revision or namespace",
        ),
        None => Finding::new(
            Level::Error,
            "names",
            format!("{what} is there, of no release: helm refuses to install over it"),
            "delete it, or have helm adopt it by the label app.kubernetes.io/managed-by=Helm and the annotations meta.helm.sh/release-name and \
             meta.helm.sh/release-namespace",
        ),
    });
    all.extend(told);
    if all.is_empty() {
        let message = format!("nothing in namespace {} has the names of the chart", facts.namespace);
        all.push(Finding::new(Level::Ok, "names", message, ""));
    }
    all
}

fn roots_to_be(facts: &Facts) -> Option<Finding> {
    if facts.secrets.is_empty() && facts.unread.iter().any(|(what, _)| what.starts_with("Secret")) {
        return None;
    }
    let found = facts.secrets.iter().find(|(_, has_root)| **has_root);
    let message = match found {
        Some((name, _)) => {
            format!("Secret {name} has one, which will be used: certificates of both sides verify each other")
        }
        None => "there is none: one will be made, and kept in the Secret istio-ca-secret".to_owned(),
    };
    Some(Finding::new(Level::Info, "root of certificates", message, ""))
}

fn locks(facts: &Facts, now: u64) -> Vec<Finding> {
    let told = facts.locks.iter().filter_map(|lock| {
        let age = now.checked_sub(lock.renewed?)?;
        let message = format!("{} is held by {}, renewed {age} s ago", lock.name, lock.holder);
        (age <= lock.seconds).then(|| {
            Finding::new(
                Level::Info,
                "locks",
                message,
                "it writes until it gives the lock up; the mesh is served all the same",
            )
        })
    });
    told.collect()
}

fn replicas(own: &ControlPlane) -> Finding {
    let ControlPlane { namespace, name, wanted, ready, why, .. } = own;
    let message = format!("{ready} of {wanted} of Deployment {namespace}/{name} are ready");
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
    match ready {
        _ if ready >= wanted && *wanted > 0 => Finding::new(Level::Ok, "replicas", message, ""),
        0 => Finding::new(
            Level::Error,
            "replicas",
            format!("{message}{why}"),
            format!("see kubectl -n {namespace} logs deployment/{name}"),
        ),
        _ => Finding::new(
            Level::Warning,
            "replicas",
            format!("{message}{why}"),
            format!("see kubectl -n {namespace} get pods"),
        ),
    }
}

fn certificates(facts: &Facts, now: u64) -> Vec<Finding> {
    let subject = "root of certificates";
    let Some(roots) = &facts.roots else {
        let message = format!(
            "ConfigMap {}/istio-ca-root-cert has none: no root is active, or none is published",
            facts.namespace
        );
        return vec![Finding::new(
            Level::Error,
            subject,
            message,
            "see /debug/identityz of the monitoring port, or the log",
        )];
    };
    let roots = match Certificate::all_from_pem(roots.as_bytes()) {
        Ok(roots) => roots,
        Err(error) => {
            return vec![Finding::new(
                Level::Error,
                subject,
                format!("what is published cannot be read: {error}"),
                "",
            )];
        }
    };
    let told = roots.iter().map(|root| {
        let ends = i64::try_from(root.validity().not_after.as_secs()).unwrap_or(i64::MAX);
        let days = (ends - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(DAY);
        let message = format!("{} ends in {days} days", root.serial());
        match days {
            i64::MIN..0 => {
                Finding::new(Level::Error, subject, message, "see docs/runbooks.md#the-root-ends-soon")
            }
            0..FEW_DAYS => {
                Finding::new(Level::Warning, subject, message, "see docs/runbooks.md#the-root-ends-soon")
            }
            _ => Finding::new(Level::Ok, subject, message, ""),
        }
    });
    told.collect()
}

/// What the monitoring port of one replica says.
fn clients(facts: &Facts) -> Vec<Finding> {
    let subject = "clients";
    let text = match &facts.metrics {
        None => {
            let help = format!(
                "kubectl -n {} port-forward deployment/{} 15014, and --server localhost:15014",
                facts.namespace,
                deployment_name(facts)
            );
            return vec![Finding::new(Level::Info, subject, "no replica was asked for them", help)];
        }
        Some(Err(why)) => {
            let help = "name the monitoring address of a replica by --server";
            return vec![Finding::new(
                Level::Error,
                subject,
                format!("the replica cannot be asked: {why}"),
                help,
            )];
        }
        Some(Ok(text)) => text,
    };
    let sum = |name: &str| -> Option<f64> {
        let samples = text
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']));
        let values: Vec<f64> = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    };
    let mut all = Vec::new();
    match sum("pilot_xds") {
        None => all.push(Finding::new(
            Level::Error,
            subject,
            "the address answers, and is of no control plane",
            "",
        )),
        Some(0.0) => all.push(Finding::new(
            Level::Warning,
            subject,
            "none is connected to this replica",
            "see docs/runbooks.md#a-ztunnel-does-not-connect",
        )),
        Some(count) => {
            all.push(Finding::new(Level::Ok, subject, format!("{count} are connected to this replica"), ""))
        }
    }
    if let Some(problems) = sum("pilothouse_source_problems").filter(|problems| *problems > 0.0) {
        let message = format!("{problems} keep this replica from reading what the mesh is made of");
        all.push(Finding::new(Level::Error, "problems", message, "see its log"));
    }
    for (what, days) in text.lines().filter_map(days_left) {
        let level = if days < 0.0 {
            Level::Error
        } else if days < 7.0 {
            Level::Warning
        } else {
            Level::Ok
        };
        all.push(Finding::new(
            level,
            "certificates of the replica",
            format!("{what} ends in {days:.0} days"),
            "",
        ));
    }
    all
}

/// Reads a sample of a certificate's days.
fn days_left(line: &str) -> Option<(String, f64)> {
    let (labels, days) = line.strip_prefix("pilothouse_certificate_days_left{")?.rsplit_once("} ")?;
    let labels: Vec<&str> = labels.split(',').filter_map(|pair| pair.split('"').nth(1)).collect();
    Some((labels.join(" "), days.parse().ok()?))
}

fn webhooks(facts: &Facts, is_installed: bool) -> Vec<Finding> {
    let subject = "webhooks";
    let revision = if facts.revision.is_empty() { "default" } else { &facts.revision };
    let told = facts.webhooks.iter().map(|of| {
        let Webhook { config, entry, leads_to, .. } = of;
        let message = format!("entry {entry} of {config} leads to {leads_to}");
        if of.injects {
            let level = if of.is_closed { Level::Error } else { Level::Warning };
            let help = "delete it before istiod goes: pods that it is for do not start, or start without a sidecar";
            return Finding::new(level, subject, format!("{message} and injects sidecars, which nobody does then"), help);
        }
        let is_ours = is_installed && of.revision == revision;
        if !is_ours {
            return Finding::new(Level::Info, subject, format!("{message} and validates objects"), "");
        }
        let trusts = facts.roots.as_ref().is_some_and(|roots| *roots == of.bundle);
        match (trusts, of.is_closed) {
            (false, _) => Finding::new(
                Level::Error,
                subject,
                format!("{message} and does not trust its root"),
                "the control plane writes it; see its log, and its rights to patch the configuration",
            ),
            (true, false) => Finding::new(
                Level::Warning,
                subject,
                format!("{message}, and was not seen to be asked: objects pass unseen"),
                "it fails closed once a dry run is denied; see whether API servers reach the Service at port 443",
            ),
            (true, true) => Finding::new(Level::Ok, subject, format!("{message}, works and fails closed"), ""),
        }
    });
    let mut all: Vec<Finding> = told.collect();
    let validates = |of: &Webhook| !of.injects && of.revision == revision;
    if is_installed && !facts.webhooks.iter().any(validates) {
        let help = "set configValidation of the chart, and defaultRevision of the chart base";
        all.push(Finding::new(Level::Info, subject, "none has objects validated by this revision", help));
    }
    all
}

fn sidecars(facts: &Facts) -> Option<Finding> {
    let [first, ..] = facts.sidecars.as_slice() else { return None };
    let message = match facts.sidecars.len() {
        1 => format!("namespace {first} asks for them, and none are injected"),
        count => format!("{count} namespaces ask for them, such as {first}, and none are injected"),
    };
    let help = "enrol them by the label istio.io/dataplane-mode: ambient, and remove istio-injection";
    Some(Finding::new(Level::Warning, "sidecars", message, help))
}
