//! TLS of a gateway with what is behind it: the application's own, inside of what the mesh does.

use engine::{Builder, Cx, Memo, Table};
use gateway::{
    BackendTls, ClientCertificate, PathPolicy, Policies, PolicyTarget, ServiceTarget, Verification,
};
use model::facts::{ClientTls, KeyPair, Roots, Secret, SubjectAltName, TlsMode};
use model::{Name, Str};
use std::sync::Arc;

use crate::port::Port;

/// How connections to an upstream are secured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origination {
    /// The name that is asked for; `None` for that of the request.
    pub server_name: Option<Str>,
    /// The names of which a certificate must have one; without any, that which is asked for.
    pub names: Vec<SubjectAltName>,
    /// Whose certificates are taken.
    pub trust: Trust,
    /// What is shown, if anything is.
    pub certificate: Option<Shown>,
}

/// The Secret with a certificate that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// That of a DestinationRule.
    OfRule(Name),
    /// That of the gateway, for all backends.
    OfGateway(Name),
}

/// Whom to trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    /// The authorities of the system that the gateway runs on.
    System,
    /// These.
    Roots(Roots),
    /// Whoever answers.
    Anybody,
    /// Nobody: connections fail.
    Nobody,
}

/// A Secret that a gateway shows: whose gateway, and the Secret.
type CertificateKey = (Name, Name);

/// Where it is found what was said of TLS.
#[derive(Clone, Copy)]
pub(super) struct Sources {
    pub policies: Policies,
    pub credentials: Table<Name, Result<Arc<Secret>, Str>>,
    pub certificates: Memo<CertificateKey, ()>,
    /// What gateways show to whomever a policy has them verify.
    pub of_gateways: Table<Name, ClientCertificate>,
}

impl Sources {
    /// Returns how connections are secured; `None` where they are not. Policies for the service's owners go before rules.
    pub fn of(
        self,
        cx: &Cx<'_>,
        gateway: &Name,
        port: &Port,
        policy: &PathPolicy,
        is_requests: bool,
    ) -> Option<Origination> {
        if let Some(tls) = targets(port).into_iter().find_map(|target| self.policies.tls.get(cx, &target)) {
            let own = cx.get(self.of_gateways, gateway);
            let own = own.as_ref().and_then(|own| own.certificate.as_ref());
            let shown = own.map(|of| Shown::OfGateway(of.secret.clone()));
            return Some(Origination { certificate: shown, ..of_policy(&tls) });
        }
        let tls = policy.port.tls.as_ref()?;
        let found = self.of_rule(cx, tls, policy, (!is_requests).then_some(&port.hostname))?;
        if let Some(Shown::OfRule(secret)) = &found.certificate {
            // Read so that the gateway is sent it.
            cx.memo(self.certificates, &(gateway.clone(), secret.clone()));
        }
        Some(found)
    }

    /// Returns what a DestinationRule says. Where nothing else is said, the name of the service is asked for, if it
    /// is given.
    fn of_rule(
        self,
        cx: &Cx<'_>,
        tls: &ClientTls,
        policy: &PathPolicy,
        hostname: Option<&Str>,
    ) -> Option<Origination> {
        if tls.is_valid && matches!(tls.mode, TlsMode::Disable | TlsMode::IstioMutual) {
            return None;
        }
        let name = Name { ns: policy.ns.clone(), name: tls.credential.clone() };
        let secret = (!tls.credential.is_empty()).then(|| cx.get(self.credentials, &name)).flatten();
        let secret = secret.as_ref().and_then(|found| found.as_ref().as_ref().ok());
        let shows = tls.mode == TlsMode::Mutual;
        let can_show = secret.is_some_and(|secret| secret.key_pair.is_ok());
        let trust = if !tls.is_valid || (shows && !can_show) {
            Trust::Nobody
        } else if tls.is_insecure {
            Trust::Anybody
        } else if tls.credential.is_empty() {
            Trust::System
        } else {
            let roots = secret.and_then(|secret| secret.roots.as_ref().ok());
            roots.cloned().map_or(Trust::Nobody, Trust::Roots)
        };
        let names = tls.subject_alt_names.iter();
        Some(Origination {
            server_name: Some(&tls.sni).filter(|name| !name.is_empty()).or(hostname).cloned(),
            names: names.map(subject_alt_name).collect(),
            certificate: (shows && trust != Trust::Nobody).then_some(Shown::OfRule(name)),
            trust,
        })
    }
}

/// As what policies of the Gateway API name a port: by its name, then with all of its service.
pub(super) fn targets(port: &Port) -> Vec<PolicyTarget> {
    let service = ServiceTarget { kind: port.kind, name: port.object.clone() };
    let mut names = vec![port.name.clone(), Str::new()];
    names.dedup();
    names.into_iter().map(|port| PolicyTarget { service: service.clone(), port }).collect()
}

fn subject_alt_name(text: &Str) -> SubjectAltName {
    if text.contains("://") {
        SubjectAltName::Uri(text.clone())
    } else {
        SubjectAltName::Hostname(text.clone())
    }
}

fn of_policy(tls: &BackendTls) -> Origination {
    let known = |name: &&SubjectAltName| !matches!(name, SubjectAltName::Unknown(_));
    let names: Vec<SubjectAltName> = tls.subject_alt_names.iter().filter(known).cloned().collect();
    // Names of another type are those of nobody.
    let is_nobody = names.is_empty() && !tls.subject_alt_names.is_empty();
    Origination {
        server_name: Some(tls.hostname.clone()),
        names,
        trust: match &tls.verification {
            _ if is_nobody => Trust::Nobody,
            Verification::System => Trust::System,
            Verification::ConfigMap(_, roots) => Trust::Roots(roots.clone()),
            Verification::Nobody => Trust::Nobody,
        },
        certificate: None,
    }
}

/// Declares which Secrets of DestinationRules gateways show.
pub(super) fn declare_certificates(b: &mut Builder) -> Memo<CertificateKey, ()> {
    b.memo("wanted_upstream_certificates", |_, _: &CertificateKey| Some(()))
}

/// Declares what is in them; to be called after all tables that want any.
pub(super) fn declare_pairs(b: &mut Builder, of: Sources) -> Table<CertificateKey, KeyPair> {
    let wanted = b.in_use("upstream_certificates_in_use", of.certificates);
    b.derive("upstream_certificates", wanted, move |cx, (_, secret), ()| {
        let found = cx.get(of.credentials, secret)?;
        found.as_ref().as_ref().ok()?.key_pair.as_ref().ok().cloned()
    })
}
