//! Which ports of a service are sent.

use std::collections::BTreeMap;

/// Returns the ports that are sent, in order. A ztunnel takes one port for each number, the last that it is
/// sent, and sees TCP only: of several of one number this is the first of TCP, else the first.
pub(super) fn by_number<P>(
    ports: &[P],
    number: impl Fn(&P) -> u16,
    is_tcp: impl Fn(&P) -> bool,
) -> impl Iterator<Item = &P> {
    let mut chosen: BTreeMap<u16, &P> = BTreeMap::new();
    for port in ports {
        let of_number = chosen.entry(number(port)).or_insert(port);
        if is_tcp(port) && !is_tcp(of_number) {
            *of_number = port;
        }
    }
    ports
        .iter()
        .filter(move |port| chosen.get(&number(port)).is_some_and(|chosen| std::ptr::eq(*chosen, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ports_of_one_number_the_first_of_tcp_is_sent() {
        for (ports, expected) in [
            (vec![(53, "TCP", 'a'), (53, "UDP", 'b')], "a"),
            (vec![(53, "UDP", 'a'), (53, "TCP", 'b')], "b"),
            (vec![(53, "SCTP", 'a'), (53, "UDP", 'b'), (53, "TCP", 'c')], "c"),
            (vec![(443, "UDP", 'a'), (80, "TCP", 'b'), (443, "TCP", 'c')], "bc"),
            (vec![(53, "UDP", 'a'), (53, "SCTP", 'b')], "a"),
            (vec![(53, "UDP", 'a'), (54, "UDP", 'b')], "ab"),
            (vec![(80, "TCP", 'a'), (80, "TCP", 'b')], "a"),
            (vec![], ""),
        ] {
            let kept: String =
                by_number(&ports, |p| p.0, |p: &(u16, &str, char)| p.1 == "TCP").map(|p| p.2).collect();
            assert_eq!(kept, expected, "{ports:?}");
        }
    }
}
