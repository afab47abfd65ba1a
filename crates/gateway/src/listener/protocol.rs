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

/// The port on which HBONE is accepted.
const HBONE_PORT: u16 = 15008;

/// Returns what a listener speaks.
///
/// # Errors
/// Why it is not supported, as the message of a condition.
pub(super) fn of(class: Class, listener: &facts::Listener) -> Result<Protocol, String> {
    let text = listener.protocol.as_str();
    let protocol = Protocol::read(text).ok_or_else(|| {
        let upper = text.to_ascii_uppercase();
        let hint = match Protocol::read(&upper) {
            Some(_) => format!(". hint: {upper:?} (uppercase) may be supported"),
            None => String::new(),
        };
        format!("protocol {text:?} is unsupported{hint}")
    })?;
    let mode = listener.tls.as_ref().map_or("", |tls| tls.mode.as_str());
    let is_hbone = protocol == Protocol::Hbone && listener.port == HBONE_PORT;
    match class {
        Class::Waypoint if !is_hbone => {
            Err("Expected a single listener on port 15008 with protocol \"HBONE\"".to_owned())
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
            Err(message.to_owned())
        }
        Class::Gateway if protocol == Protocol::Hbone => {
            Err("protocol \"HBONE\" is only supported for waypoint proxies".to_owned())
        }
        _ if matches!(protocol, Protocol::Https | Protocol::Tls) && listener.tls.is_none() => {
            Err(format!("protocol is {text} but no TLS section is defined"))
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
