//! What a listener speaks, and which routes it takes for that.

use model::Kind;
use model::facts::{self, RouteGroupKind};

use crate::class::Class;

/// What a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// `HTTP`.
    Http,
    /// `HTTPS`.
    Https,
    /// `TLS`, which is terminated or passed through.
    Tls,
    /// `TCP`.
    Tcp,
    /// `HBONE`, of waypoints and east-west gateways.
    Hbone,
}

impl Protocol {
    fn read(text: &str) -> Option<Self> {
        let all = [Self::Http, Self::Https, Self::Tls, Self::Tcp, Self::Hbone];
        all.into_iter().find(|protocol| protocol.name() == text)
    }

    /// Returns its name, as listeners have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Hbone => "HBONE",
        }
    }

    /// Tells whether hosts tell its listeners of one port apart.
    pub(crate) fn has_hosts(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Tls)
    }
}

/// Why a listener takes no traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unserved {
    /// The reason of a condition.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

impl Unserved {
    /// What it speaks is not supported, or not there.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self { reason: "UnsupportedProtocol", message: message.into() }
    }
}

/// The ports that an Envoy at the edge has itself: what it shows, metrics twice, and readiness.
const TAKEN: [u16; 4] = [15_000, 15_020, 15_021, 15_090];

/// The port on which HBONE is accepted.
const HBONE_PORT: u16 = 15008;

/// Returns what a listener speaks.
///
/// # Errors
/// Why it is not served.
pub(super) fn of(class: Class, listener: &facts::Listener) -> Result<Protocol, Unserved> {
    let text = listener.protocol.as_str();
    let protocol = Protocol::read(text).ok_or_else(|| {
        let upper = text.to_ascii_uppercase();
        let hint = match Protocol::read(&upper) {
            Some(_) => format!(". hint: {upper:?} (uppercase) may be supported"),
            None => String::new(),
        };
        Unserved::protocol(format!("protocol {text:?} is unsupported{hint}"))
    })?;
    let mode = listener.tls.as_ref().map_or("", |tls| tls.mode.as_str());
    let is_hbone = protocol == Protocol::Hbone && listener.port == HBONE_PORT;
    match class {
        Class::Waypoint if !is_hbone => {
            Err(Unserved::protocol("Expected a single listener on port 15008 with protocol \"HBONE\""))
        }
        Class::EastWest => {
            let is_terminated = listener.tls.is_some() && matches!(mode, "" | "Terminate");
            let is_passed = protocol == Protocol::Tls && mode == "Passthrough";
            let is_right = if listener.port == HBONE_PORT { is_hbone && is_terminated } else { is_passed };
            if is_right {
                return Ok(protocol);
            }
            let message = "East-west gateway listeners must be either port 15008 with protocol \"HBONE\" and \
                           TLS.Mode == Terminate, or TLS with TLS.Mode == Passthrough";
            Err(Unserved::protocol(message))
        }
        Class::Gateway if protocol == Protocol::Hbone => {
            Err(Unserved::protocol("protocol \"HBONE\" is only supported for waypoint proxies"))
        }
        Class::Gateway if TAKEN.contains(&listener.port) => Err(Unserved {
            reason: "PortUnavailable",
            message: format!("port {} is one of the gateway's own", listener.port),
        }),
        _ if matches!(protocol, Protocol::Https | Protocol::Tls) && listener.tls.is_none() => {
            Err(Unserved::protocol(format!("protocol is {text} but no TLS section is defined")))
        }
        _ => Ok(protocol),
    }
}

/// Returns the kinds of routes of a protocol, in the order in which statuses name them.
fn kinds_of(protocol: Protocol, is_terminated: bool) -> &'static [Kind] {
    match protocol {
        Protocol::Http | Protocol::Https => &[Kind::HTTPRoute, Kind::GRPCRoute],
        Protocol::Tls if is_terminated => &[Kind::TLSRoute, Kind::TCPRoute],
        Protocol::Tls => &[Kind::TLSRoute],
        Protocol::Tcp => &[Kind::TCPRoute],
        Protocol::Hbone => &[],
    }
}

/// Returns the kinds of routes that a listener takes, and whether it asks for others.
pub(super) fn kinds(protocol: Protocol, is_terminated: bool, asked: &[RouteGroupKind]) -> (Vec<Kind>, bool) {
    let all = kinds_of(protocol, is_terminated);
    if asked.is_empty() {
        return (all.to_vec(), false);
    }
    let is = |kind: Kind, asked: &RouteGroupKind| asked.group == kind.group() && asked.kind == kind.name();
    let taken = all.iter().copied().filter(|kind| asked.iter().any(|asked| is(*kind, asked)));
    let has_others = asked.iter().any(|asked| !all.iter().any(|kind| is(*kind, asked)));
    (taken.collect(), has_others)
}
