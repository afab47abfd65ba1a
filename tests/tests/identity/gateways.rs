//! Envoys of gateways and waypoints: whose configuration they are served, and their certificates.

use crate::clock::FakeClock;
use crate::laptop::Laptop;
use crate::plane::{Plane, with_renewals};
use anyhow::{Context, bail};
use ca::token::DevelopmentToken;
use ca::{Certificate, SigningKey, SystemEntropy};
use identity::{NO_UID, StateDir};
use pilothouse_tests::apiserver::LIMIT;
use pilothouse_tests::client::Target;
use pilothouse_tests::client::transport::{Wire, open};
use pilothouse_tests::client::{Node, OpenError};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use proto::secret_name::{CERTIFICATE, ROOTS};
use proto::type_url::{ADDRESS, CLUSTER, SECRET};
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Code, Status};

/// Pods of a waypoint, another of the same account, and one of a waypoint of the same name elsewhere.
const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: v1
kind: Pod
metadata: {name: waypoint-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {serviceAccountName: waypoint, nodeName: laptop, containers: [{name: envoy, image: envoy}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: shop}
spec: {serviceAccountName: waypoint, nodeName: laptop, containers: [{name: other, image: other}]}
---
apiVersion: v1
kind: Pod
metadata: {name: waypoint-1, namespace: bank, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {serviceAccountName: waypoint, nodeName: laptop, containers: [{name: envoy, image: envoy}]}
";

const RELABELLED: &str = "gateway-name: waypoint";

fn laptop() -> anyhow::Result<Laptop> {
    let laptop = Laptop::new()?;
    laptop.write("waypoints.yaml", PODS)?;
    Ok(laptop)
}

/// A token of a pod.
fn token(laptop: &Laptop, namespace: &str, pod: &str, account: &str) -> anyhow::Result<String> {
    let token = DevelopmentToken {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        pod: Some((pod.to_owned(), NO_UID.to_owned())),
        node: Some("laptop".to_owned()),
        audiences: vec!["istio-ca".to_owned()],
        life: Duration::from_secs(24 * 3600),
    };
    let now = UnixTime::now();
    Ok(StateDir::open(&laptop.state())?.development_issuer()?.issue(&token, now, &SystemEntropy)?)
}

fn node(role: &str, namespace: &str, pod: &str) -> Node {
    Node {
        role: role.to_owned(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        node_name: String::new(),
        ..Node::ztunnel("")
    }
}

/// The first request for a type, with the gateway that the node names.
fn first(node: &Node, gateway: Option<&str>, type_url: &str) -> DeltaDiscoveryRequest {
    let mut message = node.to_message();
    if let (Some(gateway), Some(metadata)) = (gateway, &mut message.metadata) {
        let label = ("gateway.networking.k8s.io/gateway-name".to_owned(), gateway.to_owned().into());
        let labels = prost_types::Struct { fields: [label].into() };
        let labels = prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(labels)) };
        metadata.fields.insert("LABELS".to_owned(), labels);
    }
    DeltaDiscoveryRequest { node: Some(message), type_url: type_url.to_owned(), ..Default::default() }
}

async fn stream(
    plane: &Plane,
    token: &str,
    requests: Vec<DeltaDiscoveryRequest>,
) -> anyhow::Result<Result<Wire, Status>> {
    let options = plane.client_options(token)?;
    let (address, token) = (plane.secure.to_string(), Some(token.to_owned()));
    let target = Target { address, tls: options.tls, token, time: plane.time(), ..Target::default() };
    match open(&target, requests).await {
        Ok(wire) => Ok(Ok(wire)),
        Err(OpenError::Refused(status)) => Ok(Err(status)),
        Err(other) => bail!("{other}"),
    }
}

async fn next(wire: &mut Wire) -> anyhow::Result<Result<DeltaDiscoveryResponse, Status>> {
    let message = tokio::time::timeout(LIMIT, wire.responses.message()).await.context("no answer")?;
    match message {
        Ok(message) => Ok(Ok(message.context("the stream ends")?)),
        Err(status) => Ok(Err(status)),
    }
}

/// The first answer, or the refusal.
async fn answer(
    plane: &Plane,
    token: &str,
    request: DeltaDiscoveryRequest,
) -> anyhow::Result<Result<DeltaDiscoveryResponse, Status>> {
    match stream(plane, token, vec![request]).await? {
        Ok(mut wire) => next(&mut wire).await,
        Err(status) => Ok(Err(status)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_served_as_the_gateway_of_the_pod_that_its_token_is_of() -> anyhow::Result<()> {
    let laptop = laptop()?;
    let plane = Plane::open(&laptop.args).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let own = node("waypoint", "shop", "waypoint-1");
    // It has nothing yet, and is told so, or it would wait for ever. It need not name its gateway.
    for gateway in [None, Some("waypoint")] {
        let answer = answer(&plane, &waypoint, first(&own, gateway, CLUSTER)).await??;
        assert_eq!((answer.type_url.as_str(), answer.resources.len()), (CLUSTER, 0));
    }

    let of = |namespace, pod, account| token(&laptop, namespace, pod, account);
    let (web, other) = (of("shop", "web", "web")?, of("shop", "other", "waypoint")?);
    let (bank, ghost) = (of("bank", "waypoint-1", "waypoint")?, of("shop", "ghost", "waypoint")?);
    let ztunnel = laptop.ztunnel()?;
    for (reason, token, node, gateway) in [
        // Another pod of the namespace: by its own name, and by that of the waypoint.
        ("no_gateway", &web, node("waypoint", "shop", "web"), Some("waypoint")),
        ("other_pod", &web, own.clone(), Some("waypoint")),
        // One of the same account, which is no instance, and one that nobody knows.
        ("no_gateway", &other, node("waypoint", "shop", "other"), Some("waypoint")),
        ("other_pod", &other, own.clone(), None),
        ("no_gateway", &ghost, node("waypoint", "shop", "ghost"), Some("waypoint")),
        // The waypoint of another namespace.
        ("node_identity", &bank, own.clone(), None),
        ("other_pod", &bank, Node { namespace: "bank".to_owned(), ..node("router", "bank", "web") }, None),
        // A waypoint that says that it is another.
        ("other_gateway", &waypoint, own.clone(), Some("front")),
        // Kinds of proxies.
        ("not_ztunnel", &waypoint, node("ztunnel", "shop", "waypoint-1"), None),
        ("not_envoy", &waypoint, node("sidecar", "shop", "waypoint-1"), None),
        ("no_gateway", &ztunnel, node("waypoint", "istio-system", "ztunnel"), Some("waypoint")),
    ] {
        let before = plane.stats().streams_refused.list();
        let type_url = if node.role == "ztunnel" { ADDRESS } else { CLUSTER };
        let status = answer(&plane, token, first(&node, gateway, type_url)).await?;
        let status = status.err().with_context(|| format!("{reason}: it was answered"))?;
        assert_eq!(status.code(), Code::PermissionDenied, "{reason}: {status}");
        let count = |all: &[(&str, u64)]| all.iter().find(|(of, _)| *of == reason).map_or(0, |(_, n)| *n);
        let after = plane.stats().streams_refused.list();
        assert_eq!(count(&after), count(&before) + 1, "{reason}: {status}");
        assert!(!status.message().is_empty(), "{reason}");
    }
    // The mesh is for ztunnels.
    let refused = answer(&plane, &waypoint, first(&own, None, ADDRESS)).await?.err().context("answered")?;
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_account_is_no_proof_of_a_gateway() -> anyhow::Result<()> {
    let laptop = laptop()?;
    let plane = Plane::open(&with_renewals(laptop.args.clone())).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let new = plane.certificate(&waypoint, None).await?;
    let target = Target {
        address: plane.secure.to_string(),
        tls: plane.client_options(&waypoint)?.tls,
        certificate: Some((new.chain.concat().into_bytes(), new.key_pem.clone().into_bytes())),
        ..Target::default()
    };
    let request = first(&node("waypoint", "shop", "waypoint-1"), Some("waypoint"), CLUSTER);
    let status = match open(&target, vec![request]).await {
        Ok(mut wire) => next(&mut wire).await?.err().context("it was answered")?,
        Err(OpenError::Refused(status)) => status,
        Err(other) => bail!("{other}"),
    };
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("no token that is bound to a pod"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_pod_is_of_another_gateway() -> anyhow::Result<()> {
    let laptop = laptop()?;
    let plane = Plane::open(&laptop.args).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let own = node("waypoint", "shop", "waypoint-1");
    let mut wire = stream(&plane, &waypoint, vec![first(&own, Some("waypoint"), CLUSTER)]).await??;
    next(&mut wire).await??;
    laptop.write("waypoints.yaml", &PODS.replace(RELABELLED, "gateway-name: front"))?;
    let status = next(&mut wire).await?.err().context("it goes on")?;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let answer = answer(&plane, &waypoint, first(&own, Some("front"), CLUSTER)).await?;
    answer.context("it is an instance of front now").map(drop)
}

/// A waypoint that follows its secrets.
struct Waypoint {
    wire: Wire,
    /// Versions and content of its secrets, by name.
    held: BTreeMap<String, (String, Secret)>,
}

impl Waypoint {
    async fn connect(
        plane: &Plane,
        token: &str,
        held: BTreeMap<String, (String, Secret)>,
    ) -> anyhow::Result<Self> {
        let versions = held.iter().map(|(name, (version, _))| (name.clone(), version.clone()));
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe: vec![CERTIFICATE.to_owned(), ROOTS.to_owned()],
            initial_resource_versions: versions.collect(),
            ..first(&node("waypoint", "shop", "waypoint-1"), Some("waypoint"), SECRET)
        };
        Ok(Self { wire: stream(plane, token, vec![request]).await??, held })
    }

    /// Takes the next answer, acknowledges it, and returns the names in it.
    async fn next(&mut self) -> anyhow::Result<Vec<String>> {
        let answer = next(&mut self.wire).await??;
        assert_eq!((answer.type_url.as_str(), answer.removed_resources.len()), (SECRET, 0));
        let mut names = Vec::new();
        for resource in answer.resources {
            let Resource { name, version, resource, .. } = Resource::decode(resource)?;
            let secret = Secret::decode(resource.context("no secret")?.value.as_slice())?;
            assert_eq!(secret.name, name);
            names.push(name.clone());
            self.held.insert(name, (version, secret));
        }
        self.wire.requests.send(DeltaDiscoveryRequest {
            type_url: SECRET.to_owned(),
            response_nonce: answer.nonce,
            ..DeltaDiscoveryRequest::default()
        })?;
        Ok(names)
    }

    /// Takes answers until one has a secret; empty ones are passed over.
    async fn until(&mut self, name: &str) -> anyhow::Result<()> {
        while !self.next().await?.iter().any(|of| of == name) {}
        Ok(())
    }

    /// Its certificates, the leaf first, and its key.
    fn certificate(&self) -> anyhow::Result<(Vec<Certificate>, String)> {
        let Some(secret::Type::TlsCertificate(pair)) = &self.held[CERTIFICATE].1.r#type else {
            bail!("no certificate");
        };
        let key = inline(&pair.private_key)?.to_owned();
        SigningKey::from_pem(&key)?;
        Ok((Certificate::all_from_pem(inline(&pair.certificate_chain)?.as_bytes())?, key))
    }

    fn roots(&self) -> anyhow::Result<Vec<Certificate>> {
        let Some(secret::Type::ValidationContext(context)) = &self.held[ROOTS].1.r#type else {
            bail!("no roots");
        };
        Ok(Certificate::all_from_pem(inline(&context.trusted_ca)?.as_bytes())?)
    }
}

fn inline(source: &Option<DataSource>) -> anyhow::Result<&str> {
    match source.as_ref().and_then(|of| of.specifier.as_ref()) {
        Some(Specifier::InlineBytes(text)) => Ok(std::str::from_utf8(text)?),
        other => bail!("not inline: {other:?}"),
    }
}

/// The life of certificates.
const TTL: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_gets_its_certificate_renewed_in_time_and_again_only_when_it_is_due() -> anyhow::Result<()>
{
    let mut laptop = laptop()?;
    laptop.args.identity.default_cert_ttl = TTL;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let mut envoy = Waypoint::connect(&plane, &waypoint, BTreeMap::new()).await?;
    assert_eq!(envoy.next().await?, [ROOTS, CERTIFICATE]);
    let (chain, key) = envoy.certificate()?;
    assert_eq!(chain[0].identity()?.to_string(), "spiffe://cluster.local/ns/shop/sa/waypoint");
    let roots = envoy.roots()?;
    assert_eq!(roots, Certificate::all_from_pem(plane.roots()?.as_bytes())?);
    let validity = chain[0].validity();
    ca::verify_chain(&chain[0], &chain[1..], &roots, validity.not_after)?;
    // It is dated back by two minutes.
    assert_eq!(validity.not_after.as_secs() - validity.not_before.as_secs(), TTL.as_secs() + 120);

    // Another stream has a key of its own, of the same identity.
    let mut replica = Waypoint::connect(&plane, &waypoint, BTreeMap::new()).await?;
    replica.until(CERTIFICATE).await?;
    assert_ne!(replica.certificate()?.1, key);

    // Half-way there is another, with another key; the roots are as before.
    clock.advance(TTL / 2);
    assert_eq!(envoy.next().await?, [CERTIFICATE]);
    assert_eq!(replica.next().await?, [CERTIFICATE]);
    let (renewed, new_key) = envoy.certificate()?;
    assert!(renewed[0].validity().not_after > validity.not_after && new_key != key);

    // Who comes back with what is good is told nothing new, at a control plane that has just started, too.
    let issued = || plane.stats().issued.get();
    let before = issued();
    let mut back = Waypoint::connect(&plane, &waypoint, envoy.held.clone()).await?;
    assert_eq!(back.next().await?, Vec::<String>::new());
    assert_eq!(issued(), before);
    plane.stop().await?;
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let mut back = Waypoint::connect(&plane, &waypoint, envoy.held.clone()).await?;
    assert_eq!(back.next().await?, Vec::<String>::new());
    assert_eq!(plane.stats().issued.get(), 0);
    // And gets another when that is due.
    clock.advance(TTL / 2);
    assert_eq!(back.next().await?, [CERTIFICATE]);
    assert_eq!(plane.stats().issued.get(), 1);
    // A version that is made up is none.
    let mut held = back.held.clone();
    held.insert(
        CERTIFICATE.to_owned(),
        ("spiffe://cluster.local/ns/shop/sa/web 0 99999999999".to_owned(), Secret::default()),
    );
    let mut liar = Waypoint::connect(&plane, &waypoint, held).await?;
    assert_eq!(liar.next().await?, [CERTIFICATE]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_change_are_sent_before_certificates_of_them() -> anyhow::Result<()> {
    let mut laptop = laptop()?;
    // Renewed when a fifth of its lifetime is left.
    laptop.args.identity.root_ttl = Duration::from_secs(2000);
    laptop.args.identity.default_cert_ttl = TTL;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let mut envoy = Waypoint::connect(&plane, &waypoint, BTreeMap::new()).await?;
    envoy.until(CERTIFICATE).await?;
    let old = envoy.roots()?;
    clock.advance_seconds(1700);
    // The certificate is due as well; whichever comes when, what it has verifies what it may meet.
    let verifies = |envoy: &Waypoint| {
        let (chain, _) = envoy.certificate()?;
        anyhow::Ok(ca::verify_chain(&chain[0], &chain[1..], &envoy.roots()?, chain[0].validity().not_before)?)
    };
    while envoy.roots()?.len() < 2 {
        envoy.next().await?;
        verifies(&envoy)?;
    }
    assert!(envoy.roots()?.contains(&old[0]));
    clock.advance_seconds(700);
    while envoy.roots()?.len() > 1 || envoy.roots()? == old {
        envoy.next().await?;
        verifies(&envoy)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_when_the_trust_domain_changes() -> anyhow::Result<()> {
    const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: \"trustDomain: DOMAIN\"}
";
    let laptop = laptop()?;
    let plane = Plane::open(&laptop.args).await?;
    let waypoint = token(&laptop, "shop", "waypoint-1", "waypoint")?;
    let mut envoy = Waypoint::connect(&plane, &waypoint, BTreeMap::new()).await?;
    envoy.until(CERTIFICATE).await?;
    // Half of its life is far away.
    for domain in ["example.org", "corp.test"] {
        laptop.write("mesh.yaml", &SETTINGS.replace("DOMAIN", domain))?;
        envoy.until(CERTIFICATE).await?;
        let (chain, _) = envoy.certificate()?;
        assert_eq!(chain[0].identity()?.to_string(), format!("spiffe://{domain}/ns/shop/sa/waypoint"));
    }
    assert_eq!(plane.stats().issued.get(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_for_the_gateways_of_tokens_and_are_shown_nowhere() -> anyhow::Result<()> {
    let laptop = laptop()?;
    let plane = Plane::open(&laptop.args).await?;
    let web = token(&laptop, "shop", "web", "web")?;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![CERTIFICATE.to_owned()],
        ..first(&node("waypoint", "shop", "web"), None, SECRET)
    };
    let refused = answer(&plane, &web, request).await?.err().context("it was answered")?;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(plane.stats().issued.get(), 0);
    Ok(())
}
