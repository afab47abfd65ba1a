//! For which hostnames there are routes.

use engine::{Builder, Cx, Memo};
use model::Kind;

use crate::key::HostKey;

/// The hostnames that something is attached for. Whoever attaches to one reads it, so that it is in use as long as
/// that is attached, and another one costs nothing of those that are there.
#[derive(Clone, Copy)]
pub(crate) struct RoutedHosts {
    pub requests: Memo<HostKey, ()>,
    pub streams: Memo<HostKey, ()>,
}

impl RoutedHosts {
    /// Declares them.
    pub fn declare(b: &mut Builder) -> Self {
        Self {
            requests: b.memo("routed_request_hosts", |_, _: &HostKey| Some(())),
            streams: b.memo("routed_stream_hosts", |_, _: &HostKey| Some(())),
        }
    }

    /// Uses the hostnames that a route of a kind is attached for.
    pub fn attach<'h>(self, cx: &Cx<'_>, kind: Kind, hosts: impl Iterator<Item = &'h HostKey>) {
        let (has_requests, has_streams) = match kind {
            Kind::HTTPRoute | Kind::GRPCRoute => (true, false),
            Kind::VirtualService => (true, true),
            _ => (false, true),
        };
        for host in hosts {
            if has_requests {
                cx.memo(self.requests, host);
            }
            if has_streams {
                cx.memo(self.streams, host);
            }
        }
    }
}
