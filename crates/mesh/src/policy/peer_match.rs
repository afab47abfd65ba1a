//! Whether an authorization can match a peer, whatever the addresses and ports of the connection are.

use model::Name;
use proto::security::{Authorization, Match, StringMatch, string_match::MatchType};

/// Tells whether some connection of a service account (namespace and name) of this trust domain can match.
pub(crate) fn can_match_peer(policy: &Authorization, trust_domain: &str, account: &Name) -> bool {
    let principal = format!("{trust_domain}/ns/{}/sa/{}", account.ns, account.name);
    let holds = |m: &Match| {
        *m != Match::default()
            && list(&m.namespaces, &m.not_namespaces, |s| is_text(s, &account.ns))
            && list(&m.principals, &m.not_principals, |s| is_text(s, &principal))
            && list(&m.service_accounts, &m.not_service_accounts, |s| {
                *s.namespace == *account.ns && *s.service_account == *account.name
            })
    };
    policy.groups.iter().any(|group| {
        group.rules.iter().all(|rules| rules.matches.is_empty() || rules.matches.iter().any(holds))
    })
}

fn list<T>(positive: &[T], negative: &[T], hits: impl Fn(&T) -> bool) -> bool {
    (positive.is_empty() || positive.iter().any(&hits)) && !negative.iter().any(hits)
}

fn is_text(s: &StringMatch, text: &str) -> bool {
    match &s.match_type {
        Some(MatchType::Exact(t)) => text == t,
        Some(MatchType::Prefix(t)) => text.starts_with(t.as_str()),
        Some(MatchType::Suffix(t)) => text.ends_with(t.as_str()),
        Some(MatchType::Presence(())) => !text.is_empty(),
        // A ztunnel drops it, and nothing here is written so.
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::security::{Action, Group, Rules, ServiceAccountMatch};

    fn allow(rules: Vec<Vec<Match>>) -> Authorization {
        let rules = rules.into_iter().map(|matches| Rules { matches }).collect();
        Authorization { action: Action::Allow.into(), groups: vec![Group { rules }], ..Default::default() }
    }

    fn exact(text: &str) -> Vec<StringMatch> {
        vec![StringMatch { match_type: Some(MatchType::Exact(text.to_owned())) }]
    }

    #[test]
    fn only_what_a_peer_is_decides() {
        let waypoint = Name::new("shop", "waypoint");
        let can = |rules: Vec<Vec<Match>>| can_match_peer(&allow(rules), "td", &waypoint);
        let none = Match::default();
        let port = Match { destination_ports: vec![80], ..none.clone() };
        let own = Match { principals: exact("td/ns/shop/sa/waypoint"), ..none.clone() };
        let other = Match { principals: exact("td/ns/shop/sa/web"), ..none.clone() };
        let accounts = vec![ServiceAccountMatch {
            namespace: "shop".to_owned(),
            service_account: "waypoint".to_owned(),
        }];
        assert!(can(vec![]) && can(vec![vec![port.clone()]]) && can(vec![vec![other.clone(), own.clone()]]));
        assert!(can(vec![vec![port.clone()], vec![own.clone()]]));
        assert!(can(vec![vec![Match { service_accounts: accounts.clone(), ..none.clone() }]]));
        assert!(can(vec![vec![Match { namespaces: exact("shop"), ..none.clone() }]]));
        assert!(!can(vec![vec![none.clone()]]), "an entry without a field matches nothing");
        assert!(!can(vec![vec![port], vec![other]]));
        assert!(!can(vec![vec![Match { not_service_accounts: accounts, ..none.clone() }]]));
        assert!(!can(vec![vec![Match { not_principals: own.principals, ..none }]]));
        assert!(!can_match_peer(&Authorization::default(), "td", &waypoint), "no rule allows nobody");
    }
}
