//! Addresses of control planes: what a setting of `pilothouse serve` says where it listens is where it is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns where to connect to what listens at `address`: on this machine, if it listens on all addresses.
pub fn dialled(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(mut listens) if listens.ip().is_unspecified() => {
            listens.set_ip(match listens.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            listens.to_string()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_on_all_addresses_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:15010", "127.0.0.1:15010"),
            ("[::]:15010", "[::1]:15010"),
            ("10.0.0.1:15010", "10.0.0.1:15010"),
            ("control.example.org:15010", "control.example.org:15010"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(dialled(listens), asked);
        }
    }
}
