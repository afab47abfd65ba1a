//! TLS between proxies of the mesh.

use model::TrustDomain;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext, common_tls_context, subject_alt_name_matcher,
    tls_parameters,
};
use proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use proto::secret_name::{CERTIFICATE, ROOTS};

use crate::message::ads;

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
    UpstreamTlsContext { common_tls_context: Some(mutual(trust_domains)) }
}
