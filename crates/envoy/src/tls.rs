//! TLS between proxies of the mesh, and with what is behind waypoints.

use model::facts::{KeyPair, SubjectAltName};
use model::{Name, TrustDomain};
use proto::envoy::config::core::v3::{DataSource, data_source};
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret,
    SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext, common_tls_context, secret,
    subject_alt_name_matcher, tls_parameters,
};
use proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use proto::secret_name::{CERTIFICATE, ROOTS};

use crate::matcher::exact;
use crate::message::ads;
use crate::upstream::{Origination, Trust};
use common_tls_context::ValidationContextType;

/// Both sides show certificates of one of these trust domains.
fn mutual(trust_domains: &[TrustDomain]) -> CommonTlsContext {
    let sans = trust_domains.iter().map(|domain| SubjectAltNameMatcher {
        san_type: subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Prefix(format!("spiffe://{domain}/"))),
            ..StringMatcher::default()
        }),
    });
    let secret = |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(ads()) };
    let validation = common_tls_context::CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: sans.collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret(ROOTS)),
    };
    let version = tls_parameters::TlsProtocol::TlSv13.into();
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version,
            tls_maximum_protocol_version: version,
        }),
        tls_certificate_sds_secret_configs: vec![secret(CERTIFICATE)],
        alpn_protocols: vec!["h2".to_owned()],
        validation_context_type: Some(common_tls_context::ValidationContextType::CombinedValidationContext(
            validation,
        )),
    }
}

pub(crate) fn server(trust_domains: &[TrustDomain]) -> DownstreamTlsContext {
    DownstreamTlsContext {
        common_tls_context: Some(mutual(trust_domains)),
        require_client_certificate: Some(true),
    }
}

pub(crate) fn client(trust_domains: &[TrustDomain]) -> UpstreamTlsContext {
    UpstreamTlsContext { common_tls_context: Some(mutual(trust_domains)), ..UpstreamTlsContext::default() }
}

/// Where images of Envoy have the authorities of their system.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What no certificate hashes to.
const NO_CERTIFICATE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Returns TLS with what is behind a waypoint, in which certificates are named as [`secret_name`] says.
pub(crate) fn origination(of: &Origination) -> UpstreamTlsContext {
    let secret = |name| SdsSecretConfig { name: secret_name(name), sds_config: Some(ads()) };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: of.certificate.iter().map(secret).collect(),
            validation_context_type: validation(of).map(ValidationContextType::ValidationContext),
            ..CommonTlsContext::default()
        }),
        sni: of.server_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..UpstreamTlsContext::default()
    }
}

fn validation(of: &Origination) -> Option<CertificateValidationContext> {
    let trusted = match &of.trust {
        Trust::Anybody => return None,
        Trust::Nobody => {
            return Some(CertificateValidationContext {
                verify_certificate_hash: vec![NO_CERTIFICATE.to_owned()],
                ..CertificateValidationContext::default()
            });
        }
        Trust::System => data_source::Specifier::Filename(SYSTEM_ROOTS.to_owned()),
        Trust::Roots(roots) => data_source::Specifier::InlineBytes(roots.pem.to_vec().into()),
    };
    let asked = of.server_name.iter().cloned().map(SubjectAltName::Hostname);
    let names: Vec<SubjectAltName> = if of.names.is_empty() { asked.collect() } else { of.names.clone() };
    let named = names.iter().filter_map(|name| {
        let (san_type, name) = match name {
            SubjectAltName::Hostname(name) => (subject_alt_name_matcher::SanType::Dns, name),
            SubjectAltName::Uri(uri) => (subject_alt_name_matcher::SanType::Uri, uri),
            SubjectAltName::Unknown(_) => return None,
        };
        Some(SubjectAltNameMatcher { san_type: san_type.into(), matcher: Some(exact(name)) })
    });
    Some(CertificateValidationContext {
        trusted_ca: Some(DataSource { specifier: Some(trusted) }),
        match_typed_subject_alt_names: named.collect(),
        ..CertificateValidationContext::default()
    })
}

/// Returns what a Secret with a certificate is called.
pub(crate) fn secret_name(of: &Name) -> String {
    format!("kubernetes://{}/{}", &*of.ns, of.name)
}

/// Returns the secret with a certificate.
pub(crate) fn certificate(name: &str, pair: &KeyPair) -> Secret {
    let inline = |bytes: &[u8]| {
        Some(DataSource { specifier: Some(data_source::Specifier::InlineBytes(bytes.to_vec().into())) })
    };
    let pair = TlsCertificate { certificate_chain: inline(&pair.chain), private_key: inline(&pair.key) };
    Secret { name: name.to_owned(), r#type: Some(secret::Type::TlsCertificate(pair)) }
}
