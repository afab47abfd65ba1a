//! How much one client may take of a port, and the refusals of those that asked for more.
//!
//! A refusal is counted by the bound that was exceeded, and logged at most once per interval for each
//! bound: a flood makes one line, and many proxies behind one translated address can be recognised.

use identity::Refused;
use limits::{LogThrottle, Occurrences, truncated};
use parking_lot::Mutex;
use proto::Code;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How much one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of all together at once whose caller is known, on each port.
    pub connections: usize,
    /// Those of one client.
    pub connections_of_client: usize,
    /// Those of one address, on a port whose callers show no credential.
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
            connections_of_client: 32,
            connections_of_address: 1024,
            unauthenticated: 4096,
            handshakes_of_address: 256,
        }
    }
}

/// The bounds at which clients are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Connections of a port: the client with the most loses one.
    Connections,
    /// Connections of one client: its oldest ends.
    ConnectionsOfClient,
    /// Connections of one address, or its network, where callers show no credential: the oldest ends.
    ConnectionsOfAddress,
    /// TLS handshakes of one address, or its network, in a time, and its connections on which no caller is
    /// authenticated yet, of which the oldest ends.
    HandshakesOfAddress,
    /// Connections of a port on which no caller is authenticated yet: whoever has the most loses its oldest.
    Unauthenticated,
    /// Invalid tokens of one address, or its network, in a time; reviews of tokens of one address, or of all.
    TokensOfAddress,
    /// Streams of one client, open or in a time.
    StreamsOfClient,
    /// Requests of one stream in a time.
    RequestsOfStream,
    /// Certificates of one client, or of all of its kind, in a time.
    CertificatesOfClient,
    /// Memory for what one client follows or lists, or all of its kind.
    MemoryOfClient,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Connections,
        Self::ConnectionsOfClient,
        Self::ConnectionsOfAddress,
        Self::HandshakesOfAddress,
        Self::Unauthenticated,
        Self::TokensOfAddress,
        Self::StreamsOfClient,
        Self::RequestsOfStream,
        Self::CertificatesOfClient,
        Self::MemoryOfClient,
    ];

    /// Returns its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsOfClient => "connections_of_client",
            Self::ConnectionsOfAddress => "connections_of_address",
            Self::HandshakesOfAddress => "handshakes_of_address",
            Self::Unauthenticated => "unauthenticated",
            Self::TokensOfAddress => "tokens_of_address",
            Self::StreamsOfClient => "streams_of_client",
            Self::RequestsOfStream => "requests_of_stream",
            Self::CertificatesOfClient => "certificates_of_client",
            Self::MemoryOfClient => "memory_of_client",
        }
    }

    /// Returns what an operator can do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Connections | Self::Unauthenticated => "run more replicas",
            Self::ConnectionsOfClient => {
                "if many proxies have this pod or certificate in common, raise --connections-per-client"
            }
            Self::MemoryOfClient => "look at this client: it follows more than any known version",
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

/// Why a call is refused before anybody is asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedCall {
    /// It is no call of gRPC.
    NotGrpc,
    /// Its method is not served.
    UnknownMethod,
}

impl RefusedCall {
    const ALL: [Self; 2] = [Self::NotGrpc, Self::UnknownMethod];

    fn name(self) -> &'static str {
        match self {
            Self::NotGrpc => "not_grpc",
            Self::UnknownMethod => "unknown_method",
        }
    }
}

/// Refusals at the bounds since the start, and which refusals were logged lately.
#[derive(Debug, Default)]
pub struct Refusals {
    at_bounds: Mutex<[Occurrences; Bound::ALL.len()]>,
    calls: [AtomicU64; RefusedCall::ALL.len()],
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
        // A connection that has no place is counted where it is refused.
        if is_exhausted && refused.reason != "too_many_connections" {
            self.add(bound, client);
        }
        is_exhausted
    }

    /// Counts a refusal of `client` for `reason`; returns how many there were since the last line of the
    /// log about them, if one is due now.
    pub(crate) fn log_due(&self, client: &str, reason: &'static str) -> Option<u64> {
        self.throttle.lock().add(truncated(client), reason, Instant::now())
    }

    /// Counts a call that is refused for what it asks for, and logs it unless one of the same client was logged
    /// within the interval.
    pub(crate) fn add_call(&self, call: RefusedCall, client: &str, path: &str) {
        if let Some(count) = self.calls.get(call as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(times) = self.log_due(client, call.name()) {
            let path = truncated(path);
            tracing::info!(
                peer = client,
                reason = call.name(),
                times,
                path,
                "refused a call: it is not served"
            );
        }
    }

    /// Returns how many calls were refused for what they asked for, by the name of the reason.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        let counts = self.calls.iter().map(|count| count.load(Ordering::Relaxed));
        RefusedCall::ALL.iter().map(|call| call.name()).zip(counts).collect()
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
