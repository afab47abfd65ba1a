//! TLS between proxies of the mesh, with what is behind gateways, and with clients of those at the edge.

use gateway::{
    Authorities, Certificate, ClientCertificates, Material, MaterialContent, ServerCertificates, Termination,
};
use model::facts::{KeyPair, Referent, SubjectAltName};
use model::{Name, TrustDomain};
use proto::envoy::config::core::v3::{DataSource, data_source};
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret,
    SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext, certificate_validation_context,
    common_tls_context, secret, subject_alt_name_matcher, tls_parameters,
};
use proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use proto::secret_name::{CERTIFICATE, ROOTS};

use crate::matcher::exact;
use crate::message::ads;
use crate::upstream::{Origination, Shown, Trust};
use certificate_validation_context::TrustChainVerification;
use common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};

/// Returns what takes certificates of the mesh, of one of these trust domains.
fn of_mesh(trust_domains: &[TrustDomain]) -> CombinedCertificateValidationContext {
    let sans = trust_domains.iter().map(|domain| SubjectAltNameMatcher {
        san_type: subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Prefix(format!("spiffe://{domain}/"))),
            ..StringMatcher::default()
        }),
    });
    CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: sans.collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(sds(ROOTS.to_owned())),
    }
}

/// Both sides show certificates of one of these trust domains.
fn mutual(trust_domains: &[TrustDomain]) -> CommonTlsContext {
    let version = tls_parameters::TlsProtocol::TlSv13.into();
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version,
            tls_maximum_protocol_version: version,
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![sds(CERTIFICATE.to_owned())],
        alpn_protocols: vec!["h2".to_owned()],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(of_mesh(
            trust_domains,
        ))),
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

/// Returns TLS with what is behind a gateway, of these protocols.
pub(crate) fn origination(of: &Origination, protocols: &[&str]) -> UpstreamTlsContext {
    let shown = of.certificate.iter().map(|shown| match shown {
        Shown::OfRule(secret) => sds(secret_name(secret)),
        Shown::OfGateway(secret) => sds(material_name(&Material::Certificate(secret.clone()))),
    });
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: shown.collect(),
            alpn_protocols: protocols.iter().map(|of| (*of).to_owned()).collect(),
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
        Trust::Nobody => return Some(nobody()),
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

fn nobody() -> CertificateValidationContext {
    CertificateValidationContext {
        verify_certificate_hash: vec![NO_CERTIFICATE.to_owned()],
        ..CertificateValidationContext::default()
    }
}

fn sds(name: String) -> SdsSecretConfig {
    SdsSecretConfig { name, sds_config: Some(ads()) }
}

/// Returns how TLS of clients ends at a listener, whose streams are of one of these protocols.
pub(crate) fn termination(
    of: &Termination,
    trust_domains: &[TrustDomain],
    protocols: &[&str],
) -> DownstreamTlsContext {
    let shown = match &of.server {
        ServerCertificates::Workload => vec![sds(CERTIFICATE.to_owned())],
        ServerCertificates::Secrets(all) => {
            let name = |of: &Certificate| material_name(&Material::Certificate(of.secret.clone()));
            all.iter().map(|of| sds(name(of))).collect()
        }
    };
    let (required, authorities) = match &of.clients {
        ClientCertificates::None => (false, None),
        ClientCertificates::Required(all) => (true, Some(by(all, trust_domains))),
        ClientCertificates::Optional(all) => (false, Some(by(all, trust_domains))),
        ClientCertificates::Unverified => {
            let context = CertificateValidationContext {
                trust_chain_verification: TrustChainVerification::AcceptUntrusted.into(),
                ..CertificateValidationContext::default()
            };
            (false, Some(ValidationContextType::ValidationContext(context)))
        }
    };
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: tls_parameters::TlsProtocol::TlSv12.into(),
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: shown,
            alpn_protocols: protocols.iter().map(|of| (*of).to_owned()).collect(),
            validation_context_type: authorities,
        }),
        require_client_certificate: required.then_some(true),
    }
}

/// Returns how certificates of clients are verified.
fn by(authorities: &Authorities, trust_domains: &[TrustDomain]) -> ValidationContextType {
    match authorities {
        Authorities::Mesh => ValidationContextType::CombinedValidationContext(of_mesh(trust_domains)),
        Authorities::Found(referent, _) => ValidationContextType::ValidationContextSdsSecretConfig(sds(
            material_name(&Material::Authorities(referent.clone())),
        )),
        Authorities::Nobody => ValidationContextType::ValidationContext(nobody()),
    }
}

/// Returns what something is called that a gateway at the edge is sent of Secrets and ConfigMaps, as istiod calls it.
pub(crate) fn material_name(of: &Material) -> String {
    match of {
        Material::Certificate(secret) => format!("kubernetes-gateway://{}/{}", &*secret.ns, secret.name),
        Material::Authorities(Referent::ConfigMap(map)) => {
            format!("configmap://{}/{}-cacert", &*map.ns, map.name)
        }
        Material::Authorities(Referent::Secret(secret)) => {
            format!("kubernetes-gateway://{}/{}-cacert", &*secret.ns, secret.name)
        }
        // No authorities are in defaults of classes.
        Material::Authorities(Referent::ClassDefaults(ns)) => format!("invalid://{}", &**ns),
    }
}

/// Returns the secret with it.
pub(crate) fn material(name: &str, content: &MaterialContent) -> Secret {
    match content {
        MaterialContent::Pair(pair) => certificate(name, pair),
        MaterialContent::Roots(roots) => {
            let pem = data_source::Specifier::InlineBytes(roots.pem.to_vec().into());
            let context = CertificateValidationContext {
                trusted_ca: Some(DataSource { specifier: Some(pem) }),
                ..CertificateValidationContext::default()
            };
            Secret { name: name.to_owned(), r#type: Some(secret::Type::ValidationContext(context)) }
        }
    }
}

/// Returns what a Secret with a certificate of a DestinationRule is called.
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
