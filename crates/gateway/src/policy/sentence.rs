//! Policies as sentences, for people.

use engine::Graph;
use model::Kind;
use model::facts::{Rate, SubjectAltName};
use std::fmt;

use super::Policies;
use super::target::PolicyTarget;
use super::tls::{BackendTls, Verification};
use super::traffic::BackendTraffic;

impl Policies {
    /// Returns what holds of each service and port as a sentence, ascending by these, that of TLS first. This walks
    /// the tables: it is meant for people.
    pub fn sentences(&self, graph: &Graph) -> Vec<String> {
        let tls = graph.rows(self.tls.rows).into_iter();
        let traffic = graph.rows(self.traffic.rows).into_iter();
        let tls = tls.map(|(target, tls)| format!("{target}: {tls}"));
        tls.chain(traffic.map(|(target, traffic)| format!("{target}: {traffic}"))).collect()
    }
}

impl fmt::Display for PolicyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service.kind, self.service.name)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, " port {:?}", self.port.as_str()) }
    }
}

impl fmt::Display for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS for {:?}", self.hostname.as_str())?;
        if !self.subject_alt_names.is_empty() {
            let names = self.subject_alt_names.iter().map(|name| match name {
                SubjectAltName::Hostname(name) => format!("host {:?}", name.as_str()),
                SubjectAltName::Uri(uri) => format!("URI {:?}", uri.as_str()),
                SubjectAltName::Unknown(kind) => format!("nobody by {:?}", kind.as_str()),
            });
            write!(f, " of {}", names.collect::<Vec<_>>().join(" or "))?;
        }
        match &self.verification {
            Verification::System => f.write_str(", verified by the roots of the system")?,
            Verification::ConfigMap(name, _) => write!(f, ", verified by ConfigMap {name}")?,
            Verification::Nobody => f.write_str(", nobody is trusted")?,
        }
        write!(f, " ({} {})", Kind::BackendTLSPolicy, self.policy)
    }
}

impl fmt::Display for BackendTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retries {
            None => f.write_str("nothing of retries")?,
            Some(of) => {
                let Rate { count, interval } = of.budget;
                let least = of.min_rate;
                write!(f, "retries up to {count}% in {interval:?}")?;
                write!(f, ", and always {} in {:?}", least.count, least.interval)?;
            }
        }
        write!(f, " ({} {})", Kind::XBackendTrafficPolicy, self.policy)
    }
}
