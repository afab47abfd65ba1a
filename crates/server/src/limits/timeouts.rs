//! How long clients are waited for.

use std::time::Duration;

/// How long a client may take for what holds resources of the server.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first call of a connection whose caller is authenticated.
    pub first_call: Duration,
    /// Between two calls of a connection.
    pub idle: Duration,
    /// For the rest of a request that has begun.
    pub request: Duration,
    /// How long a connection may be silent before the server sends a PING.
    pub keepalive_interval: Duration,
    /// For the answer to that PING.
    pub keepalive_timeout: Duration,
    /// For reading a piece of a response.
    pub read: Duration,
    /// For the end of open calls, when the server stops.
    pub drain: Duration,
    /// How old a connection becomes, a tenth more or less; `None` for any age. Clients are spread over the replicas by it.
    pub age: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            read: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            age: None,
        }
    }
}
