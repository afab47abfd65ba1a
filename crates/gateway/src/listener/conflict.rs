//! Listeners of one gateway that claim the same place.

use model::Str;
use std::collections::BTreeMap;

use super::protocol::Protocol;

/// Why a listener gives way to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Conflict {
    /// Another protocol on its port.
    Protocol,
    /// The same hostname on its port.
    Hostname,
}

impl Conflict {
    /// Returns the reason of its conditions.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Protocol => "ProtocolConflict",
            Self::Hostname => "HostnameConflict",
        }
    }
}

/// The listeners that have their places, by port: they are told apart by hostname.
#[derive(Default)]
pub(super) struct Places {
    by_port: BTreeMap<u16, BTreeMap<Str, Protocol>>,
}

impl Places {
    /// Takes a place; `Err` if another listener has it, whose it stays.
    pub fn take(&mut self, port: u16, protocol: Protocol, hostname: &Str) -> Result<(), Conflict> {
        let taken = self.by_port.entry(port).or_default();
        if taken.values().any(|other| !other.has_hosts() || !protocol.has_hosts()) {
            return Err(Conflict::Protocol);
        }
        match taken.get(hostname) {
            Some(other) if *other == protocol => Err(Conflict::Hostname),
            Some(_) => Err(Conflict::Protocol),
            None => {
                taken.insert(hostname.clone(), protocol);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(listeners: &[(u16, Protocol, &str)]) -> Vec<Option<Conflict>> {
        let mut places = Places::default();
        let take = |(port, protocol, host): &(u16, Protocol, &str)| {
            places.take(*port, *protocol, &Str::from(*host)).err()
        };
        listeners.iter().map(take).collect()
    }

    #[test]
    fn the_first_of_a_hostname_and_port_has_it() {
        use Protocol::{Http, Https};
        let listeners = [
            (80, Http, "a"),
            (80, Http, "b"),
            (80, Http, "a"),
            (81, Http, "a"),
            (80, Https, "a"),
            (80, Https, "c"),
        ];
        let expected = [None, None, Some(Conflict::Hostname), None, Some(Conflict::Protocol), None];
        assert_eq!(taken(&listeners), expected);
    }

    #[test]
    fn streams_without_hosts_share_no_port() {
        use Protocol::{Http, Tcp, Tls};
        assert_eq!(taken(&[(9, Tcp, "*"), (9, Tcp, "*")]), [None, Some(Conflict::Protocol)]);
        assert_eq!(taken(&[(9, Http, "*"), (9, Tcp, "*")]), [None, Some(Conflict::Protocol)]);
        assert_eq!(
            taken(&[(9, Tcp, "*"), (9, Tls, "a"), (10, Tls, "a")]),
            [None, Some(Conflict::Protocol), None]
        );
    }
}
