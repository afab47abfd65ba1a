//! Which certificates a client may request, and their contents.

use crate::plane::{
    INVALID_ARGUMENT, Plane, RESOURCE_EXHAUSTED, Site, UNAUTHENTICATED, openssl, with_renewals,
};
use crate::token::bound_token;
use anyhow::Context;
use ca::Certificate;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{NewCertificate, RequestError, request_certificate};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn proxy_gets_certificates_for_the_pods_of_its_own_node_only() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let (one, two) = (site.ztunnel("n1").await?, site.ztunnel("n2").await?);
    site.pod(&site.shop, "web", "web", "n1").await?;
    site.pod(&site.shop, "api", "api", "n2").await?;
    let (web, api) = (site.identity("web"), site.identity("api"));

    plane.certificate(&one, Some(&web)).await?;
    plane.certificate(&two, Some(&api)).await?;
    assert_eq!(plane.refusal(&one, Some(&api)).await?, UNAUTHENTICATED);
    assert_eq!(plane.refusal(&two, Some(&web)).await?, UNAUTHENTICATED);
    assert_eq!(plane.refused("not_on_node"), 2);

    // The pod is deleted, created again on the other node, and then runs on both.
    site.delete(&site.shop, "web").await?;
    let is_refused = async || Ok(plane.certificate(&one, Some(&web)).await.is_err().then_some(()));
    until(LIMIT, is_refused).await?;
    site.pod(&site.shop, "web", "web", "n2").await?;
    plane.certificate(&two, Some(&web)).await?;
    assert_eq!(plane.refusal(&one, Some(&web)).await?, UNAUTHENTICATED);
    site.pod(&site.shop, "web-2", "web", "n1").await?;
    plane.certificate(&one, Some(&web)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ztunnel_requests_for_pods_lives_no_longer_than_the_default_unless_more_is_set()
-> anyhow::Result<()> {
    let site = Site::new().await?;
    let args = site.settings()?;
    let (day, month) = (24 * 3600, 30 * 24 * 3600);
    let mut longer = args.clone();
    longer.identity.max_impersonated_cert_ttl = Some(std::time::Duration::from_secs(10 * day));
    let planes = [Plane::open(&args).await?, Plane::open(&longer).await?];
    let ztunnel = site.ztunnel("n1").await?;
    site.pod(&site.shop, "web", "web", "n1").await?;
    let web = site.identity("web");
    for (plane, longest) in planes.iter().zip([day, 10 * day]) {
        let target = plane.target(&ztunnel)?;
        for (identity, requested, lives) in [
            (Some(web.as_str()), month, longest),
            (Some(web.as_str()), 3600, 3600),
            (Some(web.as_str()), 0, day),
            (None, month, month),
        ] {
            let new = request_certificate(&target, identity, i64::try_from(requested)?).await?;
            let validity = Certificate::all_from_pem(new.chain[0].as_bytes())?[0].validity();
            let life = validity.not_after.as_secs() - validity.not_before.as_secs();
            // Certificates are backdated by two minutes.
            assert_eq!(life, lives + 120, "{identity:?} for {requested} s");
        }
        let refused = request_certificate(&target, Some(&web), i64::MAX).await;
        assert!(
            matches!(refused, Err(RequestError::Refused { code: INVALID_ARGUMENT, .. })),
            "over the maximum"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_of_others_cannot_be_requested_otherwise() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let ztunnel = site.ztunnel("n1").await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    site.pod(&site.shop, "api", "api", "n1").await?;
    let web_token = bound_token(site.server, &web, &["istio-ca"]).await?;
    let (shop, system) = (&site.shop, &site.system);
    let denied = [
        ("caller_not_trusted", &web_token, site.identity("api")),
        ("trust_domain", &ztunnel, format!("spiffe://elsewhere/ns/{shop}/sa/web")),
        ("identity_invalid", &ztunnel, format!("spiffe://cluster.local/ns/{shop}/sa/web,spiffe://x")),
        ("identity_invalid", &ztunnel, "web".to_owned()),
        ("not_on_node", &ztunnel, format!("spiffe://cluster.local/ns/{system}/sa/web")),
        ("not_on_node", &ztunnel, site.identity("absent")),
    ];
    for (reason, token, identity) in denied {
        let before = plane.refused(reason);
        assert_eq!(plane.refusal(token, Some(&identity)).await?, UNAUTHENTICATED, "{reason} {identity}");
        assert_eq!(plane.refused(reason), before + 1, "{reason} {identity}");
    }
    assert_eq!(plane.stats().issued.get(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_verifies_with_openssl_and_serves_both_ends_of_rustls() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&with_renewals(site.settings()?)).await?;
    let ztunnel = site.ztunnel("n1").await?;
    site.pod(&site.shop, "web", "web", "n1").await?;
    let identity = site.identity("web");
    let new = plane.certificate(&ztunnel, Some(&identity)).await?;
    let [leaf, roots] = new.chain.as_slice() else { anyhow::bail!("{:?}", new.chain) };

    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("leaf.pem"), leaf)?;
    std::fs::write(dir.path().join("roots.pem"), roots)?;
    for purpose in ["sslclient", "sslserver"] {
        let verify = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "roots.pem", "leaf.pem"];
        openssl(&verify, dir.path())?;
    }
    let text = openssl(&["x509", "-in", "leaf.pem", "-noout", "-text"], dir.path())?;
    let text = String::from_utf8(text)?;
    assert!(text.contains(&format!("URI:{identity}")) && text.contains("CA:FALSE"), "{text}");
    let certificate = &Certificate::all_from_pem(leaf.as_bytes())?[0];
    assert_eq!(certificate.identity()?.to_string(), identity);
    assert!(certificate.serial().trim_start_matches('0').len() > 24, "128 random bits");

    // The certificate is accepted as a client certificate of the secure port, to renew itself.
    let mut target = plane.target("")?;
    target.client = Some((leaf.clone().into_bytes(), new.key_pem.into_bytes()));
    let renewed = request_certificate(&target, None, 0).await?;
    let renewed = &Certificate::all_from_pem(renewed.chain[0].as_bytes())?[0];
    assert_eq!(renewed.identity()?.to_string(), identity);
    // It names no pod, so it cannot request certificates of others.
    match request_certificate(&target, Some(&identity), 0).await {
        Err(RequestError::Refused { code, .. }) => assert_eq!(code, UNAUTHENTICATED),
        other => anyhow::bail!("{other:?}"),
    }
    assert_eq!(plane.refused("caller_unbound"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificate_of_another_authority_fails_the_handshake() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(site.identity("web").as_str().try_into()?)];
    let forged = params.self_signed(&key)?;
    let mut target = plane.target("")?;
    target.client = Some((forged.pem().into_bytes(), key.serialize_pem().into_bytes()));
    let refused = request_certificate(&target, None, 0).await;
    assert!(
        matches!(refused, Err(RequestError::Connect { .. } | RequestError::Call { .. })),
        "TLS refuses: {refused:?}"
    );
    assert_eq!(plane.stats().requests.get(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_overlong_requests_are_refused_by_their_code() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let ask = async |csr: &str, seconds: i64| {
        let message = proto::citadel::IstioCertificateRequest {
            csr: csr.to_owned(),
            validity_duration: seconds,
            metadata: None,
        };
        call(&plane, &token, &message).await
    };
    let key = rcgen::KeyPair::generate()?;
    let good = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    assert!(ask(&good, 0).await?.is_ok());
    let code = async |csr: &str, seconds| anyhow::Ok(ask(csr, seconds).await?.err().map(|(code, _)| code));
    assert_eq!(code("", 0).await?, Some(INVALID_ARGUMENT));
    assert_eq!(code("nonsense", 0).await?, Some(INVALID_ARGUMENT));
    assert_eq!(code(&good, i64::MAX).await?, Some(INVALID_ARGUMENT), "a life over the limit");
    assert_eq!(code(&"A".repeat(20_000), 0).await?, Some(INVALID_ARGUMENT), "a request over the limit");
    assert_eq!(code(&"A".repeat(100_000), 0).await?, Some(RESOURCE_EXHAUSTED), "a message over the limit");
    assert!(ask(&good, 0).await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_one_client_does_not_affect_others() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.certificates_per_second = 1;
    let plane = Plane::open(&args).await?;
    let (greedy, modest) = (site.ztunnel("n1").await?, site.ztunnel("n2").await?);
    let mut limited = 0;
    for _ in 0..40 {
        match request_certificate(&plane.target(&greedy)?, None, 0).await {
            Ok(_) => {}
            Err(RequestError::Refused { code, .. }) => {
                assert_eq!(code, RESOURCE_EXHAUSTED);
                limited += 1;
            }
            Err(other) => return Err(other.into()),
        }
    }
    assert!(limited > 0, "forty at once are more than four and one a second");
    plane.certificate(&modest, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_of_one_address_do_not_block_others() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.2:0".parse()?)?;
        open.push(socket.connect(plane.secure).await?);
    }
    plane.certificate(&token, None).await?;
    let evicted = ("evicted", 300 - 256);
    until(LIMIT, async || Ok(plane.stats().handshakes.list().contains(&evicted).then_some(()))).await?;
    drop(open);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_certificate_has_the_names_of_istiod_and_both_versions_of_tls() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    for name in ["istiod", "istiod-remote", "istio-pilot"] {
        let mut target = plane.target(&token)?;
        target.server_name = format!("{name}.{}.svc", site.system);
        request_certificate(&target, None, 0).await?;
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(plane.roots()?.as_bytes()) {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(plane.secure).await?;
        let tls = connector.connect("localhost".try_into()?, stream).await?;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
    Ok(())
}

/// Calls the certificate service with tonic.
pub async fn call(
    plane: &Plane,
    token: &str,
    message: &proto::citadel::IstioCertificateRequest,
) -> anyhow::Result<Result<proto::citadel::IstioCertificateResponse, (u8, String)>> {
    let channel = channel(plane, token).await?;
    call_on(channel, token, message).await
}

/// Opens a tonic channel.
pub async fn channel(plane: &Plane, token: &str) -> anyhow::Result<tonic::transport::Channel> {
    connect(plane, token, None).await
}

/// Opens a tonic channel that presents a client certificate.
pub async fn channel_showing(
    plane: &Plane,
    certificate: &NewCertificate,
) -> anyhow::Result<tonic::transport::Channel> {
    let (_roots, chain) = certificate.chain.split_last().context("an empty chain")?;
    let shown = (chain.concat().into_bytes(), certificate.key_pem.clone().into_bytes());
    connect(plane, "", Some(shown)).await
}

async fn connect(
    plane: &Plane,
    token: &str,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
) -> anyhow::Result<tonic::transport::Channel> {
    let target = pilothouse_tests::client::Target {
        address: plane.secure.to_string(),
        tls: plane.client_options(token)?.tls,
        certificate,
        time: plane.time(),
        ..Default::default()
    };
    pilothouse_tests::client::transport::channel(&target).await
}

/// Requests a new certificate with a lifetime in seconds (0 for the default) on a connection that presents a
/// client certificate; returns it, or the status code of the refusal.
pub async fn renew_on(
    channel: &tonic::transport::Channel,
    seconds: i64,
) -> anyhow::Result<Result<Certificate, u8>> {
    let csr = ca::SigningKey::generate_p256()?.request_pem(&[])?;
    let message =
        proto::citadel::IstioCertificateRequest { csr, validity_duration: seconds, ..Default::default() };
    match call_on(channel.clone(), "", &message).await? {
        Ok(answer) => Ok(Ok(Certificate::all_from_pem(answer.cert_chain[0].as_bytes())?.remove(0))),
        Err((code, _)) => Ok(Err(code)),
    }
}

/// Calls the certificate service on a connection.
pub async fn call_on(
    channel: tonic::transport::Channel,
    token: &str,
    message: &proto::citadel::IstioCertificateRequest,
) -> anyhow::Result<Result<proto::citadel::IstioCertificateResponse, (u8, String)>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.context("not ready")?;
    let mut request = tonic::Request::new(message.clone());
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    let path = http::uri::PathAndQuery::from_static(proto::rpc_path::CREATE_CERTIFICATE);
    let codec = tonic_prost::ProstCodec::default();
    Ok(match grpc.unary(request, path, codec).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err((u8::try_from(i32::from(status.code()))?, status.message().to_owned())),
    })
}
