//! TLS of the secure port. The serving certificate and the roots of clients follow the authority without a
//! restart: each handshake uses what is active.

mod certificate;
mod names;
mod tls;

pub(crate) use certificate::ServingCertificate;
pub(crate) use names::ServingNames;
pub(crate) use tls::ServingTls;
