//! The secrets that a stream of an Envoy is given on it alone: its certificate and the roots.

use futures::Stream;
use identity::{ProxyCertificate, ProxySecret};
use prost::Message;
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use proto::secret_name::{CERTIFICATE, ROOTS};
use std::pin::Pin;
use std::task::{Context, Poll};
use xds::EnvoySession;

use super::guard::StreamGuard;

/// What they are called.
pub(super) const NAMES: &[&str] = &[CERTIFICATE, ROOTS];

/// The secrets of one stream.
#[derive(Default)]
pub(super) struct Secrets {
    source: Option<Pin<Box<dyn Stream<Item = ProxySecret> + Send>>>,
    /// A certificate is being made.
    is_awaited: bool,
}

impl Secrets {
    /// Gives a session the secrets that its client asks for, as soon as there are any, and whatever follows
    /// them.
    pub fn poll(&mut self, cx: &mut Context<'_>, guard: &StreamGuard, session: &mut EnvoySession) {
        if session.lacks_own() && !self.is_awaited {
            // The first time, or again what was sent and is not kept.
            let held = session.held_own(CERTIFICATE).map(str::to_owned);
            self.source = Some(Box::pin(guard.secrets(held)));
            self.is_awaited = true;
        }
        let Some(source) = &mut self.source else { return };
        while let Poll::Ready(Some(secret)) = source.as_mut().poll_next(cx) {
            match secret {
                ProxySecret::Roots(pem) => session.put_own(ROOTS, &roots(pem).encode_to_vec()),
                ProxySecret::Held(version) => {
                    session.put_own_once(CERTIFICATE, &version, None);
                    self.is_awaited = false;
                }
                ProxySecret::Certificate(of) => {
                    let (version, secret) = certificate(of);
                    session.put_own_once(CERTIFICATE, &version, Some(&secret.encode_to_vec()));
                    self.is_awaited = false;
                }
            }
        }
    }
}

/// As bytes, which is where istioctl looks for it.
fn inline(text: String) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineBytes(text.into_bytes().into())) })
}

fn roots(pem: String) -> Secret {
    let context =
        CertificateValidationContext { trusted_ca: inline(pem), ..CertificateValidationContext::default() };
    Secret { name: ROOTS.to_owned(), r#type: Some(secret::Type::ValidationContext(context)) }
}

fn certificate(of: ProxyCertificate) -> (String, Secret) {
    let pair = TlsCertificate { certificate_chain: inline(of.chain), private_key: inline(of.key) };
    let secret = Secret { name: CERTIFICATE.to_owned(), r#type: Some(secret::Type::TlsCertificate(pair)) };
    (of.version, secret)
}
