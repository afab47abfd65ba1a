//! How often something may be done by one address, and more loosely by all of its network.

use crate::peer::{Network, Peer};
use crate::token_bucket::{Limiter, Limits, Rate, Refill};
use std::time::Duration;

/// How many times as often as one address the addresses of a network may do something together.
const OF_NETWORK: u32 = 4;

/// A limit on each address, and four times that on the network that it is in.
#[derive(Debug)]
pub struct PeerLimiter {
    peers: Limiter<Peer>,
    networks: Limiter<Network>,
}

impl PeerLimiter {
    /// Lets each address do something this often; tells `max_peers` addresses apart, and as many networks.
    pub fn new(of_peer: Rate, max_peers: usize, now: Duration) -> Self {
        let Rate { burst, per_second } = of_peer;
        let of_network = Rate {
            burst: burst.saturating_mul(OF_NETWORK),
            per_second: per_second.saturating_mul(OF_NETWORK),
        };
        let total = Rate { burst: u32::MAX, per_second: u32::MAX };
        let limits = |per_client| Limits { per_client, total, max_clients: max_peers };
        Self { peers: Limiter::new(limits(of_peer), now), networks: Limiter::new(limits(of_network), now) }
    }

    /// Lets an attempt through, or not. A refused attempt takes nothing from anybody.
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn take(&mut self, peer: Peer, now: Duration) -> Result<(), Refill> {
        // The network first: addresses of one that is at its limit are not even remembered.
        self.networks.check(&peer.network(), now)?;
        self.peers.take(peer, now)?;
        self.networks.take(peer.network(), now)
    }

    /// Tells whether an attempt would be let through, without taking anything.
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn check(&mut self, peer: Peer, now: Duration) -> Result<(), Refill> {
        self.peers.check(&peer, now)?;
        self.networks.check(&peer.network(), now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn an_address_takes_a_part_of_its_network_and_many_take_all_of_it() {
        let mut limiter = PeerLimiter::new(Rate { burst: 10, per_second: 1 }, 1024, Duration::ZERO);
        let peer = |host: u16| Peer::of(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host).into());
        let mut passed = |host| (0..100).filter(|_| limiter.take(peer(host), Duration::ZERO).is_ok()).count();
        assert_eq!(passed(1), 10);
        assert_eq!(passed(2), 10, "another address of the same /64");
        assert_eq!((3..100).map(passed).sum::<usize>(), 20);
        let elsewhere = Peer::of(Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 1).into());
        assert!(limiter.check(elsewhere, Duration::ZERO).is_ok());
        assert!(limiter.check(peer(1), Duration::ZERO).is_err());
    }
}
