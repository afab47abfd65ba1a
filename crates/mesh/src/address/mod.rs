//! Automatic addresses: one IPv4 and one IPv6 for every host of a ServiceEntry that has none.
//!
//! ```text
//! AddressRequest (an entry's hosts, and the addresses in its status) ──▶ Allocator ──▶ Assignment
//! ```
//!
//! What an entry's status holds is kept, also after a change of the pools: clients may have heard of
//! it. Restarts and other replicas change nothing. An entry that nobody is to see gets none and keeps
//! what it has, for when it is seen again. One that needs none any more, such as one with addresses that
//! its user wrote, gives back what it has. A host without
//! an address gets the one that the hash of its entry and name points to, or the next free one. Of
//! two claims on one address the stronger keeps it: an address that a user wrote, else the one of
//! the older entry. A host whose address lies in a range that a user wrote gets another, where there
//! is one: it is not taken from somebody who then has none. An address that was given back stays out of use for others while there are fresh
//! ones, since clients may still connect to what DNS told them.

mod pool;

use ipnet::IpNet;
use model::facts::{Resolution, ServiceEntry, ServiceEntryAddress};
use model::{Name, Str};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub use pool::{Ipv4Pool, Ipv6Pool, Pools};

const AUTOALLOCATE_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";
/// How many addresses that were given back are kept from others.
const RESTING: usize = 4096;
/// How many addresses of the IPv6 pool are looked at, in search of a free one.
const TRIES: usize = 1 << 16;

/// What one ServiceEntry has to do with addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressRequest {
    /// The entry.
    pub entry: Name,
    /// Its age, in seconds since 1970: of two entries with one address the older keeps it.
    pub created: i64,
    /// The hosts that want addresses, each once, in order; empty when the entry takes none.
    pub hosts: Vec<Str>,
    /// Addresses that its user wrote.
    pub fixed: Vec<IpNet>,
    /// `status.addresses`: (host, value), in order.
    pub held: Vec<(Str, IpAddr)>,
    /// Whether its status is left as it is while no host wants addresses: nobody sees the entry for now, or
    /// its label opts out of automatic addresses.
    pub is_left_alone: bool,
}

fn opts_out(entry: &ServiceEntry) -> bool {
    entry.meta.labels.get(AUTOALLOCATE_LABEL).is_some_and(|v| v.eq_ignore_ascii_case("false"))
}

/// Whether a host of an entry is reached by the address allocated for it.
pub(crate) fn takes_allocated(entry: &ServiceEntry, host: &str) -> bool {
    let is_wildcard = host.starts_with('*');
    entry.addresses.is_empty()
        && entry.resolution != Resolution::None
        && !opts_out(entry)
        && (!is_wildcard || entry.resolution == Resolution::DynamicDns)
}

impl AddressRequest {
    /// Returns that of an entry; `is_seen` tells whether anybody is sent it, `has` whether a host is its own
    /// and not that of another object of its namespace.
    pub fn of(entry: &ServiceEntry, is_seen: bool, has: impl Fn(&Str) -> bool) -> Self {
        let mut hosts: Vec<Str> = Vec::new();
        for host in entry.hosts.iter().filter(|host| is_seen && takes_allocated(entry, host)) {
            if !hosts.contains(host) && has(host) {
                hosts.push(host.clone());
            }
        }
        let fixed = entry.addresses.iter().filter_map(|address| match address {
            ServiceEntryAddress::Ip(ip) => Some(IpNet::from(*ip)),
            ServiceEntryAddress::Net(net) => Some(*net),
            ServiceEntryAddress::Invalid(_) => None,
        });
        Self {
            entry: entry.meta.name.clone(),
            created: entry.meta.created,
            hosts,
            fixed: fixed.collect(),
            held: entry.status_addresses.clone(),
            is_left_alone: !is_seen || opts_out(entry),
        }
    }
}

/// The addresses that an entry's status should hold and does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The entry.
    pub entry: Name,
    /// What its status held when this was decided.
    pub held: Vec<(Str, IpAddr)>,
    /// What it should hold: by host in the order of the entry, what was there first.
    pub wanted: Vec<(Str, IpAddr)>,
}

/// A host that cannot have or keep an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AddressProblem {
    /// No IPv4 address, or no IPv6 address, is left; what the host has, it keeps.
    Exhausted {
        /// The entry.
        entry: Name,
        /// Its host.
        host: Str,
    },
    /// An address that the entry held belongs to another with the better claim; it gets a new one.
    Conflict {
        /// The entry that loses it.
        entry: Name,
        /// Its host.
        host: Str,
        /// The address.
        address: IpAddr,
        /// The entry that keeps it.
        kept_by: Name,
    },
}

impl std::fmt::Display for AddressProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exhausted { entry, host } => write!(
                f,
                "ServiceEntry {entry}: no address is left for {host} in the IPv4 or in the IPv6 range; choose larger ranges, set spec.addresses, or delete entries that are not used"
            ),
            Self::Conflict { entry, host, address, kept_by } => write!(
                f,
                "ServiceEntry {entry}: {address} of {host} belongs to ServiceEntry {kept_by}, which has it by spec.addresses or is older; {host} gets another"
            ),
        }
    }
}

/// The weight of a claim: the least of an address has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    /// Written by a user.
    Fixed,
    /// Held by an entry that uses it.
    Used,
    /// In the status of an entry that uses it no more.
    Left,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim {
    rank: Rank,
    created: i64,
    entry: Name,
    host: Str,
}

#[derive(Debug)]
struct Entry {
    request: AddressRequest,
    /// What each host has or was given, in order of the hosts.
    kept: Vec<(Str, IpAddr)>,
}

/// Which address belongs to whom. It has one user, the elected replica, which builds it anew.
#[derive(Default, Debug)]
pub struct Allocator {
    pools: Pools,
    entries: BTreeMap<Name, Entry>,
    claims: BTreeMap<IpAddr, BTreeSet<Claim>>,
    /// Networks that users wrote, and in which entries.
    networks: BTreeMap<IpNet, BTreeSet<Name>>,
    /// Entries to look at, oldest first.
    dirty: BTreeSet<(i64, Name)>,
    /// Addresses that were given back, oldest first, and whose they were.
    resting: VecDeque<IpAddr>,
    rested: BTreeMap<IpAddr, (Name, Str)>,
    /// Entries with a host that found no address.
    short: BTreeSet<(i64, Name)>,
    /// Addresses of the IPv4 pool that somebody claims or that rest.
    v4_taken: u32,
}

impl Allocator {
    /// An allocator that knows of no entry yet.
    pub fn new(pools: Pools) -> Self {
        Self { pools, ..Self::default() }
    }

    /// Takes note of an entry as it is now.
    pub fn put(&mut self, request: AddressRequest) {
        let name = request.entry.clone();
        // One that comes again before its status does has what it was given: it is not in doubt again.
        if self.entries.get(&name).is_some_and(|entry| entry.request == request) {
            self.dirty.insert((request.created, name));
            return;
        }
        let old = self.take(&name);
        let given = by_host(old.as_ref().map(|e| e.kept.as_slice()).unwrap_or_default());
        let held = by_host(&request.held);
        let mut kept: Vec<(Str, IpAddr)> = Vec::new();
        for host in &request.hosts {
            let held = held.get(host).map(Vec::as_slice).unwrap_or_default();
            // What was given a moment ago may not be in the status yet.
            let given = given.get(host).into_iter().flatten();
            let given = given.filter(|ip| !held.iter().any(|other| other.is_ipv4() == ip.is_ipv4()));
            kept.extend(held.iter().chain(given).map(|ip| (host.clone(), *ip)));
        }
        for (host, ip) in &kept {
            self.claim(*ip, Claim::new(Rank::Used, &request, host));
        }
        if request.hosts.is_empty() {
            for (host, ip) in &request.held {
                self.claim(*ip, Claim::new(Rank::Left, &request, host));
            }
        }
        for net in &request.fixed {
            if net.prefix_len() == net.max_prefix_len() {
                self.claim(net.addr(), Claim::new(Rank::Fixed, &request, ""));
            } else {
                self.networks.entry(*net).or_default().insert(name.clone());
                self.contest_all(net);
            }
        }
        if let Some(old) = &old {
            self.rest(&old.kept, &name);
            self.rest(&old.request.held, &name);
            self.release(&old.request.fixed);
        }
        self.rest(&request.held, &name);
        self.dirty.insert((request.created, name.clone()));
        self.entries.insert(name, Entry { request, kept });
    }

    /// Takes note that an entry is gone; its addresses rest.
    pub fn remove(&mut self, entry: &Name) {
        if let Some(old) = self.take(entry) {
            self.rest(&old.kept, entry);
            self.rest(&old.request.held, entry);
            self.release(&old.request.fixed);
        }
    }

    /// Decides about every entry that may need it, oldest first, and returns what statuses should
    /// hold and do not, and what went wrong.
    pub fn assign(&mut self) -> (Vec<Assignment>, Vec<AddressProblem>) {
        let (mut assignments, mut problems) = (Vec::new(), Vec::new());
        // Whoever loses an address is put here by the claim that takes it, and decided in this round.
        while let Some((_, name)) = self.dirty.pop_first() {
            let Some(mut entry) = self.entries.remove(&name) else { continue };
            self.decide(&mut entry, &mut problems);
            let is_left_alone = entry.request.hosts.is_empty() && entry.request.is_left_alone;
            if !is_same(&entry.kept, &entry.request.held) && !is_left_alone {
                assignments.push(Assignment {
                    entry: name.clone(),
                    held: entry.request.held.clone(),
                    wanted: entry.kept.clone(),
                });
            }
            self.entries.insert(name, entry);
        }
        (assignments, problems)
    }

    /// Returns how many addresses are in use, and how many entries have a host that found none.
    pub fn usage(&self) -> (usize, usize) {
        (self.claims.len(), self.short.len())
    }

    fn decide(&mut self, entry: &mut Entry, problems: &mut Vec<AddressProblem>) {
        let Entry { request, kept } = entry;
        kept.retain(|(host, ip)| {
            let own = Claim::new(Rank::Used, request, host);
            match self.claims.get(ip).and_then(BTreeSet::first) {
                Some(first) if first != &own => {
                    problems.push(AddressProblem::Conflict {
                        entry: request.entry.clone(),
                        host: host.clone(),
                        address: *ip,
                        kept_by: first.entry.clone(),
                    });
                    self.disclaim(*ip, &own);
                    false
                }
                _ => true,
            }
        });
        let mut is_short = false;
        let mut all = Vec::with_capacity(request.hosts.len() * 2);
        for host in &request.hosts {
            let of_host = kept.iter().filter(|(h, _)| h == host).map(|(_, ip)| *ip);
            let (covered, mut of_host): (Vec<IpAddr>, Vec<IpAddr>) =
                of_host.partition(|ip| self.network_of(ip).is_some());
            for is_v4 in [true, false] {
                if of_host.iter().any(|ip| ip.is_ipv4() == is_v4) {
                    continue;
                }
                let free = if is_v4 { Self::free_v4 } else { Self::free_v6 };
                if let Some(ip) = free(self, &request.entry, host) {
                    self.claim(ip, Claim::new(Rank::Used, request, host));
                    of_host.push(ip);
                    continue;
                }
                is_short = true;
                of_host.extend(covered.iter().filter(|ip| ip.is_ipv4() == is_v4));
                problems.push(AddressProblem::Exhausted { entry: request.entry.clone(), host: host.clone() });
            }
            for ip in covered.into_iter().filter(|ip| !of_host.contains(ip)) {
                if let Some(kept_by) = self.network_of(&ip).cloned() {
                    let (entry, host) = (request.entry.clone(), host.clone());
                    problems.push(AddressProblem::Conflict { entry, host, address: ip, kept_by });
                }
                self.disclaim(ip, &Claim::new(Rank::Used, request, host));
                self.rest(&[(host.clone(), ip)], &request.entry);
            }
            all.extend(of_host.into_iter().map(|ip| (host.clone(), ip)));
        }
        *kept = all;
        let key = (request.created, request.entry.clone());
        if is_short {
            self.short.insert(key);
        } else {
            self.short.remove(&key);
        }
    }

    /// Removes an entry and all of its claims.
    fn take(&mut self, name: &Name) -> Option<Entry> {
        let old = self.entries.remove(name)?;
        let Entry { request, kept } = &old;
        for (host, ip) in kept {
            self.disclaim(*ip, &Claim::new(Rank::Used, request, host));
        }
        for (host, ip) in &request.held {
            self.disclaim(*ip, &Claim::new(Rank::Left, request, host));
        }
        for net in &request.fixed {
            if net.prefix_len() == net.max_prefix_len() {
                self.disclaim(net.addr(), &Claim::new(Rank::Fixed, request, ""));
            } else if let Some(entries) = self.networks.get_mut(net) {
                entries.remove(name);
                if entries.is_empty() {
                    self.networks.remove(net);
                }
            }
        }
        let key = (request.created, name.clone());
        self.dirty.remove(&key);
        self.short.remove(&key);
        Some(old)
    }

    fn claim(&mut self, ip: IpAddr, claim: Claim) {
        self.wake(ip);
        let all = self.claims.entry(ip).or_default();
        let is_first = all.is_empty();
        // Whoever writes an address twice has it once.
        if all.insert(claim) {
            self.contest(ip);
        }
        if is_first && self.is_in_v4_pool(ip) {
            self.v4_taken += 1;
        }
    }

    /// Marks those that hold an address of a network which is a user's.
    fn contest_all(&mut self, net: &IpNet) {
        let within = self.claims.range(net.network()..=net.broadcast());
        let losers = within.flat_map(|(_, claims)| claims).filter(|c| c.rank == Rank::Used);
        self.dirty.extend(losers.map(|c| (c.created, c.entry.clone())));
    }

    /// Marks those that wait for an address, where some of these are a user's no more.
    fn release(&mut self, fixed: &[IpNet]) {
        let is_free = |net: &IpNet| {
            let is_single = net.prefix_len() == net.max_prefix_len();
            if is_single { !self.claims.contains_key(&net.addr()) } else { !self.networks.contains_key(net) }
        };
        if fixed.iter().any(is_free) {
            self.dirty.append(&mut self.short);
        }
    }

    /// Marks those that hold an address which is another's.
    fn contest(&mut self, ip: IpAddr) {
        let losers = self.claims.get(&ip).into_iter().flatten().skip(1).filter(|c| c.rank == Rank::Used);
        self.dirty.extend(losers.map(|c| (c.created, c.entry.clone())));
    }

    fn disclaim(&mut self, ip: IpAddr, claim: &Claim) {
        let Some(all) = self.claims.get_mut(&ip) else { return };
        if all.remove(claim) && all.is_empty() {
            self.claims.remove(&ip);
            if self.is_in_v4_pool(ip) {
                self.v4_taken -= 1;
            }
        }
    }

    /// Keeps addresses that nobody claims any more from others than their last owner.
    fn rest(&mut self, pairs: &[(Str, IpAddr)], owner: &Name) {
        for (host, ip) in pairs {
            if !self.pools.contains(*ip) || self.claims.contains_key(ip) {
                continue;
            }
            if self.rested.insert(*ip, (owner.clone(), host.clone())).is_none() {
                self.resting.push_back(*ip);
                self.v4_taken += u32::from(ip.is_ipv4());
            }
            // Somebody who waits for an address can have this one.
            if ip.is_ipv4()
                && let Some(first) = self.short.pop_first()
            {
                self.dirty.insert(first);
            }
        }
        while self.rested.len() > RESTING
            && let Some(oldest) = self.resting.front().copied()
        {
            self.wake(oldest);
        }
    }

    /// Ends the rest of an address.
    fn wake(&mut self, ip: IpAddr) {
        if self.rested.remove(&ip).is_some() {
            self.resting.retain(|other| *other != ip);
            self.v4_taken -= u32::from(ip.is_ipv4());
        }
    }

    fn free_v4(&self, entry: &Name, host: &Str) -> Option<IpAddr> {
        let pool = self.pools.v4;
        if self.v4_taken < pool.size()
            && !self.is_covered(pool.bounds())
            && let Some(free) = pool.all(hashes(entry, host)).find(|ip| self.is_free(ip, entry, host))
        {
            return Some(free);
        }
        self.resting.iter().copied().find(|ip| ip.is_ipv4() && self.network_of(ip).is_none())
    }

    fn free_v6(&self, entry: &Name, host: &Str) -> Option<IpAddr> {
        let pool = self.pools.v6;
        // Nobody holds so many that there would be none, but users may have written most of the range.
        let mut all =
            pool.all(hashes(entry, host)).take(if self.is_covered(pool.bounds()) { 0 } else { TRIES });
        all.find(|ip| self.is_free(ip, entry, host))
    }

    /// Tells whether a user wrote a network that has all of a pool.
    fn is_covered(&self, [first, last]: [IpAddr; 2]) -> bool {
        self.networks.keys().any(|net| net.contains(&first) && net.contains(&last))
    }

    fn is_in_v4_pool(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() && self.pools.contains(ip)
    }

    fn is_free(&self, ip: &IpAddr, entry: &Name, host: &Str) -> bool {
        let rests_for_another =
            || self.rested.get(ip).is_some_and(|(owner, of)| owner != entry || of != host);
        !self.claims.contains_key(ip) && !rests_for_another() && self.network_of(ip).is_none()
    }

    /// Returns an entry whose user wrote a network that an address is of.
    fn network_of(&self, ip: &IpAddr) -> Option<&Name> {
        self.networks.iter().find(|(net, _)| net.contains(ip)).and_then(|(_, entries)| entries.first())
    }
}

impl Claim {
    fn new(rank: Rank, request: &AddressRequest, host: &str) -> Self {
        Self { rank, created: request.created, entry: request.entry.clone(), host: Str::from(host) }
    }
}

/// Tells whether two lists hold the same, whatever the order.
fn is_same(a: &[(Str, IpAddr)], b: &[(Str, IpAddr)]) -> bool {
    let sorted = |list: &[(Str, IpAddr)]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// Groups addresses by their host, each once.
fn by_host(pairs: &[(Str, IpAddr)]) -> BTreeMap<Str, Vec<IpAddr>> {
    let mut all: BTreeMap<Str, Vec<IpAddr>> = BTreeMap::new();
    for (host, ip) in pairs {
        let of_host = all.entry(host.clone()).or_default();
        if !of_host.contains(ip) {
            of_host.push(*ip);
        }
    }
    all
}

/// Where the search for an address begins, and how wide its steps are.
fn hashes(entry: &Name, host: &str) -> [u64; 2] {
    // None of the parts can have a slash.
    let text = format!("{entry}/{host}");
    [xxh3_64(text.as_bytes()), xxh3_64_with_seed(text.as_bytes(), 1)]
}

#[cfg(test)]
mod tests;
