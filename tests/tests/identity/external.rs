//! Certificates of an external signer, requested through a real API server.

use crate::certificates::{call, call_on, channel};
use crate::clock::FakeClock;
use crate::plane::{
    INVALID_ARGUMENT, Plane, RESOURCE_EXHAUSTED, Site, of_cluster, openssl, pod, with_renewals,
};
use crate::token::bound_token;
use anyhow::Context;
use ca::Certificate;
use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, ObjectMeta, PostParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::certificates::RequestError;
use pilothouse_tests::client::transport::dial;
use pilothouse_tests::client::{Target, Tls};
use pilothouse_tests::signer::{Conduct, Signer};
use proto::citadel::IstioCertificateRequest;
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use rustls::pki_types::UnixTime;
use serde_json::json;
use std::time::Duration;

const DEADLINE_EXCEEDED: u8 = 4;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

/// Longer than any test: a timeout that does not elapse.
const NEVER: Duration = Duration::from_secs(3600);

fn external(args: &mut ServeArgs, signer: &str) {
    args.identity.external_ca = "ISTIOD_RA_KUBERNETES_API".to_owned();
    args.identity.external_signer = signer.to_owned();
}

/// A mesh with an external signer, and the pod `web` on node `n1`.
struct Meshed {
    site: Site,
    signer: Signer,
    args: ServeArgs,
    /// The token of the ztunnel on `n1`.
    token: String,
    web: String,
}

impl Meshed {
    async fn new() -> anyhow::Result<Self> {
        let site = Site::new().await?;
        let signer = Signer::start(site.server, &format!("{}.example/mesh", site.system)).await?;
        let mut args = site.settings()?;
        external(&mut args, &signer.name);
        let token = site.ztunnel("n1").await?;
        site.pod(&site.shop, "web", "web", "n1").await?;
        let web = site.identity("web");
        Ok(Self { site, signer, args, token, web })
    }

    async fn settings_of_mesh(&self, mesh: &str) -> anyhow::Result<()> {
        let name = json!({"name": "istio", "namespace": self.site.system});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"mesh": mesh}});
        self.site.server.apply(&map.to_string()).await
    }
}

/// Returns a request for a certificate of `identity` whose CSR contains `names`.
fn request(identity: &str, names: &[&str], signer: &str) -> anyhow::Result<IstioCertificateRequest> {
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    let fields = [("ImpersonatedIdentity", identity), ("CertSigner", signer)];
    let fields = fields.map(|(key, value)| (key.to_owned(), text(value)));
    Ok(IstioCertificateRequest {
        csr: ca::SigningKey::generate_p256()?.request_pem(names)?,
        validity_duration: 0,
        metadata: Some(prost_types::Struct { fields: fields.into() }),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn external_signer_signs_for_workloads_and_the_secure_port() -> anyhow::Result<()> {
    let Meshed { site, signer, args, token, web } = Meshed::new().await?;
    // The root is not configured: it is learned from the chain. The handshake verifies the serving
    // certificate with it.
    let plane = Plane::open(&with_renewals(args)).await?;
    assert_eq!(plane.roots()?.replace('\r', ""), signer.authority.root_pem.replace('\r', ""));

    let new = plane.certificate(&token, Some(&web)).await?;
    let [leaf, between, roots] = new.chain.as_slice() else { anyhow::bail!("{:?}", new.chain) };
    assert_eq!(*roots, plane.roots()?);
    let certificate = &Certificate::all_from_pem(leaf.as_bytes())?[0];
    assert_eq!(certificate.identity()?.to_string(), web);
    let dir = tempfile::tempdir()?;
    for (name, text) in [("leaf.pem", leaf), ("between.pem", between), ("roots.pem", roots)] {
        std::fs::write(dir.path().join(name), text)?;
    }
    for purpose in ["sslclient", "sslserver"] {
        let verify = ["verify", "-purpose", purpose, "-CAfile", "roots.pem", "-untrusted", "between.pem"];
        openssl(&[verify.as_slice(), &["leaf.pem"]].concat(), dir.path())?;
    }

    // One CertificateSigningRequest, with the fields that istiod sets, and deleted afterwards.
    let request = signer.approved();
    let [request] = request.as_slice() else { anyhow::bail!("{request:?}") };
    assert!(request.metadata.name.as_deref().is_some_and(|name| name.starts_with("csr-workload-")));
    assert_eq!(request.spec.expiration_seconds, Some(86_400));
    let usages = request.spec.usages.clone().unwrap_or_default();
    assert_eq!(usages, ["digital signature", "key encipherment", "server auth", "client auth"]);
    signer.until_open(0).await?;
    assert_eq!(plane.stats().issued.get(), 1);

    // The certificate is accepted as a client certificate of the secure port.
    let mut target = plane.target("")?;
    target.client = Some((format!("{leaf}{between}").into_bytes(), new.key_pem.into_bytes()));
    match pilothouse_tests::certificates::request_certificate(&target, None, 0).await {
        // The caller is authenticated; its CSR has no names, which an external signer would copy.
        Err(RequestError::Refused { code, .. }) => assert_eq!(code, INVALID_ARGUMENT),
        other => anyhow::bail!("{other:?}"),
    }
    assert_eq!(plane.refused("csr_names"), 1);
    drop(site);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_certificate_is_renewed_by_the_signer_before_it_expires() -> anyhow::Result<()> {
    let Meshed { signer, args, token, web, .. } = Meshed::new().await?;
    // A certificate is refused once half of its life is over: what a busy machine may take.
    let life = Duration::from_secs(20);
    signer.sign_for(life);
    let plane = Plane::open(&args).await?;
    let (served, first) = (signer.served(), serving(&plane).await?);
    // The one test of renewal in real time: renewed twice, and the port is open after the first certificate
    // has expired.
    let renewed = async || {
        let has_expired = first.validity().not_after < UnixTime::now();
        Ok((signer.served() >= served + 2 && has_expired).then_some(()))
    };
    until(LIMIT, renewed).await?;
    assert_ne!(serving(&plane).await?, first);
    plane.certificate(&token, Some(&web)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_other_names_or_lifetimes_do_not_reach_the_signer() -> anyhow::Result<()> {
    let Meshed { site, signer, args, token, web } = Meshed::new().await?;
    let plane = Plane::open(&args).await?;
    let other = site.identity("other");
    let refused = async |request: IstioCertificateRequest| {
        anyhow::Ok(call(&plane, &token, &request).await?.err().map(|(code, _)| code))
    };
    for names in
        [vec![], vec![other.as_str()], vec![&web, &other], vec![&web, "web.example"], vec!["10.0.0.1"]]
    {
        let wrong = request(&web, &names, "")?;
        assert_eq!(refused(wrong).await?, Some(INVALID_ARGUMENT), "{names:?}");
    }
    assert_eq!(plane.refused("csr_names"), 5);
    for seconds in [599, i64::MAX] {
        let mut wrong = request(&web, &[&web], "")?;
        wrong.validity_duration = seconds;
        assert_eq!(refused(wrong).await?, Some(INVALID_ARGUMENT), "{seconds}");
    }
    // No domain of signers is configured.
    assert_eq!(refused(request(&web, &[&web], "team-a")?).await?, Some(INVALID_ARGUMENT));
    assert_eq!(signer.approved().len(), 0);
    assert_eq!(refused(request(&web, &[&web], "")?).await?, None);
    assert_eq!(signer.approved().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_answers_of_a_signer_are_refused() -> anyhow::Result<()> {
    let Meshed { signer, args, token, web, .. } = Meshed::new().await?;
    let plane = Plane::open(&args).await?;
    for (conduct, reason) in [
        (Conduct::Fails, "signer_failed"),
        (Conduct::OtherIdentity, "signer_names"),
        (Conduct::OtherKey, "signer_key"),
        (Conduct::Unchained, "signer_chain"),
        (Conduct::LongLived, "signer_life"),
    ] {
        signer.be(conduct);
        assert_eq!(plane.refusal(&token, Some(&web)).await?, INTERNAL, "{conduct:?}");
        assert_eq!(plane.refused(reason), 1, "{conduct:?}");
    }
    let failures = plane.stats().sign_errors.list();
    assert!(failures.contains(&("CERT_GEN_ERROR", 5)), "{failures:?}");
    signer.be(Conduct::Honest);
    plane.certificate(&token, Some(&web)).await?;
    assert_eq!(plane.stats().issued.get(), 1);
    signer.until_open(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn request_to_a_silent_signer_times_out_and_is_deleted() -> anyhow::Result<()> {
    let Meshed { signer, mut args, token, web, .. } = Meshed::new().await?;
    args.identity.external_signer_timeout = NEVER;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&args, &clock).await?;
    signer.until_open(0).await?;
    signer.be(Conduct::Silent);
    let (code, times_out) = tokio::join!(plane.refusal(&token, Some(&web)), async {
        signer.until_open(1).await?;
        clock.advance(NEVER);
        anyhow::Ok(())
    });
    times_out?;
    assert_eq!(code?, DEADLINE_EXCEEDED);
    assert_eq!(plane.refused("signer_silent"), 1);
    signer.until_open(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn request_of_a_disconnected_client_is_deleted() -> anyhow::Result<()> {
    let Meshed { signer, mut args, token, web, .. } = Meshed::new().await?;
    args.identity.external_signer_timeout = NEVER;
    let plane = Plane::open(&args).await?;
    signer.until_open(0).await?;
    signer.be(Conduct::Silent);
    let target = plane.target(&token)?;
    let asking = tokio::spawn(async move {
        pilothouse_tests::certificates::request_certificate(&target, Some(&web), 0).await
    });
    signer.until_open(1).await?;
    asking.abort();
    signer.until_open(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn control_plane_that_stops_refuses_and_deletes_pending_requests() -> anyhow::Result<()> {
    let Meshed { signer, mut args, token, web, .. } = Meshed::new().await?;
    args.identity.external_signer_timeout = NEVER;
    let plane = Plane::open(&args).await?;
    signer.be(Conduct::Silent);
    let target = plane.target(&token)?;
    let asking = tokio::spawn(async move {
        pilothouse_tests::certificates::request_certificate(&target, Some(&web), 0).await
    });
    until(LIMIT, async || Ok((!signer.approved().is_empty()).then_some(()))).await?;
    plane.stop().await?;
    asking.await?.err().context("a certificate without a signer")?;
    signer.until_open(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_bounded() -> anyhow::Result<()> {
    const MAX_PENDING: u16 = 400;
    /// The share of one client.
    const SHARE: usize = 100;
    const REQUESTS: usize = 300;
    /// Fewer than the maximum of streams per connection.
    const PER_CONNECTION: usize = 50;
    let Meshed { signer, mut args, token, web, .. } = Meshed::new().await?;
    args.identity.external_signer_timeout = NEVER;
    args.identity.external_signer_requests = MAX_PENDING;
    let plane = Plane::open(&args).await?;
    signer.until_open(0).await?;
    signer.be(Conduct::Silent);
    let mut channels = Vec::new();
    for _ in 0..REQUESTS / PER_CONNECTION {
        channels.push(channel(&plane, &token).await?);
    }
    let mut asking = Vec::new();
    for number in 0..REQUESTS {
        let channel = channels[number / PER_CONNECTION].clone();
        let (token, request) = (token.clone(), request(&web, &[&web], "")?);
        asking.push(tokio::spawn(async move { call_on(channel, &token, &request).await }));
    }
    let refused = u64::try_from(REQUESTS - SHARE)?;
    until(LIMIT, async || Ok((plane.refused("client_busy") == refused).then_some(()))).await?;
    signer.until_open(SHARE).await?;
    assert_eq!(signer.open().await?, SHARE);
    let (done, open): (Vec<_>, Vec<_>) = asking.into_iter().partition(tokio::task::JoinHandle::is_finished);
    for done in join_all(done).await {
        assert_eq!(done??.err().map(|(code, _)| code), Some(RESOURCE_EXHAUSTED));
    }
    open.iter().for_each(tokio::task::JoinHandle::abort);
    signer.until_open(0).await?;
    // Their permits are released.
    signer.be(Conduct::Honest);
    plane.certificate(&token, Some(&web)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_client_does_not_starve_others_or_the_secure_port() -> anyhow::Result<()> {
    const NODES: usize = 4;
    let meshed = Meshed::new().await?;
    let Meshed { site, signer, args, token, web } = &meshed;
    let mut args = args.clone();
    args.identity.external_signer_timeout = NEVER;
    args.identity.external_signer_requests = NODES as u16;
    let mut clients = vec![(token.clone(), web.clone())];
    for number in 2..=NODES + 1 {
        let node = format!("n{number}");
        site.pod(&site.shop, &format!("web-{number}"), "web", &node).await?;
        clients.push((site.ztunnel(&node).await?, web.clone()));
    }
    let plane = Plane::open(&args).await?;
    signer.until_open(0).await?;
    signer.be(Conduct::Silent);
    let mut asking = Vec::new();
    let mut ask = async |(token, web): &(String, String)| {
        let (target, web) = (plane.target(token)?, web.clone());
        let open = asking.len() + 1;
        asking.push(tokio::spawn(async move {
            pilothouse_tests::certificates::request_certificate(&target, Some(&web), 0).await
        }));
        signer.until_open(open).await
    };
    ask(&clients[0]).await?;
    assert_eq!(plane.refusal(token, Some(web)).await?, RESOURCE_EXHAUSTED);
    assert_eq!(plane.refused("client_busy"), 1);
    for client in &clients[1..NODES] {
        ask(client).await?;
    }
    let (last, _) = &clients[NODES];
    assert_eq!(plane.refusal(last, Some(web)).await?, RESOURCE_EXHAUSTED);
    assert_eq!(plane.refused("signer_busy"), 1);

    // All permits are taken, and the serving certificate is still issued with a new name.
    let served = signer.served();
    let mesh = json!({"defaultConfig": {"discoveryAddress": "control.example.org:15012"}});
    meshed.settings_of_mesh(&mesh.to_string()).await?;
    until(LIMIT, async || Ok((signer.served() > served).then_some(()))).await?;
    until(LIMIT, async || Ok(connect(&plane, "control.example.org").await.is_ok().then_some(()))).await?;
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Returns the serving certificate.
async fn serving(plane: &Plane) -> anyhow::Result<Certificate> {
    let tls = Tls { roots_pem: plane.roots()?.into_bytes(), server_name: Some("localhost".to_owned()) };
    let target = Target { address: plane.secure.to_string(), tls: Some(tls), ..Target::default() };
    let stream = dial(&target).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(Certificate::from_der(chain.first().context("an empty chain")?)?)
}

/// Connects to the secure port, verifying a name.
async fn connect(plane: &Plane, name: &str) -> anyhow::Result<()> {
    let tls = Tls { roots_pem: plane.roots()?.into_bytes(), server_name: Some(name.to_owned()) };
    let target = Target { address: plane.secure.to_string(), tls: Some(tls), ..Target::default() };
    dial(&target).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn host_that_a_signer_refuses_is_omitted_from_the_serving_certificate() -> anyhow::Result<()> {
    let meshed = Meshed::new().await?;
    let Meshed { signer, args, token, web, .. } = &meshed;
    let set_host = async |host: &str| {
        let mesh = json!({"defaultConfig": {"discoveryAddress": format!("{host}:15012")}});
        meshed.settings_of_mesh(&mesh.to_string()).await
    };
    signer.refuse_name(Some("control.example.org"));
    signer.sign_for(Duration::from_secs(20));
    set_host("control.example.org").await?;
    // The port opens and keeps serving, first with the active certificate and then with one without the host.
    let plane = Plane::open(args).await?;
    plane.certificate(token, Some(web)).await?;
    assert!(connect(&plane, "control.example.org").await.is_err());
    set_host("other.example.org").await?;
    until(LIMIT, async || Ok(connect(&plane, "other.example.org").await.is_ok().then_some(()))).await?;
    set_host("control.example.org").await?;
    until(LIMIT, async || Ok(connect(&plane, "other.example.org").await.is_err().then_some(()))).await?;
    connect(&plane, "localhost").await?;
    plane.certificate(token, Some(web)).await?;
    // A change of the names requests all of them again.
    signer.refuse_name(None);
    set_host("third.example.org").await?;
    until(LIMIT, async || Ok(connect(&plane, "third.example.org").await.is_ok().then_some(()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_requests_of_a_crashed_replica_are_deleted_and_no_others() -> anyhow::Result<()> {
    let Meshed { site, signer, mut args, .. } = Meshed::new().await?;
    let requests = Api::<CertificateSigningRequest>::all(site.server.client().await?);
    let orphan = async |owner: &str| {
        let labels = [("pilothouse.io/control-plane", owner), ("istio.io/rev", "")];
        let request = CertificateSigningRequest {
            metadata: ObjectMeta {
                generate_name: Some("csr-workload-".to_owned()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            spec: CertificateSigningRequestSpec {
                request: ByteString(
                    ca::SigningKey::generate_p256()?.request_pem(&["spiffe://a"])?.into_bytes(),
                ),
                signer_name: signer.name.clone(),
                usages: Some(vec!["client auth".to_owned()]),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let made = requests.create(&PostParams::default(), &request).await?;
        made.metadata.name.context("no name")
    };
    let (ours, of_another) = (orphan(&site.system).await?, orphan(&site.shop).await?);
    args.identity.external_signer_timeout = NEVER;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&args, &clock).await?;
    until(LIMIT, async || {
        clock.advance(2 * NEVER);
        Ok(requests.get_opt(&ours).await?.is_none().then_some(()))
    })
    .await?;
    assert!(requests.get_opt(&of_another).await?.is_some());
    drop(plane);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_fail_while_the_api_server_is_unavailable_and_recover() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let system = server.namespace("system").await?;
    let signer = Signer::start(&server, "issuers.example/mesh").await?;
    let mut args = of_cluster(&server, &system)?;
    external(&mut args, &signer.name);
    let ztunnel = pod(&server, &system, "ztunnel-n1", "ztunnel", "n1").await?;
    let token = bound_token(&server, &ztunnel, &["istio-ca"]).await?;
    let own = format!("spiffe://cluster.local/ns/{system}/sa/ztunnel");
    let plane = Plane::open(&args).await?;
    plane.certificate(&token, Some(&own)).await?;
    server.stop().await?;
    assert_eq!(plane.refusal(&token, Some(&own)).await?, UNAVAILABLE);
    assert_eq!(plane.refused("signer_unreachable"), 1);
    server.restart().await?;
    until(LIMIT, async || Ok(plane.certificate(&token, Some(&own)).await.ok())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_choose_signers_whose_roots_are_in_the_mesh_settings() -> anyhow::Result<()> {
    let meshed = Meshed::new().await?;
    let Meshed { site, signer, token, web, .. } = &meshed;
    let domain = format!("{}.example", site.system);
    let team = Signer::start(site.server, &format!("{domain}/team-a")).await?;
    let unnamed = Signer::start(site.server, &format!("{domain}/team-b")).await?;
    let entry = |of: &Signer| json!({"pem": of.authority.root_pem, "certSigners": [of.name]});
    let mesh = json!({"caCertificates": [entry(signer), entry(&team)]});
    meshed.settings_of_mesh(&mesh.to_string()).await?;
    let mut args = meshed.args.clone();
    args.identity.external_signer_domain = domain;
    let plane = Plane::open(&args).await?;
    let both = format!("{}{}", signer.authority.root_pem, team.authority.root_pem).replace('\r', "");
    assert_eq!(plane.roots()?, both);

    for (chosen, of) in [("", signer), ("mesh", signer), ("team-a", &team)] {
        let before = of.approved().len();
        let answer = call(&plane, token, &request(web, &[web], chosen)?).await?;
        let chain = answer.map_err(|refused| anyhow::anyhow!("{chosen}: {refused:?}"))?.cert_chain;
        assert_eq!(chain.last(), Some(&both), "the roots of both signers are trusted");
        assert_eq!(of.approved().len(), before + 1, "{chosen}");
    }
    for (chosen, reason) in [("team-b", "signer_roots"), ("../team-a", "signer_name")] {
        let refused = call(&plane, token, &request(web, &[web], chosen)?).await?;
        assert_eq!(refused.err().map(|(code, _)| code), Some(INVALID_ARGUMENT), "{chosen}");
        assert_eq!(plane.refused(reason), 1, "{chosen}");
    }
    assert_eq!(unnamed.approved().len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_roots_are_used_exclusively_and_invalid_ones_keep_the_port_closed() -> anyhow::Result<()> {
    let Meshed { signer, mut args, token, web, .. } = Meshed::new().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("root-cert.pem");
    args.identity.external_root = Some(file.clone());
    let plane = Plane::start(&args).await?;
    let problem = async |part: &str| {
        let found = until(LIMIT, async || {
            Ok(plane.identity.authority.status().problem.filter(|problem| problem.text.contains(part)))
        });
        found.await.with_context(|| format!("{part}: {:?}", plane.identity.authority.status()))
    };
    problem("cannot read the roots").await?;
    std::fs::write(&file, "broken")?;
    problem("are refused").await?;
    assert!(tokio::net::TcpStream::connect(plane.secure).await.is_err(), "the port is closed");
    assert_eq!(signer.open().await?, 0, "no signer is asked while the roots are invalid");
    std::fs::write(&file, &signer.authority.root_pem)?;
    plane.opened().await?;
    plane.certificate(&token, Some(&web)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_without_a_valid_signer_are_an_error_at_start() -> anyhow::Result<()> {
    let site = Site::new().await?;
    for (kind, signer, domain, part) in [
        ("ISTIOD_RA_KUBERNETES_API", "", "", "K8S_SIGNER"),
        ("ISTIOD_RA_KUBERNETES_API", "mesh", "", "K8S_SIGNER"),
        ("ISTIOD_RA_KUBERNETES_API", "a.b/c", "a/b", "CERT_SIGNER_DOMAIN"),
        ("ISTIOD_RA_ISTIO_API", "a.b/c", "", "EXTERNAL_CA"),
    ] {
        let mut args = site.settings()?;
        args.identity.external_ca = kind.to_owned();
        args.identity.external_signer = signer.to_owned();
        args.identity.external_signer_domain = domain.to_owned();
        let error = Daemon::prepare(&args).await.err().context("it starts")?.to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut args = site.settings()?;
    external(&mut args, "a.b/c");
    args.identity.default_cert_ttl = Duration::from_secs(599);
    let error = Daemon::prepare(&args).await.err().context("it starts")?.to_string();
    assert!(error.contains("--default-cert-ttl"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_does_not_ask_the_signer() -> anyhow::Result<()> {
    let Meshed { signer, mut args, .. } = Meshed::new().await?;
    args.shadow = true;
    let shadow = Plane::start(&args).await?;
    let problem = until(LIMIT, async || Ok(shadow.identity.authority.status().problem));
    assert!(problem.await?.text.contains("--shadow"));
    until(LIMIT, async || Ok(shadow.ready().await?.contains("200 OK").then_some(()))).await?;
    assert_eq!(signer.open().await?, 0);
    assert!(tokio::net::TcpStream::connect(shadow.secure).await.is_err(), "the port is closed");
    Ok(())
}
