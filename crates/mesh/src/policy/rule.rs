//! One rule of an `AuthorizationPolicy` to one group of a wire authorization.

use super::value::{self, Unclear};
use super::{code, http, source};
use crate::settings::TrustSettings;
use model::facts::{self, Operation, Source};
use model::{Severity, Str, TrustDomain, nearest_within};
use proto::security::{Action, Group, Match, Rules, StringMatch};
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

/// Lowers the rules of one policy and collects what it meets on the way.
pub(super) struct RuleLowering<'a> {
    action: Action,
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

impl<'a> RuleLowering<'a> {
    pub(super) fn new(action: Action, namespace: &'a str, trust: &'a TrustSettings) -> Self {
        Self {
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

    /// Returns the group of `rule`, which stands at `index` in its policy, or `None` for a rule of an
    /// ALLOW policy that has HTTP attributes: it is left out as a whole, which allows less.
    ///
    /// The group has at most one `Rules` for `to`, one for `from`, then one per `when`. A part that
    /// matches everything has none.
    pub(super) fn lower_rule(&mut self, index: usize, rule: &'a facts::Rule) -> Option<Group> {
        self.rule_has_http = false;
        let mut rules = Vec::new();

        let mut to = Vec::with_capacity(rule.to.len());
        for (i, operation) in rule.to.iter().enumerate() {
            to.push(self.lower_operation(Place::To(index, i), operation));
        }
        rules.extend(any_of(to));

        let mut from = Vec::with_capacity(rule.from.len());
        for (i, source) in rule.from.iter().enumerate() {
            from.push(self.lower_source(Place::From(index, i), source));
        }
        rules.extend(any_of(from));

        for (i, condition) in rule.when.iter().enumerate() {
            let entry = self.lower_condition(Place::When(index, i), condition);
            rules.extend(any_of(vec![entry]));
        }

        let group = Group { rules };
        if self.action == Action::Deny && self.rule_has_http {
            let is_dead = |rules: &Rules| rules.matches.contains(&Match::default());
            if !can_match(&group) {
                self.dead.push(index);
            } else if group.rules.iter().any(is_dead) {
                self.has_dead_entry = true;
            }
        }
        (self.action == Action::Deny || !self.rule_has_http).then_some(group)
    }

    fn lower_operation(&mut self, place: Place, operation: &'a Operation) -> Option<Match> {
        let mut entry = EntryLowering::new(self, place);
        entry.http(http::fields_of_operation(operation));
        let destination_ports = entry.list("ports", Sign::Positive, &operation.ports, value::port);
        let not_destination_ports = entry.list("notPorts", Sign::Negative, &operation.not_ports, value::port);
        entry.finish(Match { destination_ports, not_destination_ports, ..Match::default() })
    }

    fn lower_source(&mut self, place: Place, of: &'a Source) -> Option<Match> {
        use Sign::{Negative, Positive};
        let (namespace, domain) = (self.namespace, &self.trust.trust_domain);
        let account = |v: &str| value::service_account(v, namespace, domain);
        let mut entry = EntryLowering::new(self, place);
        entry.http(http::fields_of_source(of));
        let lowered = Match {
            source_ips: entry.list("ipBlocks", Positive, &of.ip_blocks, value::address),
            not_source_ips: entry.list("notIpBlocks", Negative, &of.not_ip_blocks, value::address),
            namespaces: entry.list("namespaces", Positive, &of.namespaces, value::namespace),
            not_namespaces: entry.list("notNamespaces", Negative, &of.not_namespaces, value::namespace),
            service_accounts: entry.list("serviceAccounts", Positive, &of.service_accounts, account),
            not_service_accounts: entry.list(
                "notServiceAccounts",
                Negative,
                &of.not_service_accounts,
                account,
            ),
            principals: entry.principals("principals", Positive, &of.principals),
            not_principals: entry.principals("notPrincipals", Negative, &of.not_principals),
            ..Match::default()
        };
        entry.finish(lowered)
    }

    fn lower_condition(&mut self, place: Place, condition: &'a facts::Condition) -> Option<Match> {
        let mut entry = EntryLowering::new(self, place);
        let mut lowered = Match::default();
        match condition.key.as_str() {
            "source.ip" => {
                (lowered.source_ips, lowered.not_source_ips) = entry.pair(condition, value::address)
            }
            "source.namespace" => {
                (lowered.namespaces, lowered.not_namespaces) = entry.pair(condition, value::namespace)
            }
            "source.principal" => {
                lowered.principals = entry.principals("values", Sign::Positive, &condition.values);
                lowered.not_principals = entry.principals("notValues", Sign::Negative, &condition.not_values);
            }
            "destination.ip" => {
                (lowered.destination_ips, lowered.not_destination_ips) =
                    entry.pair(condition, value::address);
            }
            "destination.port" => {
                (lowered.destination_ports, lowered.not_destination_ports) =
                    entry.pair(condition, value::port);
            }
            key => {
                entry.http([key]);
                if !http::is_known_key(key) {
                    entry.unknown_key(key);
                }
            }
        }
        entry.finish(lowered)
    }

    fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS {
            self.findings.push(finding());
        }
    }
}

/// Tells whether some traffic can match `group`: not if a `Rules` of it has only empty matches.
fn can_match(group: &Group) -> bool {
    group.rules.iter().all(|rules| rules.matches.iter().any(|m| *m != Match::default()))
}

/// Returns the `Rules` that match when one of `entries` does; `None` when that is always so, be it
/// that there are none or that one matches everything (see [`EntryLowering::finish`]).
fn any_of(entries: Vec<Option<Match>>) -> Option<Rules> {
    let matches: Vec<Match> = entries.into_iter().collect::<Option<_>>()?;
    (!matches.is_empty()).then_some(Rules { matches })
}

/// Lowers one entry of a rule.
struct EntryLowering<'r, 'a> {
    rules: &'r mut RuleLowering<'a>,
    place: Place,
    /// Some field is written, whatever it says.
    is_written: bool,
    /// Some value was not understood, so the entry may not match: of an ALLOW policy.
    never_matches: bool,
    /// Some value was not understood, so the entry matches more than written: of a DENY policy.
    is_widened: bool,
}

impl<'r, 'a> EntryLowering<'r, 'a> {
    fn new(rules: &'r mut RuleLowering<'a>, place: Place) -> Self {
        Self { rules, place, is_written: false, never_matches: false, is_widened: false }
    }

    fn http(&mut self, attributes: impl IntoIterator<Item = &'a str>) {
        for attribute in attributes {
            self.rules.http.insert(attribute);
            self.rules.rule_has_http = true;
            self.is_written = true;
        }
    }

    fn pair<T, E: Into<Unclear>>(
        &mut self,
        condition: &facts::Condition,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> (Vec<T>, Vec<T>) {
        (
            self.list("values", Sign::Positive, &condition.values, &read),
            self.list("notValues", Sign::Negative, &condition.not_values, &read),
        )
    }

    /// Returns what of `values` is to be sent. A value that is not understood might stand for any
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
            (Action::Allow, Sign::Positive) => self.never_matches |= understood.is_empty(),
            // A shorter list of exceptions would allow more.
            (Action::Allow, Sign::Negative) => self.never_matches = true,
            // A shorter list of alternatives would deny less, no list denies more.
            (Action::Deny, Sign::Positive) => {
                understood.clear();
                self.is_widened = true;
            }
            // A shorter list of exceptions denies more.
            (Action::Deny, Sign::Negative) => self.is_widened = true,
        }
        understood
    }

    /// Returns what of the principals `values` is to be sent, and notes those of other trust domains.
    fn principals(&mut self, field: &'static str, sign: Sign, values: &[Str]) -> Vec<StringMatch> {
        let trust = self.rules.trust;
        for (i, value) in values.iter().enumerate().filter(|(_, value)| source::is_principal(value)) {
            let domain =
                source::trust_domain_of(value).filter(|domain| *domain != trust.trust_domain.as_str());
            if let Some(domain) = domain {
                self.elsewhere(field, i, sign, value, domain);
            }
        }
        self.list(field, sign, values, |value| value::principal(value, &trust.trust_domain))
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
            (Action::Allow, Sign::Positive) => (Severity::Warning, "it allows nobody of this mesh"),
            (Action::Allow, Sign::Negative) => (Severity::Error, "it excludes nobody of this mesh"),
            (Action::Deny, Sign::Positive) => (Severity::Error, "it denies nobody of this mesh"),
            (Action::Deny, Sign::Negative) => (Severity::Warning, "it exempts nobody of this mesh"),
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

    /// Returns the match of the entry; `None` when it matches everything, which a match cannot say: an
    /// empty one says the opposite.
    fn finish(self, lowered: Match) -> Option<Match> {
        if !self.is_written {
            let message = match self.rules.action {
                Action::Allow => "the entry has no field, so it allows nothing",
                Action::Deny => "the entry has no field, so it denies everything",
            };
            let place = self.place;
            self.rules.add(|| Finding {
                code: code::EMPTY_ENTRY,
                field: place.to_string(),
                message: message.to_owned(),
                help: "name what it should match, or remove the entry".to_owned(),
            });
        }
        let says_nothing = lowered == Match::default();
        match self.rules.action {
            // An empty match never matches.
            Action::Allow if self.never_matches => Some(Match::default()),
            // Nothing but HTTP attributes stays an empty match, as specified.
            Action::Deny if says_nothing && (self.is_widened || !self.is_written) => None,
            Action::Allow | Action::Deny => Some(lowered),
        }
    }

    fn unknown_key(&mut self, key: &str) {
        // A rule of an ALLOW policy is left out already, for what is taken as an HTTP attribute.
        self.is_widened = true;
        let place = self.place;
        let effect = match self.rules.action {
            Action::Allow => "so the rule allows nothing",
            Action::Deny => "so the condition is taken to hold always",
        };
        self.rules.add(|| Finding {
            code: code::UNKNOWN_KEY,
            field: format!("{place}.key"),
            message: format!("{} is not a known attribute, {effect}", quoted(key)),
            help: "name an attribute such as `source.ip` or `destination.port`".to_owned(),
        });
    }

    fn unclear(&mut self, field: &str, index: usize, sign: Sign, value: &str, unclear: Unclear) {
        let Unclear { expected, likely } = unclear;
        let place = self.place;
        let effect = match (self.rules.action, sign) {
            (Action::Allow, Sign::Positive) => "so it allows nothing",
            (Action::Allow, Sign::Negative) => "so the whole entry allows nothing",
            (Action::Deny, Sign::Positive) => "so the whole list is ignored and more is denied than written",
            (Action::Deny, Sign::Negative) => "so it exempts nothing",
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
