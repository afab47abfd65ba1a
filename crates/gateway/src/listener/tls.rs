//! How TLS is terminated at listeners: their certificates, and those of clients.

use engine::{Builder, Cx, Table};
use model::facts::{
    Digest, FrontendTls, FrontendValidation, Gateway, ListenerTls, ObjectReference, Referent,
};
use model::{Kind, Name, Ns};

use super::material::{Material, Materials};
use super::protocol::Protocol;
use super::row::Listener;
use crate::class::Class;
use crate::key::ListenerKey;
use crate::reference::{Missing, References};

/// A certificate with its key, in a Secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The Secret.
    pub secret: Name,
    /// Of what it holds.
    pub digest: Digest,
}

/// What a listener shows to clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerCertificates {
    /// The certificate of its workload.
    Workload,
    /// These, in order: those that can be used. Without any, no handshake succeeds.
    Secrets(Vec<Certificate>),
}

/// What is asked of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientCertificates {
    /// Nothing.
    None,
    /// A certificate of these authorities.
    Required(Authorities),
    /// A certificate of these authorities, or none.
    Optional(Authorities),
    /// Any certificate, or none.
    Unverified,
}

/// Whom to trust for certificates of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authorities {
    /// The roots of the mesh.
    Mesh,
    /// Those in a Secret or ConfigMap.
    Found(Referent, Digest),
    /// Nobody, since they cannot be told: no handshake with a certificate succeeds.
    Nobody,
}

/// How TLS is terminated at a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Termination {
    /// What it shows.
    pub server: ServerCertificates,
    /// What it asks for.
    pub clients: ClientCertificates,
    /// What of its own certificates cannot be used, in order.
    pub(crate) server_faults: Vec<TlsFault>,
    /// Why certificates of clients cannot be verified.
    pub(crate) client_fault: Option<TlsFault>,
    /// Whether something of it was not read yet: what is here may change without anybody's doing.
    pub is_pending: bool,
}

/// A reference that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsFault {
    /// The reason of conditions.
    pub reason: &'static str,
    pub message: String,
}

impl TlsFault {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Termination {
    /// Tells whether handshakes can succeed.
    pub fn is_served(&self) -> bool {
        let has_certificate = match &self.server {
            ServerCertificates::Workload => true,
            ServerCertificates::Secrets(all) => !all.is_empty(),
        };
        has_certificate && self.client_fault.is_none()
    }

    /// Returns what a gateway is sent for it.
    fn materials(&self) -> impl Iterator<Item = Material> {
        let certificates = match &self.server {
            ServerCertificates::Workload => &[][..],
            ServerCertificates::Secrets(all) => all,
        };
        let authorities = match &self.clients {
            ClientCertificates::Required(Authorities::Found(of, _))
            | ClientCertificates::Optional(Authorities::Found(of, _)) => Some(of.clone()),
            _ => None,
        };
        let certificates = certificates.iter().map(|of| Material::Certificate(of.secret.clone()));
        certificates.chain(authorities.map(Material::Authorities))
    }

    /// Returns everything that is wrong, in order.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &TlsFault> {
        self.server_faults.iter().chain(&self.client_fault)
    }
}

/// Declares how TLS is terminated at each listener where it is.
pub(crate) fn declare(
    b: &mut Builder,
    gateways: Table<Name, Gateway>,
    listeners: Table<ListenerKey, Listener>,
    (references, materials): (References, Materials),
) -> Table<ListenerKey, Termination> {
    // A row of its own: nothing else of a gateway reaches the certificates of its listeners.
    let frontends = b.derive("gateway_frontends", gateways, |_, _, gateway| {
        let of = &gateway.frontend;
        (of.default.is_some() || !of.ports.is_empty()).then(|| of.clone())
    });
    b.derive("listener_tls", listeners, move |cx, key, listener| {
        let tls = listener.tls.as_ref().filter(|tls| tls.is_terminated && listener.is_active())?;
        let is_tls = matches!(listener.protocol, Ok(Protocol::Https | Protocol::Tls));
        if listener.class != Class::Gateway || !is_tls {
            return None;
        }
        let frontend = cx.get(frontends, &key.gateway);
        let validation = frontend.as_deref().and_then(|of: &FrontendTls| of.of_port(listener.port));
        let termination =
            Reader { cx, references, is_pending: false }.termination(key, &tls.facts, validation);
        termination.materials().for_each(|of| materials.want(cx, &key.gateway, of));
        Some(termination)
    })
}

/// The option that says how TLS is terminated.
const MODE: &str = "gateway.istio.io/tls-terminate-mode";

const INVALID: &str = "InvalidCertificateRef";
const INVALID_CA: &str = "InvalidCACertificateRef";
const NOT_PERMITTED: &str = "RefNotPermitted";

struct Reader<'a> {
    cx: &'a Cx<'a>,
    references: References,
    is_pending: bool,
}

impl Reader<'_> {
    fn termination(
        mut self,
        key: &ListenerKey,
        tls: &ListenerTls,
        validation: Option<&FrontendValidation>,
    ) -> Termination {
        let mode = tls.options.get(MODE).map(|mode| mode.as_str());
        let mut termination = Termination {
            server: ServerCertificates::Workload,
            clients: ClientCertificates::None,
            server_faults: Vec::new(),
            client_fault: None,
            is_pending: false,
        };
        match mode {
            Some("ISTIO_SIMPLE") => return termination,
            Some("ISTIO_MUTUAL") => {
                return Termination {
                    clients: ClientCertificates::Required(Authorities::Mesh),
                    ..termination
                };
            }
            _ => {}
        }
        let (found, faults) = self.certificates(key, &tls.certificates);
        let asks = validation.is_some() || matches!(mode, Some("MUTUAL" | "OPTIONAL_MUTUAL"));
        if asks {
            let authorities = match validation {
                Some(validation) => self.authorities(&key.gateway.ns, validation),
                // The roots beside the certificate, as tools make them.
                None => self.own_authorities(key.owner.kind(), &key.owner.name().ns, &tls.certificates),
            };
            let authorities = authorities.unwrap_or_else(|fault| {
                termination.client_fault = Some(fault);
                Authorities::Nobody
            });
            termination.clients = match mode {
                Some("MUTUAL") => ClientCertificates::Required(authorities),
                Some("OPTIONAL_MUTUAL") => ClientCertificates::Optional(authorities),
                _ if validation.is_some_and(|of| of.is_optional) => ClientCertificates::Unverified,
                _ => ClientCertificates::Required(authorities),
            };
        }
        Termination {
            server: ServerCertificates::Secrets(found),
            server_faults: faults,
            is_pending: self.is_pending,
            ..termination
        }
    }

    /// Returns the certificates of a listener that can be used, and why others cannot.
    fn certificates(
        &mut self,
        key: &ListenerKey,
        references: &[ObjectReference],
    ) -> (Vec<Certificate>, Vec<TlsFault>) {
        if references.is_empty() {
            return (Vec::new(), vec![TlsFault::new(INVALID, "TLS is terminated without a certificate")]);
        }
        if references.len() > 2 {
            let message = "TLS mode can only support up to 2 server certificates";
            return (Vec::new(), vec![TlsFault::new(INVALID, message)]);
        }
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for reference in references {
            match self.certificate(key.owner.kind(), &key.owner.name().ns, reference, &SERVER) {
                Ok(certificate) => found.extend(certificate),
                Err(fault) => faults.push(fault),
            }
        }
        (found, faults)
    }

    /// Returns a certificate; nothing while it is not known.
    fn certificate(
        &mut self,
        kind: Kind,
        own: &Ns,
        reference: &ObjectReference,
        role: &Role,
    ) -> Result<Option<Certificate>, TlsFault> {
        let target = reference.target(own);
        let invalid = |why: &str| {
            TlsFault::new(role.invalid, format!("{} {}, {why}", role.begin, quoted(reference, &target)))
        };
        if !reference.is("", "Secret") {
            return Err(invalid("only secret is allowed"));
        }
        // Before anything is looked up: nobody learns what exists elsewhere.
        if !self.references.permit(self.cx, kind, own, reference) {
            return Err(not_permitted(role.field, &format!("{}/{}", target.name, target.ns), own));
        }
        let secret = match self.references.secret(self.cx, &target) {
            Ok(secret) => secret,
            Err(missing) => {
                let why = self.missing(missing, "secret", &target);
                return why.map_or(Ok(None), |why| Err(invalid(&why)));
            }
        };
        match &secret.key_pair {
            Ok(pair) => Ok(Some(Certificate { secret: target, digest: pair.digest })),
            Err(why) => Err(invalid(&format!("secret {target} is not valid: {why}"))),
        }
    }

    /// Says why an object is missing; notes that it is not known yet instead.
    fn missing(&mut self, missing: Missing, what: &str, target: &Name) -> Option<String> {
        match missing {
            Missing::Pending => {
                self.is_pending = true;
                None
            }
            Missing::Absent => Some(format!("{what} {target} not found")),
            Missing::Unreadable(why) => Some(format!("{what} {target} cannot be read: {why}")),
        }
    }

    /// Returns whom to trust by what a gateway says of its clients. References are those of the gateway,
    /// whoever has the listener.
    fn authorities(&mut self, own: &Ns, validation: &FrontendValidation) -> Result<Authorities, TlsFault> {
        let reference = match validation.roots.as_slice() {
            [] => return Err(TlsFault::new(INVALID_CA, "clients are verified without a caCertificateRef")),
            [one] => one,
            _ => return Err(TlsFault::new(INVALID_CA, "only one caCertificateRef is supported")),
        };
        let target = reference.target(own);
        let invalid = |reason, why: &str| {
            TlsFault::new(
                reason,
                format!("invalid CA certificate reference {}, {why}", quoted(reference, &target)),
            )
        };
        let (is_secret, is_map) = (reference.is("", "Secret"), reference.is("", "ConfigMap"));
        if !is_secret && !is_map {
            return Err(invalid("InvalidCACertificateKind", "only secret and configmap are allowed"));
        }
        if !self.references.permit(self.cx, Kind::Gateway, own, reference) {
            return Err(not_permitted("caCertificateRef", &target.to_string(), own));
        }
        let (what, referent, roots) = if is_secret {
            let secret = self.references.secret(self.cx, &target);
            ("secret", Referent::Secret(target.clone()), secret.map(|secret| secret.roots.clone()))
        } else {
            let map = self.references.config_map(self.cx, &target);
            ("configmap", Referent::ConfigMap(target.clone()), map.map(|map| map.roots.clone()))
        };
        match roots {
            Ok(Ok(roots)) => Ok(Authorities::Found(referent, roots.digest)),
            Ok(Err(why)) => Err(invalid(INVALID_CA, &format!("{what} {target} is not valid: {why}"))),
            Err(missing) => match self.missing(missing, what, &target) {
                Some(why) => Err(invalid(INVALID_CA, &why)),
                None => Ok(Authorities::Nobody),
            },
        }
    }

    /// Returns whom to trust by what is beside the first certificate: in its Secret, or in that of the own
    /// namespace which is named after it.
    fn own_authorities(
        &mut self,
        kind: Kind,
        own: &Ns,
        references: &[ObjectReference],
    ) -> Result<Authorities, TlsFault> {
        let is_usable = |reference: &&ObjectReference| {
            reference.is("", "Secret") && self.references.permit(self.cx, kind, own, reference)
        };
        // What is wrong with references to certificates is told of those.
        let Some(reference) = references.iter().find(is_usable) else { return Ok(Authorities::Nobody) };
        let target = reference.target(own);
        let beside = Name { ns: target.ns.clone(), name: format!("{}-cacert", target.name).into() };
        let beside = (target.ns == *own).then_some(beside);
        let mut faults = Vec::new();
        for name in std::iter::once(target).chain(beside) {
            match self.references.secret(self.cx, &name).map(|secret| secret.roots.clone()) {
                Ok(Ok(roots)) => return Ok(Authorities::Found(Referent::Secret(name), roots.digest)),
                Ok(Err(why)) => faults.push(format!("secret {name} is not valid: {why}")),
                Err(missing) => faults.extend(self.missing(missing, "secret", &name)),
            }
        }
        if self.is_pending {
            return Ok(Authorities::Nobody);
        }
        let message = format!("no CA certificate for clients, {}", faults.join("; "));
        Err(TlsFault::new(INVALID_CA, message))
    }
}

/// For what a certificate is shown.
struct Role {
    /// The reason of a reference that is not valid.
    invalid: &'static str,
    /// How messages of it begin.
    begin: &'static str,
    /// The field that refers to it.
    field: &'static str,
}

const SERVER: Role =
    Role { invalid: INVALID, begin: "invalid certificate reference", field: "certificateRef" };
const CLIENT: Role = Role {
    invalid: "InvalidClientCertificateRef",
    begin: "invalid client certificate reference",
    field: "clientCertificateRef",
};

fn quoted(reference: &ObjectReference, target: &Name) -> String {
    format!("{}/{}/{}.{}", reference.group, reference.kind, target.name, target.ns)
}

fn not_permitted(field: &str, target: &str, own: &Ns) -> TlsFault {
    let message = format!(
        "{field} {target} not accessible to a Gateway in namespace {:?} (missing a ReferenceGrant?)",
        &**own
    );
    TlsFault::new(NOT_PERMITTED, message)
}

/// What a gateway shows to backends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificate {
    /// The certificate, if it can be used.
    pub certificate: Option<Certificate>,
    pub(crate) fault: Option<TlsFault>,
    /// Whether it was not read yet.
    pub is_pending: bool,
}

/// Declares what gateways show to backends, where they have something for that.
pub(crate) fn declare_client_certificates(
    b: &mut Builder,
    gateways: Table<Name, Gateway>,
    is_served: impl Fn(&Cx<'_>, &Name) -> bool + Send + 'static,
    (references, materials): (References, Materials),
) -> Table<Name, ClientCertificate> {
    b.derive("gateway_client_certificates", gateways, move |cx, name, gateway| {
        let reference = gateway.backend_certificate.as_ref().filter(|_| is_served(cx, name))?;
        let mut reader = Reader { cx, references, is_pending: false };
        let (certificate, fault) = match reader.certificate(Kind::Gateway, &name.ns, reference, &CLIENT) {
            Ok(certificate) => (certificate, None),
            Err(fault) => (None, Some(fault)),
        };
        if let Some(certificate) = &certificate {
            materials.want(cx, name, Material::Certificate(certificate.secret.clone()));
        }
        Some(ClientCertificate { certificate, fault, is_pending: reader.is_pending })
    })
}
