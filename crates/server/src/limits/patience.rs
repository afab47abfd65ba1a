//! How long clients are waited for.

use std::time::Duration;

/// How long a client may take for what keeps a place occupied.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first call of a connection whose caller is known.
    pub first_call: Duration,
    /// Between two calls of a connection.
    pub idle: Duration,
    /// For the rest of a request that has begun.
    pub request: Duration,
    /// How long it may be silent before it is asked for a sign of life.
    pub silence: Duration,
    /// For that sign.
    pub sign_of_life: Duration,
    /// For reading a piece of a response.
    pub reading: Duration,
    /// For the end of its calls, when the server stops.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(10),
            reading: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}
