//! The steps of the egress example.

use super::outside::Server;
use super::play::{Play, Step};
use super::site::{Answer, Site};
use anyhow::{Context, ensure};
use std::net::Ipv4Addr;

pub(super) const PLAY: Play = Play {
    name: "egress",
    introduction: "The egress example as processes on this machine, with a real Envoy as its waypoint, and servers that are \
                   outside of its mesh.",
    prepare: |_| Ok(()),
    outside: &[
        Server { name: "api.example.com", address: Ipv4Addr::new(203, 0, 113, 10), ports: &[80] },
        Server { name: "payments.example.com", address: Ipv4Addr::new(203, 0, 113, 11), ports: &[443] },
        Server { name: "a.files.example.com", address: Ipv4Addr::new(203, 0, 113, 12), ports: &[80, 443] },
        Server { name: "other.example.com", address: Ipv4Addr::new(203, 0, 113, 13), ports: &[80] },
    ],
    steps: STEPS,
};

const STEPS: &[Step] = &[
    Step {
        title: "Through the waypoint",
        explanation: "   Both hosts are outside of the mesh. One is registered, so callers are told an address of the mesh for \
                      it, and what they send there goes through the waypoint, with their identity.",
        play: |site| Box::pin(registered(site)),
    },
    Step {
        title: "One account, one method, some paths",
        explanation: "   policies.yaml says who may do what at api.example.com. The waypoint sees requests, and who sends them.",
        play: |site| Box::pin(policy(site)),
    },
    Step {
        title: "TLS for those who speak none",
        explanation: "   payments.example.com takes TLS alone. Callers speak HTTP, so that the waypoint sees requests, and the \
                      waypoint speaks TLS, once it knows whose certificates to believe.",
        play: |site| Box::pin(secured(site)),
    },
    Step {
        title: "All hosts below a domain",
        explanation: "   A request goes to the host that it names, a client of TLS to the name that it asks for; and not to what \
                      is not below the domain.",
        play: |site| Box::pin(wildcard(site)),
    },
    Step {
        title: "Counted",
        explanation: "   What left is counted by who sent it, and by where it went.",
        play: |site| Box::pin(counted(site)),
    },
    Step {
        title: "What is not protected",
        explanation: "   A pod that dials the address of a server by itself is not in the waypoint's way: a ztunnel lets pass what \
                      it does not know. A NetworkPolicy for the namespace shop keeps it from that.",
        play: |site| Box::pin(around(site)),
    },
];

const ORDERS: &str = "shop/orders";
const STOCK: &str = "shop/stock";
const API: &str = "http://api.example.com/v1/items";

fn is_ok(answer: &Answer) -> bool {
    answer.status() == Some(200)
}

fn is_forbidden(answer: &Answer) -> bool {
    answer.status() == Some(403)
}

async fn registered(site: &mut Site) -> anyhow::Result<()> {
    let answer = site.until(ORDERS, &[API], is_ok).await?;
    ensure!(answer.field("pod_name") == "api.example.com");
    let waypoint = site.address("egress/waypoint")?;
    println!("     the server sees {}, which is the waypoint", answer.field("peer"));
    ensure!(answer.field("peer") == waypoint);
    let answer = site.show(ORDERS, &["http://other.example.com/"]).await?;
    ensure!(is_ok(&answer) && answer.field("peer") != waypoint);
    println!("     nobody has registered it: it is called as if there was no mesh");
    Ok(())
}

async fn policy(site: &mut Site) -> anyhow::Result<()> {
    ensure!(is_ok(&site.show(ORDERS, &[API]).await?));
    for (from, arguments) in [
        (ORDERS, ["-X", "POST", API].as_slice()),
        (ORDERS, &["http://api.example.com/v2/items"]),
        (ORDERS, &["http://api.example.com//v1/../v2/items"]),
        (STOCK, &[API]),
    ] {
        ensure!(is_forbidden(&site.show(from, arguments).await?));
    }
    Ok(())
}

async fn secured(site: &mut Site) -> anyhow::Result<()> {
    const URL: &str = "http://payments.example.com/";
    let answer = site.show(STOCK, &[URL]).await?;
    ensure!(!is_ok(&answer), "somebody spoke TLS already");
    let authority = site.authority().lines().map(|line| format!("    {line}\n")).collect::<String>();
    site.write(
        "tls.yaml",
        &format!(
            "\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata:
  name: payments
  namespace: egress
spec:
  targetRefs:
    - group: networking.istio.io
      kind: ServiceEntry
      name: payments
  validation:
    hostname: payments.example.com
    caCertificateRefs:
      - group: \"\"
        kind: ConfigMap
        name: payments-ca
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: payments-ca
  namespace: egress
data:
  ca.crt: |
{authority}"
        ),
    )?;
    let answer = site.until(STOCK, &[URL], |answer| answer.field("tls") == "true").await?;
    ensure!(is_ok(&answer));
    println!("     the server was spoken to in TLS");
    Ok(())
}

async fn wildcard(site: &mut Site) -> anyhow::Result<()> {
    let answer = site.show(STOCK, &["http://a.files.example.com/"]).await?;
    ensure!(is_ok(&answer) && answer.field("pod_name") == "a.files.example.com");
    let answer = site.show(STOCK, &["-H", "host: other.example.com", "http://a.files.example.com/"]).await?;
    ensure!(answer.status() == Some(404), "the waypoint was led elsewhere");
    let authority = site.authority_file();
    let answer = site.show(STOCK, &["--cacert", &authority, "https://a.files.example.com/"]).await?;
    ensure!(is_ok(&answer) && answer.field("tls") == "true");
    ensure!(answer.field("peer") == site.address("egress/waypoint")?);
    println!("     in TLS from end to end, through the waypoint");
    Ok(())
}

async fn counted(site: &mut Site) -> anyhow::Result<()> {
    let url = format!("http://{}:15020/stats/prometheus", site.address("egress/waypoint")?);
    let labels = ["source_workload", "destination_service", "response_code"];
    let counts = site.counts(ORDERS, &url, "istio_requests_total", &labels).await?;
    let of = |labels: &[&str]| {
        let found = counts.iter().filter(|(of, _)| labels.iter().all(|label| of.contains(label)));
        found.map(|(_, count)| count).sum::<u64>()
    };
    ensure!(of(&["\"orders\"", "\"api.example.com\"", "\"200\""]) >= 2);
    ensure!(of(&["\"stock\"", "\"api.example.com\"", "\"403\""]) >= 1);
    ensure!(of(&["\"stock\"", "\"payments.example.com\"", "\"200\""]) >= 1);
    Ok(())
}

async fn around(site: &mut Site) -> anyhow::Result<()> {
    let server = PLAY.outside.first().context("no server")?.address;
    let answer = site.show(STOCK, &[&format!("http://{server}/v2/items")]).await?;
    ensure!(is_ok(&answer), "something protects it: the example says otherwise");
    Ok(())
}
