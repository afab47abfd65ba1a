//! How much one client may take of a port, and the refusals of those that asked for more.
//!
//! A refusal is counted by the bound that was exceeded, and logged at most once per interval for each
//! bound: a flood makes one line, and many proxies behind one translated address can be recognised.

use identity::Refused;
use limits::{LogThrottle, Occurrences, truncated};
use parking_lot::Mutex;
use proto::Code;
use std::fmt::Display;
use std::time::Instant;

/// How much one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of all together at once, on each port.
    pub connections: usize,
    /// Connections of one address at once, on each port.
    pub connections_of_address: usize,
    /// Connections of all together at once on which no caller is authenticated yet, on each port.
    pub unauthenticated: usize,
    /// Those of one address; as many TLS handshakes of it may begin in a second, too.
    pub handshakes_of_address: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            connections_of_address: 1024,
            unauthenticated: 4096,
            handshakes_of_address: 256,
        }
    }
}

/// The bounds at which clients are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Connections of a port: the next one waits for another's end.
    Connections,
    /// Connections of one address.
    ConnectionsOfAddress,
    /// TLS handshakes of one address, and its connections on which no caller is authenticated yet.
    HandshakesOfAddress,
    /// Connections of a port on which no caller is authenticated yet, where no address holds more of them.
    Unauthenticated,
    /// New tokens of one address, or of all, in a time.
    TokensOfAddress,
    /// Streams of one client, open or in a time.
    StreamsOfClient,
    /// Requests of one stream in a time.
    RequestsOfStream,
    /// Certificates of one client, or of all, in a time.
    CertificatesOfClient,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::ConnectionsOfAddress,
        Self::HandshakesOfAddress,
        Self::Unauthenticated,
        Self::TokensOfAddress,
        Self::StreamsOfClient,
        Self::RequestsOfStream,
        Self::CertificatesOfClient,
    ];

    /// Returns its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsOfAddress => "connections_of_address",
            Self::HandshakesOfAddress => "handshakes_of_address",
            Self::Unauthenticated => "unauthenticated",
            Self::TokensOfAddress => "tokens_of_address",
            Self::StreamsOfClient => "streams_of_client",
            Self::RequestsOfStream => "requests_of_stream",
            Self::CertificatesOfClient => "certificates_of_client",
        }
    }

    /// Returns what an operator can do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Connections | Self::Unauthenticated => "run more replicas",
            Self::ConnectionsOfAddress => {
                "if many clients share this address, as behind NAT, raise --connections-per-address"
            }
            Self::HandshakesOfAddress => {
                "if many clients share this address, as behind NAT, raise --handshakes-per-address"
            }
            Self::TokensOfAddress => "clients retry by themselves; if it goes on, look at this address",
            Self::StreamsOfClient => {
                "if many proxies have this pod or certificate in common, raise --streams-per-client"
            }
            Self::RequestsOfStream => "look at this client: it asks faster than any known version",
            Self::CertificatesOfClient => "if its node has so many accounts, raise --certificates-per-second",
        }
    }
}

/// Refusals at the bounds since the start, and which refusals were logged lately.
#[derive(Debug, Default)]
pub struct Refusals {
    at_bounds: Mutex<[Occurrences; Bound::ALL.len()]>,
    throttle: Mutex<LogThrottle>,
}

impl Refusals {
    /// Counts a refusal of `client` at a bound, and logs it unless one was logged within the interval.
    pub fn add(&self, bound: Bound, client: &dyn Display) {
        let count = self.at_bounds.lock().get_mut(bound as usize).and_then(|at| at.add(Instant::now()));
        if let Some(refused) = count {
            tracing::warn!(
                bound = bound.name(), client = %client, refused, remedy = bound.remedy(),
                "a client is refused: it wants more than one may take",
            );
        }
    }

    /// Counts a refusal at `bound` if that is what it was refused for; tells whether it is.
    pub(crate) fn add_if_exhausted(&self, refused: &Refused, bound: Bound, client: &dyn Display) -> bool {
        let is_exhausted = refused.code == Code::ResourceExhausted;
        if is_exhausted {
            self.add(bound, client);
        }
        is_exhausted
    }

    /// Counts a refusal of `client` for `reason`; returns how many there were since the last line of the
    /// log about them, if one is due now.
    pub(crate) fn log_due(&self, client: &str, reason: &'static str) -> Option<u64> {
        self.throttle.lock().add(truncated(client), reason, Instant::now())
    }

    /// Returns the counts, by the name of the bound.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let at_bounds = *self.at_bounds.lock();
        Bound::ALL.iter().zip(at_bounds).map(|(bound, at)| (bound.name(), at.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_has_its_own_count() {
        for (index, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, index);
            let refusals = Refusals::default();
            refusals.add(bound, &"10.0.0.1");
            let counted: Vec<_> = refusals.list().into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(bound.name(), 1)]);
        }
    }
}
