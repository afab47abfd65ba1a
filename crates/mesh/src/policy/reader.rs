//! Reads one rule of an `AuthorizationPolicy`, for whoever is to enforce it.

use super::request;
use super::rule::{Entry, Lists, Rule, RuleAction, Test};
use super::value::{self, Unclear};
use super::{code, http, source};
use crate::settings::TrustSettings;
use model::facts::{self, Operation, PathNormalization, Source};
use model::{Severity, Str, TrustDomain, nearest_within};
use std::collections::BTreeSet;
use std::fmt;

/// Longest part of a value that is quoted in a finding, in characters.
const QUOTED: usize = 64;
/// How many letters of a trust domain may be wrong for it to be taken for one of the mesh.
const NEAR: usize = 2;
/// Most findings that are kept of one policy; the rest is counted.
const FINDINGS: usize = 16;

/// Something in a rule that was not understood.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    /// The path of the field, from `spec`.
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// Who enforces a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Enforcer {
    /// It knows no requests: their attributes are named, not read.
    Ztunnel,
    /// It sees paths as this setting makes them.
    Waypoint(PathNormalization),
}

/// Reads the rules of one policy and collects what it meets on the way.
pub(super) struct RuleReader<'a> {
    enforcer: Enforcer,
    action: RuleAction,
    /// The namespace of the policy.
    namespace: &'a str,
    /// The trust domain of the mesh and its aliases.
    trust: &'a TrustSettings,
    /// The HTTP attributes that were left out.
    pub(super) http: BTreeSet<&'a str>,
    /// The rules of a DENY policy that match nothing without them.
    pub(super) dead: Vec<usize>,
    /// Whether an entry of a DENY policy matches nothing without them, in a rule that can match.
    pub(super) has_dead_entry: bool,
    /// What was not understood, at most [`FINDINGS`].
    pub(super) findings: Vec<Finding>,
    /// How many findings there were in all.
    pub(super) finding_count: usize,
    /// Principals of other trust domains, which are understood; at most [`FINDINGS`].
    pub(super) elsewhere: Vec<(Severity, Finding)>,
    /// How many of them there were in all.
    pub(super) elsewhere_count: usize,
    /// The rule at hand has HTTP attributes.
    rule_has_http: bool,
}

/// Where in a policy an entry stands.
#[derive(Clone, Copy)]
enum Place {
    From(usize, usize),
    To(usize, usize),
    When(usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::From(rule, entry) => write!(f, "spec.rules[{rule}].from[{entry}].source"),
            Place::To(rule, entry) => write!(f, "spec.rules[{rule}].to[{entry}].operation"),
            Place::When(rule, entry) => write!(f, "spec.rules[{rule}].when[{entry}]"),
        }
    }
}

/// Whether a list names what matches or what does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Positive,
    Negative,
}

impl<'a> RuleReader<'a> {
    pub(super) fn new(
        enforcer: Enforcer,
        action: RuleAction,
        namespace: &'a str,
        trust: &'a TrustSettings,
    ) -> Self {
        Self {
            enforcer,
            action,
            namespace,
            trust,
            http: BTreeSet::new(),
            dead: Vec::new(),
            has_dead_entry: false,
            findings: Vec::new(),
            finding_count: 0,
            elsewhere: Vec::new(),
            elsewhere_count: 0,
            rule_has_http: false,
        }
    }

    /// Returns what `rule` says, which stands at `index` in its policy, or `None` for a rule of an ALLOW policy that
    /// has attributes of requests, at a ztunnel: it is left out as a whole, which allows less.
    pub(super) fn rule(&mut self, index: usize, rule: &'a facts::Rule) -> Option<Rule> {
        self.rule_has_http = false;
        let mut parts = Vec::new();

        let mut to = Vec::with_capacity(rule.to.len());
        for (i, operation) in rule.to.iter().enumerate() {
            to.push(self.operation(Place::To(index, i), operation));
        }
        parts.extend(any_of(to));

        let mut from = Vec::with_capacity(rule.from.len());
        for (i, source) in rule.from.iter().enumerate() {
            from.push(self.source(Place::From(index, i), source));
        }
        parts.extend(any_of(from));

        for (i, condition) in rule.when.iter().enumerate() {
            let entry = self.condition(Place::When(index, i), condition);
            parts.extend(any_of(vec![entry]));
        }

        let rule = Rule { parts };
        if self.action == RuleAction::Deny && self.rule_has_http {
            if !can_match(&rule) {
                self.dead.push(index);
            } else if rule.parts.iter().any(|part| part.contains(&Entry::Never)) {
                self.has_dead_entry = true;
            }
        }
        (self.action == RuleAction::Deny || !self.rule_has_http).then_some(rule)
    }

    fn operation(&mut self, place: Place, of: &'a Operation) -> Option<Entry> {
        let enforcer = self.enforcer;
        let mut entry = EntryReader::new(self, place);
        match enforcer {
            Enforcer::Ztunnel => entry.http(http::fields_of_operation(of)),
            Enforcer::Waypoint(normalization) => {
                let hosts = ("hosts", &*of.hosts, "notHosts", &*of.not_hosts);
                entry.test(Test::Host, hosts, request::host);
                let methods = ("methods", &*of.methods, "notMethods", &*of.not_methods);
                entry.test(Test::Method, methods, request::method);
                let paths = ("paths", &*of.paths, "notPaths", &*of.not_paths);
                entry.test(Test::Path, paths, |value| request::path(value, normalization));
            }
        }
        entry.test(Test::DestinationPort, ("ports", &*of.ports, "notPorts", &*of.not_ports), value::port);
        entry.finish()
    }

    fn source(&mut self, place: Place, of: &'a Source) -> Option<Entry> {
        let (namespace, domain, enforcer) = (self.namespace, &self.trust.trust_domain, self.enforcer);
        let account = |v: &str| value::service_account(v, namespace, domain);
        let mut entry = EntryReader::new(self, place);
        match enforcer {
            Enforcer::Ztunnel => entry.http(http::fields_of_source(of)),
            Enforcer::Waypoint(_) => {
                let remote =
                    ("remoteIpBlocks", &*of.remote_ip_blocks, "notRemoteIpBlocks", &*of.not_remote_ip_blocks);
                entry.test(Test::RemoteIp, remote, value::address);
                let domains = ("trustDomains", &*of.trust_domains, "notTrustDomains", &*of.not_trust_domains);
                entry.test(Test::TrustDomain, domains, value::trust_domain);
                let (any, none) = (&*of.request_principals, &*of.not_request_principals);
                let principals = ("requestPrincipals", any, "notRequestPrincipals", none);
                entry.test(Test::RequestPrincipal, principals, request::request_principal);
            }
        }
        let addresses = ("ipBlocks", &*of.ip_blocks, "notIpBlocks", &*of.not_ip_blocks);
        entry.test(Test::SourceIp, addresses, value::address);
        let namespaces = ("namespaces", &*of.namespaces, "notNamespaces", &*of.not_namespaces);
        entry.test(Test::Namespace, namespaces, value::namespace);
        let accounts =
            ("serviceAccounts", &*of.service_accounts, "notServiceAccounts", &*of.not_service_accounts);
        entry.test(Test::ServiceAccount, accounts, account);
        entry.principals("principals", &of.principals, "notPrincipals", &of.not_principals);
        entry.finish()
    }

    fn condition(&mut self, place: Place, of: &'a facts::Condition) -> Option<Entry> {
        let (namespace, domain, enforcer) = (self.namespace, &self.trust.trust_domain, self.enforcer);
        let mut entry = EntryReader::new(self, place);
        let lists = ("values", &*of.values, "notValues", &*of.not_values);
        match (of.key.as_str(), enforcer) {
            ("source.ip", _) => entry.test(Test::SourceIp, lists, value::address),
            ("source.namespace", _) => entry.test(Test::Namespace, lists, value::namespace),
            ("source.principal", _) => entry.principals("values", &of.values, "notValues", &of.not_values),
            ("destination.ip", _) => entry.test(Test::DestinationIp, lists, value::address),
            ("destination.port", _) => entry.test(Test::DestinationPort, lists, value::port),
            (key, Enforcer::Ztunnel) => {
                entry.http([key]);
                if !http::is_known_key(key) {
                    entry.unknown_key(key);
                }
            }
            ("remote.ip", _) => entry.test(Test::RemoteIp, lists, value::address),
            ("source.serviceAccount", _) => {
                entry.test(Test::ServiceAccount, lists, |v| value::service_account(v, namespace, domain));
            }
            ("source.trustDomain", _) => entry.test(Test::TrustDomain, lists, value::trust_domain),
            ("connection.sni", _) => entry.test(Test::ServerName, lists, request::server_name),
            ("request.auth.principal", _) => {
                entry.test(Test::RequestPrincipal, lists, request::request_principal);
            }
            (key, _) => match (request::header_of(key), request::claim_of(key)) {
                (Some(name), _) => entry.test(|of| Test::Header(name, of), lists, request::header_value),
                (None, Some(path)) => entry.test(|of| Test::Claim(path, of), lists, request::claim_value),
                (None, None) if http::is_known_key(key) && !request::has_name(key) => {
                    entry.unread("key", key);
                }
                (None, None) => entry.unknown_key(key),
            },
        }
        entry.finish()
    }

    fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS {
            self.findings.push(finding());
        }
    }
}

/// Tells whether some traffic can match `rule`: not if a part of it has only entries that never match.
fn can_match(rule: &Rule) -> bool {
    rule.parts.iter().all(|part| part.iter().any(|entry| *entry != Entry::Never))
}

/// Returns the part that matches when one of `entries` does; `None` when that is always so, be it
/// that there are none or that one matches everything (see [`EntryReader::finish`]).
fn any_of(entries: Vec<Option<Entry>>) -> Option<Vec<Entry>> {
    let entries: Vec<Entry> = entries.into_iter().collect::<Option<_>>()?;
    (!entries.is_empty()).then_some(entries)
}

/// The values of an attribute: the field of those of which one must match and its values, then of those of which none
/// may.
type Written<'v> = (&'static str, &'v [Str], &'static str, &'v [Str]);

/// Reads one entry of a rule.
struct EntryReader<'r, 'a> {
    rules: &'r mut RuleReader<'a>,
    place: Place,
    tests: Vec<Test>,
    /// Some field is written, whatever it says.
    is_written: bool,
    /// Some value was not understood, so the entry may not match: of an ALLOW policy.
    never_matches: bool,
    /// Some value was not understood, so the entry matches more than written: of a DENY policy.
    is_widened: bool,
}

impl<'r, 'a> EntryReader<'r, 'a> {
    fn new(rules: &'r mut RuleReader<'a>, place: Place) -> Self {
        Self { rules, place, tests: Vec::new(), is_written: false, never_matches: false, is_widened: false }
    }

    fn http(&mut self, attributes: impl IntoIterator<Item = &'a str>) {
        for attribute in attributes {
            self.rules.http.insert(attribute);
            self.rules.rule_has_http = true;
            self.is_written = true;
        }
    }

    /// Reads an attribute that has values.
    fn test<T, E: Into<Unclear>>(
        &mut self,
        test: impl FnOnce(Lists<T>) -> Test,
        (any_field, any, none_field, none): Written<'_>,
        read: impl Fn(&str) -> Result<T, E>,
    ) {
        let any = self.list(any_field, Sign::Positive, any, &read);
        let none = self.list(none_field, Sign::Negative, none, &read);
        if !any.is_empty() || !none.is_empty() {
            self.tests.push(test(Lists { any, none }));
        }
    }

    /// Returns what of `values` is to be enforced. A value that is not understood might stand for any
    /// traffic or none; the list is made so that the policy allows no more under any such reading.
    fn list<T, E: Into<Unclear>>(
        &mut self,
        field: &'static str,
        sign: Sign,
        values: &[Str],
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        self.is_written |= !values.is_empty();
        let mut understood = Vec::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            match read(value) {
                Ok(one) => understood.push(one),
                Err(unclear) => self.unclear(field, i, sign, value, unclear.into()),
            }
        }
        if understood.len() == values.len() {
            return understood;
        }
        match (self.rules.action, sign) {
            // A shorter list of alternatives allows less, but an empty one would not be a condition.
            (RuleAction::Allow, Sign::Positive) => self.never_matches |= understood.is_empty(),
            // A shorter list of exceptions would allow more.
            (RuleAction::Allow, Sign::Negative) => self.never_matches = true,
            // A shorter list of alternatives would deny less, no list denies more.
            (RuleAction::Deny, Sign::Positive) => {
                understood.clear();
                self.is_widened = true;
            }
            // A shorter list of exceptions denies more.
            (RuleAction::Deny, Sign::Negative) => self.is_widened = true,
        }
        understood
    }

    /// Reads principals, and notes those of other trust domains.
    fn principals(&mut self, any_field: &'static str, any: &[Str], none_field: &'static str, none: &[Str]) {
        let trust = self.rules.trust;
        for (field, sign, values) in [(any_field, Sign::Positive, any), (none_field, Sign::Negative, none)] {
            for (i, value) in values.iter().enumerate().filter(|(_, value)| source::is_principal(value)) {
                let domain =
                    source::trust_domain_of(value).filter(|domain| *domain != trust.trust_domain.as_str());
                if let Some(domain) = domain {
                    self.elsewhere(field, i, sign, value, domain);
                }
            }
        }
        let read = |value: &str| value::principal(value, &trust.trust_domain);
        self.test(Test::Principal, (any_field, any, none_field, none), read);
    }

    /// Notes a principal of another trust domain than the mesh's. It is understood: peers of other meshes
    /// have such identities. Whoever names a former domain of this mesh, or the usual one, means its own
    /// workloads though, and a ztunnel compares texts as they are.
    fn elsewhere(&mut self, field: &str, index: usize, sign: Sign, value: &str, domain: &str) {
        let own = &self.rules.trust.trust_domain;
        let usual = TrustDomain::default();
        let meant = || [own, &usual].into_iter().chain(&self.rules.trust.aliases).map(TrustDomain::as_str);
        let is_former = meant().any(|known| known == domain);
        // Written wrongly, or of a neighbour: nobody can tell.
        let is_near = nearest_within(domain, meant(), NEAR).is_some();
        let (severity, effect) = match (self.rules.action, sign) {
            (RuleAction::Allow, Sign::Positive) => (Severity::Warning, "it allows nobody of this mesh"),
            (RuleAction::Allow, Sign::Negative) => (Severity::Error, "it excludes nobody of this mesh"),
            (RuleAction::Deny, Sign::Positive) => (Severity::Error, "it denies nobody of this mesh"),
            (RuleAction::Deny, Sign::Negative) => (Severity::Warning, "it exempts nobody of this mesh"),
        };
        let severity = match (is_former, is_near) {
            (true, _) => severity,
            (false, true) => Severity::Warning,
            (false, false) => Severity::Info,
        };
        let rest = value.strip_prefix(domain).unwrap_or_default();
        let both = format!("*{rest}");
        let or_both = if source::is_principal(&both) {
            format!(" `{both}` is for every trust domain")
        } else {
            String::new()
        };
        let finding = Finding {
            code: code::OTHER_TRUST_DOMAIN,
            field: format!("{}.{field}[{index}]", self.place),
            message: format!(
                "{} is of trust domain {domain}, and identities of this mesh are of {own}: {effect}",
                quoted(value)
            ),
            help: format!("{}{or_both}", model::did_you_mean(&format!("{own}{rest}"))),
        };
        self.rules.elsewhere_count += 1;
        if self.rules.elsewhere.len() < FINDINGS {
            self.rules.elsewhere.push((severity, finding));
        }
    }

    /// Returns the entry; `None` when it matches everything.
    fn finish(self) -> Option<Entry> {
        if !self.is_written {
            let message = match self.rules.action {
                RuleAction::Allow => "the entry has no field, so it allows nothing",
                RuleAction::Deny => "the entry has no field, so it denies everything",
            };
            let place = self.place;
            self.rules.add(|| Finding {
                code: code::EMPTY_ENTRY,
                field: place.to_string(),
                message: message.to_owned(),
                help: "name what it should match, or remove the entry".to_owned(),
            });
        }
        match self.rules.action {
            RuleAction::Allow if self.never_matches => Some(Entry::Never),
            RuleAction::Deny if self.tests.is_empty() && (self.is_widened || !self.is_written) => None,
            // Nothing but attributes of requests matches nothing at a ztunnel, as specified.
            RuleAction::Allow | RuleAction::Deny if self.tests.is_empty() => Some(Entry::Never),
            RuleAction::Allow | RuleAction::Deny => Some(Entry::All(self.tests)),
        }
    }

    /// Notes an attribute that is known and not enforced.
    fn unread(&mut self, field: &str, attribute: &str) {
        let effect = match self.rules.action {
            RuleAction::Allow => "so the entry allows nothing",
            RuleAction::Deny => "so it is taken to hold always, and more is denied than written",
        };
        let what = format!("is not enforced by waypoints of this version, {effect}");
        let help = "name who calls by `principals`, `namespaces` or `serviceAccounts`";
        self.not_told(code::UNREAD_ATTRIBUTE, field, attribute, &what, help);
    }

    fn unknown_key(&mut self, key: &str) {
        let effect = match self.rules.action {
            RuleAction::Allow => "so the rule allows nothing",
            RuleAction::Deny => "so the condition is taken to hold always",
        };
        let what = format!("is not a known attribute, {effect}");
        let help = "name an attribute such as `source.ip` or `destination.port`";
        self.not_told(code::UNKNOWN_KEY, "key", key, &what, help);
    }

    /// Notes an attribute of which nobody can tell what it says of traffic.
    fn not_told(&mut self, code: &'static str, field: &str, attribute: &str, what: &str, help: &str) {
        self.is_written = true;
        self.never_matches |= self.rules.action == RuleAction::Allow;
        self.is_widened = true;
        let place = self.place;
        self.rules.add(|| Finding {
            code,
            field: format!("{place}.{field}"),
            message: format!("{} {what}", quoted(attribute)),
            help: help.to_owned(),
        });
    }

    fn unclear(&mut self, field: &str, index: usize, sign: Sign, value: &str, unclear: Unclear) {
        let Unclear { expected, likely } = unclear;
        let place = self.place;
        let effect = match (self.rules.action, sign) {
            (RuleAction::Allow, Sign::Positive) => "so it allows nothing",
            (RuleAction::Allow, Sign::Negative) => "so the whole entry allows nothing",
            (RuleAction::Deny, Sign::Positive) => {
                "so the whole list is ignored and more is denied than written"
            }
            (RuleAction::Deny, Sign::Negative) => "so it exempts nothing",
        };
        self.rules.add(|| Finding {
            code: code::UNCLEAR_VALUE,
            field: format!("{place}.{field}[{index}]"),
            message: format!("{} is not {expected}, {effect}", quoted(value)),
            help: likely.unwrap_or_else(|| format!("write {expected}")),
        });
    }
}

/// Returns `value` in quotes, on one line and not too long.
fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
