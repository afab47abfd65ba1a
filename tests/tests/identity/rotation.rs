//! A new root under live workloads.

use crate::plane::{Plane, Site};
use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use runtime::identity::{CertificateTarget, NewCertificate, ROTATE, request_certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long both roots are trusted before and after the switch; certificates live for less.
const OVERLAP: Duration = Duration::from_secs(12);
const LIFE_SECONDS: i64 = 10;

/// What one workload holds at a time, renewed by a task of its own.
type Held = Arc<Mutex<NewCertificate>>;

fn parts(
    held: &Held,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Arc<RootCertStore>)> {
    let new = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (roots, chain) = new.chain.split_last().context("an empty chain")?;
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root?)?;
    }
    let chain = chain.concat();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_slice(new.key_pem.as_bytes())?, Arc::new(store)))
}

/// Meets in a TLS handshake in which each side verifies the other by its own roots.
async fn meet(client: &Held, server: &Held) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key, roots) = parts(server)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let serving = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let (chain, key, roots) = parts(client)?;
    let calling = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(spiffe::AnyName::new(roots, provider)))
        .with_client_auth_cert(chain, key)?;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("workload")?;
    let (accepted, connected) = tokio::join!(
        TlsAcceptor::from(Arc::new(serving)).accept(far),
        TlsConnector::from(Arc::new(calling)).connect(name, near),
    );
    connected.context("the client refuses")?;
    accepted.context("the server refuses")?;
    Ok(())
}

async fn renew(target: &CertificateTarget) -> anyhow::Result<NewCertificate> {
    Ok(request_certificate(target, None, LIFE_SECONDS).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn root_is_replaced_without_a_failed_handshake() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.root_overlap = Some(OVERLAP);
    args.identity.default_cert_ttl = Duration::from_secs(LIFE_SECONDS as u64);
    let plane = Plane::open(&args).await?;
    let old = plane.roots()?;
    let mut workloads: Vec<Held> = Vec::new();
    let mut renewing = tokio::task::JoinSet::new();
    for node in ["n1", "n2"] {
        let mut target = plane.target(&site.ztunnel(node).await?)?;
        let held: Held = Arc::new(Mutex::new(renew(&target).await?));
        workloads.push(Arc::clone(&held));
        // Not both at a time: one has new roots while the other has an old certificate.
        let phase = Duration::from_millis(2500) * u32::try_from(workloads.len() - 1)?;
        renewing.spawn(async move {
            tokio::time::sleep(phase).await;
            loop {
                // As a real workload does: at half of the life.
                tokio::time::sleep(Duration::from_secs(LIFE_SECONDS as u64 / 2)).await;
                let new = renew(&target).await.expect("a renewal");
                // What it learns to trust it trusts the control plane with, too.
                target.roots_pem = new.chain.last().expect("roots").clone().into_bytes();
                *held.lock().unwrap_or_else(PoisonError::into_inner) = new;
            }
        });
    }
    let secrets = Api::<Secret>::namespaced(site.server.client().await?, &site.system);
    let ask = json!({"metadata": {"annotations": {ROTATE: "now"}}});
    secrets.patch("istio-ca-secret", &PatchParams::default(), &Patch::Merge(ask)).await?;

    let mut seen = Vec::new();
    let mut met = 0;
    let done = until(LIMIT, async || {
        meet(&workloads[0], &workloads[1]).await?;
        meet(&workloads[1], &workloads[0]).await?;
        met += 2;
        anyhow::ensure!(renewing.try_join_next().is_none(), "a workload could not renew");
        let issuer = plane.identity.authority.current().context("no key material")?;
        let signing = issuer.certificate().map(ca::Certificate::to_pem);
        let phase = (issuer.trust().roots().len(), signing.as_ref() == Some(&old));
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
        Ok((phase == (1, false)).then_some(()))
    });
    done.await.with_context(|| format!("after {met} handshakes, phases {seen:?}"))?;
    // One root; the new one announced; the new one signs; the new one alone.
    assert_eq!(seen, [(1, true), (2, true), (2, false), (1, false)], "(roots, the old one signs)");
    for _ in 0..20 {
        meet(&workloads[0], &workloads[1]).await?;
    }
    renewing.abort_all();
    let stored = secrets.get("istio-ca-secret").await?;
    assert!(!stored.metadata.annotations.unwrap_or_default().contains_key(ROTATE));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn overlap_that_would_cut_certificates_off_ends_the_start() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.default_cert_ttl = Duration::from_secs(48 * 3600);
    Plane::start(&args).await?.stop().await?;
    args.identity.root_overlap = Some(Duration::from_secs(24 * 3600));
    let refused = Plane::start(&args).await.err().context("it starts")?.to_string();
    assert_eq!(
        refused,
        "overlap of roots of 86400 s is shorter than the default validity of certificates of 172800 s; \
         certificates of a root that is replaced would be refused before they end; \
         raise --root-overlap, or lower --default-cert-ttl"
    );
    Ok(())
}

/// Verifies a chain without a name, as SPIFFE peers do.
mod spiffe {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
    use std::sync::Arc;

    #[derive(Debug)]
    pub struct AnyName(Arc<WebPkiServerVerifier>);

    impl AnyName {
        pub fn new(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Self {
            let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            Self(built.expect("roots"))
        }
    }

    impl ServerCertVerifier for AnyName {
        fn verify_server_cert(
            &self,
            leaf: &CertificateDer<'_>,
            between: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            match self.0.verify_server_cert(leaf, between, name, ocsp, now) {
                // The chain is verified before the name.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                other => other,
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
}
