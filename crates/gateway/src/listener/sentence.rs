//! How TLS is terminated, as sentences, for people.

use std::fmt;

use super::tls::{Authorities, ClientCertificates, ServerCertificates, Termination};

/// What is shown, and what is asked of clients.
impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            ServerCertificates::Workload => f.write_str("the certificate of its workload")?,
            ServerCertificates::Secrets(all) => {
                let secrets: Vec<String> = all.iter().map(|of| format!("Secret {}", of.secret)).collect();
                f.write_str(if secrets.is_empty() { "no certificate" } else { "" })?;
                f.write_str(&secrets.join(" and "))?;
            }
        }
        match &self.clients {
            ClientCertificates::None => Ok(()),
            ClientCertificates::Required(by) => write!(f, ", clients show one of {by}"),
            ClientCertificates::Optional(by) => write!(f, ", clients show one of {by} or none"),
            ClientCertificates::Unverified => f.write_str(", clients show any or none"),
        }
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("the mesh"),
            Self::Found(referent, _) => referent.fmt(f),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}
