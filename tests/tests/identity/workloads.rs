//! Workloads that keep renewing their certificates, and connect to each other with mTLS.

use crate::clock::FakeClock;
use anyhow::Context;
use identity::Clock;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{CertificateTarget, NewCertificate, request_certificate};
use pilothouse_tests::spiffe::AnyName;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Lifetime of the certificates of workloads, in seconds.
pub const TTL_SECONDS: u64 = 600;

/// How far the clock is advanced in each step: less than the time between renewals.
const STEP: Duration = Duration::from_secs(TTL_SECONDS / 4);

/// A workload with its current certificate.
struct Workload {
    target: CertificateTarget,
    held: NewCertificate,
    /// When it is renewed, in monotonic time.
    renew_at: Duration,
}

/// Workloads that renew their certificates as the clock advances.
pub struct Workloads {
    clock: FakeClock,
    all: Vec<Workload>,
}

impl Workloads {
    /// Creates no workload yet.
    pub fn new(clock: &FakeClock) -> Self {
        Self { clock: clock.clone(), all: Vec::new() }
    }

    /// Starts a workload that requests certificates from `target`, and trusts the roots that it receives.
    pub async fn start(&mut self, target: CertificateTarget) -> anyhow::Result<()> {
        let held = renew(&target).await?;
        // Renewals are staggered: one workload has new roots while another has an old certificate.
        let stagger = STEP * u32::try_from(self.all.len())?;
        let renew_at = self.clock.monotonic() + STEP + stagger;
        self.all.push(Workload { target, held, renew_at });
        Ok(())
    }

    /// Renews the certificates that are due, and connects each workload to each other. No renewal and no
    /// handshake may fail.
    pub async fn connect_all(&mut self) -> anyhow::Result<()> {
        let now = self.clock.monotonic();
        for workload in self.all.iter_mut().filter(|workload| workload.renew_at <= now) {
            workload.held = renew(&workload.target).await.context("a workload cannot renew")?;
            let roots = workload.held.chain.last().cloned().unwrap_or_default();
            workload.target.roots_pem = roots.into_bytes();
            // As ztunnel does: half-way through the lifetime.
            workload.renew_at = now + Duration::from_secs(TTL_SECONDS / 2);
        }
        for (at, client) in self.all.iter().enumerate() {
            for (_, server) in self.all.iter().enumerate().filter(|(other, _)| *other != at) {
                connect(&client.held, &server.held, &self.clock).await?;
            }
        }
        Ok(())
    }

    /// Advances the clock by at least so much in small steps, and connects all workloads at each.
    pub async fn advance(&mut self, by: Duration) -> anyhow::Result<()> {
        let end = self.clock.monotonic() + by;
        while self.clock.monotonic() < end {
            self.connect_all().await?;
            self.clock.advance(STEP);
        }
        self.connect_all().await
    }

    /// Advances the clock until every workload has renewed its certificate.
    pub async fn renew_all(&mut self) -> anyhow::Result<()> {
        self.advance(Duration::from_secs(TTL_SECONDS / 2)).await
    }

    /// Returns the certificate chains of all workloads, each with the roots at its end.
    pub fn chains(&self) -> impl Iterator<Item = &[String]> {
        self.all.iter().map(|workload| workload.held.chain.as_slice())
    }

    /// Connects all workloads again and again until the condition holds. The clock is not advanced.
    pub async fn connect_until(&mut self, holds: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        until(LIMIT, async || {
            self.connect_all().await?;
            Ok(holds()?.then_some(()))
        })
        .await
    }
}

async fn renew(target: &CertificateTarget) -> anyhow::Result<NewCertificate> {
    Ok(request_certificate(target, None, TTL_SECONDS.try_into()?).await?)
}

/// Makes an mTLS handshake in which each side verifies the other with its own roots.
async fn connect(client: &NewCertificate, server: &NewCertificate, clock: &FakeClock) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key, roots) = server.tls()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let serving = ServerConfig::builder_with_details(Arc::clone(&provider), clock.time())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let (chain, key, roots) = client.tls()?;
    let calling = ClientConfig::builder_with_details(Arc::clone(&provider), clock.time())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName::new(roots, provider)?))
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
