#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn request(name: &str, created: i64, hosts: &[&str]) -> AddressRequest {
    AddressRequest {
        entry: Name::new("shop", name),
        created,
        hosts: hosts.iter().map(|h| Str::from(*h)).collect(),
        ..AddressRequest::default()
    }
}

fn holding(mut request: AddressRequest, held: &[(&str, &str)]) -> AddressRequest {
    request.held = held.iter().map(|(h, ip)| (Str::from(*h), ip.parse().unwrap())).collect();
    request
}

fn fixed(name: &str, created: i64, net: &str) -> AddressRequest {
    let net = net.parse().or_else(|_| net.parse::<IpAddr>().map(IpNet::from));
    AddressRequest { fixed: vec![net.unwrap()], ..request(name, created, &[]) }
}

/// Gives what was assigned back as the statuses that were written.
fn write(allocator: &mut Allocator, requests: &mut [AddressRequest]) -> usize {
    let (assignments, _) = allocator.assign();
    for assignment in &assignments {
        let request = requests.iter_mut().find(|r| r.entry == assignment.entry).unwrap();
        request.held = assignment.wanted.clone();
        allocator.put(request.clone());
    }
    assignments.len()
}

fn only(allocator: &mut Allocator) -> Assignment {
    let (mut assignments, problems) = allocator.assign();
    assert_eq!(problems, []);
    assert_eq!(assignments.len(), 1, "{assignments:?}");
    assignments.remove(0)
}

#[test]
fn every_host_gets_one_address_of_each_family() {
    let mut allocator = Allocator::default();
    allocator.put(request("a", 1, &["x.test", "y.test"]));
    let given = only(&mut allocator).wanted;
    let hosts: Vec<_> = given.iter().map(|(host, ip)| (host.as_str(), ip.is_ipv4())).collect();
    assert_eq!(hosts, [("x.test", true), ("x.test", false), ("y.test", true), ("y.test", false)]);
    let pools: [IpNet; 2] = ["240.240.0.0/16".parse().unwrap(), "2001:2::/48".parse().unwrap()];
    assert!(given.iter().all(|(_, ip)| pools.iter().any(|pool| pool.contains(ip))), "{given:?}");
}

#[test]
fn what_is_given_does_not_depend_on_the_order_or_the_run() {
    let give = |names: [&str; 3]| {
        let mut allocator = Allocator::default();
        for name in names {
            allocator.put(request(name, 1, &["x.test"]));
        }
        allocator.assign()
    };
    assert_eq!(give(["a", "b", "c"]), give(["c", "a", "b"]));
}

#[test]
fn what_a_status_holds_is_kept_even_out_of_the_pools() {
    let mut allocator = Allocator::default();
    let held = [("x.test", "10.9.8.7"), ("x.test", "2001:2::5")];
    allocator.put(holding(request("a", 1, &["x.test"]), &held));
    assert_eq!(allocator.assign(), (Vec::new(), Vec::new()));
}

#[test]
fn after_a_change_of_the_pools_what_is_held_is_kept_and_the_rest_comes_from_the_new_ones() {
    let mut before = Allocator::default();
    let mut requests = [request("a", 1, &["x.test"])];
    before.put(requests[0].clone());
    write(&mut before, &mut requests);

    let pools = Pools { v4: "10.9.0.0/24".parse().unwrap(), v6: "fd00:9::/64".parse().unwrap() };
    let mut after = Allocator::new(pools);
    after.put(requests[0].clone());
    assert_eq!(after.assign(), (Vec::new(), Vec::new()));
    requests[0].hosts.push(Str::from("y.test"));
    after.put(requests[0].clone());
    let wanted = only(&mut after).wanted;
    assert_eq!(wanted[..2], requests[0].held);
    let nets: [IpNet; 2] = ["10.9.0.0/24".parse().unwrap(), "fd00:9::/64".parse().unwrap()];
    assert!(nets[0].contains(&wanted[2].1) && nets[1].contains(&wanted[3].1), "{wanted:?}");
}

#[test]
fn a_missing_family_is_added_to_what_is_held() {
    let mut allocator = Allocator::default();
    allocator.put(holding(request("a", 1, &["x.test"]), &[("x.test", "240.240.3.4")]));
    let given = only(&mut allocator);
    assert_eq!(given.wanted[0].1, "240.240.3.4".parse::<IpAddr>().unwrap());
    assert!(given.wanted[1].1.is_ipv6());
    assert_eq!(given.held.len(), 1);
}

#[test]
fn stale_news_of_an_entry_does_not_change_what_it_was_given() {
    let mut allocator = Allocator::default();
    let bare = request("a", 1, &["x.test"]);
    allocator.put(bare.clone());
    let first = only(&mut allocator);
    allocator.put(bare);
    assert_eq!(only(&mut allocator), first);
}

#[test]
fn an_address_that_a_user_wrote_is_taken_from_whoever_was_given_it() {
    let mut allocator = Allocator::default();
    let mut requests = [request("a", 1, &["x.test"])];
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    let address = requests[0].held[0].1;

    allocator.put(fixed("user", 9, &address.to_string()));
    let (assignments, problems) = allocator.assign();
    let [kept, new] = assignments[0].wanted.as_slice() else { panic!("{assignments:?}") };
    assert_eq!(kept, &requests[0].held[1], "the other family is kept");
    assert!(new.1.is_ipv4() && new.1 != address);
    let [AddressProblem::Conflict { kept_by, .. }] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(*kept_by, Name::new("shop", "user"));
    assert!(problems[0].to_string().contains("belongs to ServiceEntry shop/user"));
}

#[test]
fn of_two_entries_with_one_address_the_older_keeps_it() {
    let same = [("x.test", "240.240.0.9"), ("x.test", "2001:2::9")];
    for order in [[0, 1], [1, 0]] {
        let requests = [
            holding(request("old", 1, &["x.test"]), &same),
            holding(request("young", 2, &["x.test"]), &same),
        ];
        let mut allocator = Allocator::default();
        order.into_iter().for_each(|n: usize| allocator.put(requests[n].clone()));
        let (assignments, problems) = allocator.assign();
        assert_eq!(assignments.len(), 1);
        assert_eq!(assignments[0].entry, Name::new("shop", "young"));
        assert!(!is_same(&assignments[0].wanted, &requests[1].held));
        assert_eq!(problems.len(), 2, "one for each address");
    }
}

#[test]
fn an_address_that_was_lost_is_told_once_while_the_status_still_has_it() {
    let mut allocator = Allocator::default();
    let held = [("x.test", "240.240.0.7"), ("x.test", "2001:2::7")];
    let of = |name, created| holding(request(name, created, &["x.test"]), &held);
    allocator.put(of("a", 1));
    allocator.put(of("b", 2));
    let (first, problems) = allocator.assign();
    assert_eq!((first.len(), problems.len()), (1, 2));
    // Both come again before the status is written, and are given the same.
    allocator.put(of("b", 2));
    allocator.put(of("a", 1));
    assert_eq!(allocator.assign(), (first, Vec::new()));
}

#[test]
fn networks_that_users_wrote_are_left_alone() {
    let mut allocator = Allocator::default();
    allocator.put(fixed("low", 1, "240.240.0.0/17"));
    allocator.put(fixed("high", 1, "240.240.128.0/18"));
    for n in 0..200 {
        allocator.put(request(&format!("e{n}"), 2, &["x.test"]));
    }
    let rest: IpNet = "240.240.192.0/18".parse().unwrap();
    let (assignments, _) = allocator.assign();
    let v4 = assignments.iter().flat_map(|a| &a.wanted).filter(|(_, ip)| ip.is_ipv4());
    assert!(v4.clone().count() == 200 && v4.clone().all(|(_, ip)| rest.contains(ip)));
}

#[test]
fn the_address_of_a_deleted_entry_rests_and_is_its_own_again() {
    let mut allocator = Allocator::default();
    let mut requests = [request("a", 1, &["x.test"])];
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    let before = requests[0].held.clone();
    allocator.remove(&requests[0].entry);
    let taken = before[0].1;
    assert!(!allocator.is_free(&taken, &Name::new("shop", "b"), &Str::from("x.test")));

    allocator.put(request("a", 5, &["x.test"]));
    assert_eq!(only(&mut allocator).wanted, before);
}

#[test]
fn an_entry_that_is_left_alone_keeps_its_status_and_its_addresses_reserved() {
    let mut allocator = Allocator::default();
    let probe = request("a", 1, &["x.test"]);
    allocator.put(probe.clone());
    let given = only(&mut allocator).wanted;
    let mut allocator = Allocator::default();
    let mut left = request("left", 1, &[]);
    left.held = given.clone();
    left.is_left_alone = true;
    allocator.put(left);
    allocator.put(probe);
    let (assignments, problems) = allocator.assign();
    assert_eq!(problems, []);
    assert_eq!(assignments.len(), 1);
    assert!(assignments[0].wanted.iter().all(|(_, ip)| given.iter().all(|(_, other)| other != ip)));
}

#[test]
fn an_entry_that_needs_no_address_any_more_gives_back_what_its_status_holds() {
    let mut allocator = Allocator::default();
    let mut requests = [request("a", 1, &["x.test"])];
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    let given = requests[0].held.clone();
    requests[0].hosts.clear();
    requests[0].fixed = vec!["10.9.8.7/32".parse().unwrap()];
    allocator.put(requests[0].clone());
    let back = only(&mut allocator);
    assert_eq!((back.held, back.wanted), (given.clone(), Vec::new()));
    requests[0].held.clear();
    allocator.put(requests[0].clone());
    assert_eq!(allocator.assign(), (Vec::new(), Vec::new()));
    // It rests, and is the host's again.
    assert!(!allocator.is_free(&given[0].1, &Name::new("shop", "b"), &Str::from("x.test")));
    allocator.put(request("a", 1, &["x.test"]));
    assert_eq!(only(&mut allocator).wanted, given);
}

#[test]
fn what_an_entry_says_decides_whether_its_status_is_left_alone() {
    let entry =
        ServiceEntry { hosts: vec!["x.test".into()], resolution: Resolution::Static, ..Default::default() };
    let own = ServiceEntry {
        addresses: vec![ServiceEntryAddress::Ip("10.9.8.7".parse().unwrap())],
        ..entry.clone()
    };
    let none = ServiceEntry { resolution: Resolution::None, ..entry.clone() };
    let mut out = entry.clone();
    out.meta.labels = model::Labels::new([(AUTOALLOCATE_LABEL, "False")]);
    let of = |entry: &ServiceEntry, is_seen| {
        let request = AddressRequest::of(entry, is_seen, |host| !host.starts_with("taken."));
        (request.hosts.len(), request.is_left_alone)
    };
    let taken = ServiceEntry { hosts: vec!["x.test".into(), "taken.test".into()], ..entry.clone() };
    assert_eq!(of(&entry, true), (1, false));
    assert_eq!(of(&taken, true), (1, false));
    assert_eq!(of(&entry, false), (0, true));
    assert_eq!(of(&own, true), (0, false));
    assert_eq!(of(&none, true), (0, false));
    assert_eq!(of(&out, true), (0, true));
}

#[test]
fn the_addresses_of_a_host_that_left_its_entry_leave_the_status() {
    let mut allocator = Allocator::default();
    let mut requests = [request("a", 1, &["x.test", "y.test"])];
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    requests[0].hosts.pop();
    allocator.put(requests[0].clone());
    assert_eq!(only(&mut allocator).wanted, requests[0].held[..2]);
}

#[test]
fn a_full_pool_is_reported_and_whoever_waits_gets_what_comes_free() {
    let mut allocator = Allocator::default();
    let hosts: Vec<String> = (0..Pools::default().v4.size()).map(|n| format!("h{n}.test")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut requests: Vec<_> =
        hosts.chunks(64).enumerate().map(|(n, part)| request(&format!("full{n}"), 1, part)).collect();
    requests.iter().for_each(|r| allocator.put(r.clone()));
    assert_eq!(write(&mut allocator, &mut requests), requests.len());
    allocator.put(request("late", 2, &["late.test"]));
    let (assignments, problems) = allocator.assign();
    let late = Name::new("shop", "late");
    assert_eq!(problems, [AddressProblem::Exhausted { entry: late.clone(), host: "late.test".into() }]);
    assert_eq!(assignments[0].wanted.len(), 1, "there is still an IPv6 address");
    assert_eq!(allocator.usage().1, 1);

    allocator.remove(&requests[0].entry);
    let (assignments, problems) = allocator.assign();
    assert_eq!(problems, []);
    assert_eq!((&assignments[0].entry, assignments[0].wanted.len()), (&late, 2));
    assert_eq!(allocator.usage().1, 0);
}

/// An allocator of two IPv4 addresses, both of which one entry has, and another entry that waits.
fn full() -> (Allocator, Vec<AddressRequest>) {
    let pools = Pools { v4: "10.9.8.0/30".parse().unwrap(), ..Pools::default() };
    let mut allocator = Allocator::new(pools);
    let mut requests = vec![request("a", 1, &["x.test"]), request("b", 2, &["y.test"])];
    allocator.put(fixed("user", 9, "10.9.8.1"));
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    assert_eq!(requests[0].held[0].1, "10.9.8.2".parse::<IpAddr>().unwrap());
    allocator.put(requests[1].clone());
    write(&mut allocator, &mut requests);
    allocator.assign();
    assert_eq!((requests[1].held.len(), allocator.usage().1), (1, 1), "there is no IPv4 address for b");
    (allocator, requests)
}

#[test]
fn whoever_waits_gets_an_address_that_a_user_gives_back() {
    let user = Name::new("shop", "user");
    for is_deleted in [true, false] {
        let (mut allocator, mut requests) = full();
        if is_deleted {
            allocator.remove(&user);
        } else {
            allocator.put(fixed("user", 9, "192.0.2.1"));
        }
        assert_eq!(write(&mut allocator, &mut requests), 1);
        allocator.assign();
        assert_eq!((requests[1].held.len(), allocator.usage().1), (2, 0));
    }
}

#[test]
fn whoever_waits_gets_an_address_of_a_network_that_a_user_gives_back() {
    let pools = Pools { v4: "10.9.8.0/30".parse().unwrap(), ..Pools::default() };
    let mut allocator = Allocator::new(pools);
    let mut requests = vec![request("a", 1, &["x.test"])];
    allocator.put(fixed("user", 9, "10.0.0.0/8"));
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    allocator.assign();
    assert_eq!((requests[0].held.len(), allocator.usage().1), (1, 1));
    allocator.remove(&Name::new("shop", "user"));
    assert_eq!(write(&mut allocator, &mut requests), 1);
    assert_eq!(requests[0].held.len(), 2);
}

#[test]
fn an_address_that_a_user_wrote_twice_is_taken_once_and_given_back_once() {
    let mut allocator = Allocator::default();
    let twice = ["240.240.0.5/32", "240.240.0.5/32"].map(|net| net.parse().unwrap());
    let user = AddressRequest { fixed: twice.to_vec(), ..request("user", 1, &[]) };
    for _ in 0..3 {
        allocator.put(user.clone());
        assert_eq!(allocator.v4_taken, 1);
    }
    allocator.remove(&user.entry);
    assert_eq!(allocator.v4_taken, 0);
}

#[test]
fn an_address_in_a_network_that_a_user_wrote_is_given_up_for_another() {
    for is_first in [true, false] {
        let mut allocator = Allocator::default();
        let mut requests =
            [holding(request("a", 1, &["x.test"]), &[("x.test", "240.240.7.9"), ("x.test", "2001:2::9")])];
        let user = fixed("user", 9, "240.240.7.0/24");
        if is_first {
            allocator.put(user);
            allocator.put(requests[0].clone());
        } else {
            allocator.put(requests[0].clone());
            assert_eq!(allocator.assign(), (Vec::new(), Vec::new()));
            allocator.put(user);
        }
        let (assignments, problems) = allocator.assign();
        let [AddressProblem::Conflict { address, kept_by, .. }] = problems.as_slice() else {
            panic!("{problems:?}")
        };
        assert_eq!((address, kept_by), (&requests[0].held[0].1, &Name::new("shop", "user")));
        let wanted = &assignments[0].wanted;
        assert!(wanted.len() == 2 && wanted.contains(&requests[0].held[1]), "{wanted:?}");
        let net: IpNet = "240.240.7.0/24".parse().unwrap();
        assert!(wanted.iter().all(|(_, ip)| !net.contains(ip)), "{wanted:?}");
        requests[0].held = wanted.clone();
        allocator.put(requests[0].clone());
        assert_eq!(allocator.assign(), (Vec::new(), Vec::new()), "that is the end of it");
    }
}

#[test]
fn no_network_that_a_user_wrote_takes_an_address_from_somebody_who_then_has_none() {
    let mut allocator = Allocator::default();
    let mut requests = [request("a", 1, &["x.test"])];
    allocator.put(requests[0].clone());
    write(&mut allocator, &mut requests);
    // The IPv6 pool as a whole, and the IPv4 pool in two parts.
    for (n, net) in ["::/0", "240.240.0.0/17", "240.240.128.0/17"].into_iter().enumerate() {
        allocator.put(fixed(&format!("user{n}"), 9, net));
    }
    let (assignments, problems) = allocator.assign();
    assert_eq!(assignments, []);
    let short = AddressProblem::Exhausted { entry: Name::new("shop", "a"), host: "x.test".into() };
    assert_eq!(problems, [short.clone(), short]);

    // One of the ranges goes, and with it the contest for what lies outside of it.
    allocator.remove(&Name::new("shop", "user0"));
    allocator.remove(&Name::new("shop", "user1"));
    allocator.assign();
    assert_eq!(allocator.usage().1, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: no address has two users, statuses come to rest after one write each, and a
    /// new allocator that reads them changes nothing.
    #[test]
    fn addresses_are_unique_and_stable(
        edits in proptest::collection::vec(
            (0..6usize, 0..4usize, 0..3i64, any::<bool>(), 0..8usize), 1..40
        )
    ) {
        // So few IPv4 addresses that what users write lies among them.
        let pools = Pools { v4: "240.240.0.0/26".parse().unwrap(), ..Pools::default() };
        let mut allocator = Allocator::new(pools);
        let mut requests: Vec<AddressRequest> = Vec::new();
        for (n, hosts, created, is_removed, written) in edits {
            let entry = Name::new("shop", &format!("e{n}"));
            let old = requests.iter().position(|r| r.entry == entry).map(|at| requests.remove(at));
            if is_removed {
                allocator.remove(&entry);
            } else {
                let all = ["a.test", "b.test", "c.test"];
                let nets = ["240.240.0.7/32", "240.240.0.9/32", "240.240.0.0/28", "240.240.0.32/27"];
                let mut new = match nets.get(written) {
                    Some(net) => fixed(&format!("e{n}"), created, net),
                    None => request(&format!("e{n}"), created, &all[..hosts.min(3)]),
                };
                new.held = old.map(|o| o.held).unwrap_or_default();
                allocator.put(new.clone());
                requests.push(new);
            }
            write(&mut allocator, &mut requests);
            prop_assert_eq!(allocator.assign(), (Vec::new(), Vec::new()), "nothing is left to write");
            let mut seen = BTreeSet::new();
            let taken: u32 = allocator.claims.keys().chain(allocator.rested.keys())
                .map(|ip| u32::from(allocator.is_in_v4_pool(*ip))).sum();
            prop_assert_eq!(allocator.v4_taken, taken);
            for request in requests.iter().filter(|r| !r.hosts.is_empty()) {
                for (_, ip) in &request.held {
                    let by_user = requests.iter().find(|r| r.fixed.iter().any(|net| net.contains(ip)));
                    prop_assert!(by_user.is_none(), "{ip} is that of {by_user:?}");
                }
            }
            for request in &requests {
                for host in &request.hosts {
                    prop_assert_eq!(request.held.iter().filter(|(h, _)| h == host).count(), 2);
                }
                for (_, ip) in &request.held {
                    prop_assert!(seen.insert(*ip), "{} has two users", ip);
                }
            }
        }
        let mut fresh = Allocator::new(pools);
        requests.iter().for_each(|r| fresh.put(r.clone()));
        prop_assert_eq!(fresh.assign(), (Vec::new(), Vec::new()));
    }
}
