//! Lookup of addresses by other keys, for clients that ask on demand.
//!
//! A wildcard client never needs it, so it is built from the log when the first on-demand
//! session answers, follows the log from then on, and is dropped some time after the last such session.
//! Not at once: whoever comes and goes would have it built each time.
//! It holds a copy of each frame, with the other names that lead to it: a slice of the log would keep
//! compacted segments alive. Answers share these copies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::workload::{Address, NetworkAddress, Service, Workload, address};

use crate::capability::Capabilities;
use crate::mesh::MeshView;
use crate::name::Name;
use crate::wire;

/// For how many publications a lookup is kept that no session holds.
const KEPT: u32 = 1_000;

/// Where sessions find the lookup that others built; empty while nobody needs it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LookupCell(Arc<Mutex<Option<Kept>>>);

#[derive(Debug, Default)]
struct Kept {
    lookup: Arc<Mutex<Lookup>>,
    /// Publications since a session held it.
    unused: u32,
}

impl LookupCell {
    /// The lookup, new and empty when there is none.
    pub fn get(&self) -> Arc<Mutex<Lookup>> {
        let mut kept = self.0.lock();
        let kept = kept.get_or_insert_default();
        kept.unused = 0;
        Arc::clone(&kept.lookup)
    }

    /// Notes a publication.
    pub fn age(&self) {
        let mut cell = self.0.lock();
        let Some(kept) = cell.as_mut() else { return };
        let is_used = Arc::strong_count(&kept.lookup) > 1;
        kept.unused = if is_used { 0 } else { kept.unused + 1 };
        if kept.unused > KEPT {
            *cell = None;
        }
    }
}

/// One address and the keys that lead to it.
#[derive(Debug)]
struct Record {
    /// With aliases as the client is told: `<network>/<ip>`, or `<network>/<ip>/<length>` for a range.
    frame: Bytes,
    required: Capabilities,
    service: bool,
    /// Keys of the index: `<network>/<ip>`, of a range its base.
    ips: Vec<Name>,
    /// Services the workload belongs to.
    services: Vec<Name>,
    node: Name,
}

impl Record {
    fn read(frame: &[u8], required: Capabilities) -> Self {
        let mut record = Self {
            frame: Bytes::new(),
            required,
            service: false,
            ips: Vec::new(),
            services: Vec::new(),
            node: "".into(),
        };
        // The log holds what the mesh encoded; anything else is found by its name alone.
        let address = Address::decode(wire::read_frame(frame).body).unwrap_or_default();
        let aliases = match address.r#type {
            Some(address::Type::Workload(workload)) => record.read_workload(&workload),
            Some(address::Type::Service(service)) => record.read_service(&service),
            None => Vec::new(),
        };
        let mut aliased = Vec::new();
        wire::put_aliased_frame(&mut aliased, frame, &aliases);
        // Boxed first: a vector would keep its spare room.
        record.frame = aliased.into_boxed_slice().into();
        record
    }

    /// Returns the aliases.
    fn read_workload(&mut self, workload: &Workload) -> Vec<Name> {
        let ips = workload.addresses.iter().filter_map(|bytes| ip(bytes));
        self.ips = ips.map(|ip| format!("{}/{ip}", workload.network).into()).collect();
        self.services = workload.services.keys().map(|name| name.as_str().into()).collect();
        self.node = workload.node.as_str().into();
        self.ips.clone()
    }

    /// Returns the aliases.
    fn read_service(&mut self, service: &Service) -> Vec<Name> {
        self.service = true;
        let mut aliases = Vec::new();
        for NetworkAddress { network, address, length } in &service.addresses {
            let Some(ip) = ip(address) else { continue };
            let base: Name = format!("{network}/{ip}").into();
            let host = if ip.is_ipv4() { 32 } else { 128 };
            aliases.push(match length {
                Some(length) if *length != host => format!("{base}/{length}").into(),
                _ => Arc::clone(&base),
            });
            self.ips.push(base);
        }
        aliases
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

type Names = BTreeMap<Name, BTreeSet<Name>>;

fn link(names: &mut Names, key: &Name, name: &Name) {
    names.entry(Arc::clone(key)).or_default().insert(Arc::clone(name));
}

fn unlink(names: &mut Names, key: &Name, name: &Name) {
    if let Some(held) = names.get_mut(key) {
        held.remove(name);
        if held.is_empty() {
            names.remove(key);
        }
    }
}

/// All addresses of the mesh at one step, by every key a client may ask for.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// What this is the content of; none before the first use.
    view: Option<Arc<MeshView>>,
    records: BTreeMap<Name, Record>,
    workloads_by_ip: Names,
    services_by_ip: Names,
    workloads_by_service: Names,
    workloads_by_node: Names,
}

impl Lookup {
    /// Follows the log to a step and returns the one reached, which is newer when another
    /// session was faster.
    pub fn advance(&mut self, to: &Arc<MeshView>) -> Arc<MeshView> {
        let at = self.view.as_ref().map_or(0, |view| view.step());
        if let Some(held) = &self.view
            && at >= to.step()
        {
            return Arc::clone(held);
        }
        let log = &to.address;
        let after = if at < log.horizon {
            // Removals since then are forgotten: build anew.
            *self = Self::default();
            0
        } else {
            at
        };
        for frame in log.gone.frames_after(after) {
            if let Ok(name) = std::str::from_utf8(wire::frame_name(frame)) {
                self.remove(name);
            }
        }
        for (_, required, frame) in log.present.entries_after(after) {
            self.put(frame, required);
        }
        self.view = Some(Arc::clone(to));
        Arc::clone(to)
    }

    fn remove(&mut self, name: &str) {
        let Some((name, record)) = self.records.remove_entry(name) else { return };
        let by_ip = if record.service { &mut self.services_by_ip } else { &mut self.workloads_by_ip };
        for key in &record.ips {
            unlink(by_ip, key, &name);
        }
        for service in &record.services {
            unlink(&mut self.workloads_by_service, service, &name);
        }
        unlink(&mut self.workloads_by_node, &record.node, &name);
    }

    fn put(&mut self, frame: &[u8], required: Capabilities) {
        let Ok(name) = std::str::from_utf8(wire::frame_name(frame)) else { return };
        self.remove(name);
        let name: Name = name.into();
        let record = Record::read(frame, required);
        let by_ip = if record.service { &mut self.services_by_ip } else { &mut self.workloads_by_ip };
        for key in &record.ips {
            link(by_ip, key, &name);
        }
        for service in &record.services {
            link(&mut self.workloads_by_service, service, &name);
        }
        if !record.node.is_empty() {
            link(&mut self.workloads_by_node, &record.node, &name);
        }
        self.records.insert(name, record);
    }

    /// Names of the addresses a key leads to, added to a set; false when there are none.
    ///
    /// In this order, the first that finds anything: a workload by name; all workloads with an
    /// address; services by name or address, each with the workloads that belong to it.
    pub fn resolve(&self, key: &str, into: &mut BTreeSet<Name>) -> bool {
        let services = match self.records.get_key_value(key) {
            Some((name, record)) if !record.service => {
                into.insert(Arc::clone(name));
                return true;
            }
            Some((name, _)) => BTreeSet::from([Arc::clone(name)]),
            None => {
                if let Some(names) = self.workloads_by_ip.get(key) {
                    into.extend(names.iter().cloned());
                    return true;
                }
                self.services_by_ip.get(key).cloned().unwrap_or_default()
            }
        };
        for service in &services {
            let workloads = self.workloads_by_service.get(service);
            into.extend(workloads.into_iter().flatten().cloned());
        }
        let found = !services.is_empty();
        into.extend(services);
        found
    }

    /// Names of the workloads of a node.
    pub fn workloads_of_node(&self, node: &str) -> impl Iterator<Item = &Name> {
        let names = if node.is_empty() { None } else { self.workloads_by_node.get(node) };
        names.into_iter().flatten()
    }

    /// Version of an address; empty when there is none.
    pub fn version(&self, name: &str) -> &[u8] {
        self.records.get(name).map_or(&[], |record| wire::frame_version(&record.frame).1)
    }

    /// What an address requires of a client.
    pub fn required(&self, name: &str) -> Capabilities {
        self.records.get(name).map_or(0, |record| record.required)
    }

    /// Tells whether an address is a service.
    pub fn is_service(&self, name: &str) -> bool {
        self.records.get(name).is_some_and(|record| record.service)
    }

    /// The frame of an address with its aliases.
    pub fn frame(&self, name: &str) -> Option<Bytes> {
        self.records.get(name).map(|record| record.frame.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_is_kept_for_a_while_for_those_who_come_and_go() {
        let cell = LookupCell::default();
        let first = Arc::downgrade(&cell.get());
        for _ in 0..3 {
            for _ in 0..KEPT {
                cell.age();
            }
            assert!(Arc::downgrade(&cell.get()).ptr_eq(&first), "nobody has it built again");
        }
        let held = cell.get();
        (0..=2 * KEPT).for_each(|_| cell.age());
        assert!(Arc::ptr_eq(&held, &cell.get()));
        drop(held);
        (0..=KEPT).for_each(|_| cell.age());
        assert!(first.upgrade().is_none(), "nor is it kept for ever");
    }
}
