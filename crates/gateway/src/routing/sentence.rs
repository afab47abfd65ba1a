//! Rules as sentences, for people.

use engine::Graph;
use model::facts::{Cors, Filter, PathMatch, RequestMatch, SessionPersistence, Share, ValueMatch};
use std::fmt;
use std::sync::Arc;

use super::host::{Host, Routing};
use super::placed::Placed;
use crate::key::HostKey;
use crate::route::{Action, Backend, Rule};

impl Routing {
    /// Returns every rule of every hostname as a sentence, ascending by where it is, and in the order in
    /// which rules are tried. This walks the tables: it is meant for people.
    pub fn sentences(&self, graph: &Graph) -> Vec<String> {
        self.hosts(graph).iter().flat_map(|(key, host)| sentences(key, host)).collect()
    }

    /// Returns every hostname with its rules: those for requests, then those for streams, each ascending by
    /// where they are. This walks the tables: it is meant for people.
    pub fn hosts(&self, graph: &Graph) -> Vec<(HostKey, Arc<Host>)> {
        self.requests.iter().chain(&self.streams).flat_map(|table| graph.rows(*table)).collect()
    }
}

fn sentences(key: &HostKey, host: &Host) -> Vec<String> {
    let place = format!("{}, {}", key.target, key.hostname);
    if host.rules.is_empty() {
        return vec![format!("{place}: nothing")];
    }
    let sentence = |placed: &Placed| {
        format!("{place}: {placed} ({} rule {:?})", placed.rule.route, placed.rule.name.as_str())
    };
    host.rules.iter().map(sentence).collect()
}

/// What it matches, and what becomes of that.
impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, port, callers } = self;
        f.write_str(&matched(&rule.matches))?;
        if let Some(port) = port {
            write!(f, " at port {port}")?;
        }
        if let Some(ns) = callers {
            write!(f, " from namespace {ns}")?;
        }
        write!(f, " → {}", action(rule))?;
        for filter in &rule.filters {
            write!(f, ", {}", change(filter))?;
        }
        for mirror in &rule.mirrors {
            let (share, of, to) = (mirror.share, mirror.of, &mirror.backend);
            write!(f, ", mirror {share}/{of} to {}{}", to.hostname, Rest(to))?;
        }
        if let Some(timeout) = rule.timeouts.request {
            write!(f, ", timeout {timeout:?}")?;
        }
        if let Some(timeout) = rule.timeouts.backend_request {
            write!(f, ", timeout of a try {timeout:?}")?;
        }
        if rule.retry.as_ref().is_some_and(|retry| retry.attempts == 0) {
            f.write_str(", no retries")?;
        }
        if let Some(retry) = rule.retry.as_ref().filter(|retry| retry.attempts > 0) {
            write!(f, ", retries {}", retry.attempts)?;
            if !retry.codes.is_empty() {
                write!(f, " on {:?}", retry.codes)?;
            }
            if !retry.conditions.is_empty() {
                write!(f, " on {:?}", retry.conditions)?;
            }
            if let Some(backoff) = retry.backoff {
                write!(f, " after {backoff:?}")?;
            }
        }
        if let Some(session) = &rule.session {
            write!(f, ", {}", stays(session))?;
        }
        Ok(())
    }
}

/// The port of a backend, unless it is that by which the traffic came, and its subset.
struct Rest<'b>(&'b Backend);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(port) = self.0.port {
            write!(f, ":{port}")?;
        }
        match self.0.subset.as_str() {
            "" => Ok(()),
            subset => write!(f, " subset {subset:?}"),
        }
    }
}

fn matched(of: &RequestMatch) -> String {
    let mut parts = Vec::new();
    if !of.method.is_empty() {
        parts.push(of.method.to_string());
    }
    let case = if of.ignores_case { " in any case" } else { "" };
    parts.extend(of.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => format!("path {path:?}{case}"),
        PathMatch::Prefix(path) => format!("path {path:?} and below"),
        PathMatch::StartsWith(path) => format!("path {path:?} and on{case}"),
        PathMatch::Regex(path) => format!("path like {path:?}"),
    }));
    let values = |what: &str, of: &ValueMatch| {
        let no = if of.is_negated { "no " } else { "" };
        let like = if of.is_regex { " like" } else { "" };
        format!("{no}{what} {}{like} {:?}", of.name, of.value.as_str())
    };
    if !of.sni.is_empty() {
        parts.push(format!("TLS for {:?}", of.sni));
    }
    parts.extend(of.headers.iter().map(|header| values("header", header)));
    parts.extend(of.query.iter().map(|parameter| values("query", parameter)));
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}

fn action(rule: &Rule) -> String {
    match &rule.action {
        Action::Refuse => "refused".to_owned(),
        Action::Redirect(to) => {
            let mut text = format!("redirect {}", to.code);
            let part = |name: &str, value: Option<String>| value.map(|value| format!(" {name} {value}"));
            text.extend(part("scheme", to.scheme.as_ref().map(ToString::to_string)));
            text.extend(part("host", to.hostname.as_ref().map(ToString::to_string)));
            text.extend(part("port", to.port.map(|port| port.to_string())));
            text.extend(part("path", to.path.as_ref().map(|path| format!("{path:?}"))));
            text.push_str(if to.keeps_port { " port of the request" } else { "" });
            text
        }
        Action::Respond(response) => {
            format!("answer {} with {} bytes", response.status, response.body.len())
        }
        Action::Forward(backends) => {
            let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
            let share =
                |weight: u32| if backends.len() == 1 { String::new() } else { format!(" {weight}/{total}") };
            let backends = backends.iter().map(|of| {
                let (to, share) = (&of.backend, share(of.weight));
                let to = to
                    .as_ref()
                    .map_or_else(|| "refused".to_owned(), |to| format!("{}{}", to.hostname, Rest(to)));
                let changes: String =
                    of.filters.iter().map(|filter| format!(" with {}", change(filter))).collect();
                format!("{to}{share}{changes}")
            });
            backends.collect::<Vec<_>>().join(", ")
        }
    }
}

/// How sessions stay with one instance.
fn stays(session: &SessionPersistence) -> String {
    let by = if session.by_header { "header" } else { "cookie" };
    let mut text = format!("sessions by {by} {:?}", session.name.as_str());
    if let Some(timeout) = session.absolute_timeout {
        text.push_str(&format!(" for {timeout:?}"));
    }
    text.push_str(if session.is_permanent { " beyond those of a browser" } else { "" });
    text
}

fn cors(of: &Cors) -> String {
    let mut text = format!("CORS for {:?}", of.origins);
    if !of.origin_patterns.is_empty() {
        text.push_str(&format!(" and like {:?}", of.origin_patterns));
    }
    for (what, list) in [("methods", &of.methods), ("headers", &of.headers), ("exposed", &of.expose)] {
        if !list.is_empty() {
            text.push_str(&format!(" {what} {list:?}"));
        }
    }
    text.push_str(if of.credentials { " with credentials" } else { "" });
    text.push_str(&format!(" for {}s", of.max_age));
    text
}

fn change(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(of) => {
            format!("request headers set {:?} add {:?} remove {:?}", of.set, of.add, of.remove)
        }
        Filter::ResponseHeaders(of) => {
            format!("response headers set {:?} add {:?} remove {:?}", of.set, of.add, of.remove)
        }
        Filter::Rewrite(of) => format!("rewrite host {:?} path {:?}", of.hostname, of.path),
        Filter::Cors(of) => cors(of),
        Filter::Fault(of) => {
            let millionths = |Share(share): Share| f64::from(share) / 10_000.0;
            let delay = of.delay.map(|(share, by)| format!("delay {}% by {by:?}", millionths(share)));
            let abort = of.abort.map(|(share, with)| format!("abort {}% with {with:?}", millionths(share)));
            delay.into_iter().chain(abort).collect::<Vec<_>>().join(", ")
        }
        Filter::Respond(of) => format!("answer {}", of.status),
        Filter::Redirect(of) => format!("redirect {}", of.code),
        Filter::Mirror(of) => format!("mirror {}/{}", of.share, of.of),
        Filter::Limit(of) => format!("at most {of}"),
    }
}
