//! Names of services, as pods ask for them: a name server of the node.
//!
//! The names and addresses are those that the proxy of the asking pod's node holds. A pod asks with a name as it is
//! written; the namespace of whoever asks completes it here. Of a name that is known besides, pods in the mesh are told the
//! address of the service that it is registered as, if it is, as a ztunnel tells them; all others are told its own.

use crate::proxy::{InMesh, Proxy};
use pilothouse_tests::client::ip;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::net::UdpSocket;

/// The type of questions about IPv4 addresses.
const A: u16 = 1;
/// The longest answer, in bytes.
const LONGEST: usize = 512;

/// What is known besides services.
pub type Hosts = BTreeMap<String, Ipv4Addr>;

/// Who asks.
#[derive(Clone, Copy)]
struct Client {
    ip: IpAddr,
    is_in_mesh: bool,
}

/// Answers until it is dropped.
///
/// # Errors
/// When the socket breaks.
pub async fn serve(
    socket: UdpSocket,
    proxy: Arc<Proxy>,
    in_mesh: Arc<InMesh>,
    hosts: Hosts,
) -> std::io::Result<()> {
    let mut buffer = [0; LONGEST];
    loop {
        let (read, from) = socket.recv_from(&mut buffer).await?;
        let client = Client { ip: from.ip(), is_in_mesh: in_mesh.has(from.ip()) };
        if let Some(answer) = answer(buffer.get(..read).unwrap_or_default(), client, &proxy, &hosts) {
            socket.send_to(&answer, from).await?;
        }
    }
}

/// Returns the answer to a question; `None` for what is none. (Format: RFC 1035.)
fn answer(question: &[u8], from: Client, proxy: &Proxy, hosts: &Hosts) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).to_lowercase());
        at += length + 1;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes(question.get(at + 1..at + 3)?.try_into().ok()?);
    let found = addresses(&labels.join("."), from, proxy, hosts);
    let count = match (&found, kind) {
        (Some(all), A) => u8::try_from(all.len().min(20)).ok()?,
        _ => 0,
    };
    let mut answer = question.get(..end)?.to_vec();
    // An answer with authority, where there are no others to ask; 3 is for a name that is not there.
    let code = if found.is_some() { 0x80 } else { 0x83 };
    answer.splice(2..HEADER, [0x85, code, 0, 1, 0, count, 0, 0, 0, 0]);
    for address in found.into_iter().flatten().take(count.into()) {
        // The name of the question, type, class, five seconds, length.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The addresses of a name; `None` if there is none of this name.
fn addresses(name: &str, from: Client, proxy: &Proxy, hosts: &Hosts) -> Option<Vec<Ipv4Addr>> {
    let host = hosts.get(name).map(|address| vec![*address]);
    if host.is_some() && !from.is_in_mesh {
        return host;
    }
    let registered = proxy.client().with(|state| {
        let namespace = state.workload_by_ip("", from.ip).map(|workload| workload.namespace.as_str());
        let candidates = [
            Some(name.to_owned()),
            namespace.map(|namespace| format!("{name}.{namespace}.svc.cluster.local")),
            Some(format!("{name}.svc.cluster.local")),
            Some(format!("{name}.cluster.local")),
        ];
        let by_name = |host: &str| state.services().find(|(_, service)| service.hostname == *host);
        let wildcard = || name.split_once('.').and_then(|(_, domain)| by_name(&format!("*.{domain}")));
        let (key, service) = candidates.iter().flatten().find_map(|host| by_name(host)).or_else(wildcard)?;
        let v4 = |bytes: &[u8]| match ip(bytes) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        let own: Vec<_> = service.addresses.iter().filter_map(|of| v4(&of.address)).collect();
        if !own.is_empty() {
            return Some(own);
        }
        let endpoints = state.endpoints_of(key);
        Some(
            endpoints
                .iter()
                .flat_map(|(_, workload)| workload.addresses.iter())
                .filter_map(|of| v4(of))
                .collect(),
        )
    });
    registered.or(host)
}
