//! What becomes of a request by the rules of a hostname, without a proxy that does it.

use model::Str;
use model::facts::{
    DirectResponse, Filter, HeaderChanges, PathChange, PathMatch, Redirect, RequestMatch, ValueMatch,
};
use regex::bytes::{Regex, RegexBuilder};

use super::host::Host;
use super::placed::Placed;
use crate::route::{Action, Rule, WeightedBackend};

/// A request as rules see it: its path is normalised.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Its host, with a port if it says one.
    pub authority: String,
    /// Its path, without a query.
    pub path: String,
    /// Its query, without a question mark.
    pub query: Option<String>,
    /// Names in lower case; one may come several times.
    pub headers: Vec<(String, String)>,
    /// The port of the service by which it came.
    pub port: u16,
    /// The namespace that it comes from.
    pub caller: String,
}

/// What becomes of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome<'h> {
    /// There are no rules: it goes to the port by which it came.
    ToService,
    /// No rule matches: it is answered with 404.
    NotFound,
    /// It is answered with 500.
    Refused,
    /// It is answered with this.
    Answered(&'h DirectResponse),
    /// It is answered with a redirect: a status, and where to.
    Redirected(u16, String),
    /// It is sent to one of these, by weight, as it has become.
    Forwarded(Vec<(&'h WeightedBackend, Request)>),
}

impl Host {
    /// Returns the rule that is for a request, and what becomes of it. Shares of requests (faults, mirrors) and what
    /// depends on a response (retries, timeouts) are not looked at.
    pub fn outcome(&self, request: &Request) -> (Option<&Placed>, Outcome<'_>) {
        let is_for = |placed: &&Placed| {
            placed.is_at(request.port) && placed.callers.as_ref().is_none_or(|ns| **ns == *request.caller)
        };
        let mut rules = self.rules.iter().filter(is_for).peekable();
        if rules.peek().is_none() {
            return (None, Outcome::ToService);
        }
        let found = rules.find(|placed| matches(&placed.rule.matches, request));
        (found, found.map_or(Outcome::NotFound, |placed| outcome(&placed.rule, request)))
    }
}

fn outcome<'h>(rule: &'h Rule, request: &Request) -> Outcome<'h> {
    match &rule.action {
        Action::Refuse => Outcome::Refused,
        Action::Respond(with) => Outcome::Answered(with),
        Action::Redirect(to) => Outcome::Redirected(to.code, location(to, rule, request)),
        Action::Forward(backends) => {
            let share = |backend: &'h WeightedBackend| {
                let mut sent = request.clone();
                // What is for a share comes first, and a host or path that the rule says goes before it.
                for filter in backend.filters.iter().chain(&rule.filters) {
                    change(&mut sent, filter, rule, request);
                }
                (backend, sent)
            };
            Outcome::Forwarded(backends.iter().map(share).collect())
        }
    }
}

fn matches(of: &RequestMatch, request: &Request) -> bool {
    let pseudo =
        [(":authority", &request.authority), (":method", &request.method), (":scheme", &request.scheme)];
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value));
    let headers: Vec<(&str, &String)> = headers.chain(pseudo).collect();
    let has = |of: &ValueMatch| {
        let mut values =
            headers.iter().filter(|(name, _)| *name == of.name).map(|(_, value)| value.as_str()).peekable();
        if !of.is_negated {
            return values.any(|value| is_value(of, value));
        }
        match values.peek() {
            // An expression of any value is one that something is there.
            None if of.is_regex && of.value == ".*" => true,
            None => !is_value(of, ""),
            Some(_) => !values.any(|value| is_value(of, value)),
        }
    };
    let parameters: Vec<(&str, &str)> = request
        .query
        .iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let asks = |of: &ValueMatch| {
        // The first of a name counts.
        let value = parameters.iter().find(|(name, _)| *name == of.name).map(|(_, value)| *value);
        value.is_some_and(|value| is_value(of, value))
    };
    (of.method.is_empty() || *of.method == *request.method)
        && of.path.as_ref().is_none_or(|path| is_path(path, of.ignores_case, &request.path))
        && of.headers.iter().all(has)
        && of.query.iter().all(asks)
}

fn is_value(of: &ValueMatch, value: &str) -> bool {
    if of.is_regex { is_like(&of.value, value) } else { *of.value == *value }
}

/// Returns an expression as proxies read it: of bytes, and what is a digit or a letter is so in ASCII.
fn expression(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).unicode(false).build().ok()
}

fn is_like(pattern: &str, text: &str) -> bool {
    expression(&format!("^(?:{pattern})$")).is_some_and(|of| of.is_match(text.as_bytes()))
}

fn is_path(of: &PathMatch, ignores_case: bool, path: &str) -> bool {
    let fold = |text: &str| if ignores_case { text.to_ascii_lowercase() } else { text.to_owned() };
    match of {
        PathMatch::Exact(exact) => fold(exact) == fold(path),
        PathMatch::Prefix(prefix) => below(prefix, path).is_some(),
        PathMatch::StartsWith(text) => fold(path).starts_with(&fold(text)),
        PathMatch::Regex(pattern) => is_like(pattern, path),
    }
}

/// Returns what of a path is below a prefix, which is of whole elements.
fn below<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Returns the path that a rule makes of the one that it matched.
fn new_path(to: &PathChange, matched: Option<&PathMatch>, path: &str) -> String {
    match (to, matched) {
        (PathChange::Full(to), _) => to.to_string(),
        (PathChange::Prefix(to), matched) => {
            let old = match matched {
                Some(PathMatch::Prefix(old)) => old,
                _ => "/",
            };
            let new = format!("{}{}", to.trim_end_matches('/'), below(old, path).unwrap_or(path));
            if new.is_empty() { "/".to_owned() } else { new }
        }
        (PathChange::Matched(to), matched) => {
            let length = match matched {
                None => 1,
                Some(PathMatch::Prefix(of) | PathMatch::StartsWith(of)) => of.len(),
                Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => path.len(),
            };
            format!("{to}{}", path.get(length..).unwrap_or_default())
        }
        (PathChange::Regex { pattern, substitution }, _) => {
            let Some(found) = expression(pattern) else { return path.to_owned() };
            // Groups are written otherwise.
            let mut with = String::new();
            let mut characters = substitution.chars();
            while let Some(character) = characters.next() {
                match character {
                    '$' => with.push_str("$$"),
                    '\\' => match characters.next() {
                        Some(digit) if digit.is_ascii_digit() => with.push_str(&format!("${{{digit}}}")),
                        other => with.extend(other),
                    },
                    other => with.push(other),
                }
            }
            String::from_utf8_lossy(&found.replace_all(path.as_bytes(), with.as_bytes())).into_owned()
        }
    }
}

fn change(sent: &mut Request, filter: &Filter, rule: &Rule, request: &Request) {
    match filter {
        Filter::RequestHeaders(of) => change_headers(sent, of),
        Filter::Rewrite(to) => {
            if let Some(host) = &to.hostname {
                sent.authority = host.to_string();
            }
            if let Some(path) = &to.path {
                sent.path = new_path(path, rule.matches.path.as_ref(), &request.path);
            }
        }
        Filter::ResponseHeaders(_)
        | Filter::Redirect(_)
        | Filter::Mirror(_)
        | Filter::Cors(_)
        | Filter::Fault(_)
        | Filter::Respond(_)
        // How many came before is not known.
        | Filter::Limit(_) => {}
    }
}

fn change_headers(sent: &mut Request, of: &HeaderChanges) {
    let is_host = |name: &Str| name == "host" || name == ":authority";
    sent.headers.retain(|(name, _)| !of.remove.iter().any(|gone| gone == name));
    for (name, value) in &of.set {
        if is_host(name) {
            sent.authority = value.to_string();
        } else if !name.starts_with(':') {
            sent.headers.retain(|(own, _)| name != own);
            sent.headers.push((name.to_string(), value.to_string()));
        }
    }
    let added = of.add.iter().filter(|(name, _)| !is_host(name) && !name.starts_with(':'));
    sent.headers.extend(added.map(|(name, value)| (name.to_string(), value.to_string())));
}

fn location(to: &Redirect, rule: &Rule, request: &Request) -> String {
    let scheme = to.scheme.as_deref().unwrap_or(&request.scheme);
    let host = to.hostname.as_deref().unwrap_or(&request.authority);
    let port = match (to.port, &to.scheme) {
        (Some(port), _) => Some(port),
        // A scheme has a port of its own.
        (None, Some(_)) => None,
        (None, None) => to.hostname.is_some().then_some(request.port),
    };
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = port.filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
    let path = to.path.as_ref().map(|path| new_path(path, rule.matches.path.as_ref(), &request.path));
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}{query}", path.as_deref().unwrap_or(&request.path))
}
