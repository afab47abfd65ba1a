//! Redirects and marks connections of a namespace, by rules that the kernel is told over netlink: no tool is needed for
//! them.
//!
//! A table of ours holds the chains. All rules of a namespace are replaced at once, so there is no moment without any.
//! (Formats: `linux/netfilter/nf_tables.h`, `nfnetlink.h`.)

use anyhow::{Context, bail, ensure};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where a rule is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// For what comes in, before [`Chain::Redirected`].
    Incoming,
    /// For the first packet of a connection that comes in: where its destination may be changed.
    Redirected,
    /// For what processes of the namespace send, before [`Chain::Captured`]; what is marked is routed again.
    Outgoing,
    /// For the first packet of a connection of a process of the namespace: where its destination may be changed.
    Captured,
}

/// What a packet has to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It did not come in over `lo`.
    NotFromLoopback,
    /// It does not leave over `lo`.
    NotToLoopback,
    /// Its destination is, or is not, in a range.
    Destination(Ipv4Addr, u8, bool),
    /// Its destination is, or is not, this port.
    Port(u16, bool),
    /// It does not come from this address.
    NotSource(Ipv4Addr),
    /// It has, or has not, this mark.
    Mark(u32, bool),
    /// Its connection has this mark.
    ConnectionMark(u32),
    /// It is one of so many, by chance.
    OneOf(u32),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its connection goes to this port of the namespace.
    Redirect(u16),
    /// Its connection goes to this address.
    Forward(SocketAddrV4),
    /// It is marked.
    Mark(u32),
    /// Its connection is marked.
    MarkConnection(u32),
}

/// A rule for packets of TCP that meet all conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it is tried.
    pub chain: Chain,
    /// What the packets have in common.
    pub conditions: Vec<Condition>,
    /// What becomes of them.
    pub action: Action,
}

const TABLE: &str = "pilothouse";

/// Replaces all rules of the namespace that this thread is in.
///
/// # Errors
/// When the kernel refuses them.
pub fn replace(rules: &[Rule]) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    // So that there is one to remove.
    batch.add(NEW_TABLE, |to| to.text(1, TABLE));
    batch.add(DELETE_TABLE, |to| to.text(1, TABLE));
    batch.add(NEW_TABLE, |to| to.text(1, TABLE));
    for chain in [Chain::Incoming, Chain::Redirected, Chain::Outgoing, Chain::Captured] {
        let Hook { name, kind, number, priority } = chain.hook();
        batch.add(NEW_CHAIN, |to| {
            to.text(1, TABLE);
            to.text(3, name);
            to.nest(4, |to| {
                to.number(1, number);
                to.number(2, priority.cast_unsigned());
            });
            to.text(7, kind);
        });
    }
    for rule in rules {
        batch.add(NEW_RULE, |to| {
            to.text(1, TABLE);
            to.text(2, rule.chain.hook().name);
            to.nest(4, |to| rule.expressions(to));
        });
    }
    batch.send()
}

/// Where the kernel tries a chain.
struct Hook {
    name: &'static str,
    kind: &'static str,
    number: u32,
    priority: i32,
}

impl Chain {
    fn hook(self) -> Hook {
        const PREROUTING: u32 = 0;
        const OUTPUT: u32 = 3;
        let (name, kind, number, priority) = match self {
            Self::Incoming => ("incoming", "filter", PREROUTING, -150),
            Self::Redirected => ("redirected", "nat", PREROUTING, -100),
            Self::Outgoing => ("outgoing", "route", OUTPUT, -150),
            Self::Captured => ("captured", "nat", OUTPUT, -100),
        };
        Hook { name, kind, number, priority }
    }
}

/// The register that each expression uses after the one before it, and another one for those that use two.
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const IS: u32 = 0;
const IS_NOT: u32 = 1;
const OF_NETWORK: u32 = 1;
const OF_TRANSPORT: u32 = 2;
const META_MARK: u32 = 3;
const META_INPUT: u32 = 4;
const META_OUTPUT: u32 = 5;
const META_PROTOCOL: u32 = 16;
const CONNECTION_MARK: u32 = 3;
const NEW_DESTINATION: u32 = 1;
const BY_CHANCE: u32 = 1;
const TCP: u8 = 6;
/// The index of `lo`, in every namespace.
const LOOPBACK: u32 = 1;

impl Rule {
    fn expressions(&self, to: &mut Attributes) {
        to.meta(META_PROTOCOL);
        to.compare(IS, &[TCP]);
        for condition in &self.conditions {
            condition.expressions(to);
        }
        match self.action {
            Action::Redirect(port) => {
                to.immediate(REGISTER, &port.to_be_bytes());
                to.expression("redir", |to| to.number(1, REGISTER));
            }
            Action::Forward(destination) => {
                to.immediate(REGISTER, &destination.ip().octets());
                to.immediate(SECOND_REGISTER, &destination.port().to_be_bytes());
                to.expression("nat", |to| {
                    for (kind, value) in
                        [(1, NEW_DESTINATION), (2, IPV4.into()), (3, REGISTER), (5, SECOND_REGISTER)]
                    {
                        to.number(kind, value);
                    }
                });
            }
            Action::Mark(mark) => {
                to.immediate(REGISTER, &mark.to_ne_bytes());
                to.expression("meta", |to| {
                    to.number(2, META_MARK);
                    to.number(3, REGISTER);
                });
            }
            Action::MarkConnection(mark) => {
                to.immediate(REGISTER, &mark.to_ne_bytes());
                to.expression("ct", |to| {
                    to.number(2, CONNECTION_MARK);
                    to.number(4, REGISTER);
                });
            }
        }
    }
}

impl Condition {
    fn expressions(self, to: &mut Attributes) {
        let operation = |is: bool| if is { IS } else { IS_NOT };
        match self {
            Self::NotFromLoopback => {
                to.meta(META_INPUT);
                to.compare(IS_NOT, &LOOPBACK.to_ne_bytes());
            }
            Self::NotToLoopback => {
                to.meta(META_OUTPUT);
                to.compare(IS_NOT, &LOOPBACK.to_ne_bytes());
            }
            Self::Destination(range, length, is_in) => {
                to.payload(OF_NETWORK, 16, 4);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                to.mask(&mask.to_be_bytes());
                to.compare(operation(is_in), &(range.to_bits() & mask).to_be_bytes());
            }
            Self::Port(port, is_so) => {
                to.payload(OF_TRANSPORT, 2, 2);
                to.compare(operation(is_so), &port.to_be_bytes());
            }
            Self::NotSource(address) => {
                to.payload(OF_NETWORK, 12, 4);
                to.compare(IS_NOT, &address.octets());
            }
            Self::Mark(mark, is_so) => {
                to.meta(META_MARK);
                to.compare(operation(is_so), &mark.to_ne_bytes());
            }
            Self::ConnectionMark(mark) => {
                to.expression("ct", |to| {
                    to.number(1, REGISTER);
                    to.number(2, CONNECTION_MARK);
                });
                to.compare(IS, &mark.to_ne_bytes());
            }
            Self::OneOf(count) => {
                to.expression("numgen", |to| {
                    for (kind, value) in [(1, REGISTER), (2, count), (3, BY_CHANCE)] {
                        to.number(kind, value);
                    }
                });
                to.compare(IS, &0_u32.to_ne_bytes());
            }
        }
    }
}

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
/// The number of nf_tables among what netfilter is told over netlink.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const IPV4: u8 = 2;

/// Messages that take effect together or not at all.
struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Default for Batch {
    fn default() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0 };
        batch.message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, &[]);
        batch
    }
}

impl Batch {
    fn add(&mut self, kind: u16, write: impl FnOnce(&mut Attributes)) {
        let mut attributes = Attributes::default();
        write(&mut attributes);
        let flags = if kind == DELETE_TABLE { 0 } else { CREATE | APPEND };
        self.sequence += 1;
        self.message(SUBSYSTEM << 8 | kind, REQUEST | ACKNOWLEDGE | flags, IPV4, 0, &attributes.0);
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }

    /// Sends all, and reads what the kernel says of each message.
    fn send(mut self) -> anyhow::Result<()> {
        self.message(BATCH_END, REQUEST, 0, SUBSYSTEM, &[]);
        let netfilter = Some(netlink::NETFILTER);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, netfilter)?;
        sendto(&socket, &self.bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answered = 0;
        while answered < self.sequence {
            let mut buffer = [0; 8192];
            let (read, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            while let Some((message, after)) = next(rest)? {
                let code =
                    message.get(16..20).and_then(|code| code.try_into().ok()).context("a short answer")?;
                match i32::from_ne_bytes(code) {
                    0 => answered += 1,
                    error => bail!(
                        "the kernel refuses to redirect connections: {}",
                        std::io::Error::from_raw_os_error(-error)
                    ),
                }
                rest = after;
            }
        }
        Ok(())
    }
}

/// The next message, which must be an answer, and what is behind it.
fn next(bytes: &[u8]) -> anyhow::Result<Option<(&[u8], &[u8])>> {
    let Some(header) = bytes.get(..16) else { return Ok(None) };
    let number = |range: std::ops::Range<usize>| header.get(range).unwrap_or_default().to_vec();
    let length = u32::from_ne_bytes(number(0..4).try_into().unwrap_or_default()) as usize;
    let kind = u16::from_ne_bytes(number(4..6).try_into().unwrap_or_default());
    ensure!(kind == ERROR && length >= 20 && length <= bytes.len(), "no answer of netlink: {header:?}");
    let (message, after) = bytes.split_at(length);
    Ok(Some((message, after.get(length.next_multiple_of(4) - length..).unwrap_or_default())))
}

/// Attributes of a message, each with length, type and value.
#[derive(Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        const NESTED: u16 = 0x8000;
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(kind | NESTED, &inner.0);
    }

    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.nest(1, |to| {
            to.text(1, name);
            to.nest(2, write);
        });
    }

    /// Puts a value into a register.
    fn immediate(&mut self, register: u32, value: &[u8]) {
        self.expression("immediate", |to| {
            to.number(1, register);
            to.nest(2, |to| to.bytes(1, value));
        });
    }

    fn meta(&mut self, key: u32) {
        self.expression("meta", |to| {
            to.number(1, REGISTER);
            to.number(2, key);
        });
    }

    fn payload(&mut self, of: u32, offset: u32, length: u32) {
        self.expression("payload", |to| {
            for (kind, value) in [(1, REGISTER), (2, of), (3, offset), (4, length)] {
                to.number(kind, value);
            }
        });
    }

    fn mask(&mut self, mask: &[u8; 4]) {
        self.expression("bitwise", |to| {
            for (kind, value) in [(1, REGISTER), (2, REGISTER), (3, 4)] {
                to.number(kind, value);
            }
            to.nest(4, |to| to.bytes(1, mask));
            to.nest(5, |to| to.bytes(1, &[0; 4]));
        });
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.expression("cmp", |to| {
            to.number(1, REGISTER);
            to.number(2, operation);
            to.nest(3, |to| to.bytes(1, value));
        });
    }
}
