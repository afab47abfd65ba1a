//! The rules of a policy in words.
//!
//! Groups are alternatives, joined by [`OR`]. The rules of a group must all hold: `and`. The matches of a rule
//! are alternatives again, and the fields of a match must all hold: a comma, as between the words of
//! `from a to 9080`.

use super::resources::ip;
use proto::security::string_match::MatchType;
use proto::security::{
    Action, Address, Authorization, Group, Match, Rules, ServiceAccountMatch, StringMatch,
};

/// Between alternatives.
pub const OR: &str = " or ";

/// Returns the alternatives of what a connection must be like for the policy to match it, at least one.
pub fn alternatives(policy: &Authorization) -> Vec<String> {
    let of = |g| group(g, policy.groups.len() > 1, policy.action());
    let groups: Vec<String> = policy.groups.iter().map(of).collect();
    if groups.is_empty() { vec!["nothing".to_owned()] } else { groups }
}

/// Tells whether the policy, or a part of it, matches nothing, which its author may not have meant.
pub fn is_partly_dead(policy: &Authorization) -> bool {
    let mut matches = policy.groups.iter().flat_map(|g| &g.rules).flat_map(|rules| &rules.matches);
    policy.groups.is_empty() || matches.any(|of| *of == Match::default())
}

fn group(group: &Group, one_of_several: bool, action: Action) -> String {
    // A rule without matches holds always.
    let rules: Vec<&Rules> = group.rules.iter().filter(|r| !r.matches.is_empty()).collect();
    if rules.is_empty() {
        return "everything".to_owned();
    }
    let texts: Vec<String> = rules.iter().map(|r| rule(r, rules.len() > 1, action)).collect();
    match texts.len() > 1 && one_of_several {
        true => format!("({})", texts.join(" and ")),
        false => texts.join(" and "),
    }
}

fn rule(rule: &Rules, one_of_several: bool, action: Action) -> String {
    let texts: Vec<String> = rule.matches.iter().map(|of| one(of, action)).collect();
    match texts.len() > 1 && one_of_several {
        true => format!("({})", texts.join(OR)),
        false => texts.join(OR),
    }
}

fn one(of: &Match, action: Action) -> String {
    let mut words = Vec::new();
    let mut field = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            words.push(format!("{name} {}", values.join("|")));
        }
    };
    field("principal", texts(&of.principals));
    field("not principal", texts(&of.not_principals));
    field("account", accounts(&of.service_accounts));
    field("not account", accounts(&of.not_service_accounts));
    field("namespace", texts(&of.namespaces));
    field("not namespace", texts(&of.not_namespaces));
    field("source", ranges(&of.source_ips));
    field("not source", ranges(&of.not_source_ips));
    field("destination", ranges(&of.destination_ips));
    field("not destination", ranges(&of.not_destination_ips));
    field("port", ports(&of.destination_ports));
    field("not port", ports(&of.not_destination_ports));
    // A match that says nothing matches nothing. Rules of HTTP are left out of an ALLOW policy as a whole,
    // and a DENY policy is widened where a value is not understood.
    match (words.is_empty(), action) {
        (false, _) => words.join(", "),
        (true, Action::Deny) => "nothing (HTTP attributes need a waypoint)".to_owned(),
        (true, Action::Allow) => "nothing (not understood)".to_owned(),
    }
}

fn texts(of: &[StringMatch]) -> Vec<String> {
    let text = |value: &StringMatch| match &value.match_type {
        Some(MatchType::Exact(exact)) => exact.clone(),
        Some(MatchType::Prefix(prefix)) => format!("{prefix}*"),
        Some(MatchType::Suffix(suffix)) => format!("*{suffix}"),
        Some(MatchType::Presence(_)) => "*".to_owned(),
        None => "?".to_owned(),
    };
    of.iter().map(text).collect()
}

fn accounts(of: &[ServiceAccountMatch]) -> Vec<String> {
    of.iter().map(|a| format!("{}/{}", a.namespace, a.service_account)).collect()
}

fn ranges(of: &[Address]) -> Vec<String> {
    let text = |range: &Address| {
        let single = usize::try_from(range.length).is_ok_and(|bits| bits == range.address.len() * 8);
        let ip = ip(&range.address);
        if single { ip } else { format!("{ip}/{}", range.length) }
    };
    of.iter().map(text).collect()
}

fn ports(of: &[u32]) -> Vec<String> {
    of.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(policy: &Authorization) -> String {
        alternatives(policy).join(OR)
    }

    fn exact(text: &str) -> StringMatch {
        StringMatch { match_type: Some(MatchType::Exact(text.to_owned())) }
    }

    fn policy(groups: Vec<Vec<Vec<Match>>>) -> Authorization {
        let rules = |matches| Rules { matches };
        let group = |rs: Vec<Vec<Match>>| Group { rules: rs.into_iter().map(rules).collect() };
        Authorization { groups: groups.into_iter().map(group).collect(), ..Authorization::default() }
    }

    fn port(port: u32) -> Match {
        Match { destination_ports: vec![port], ..Match::default() }
    }

    #[test]
    fn no_group_matches_nothing_and_an_empty_one_everything() {
        assert_eq!(words(&policy(vec![])), "nothing");
        assert_eq!(words(&policy(vec![vec![]])), "everything");
        assert_eq!(words(&policy(vec![vec![vec![]]])), "everything");
        let mut dead = policy(vec![vec![vec![Match::default()]], vec![vec![port(9)]]]);
        assert_eq!(words(&dead), "nothing (not understood) or port 9");
        dead.action = Action::Deny.into();
        assert_eq!(words(&dead), "nothing (HTTP attributes need a waypoint) or port 9");
        assert!(is_partly_dead(&dead) && is_partly_dead(&policy(vec![])));
        assert!(!is_partly_dead(&policy(vec![vec![], vec![vec![]], vec![vec![port(9)]]])));
    }

    #[test]
    fn alternatives_and_conditions_are_told_apart() {
        let callers = Match { principals: vec![exact("td/ns/a/sa/b"), exact("x")], ..Match::default() };
        assert_eq!(
            words(&policy(vec![vec![vec![callers], vec![port(80), port(81)]], vec![vec![port(9)]]])),
            "(principal td/ns/a/sa/b|x and (port 80 or port 81)) or port 9"
        );
    }

    #[test]
    fn ranges_of_one_address_have_no_length() {
        let range = |length| Address { address: vec![10, 0, 0, 0].into(), length };
        let of = Match {
            source_ips: vec![range(8), range(32)],
            not_destination_ports: vec![22],
            ..Match::default()
        };
        assert_eq!(words(&policy(vec![vec![vec![of]]])), "source 10.0.0.0/8|10.0.0.0, not port 22");
    }

    #[test]
    fn rules_are_alternatives() {
        let all = alternatives(&policy(vec![vec![vec![port(80)]], vec![vec![port(9)]]]));
        assert_eq!(all, ["port 80", "port 9"]);
    }
}
