//! Workloads that keep renewing their certificates, and connect to each other with mTLS.

use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{CertificateTarget, NewCertificate, request_certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Lifetime of the certificates of workloads, in seconds.
pub const TTL_SECONDS: i64 = 10;

/// The current certificate of a workload, renewed by a task of its own.
type Held = Arc<Mutex<NewCertificate>>;

/// Workloads; dropping them ends them.
#[derive(Default)]
pub struct Workloads {
    held: Vec<Held>,
    renewing: Mutex<JoinSet<anyhow::Error>>,
    renewals: Arc<AtomicU64>,
}

impl Workloads {
    /// Starts a workload that requests certificates from `target`, and trusts the roots that it receives.
    pub async fn start(&mut self, mut target: CertificateTarget) -> anyhow::Result<()> {
        let held: Held = Arc::new(Mutex::new(renew(&target).await?));
        // Renewals are staggered: one workload has new roots while another has an old certificate.
        let phase = Duration::from_millis(2500) * u32::try_from(self.held.len())?;
        self.held.push(Arc::clone(&held));
        let renewals = Arc::clone(&self.renewals);
        let mut renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        renewing.spawn(async move {
            tokio::time::sleep(phase).await;
            loop {
                // As ztunnel does: half-way through the lifetime.
                tokio::time::sleep(Duration::from_secs(TTL_SECONDS as u64 / 2)).await;
                let new = match renew(&target).await {
                    Ok(new) => new,
                    Err(error) => return error,
                };
                target.roots_pem = new.chain.last().cloned().unwrap_or_default().into_bytes();
                *held.lock().unwrap_or_else(PoisonError::into_inner) = new;
                renewals.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    /// Returns the number of renewals of all workloads.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::SeqCst)
    }

    /// Connects each workload to each other.
    pub async fn connect_all(&self) -> anyhow::Result<()> {
        for (at, client) in self.held.iter().enumerate() {
            for server in self.held.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, held)| held)
            {
                connect(client, server).await?;
            }
        }
        let ended = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).try_join_next();
        match ended {
            Some(error) => Err(error?.context("a workload could not renew")),
            None => Ok(()),
        }
    }

    /// Connects all workloads until every certificate chain matches; no handshake may fail.
    pub async fn connect_until(&self, matches: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
        until(LIMIT, async || {
            self.connect_all().await?;
            let chain = |held: &Held| held.lock().unwrap_or_else(PoisonError::into_inner).chain.clone();
            Ok(self.held.iter().all(|held| matches(&chain(held))).then_some(()))
        })
        .await
    }
}

async fn renew(target: &CertificateTarget) -> anyhow::Result<NewCertificate> {
    Ok(request_certificate(target, None, TTL_SECONDS).await?)
}

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

/// Makes an mTLS handshake in which each side verifies the other with its own roots.
async fn connect(client: &Held, server: &Held) -> anyhow::Result<()> {
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

/// Verifies a chain without a DNS name, as SPIFFE peers do.
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
