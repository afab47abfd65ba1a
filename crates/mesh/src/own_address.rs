//! Endpoints at addresses of whoever dials them: for a waypoint that is the waypoint itself, so it sends nothing there.

use engine::{Builder, Table};
use model::facts::{EntryAddress, ServiceEntry, WorkloadEntry};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity, is_same_for_all};
use output::Outputs;

/// Codes of the diagnostics that arise here.
mod code {
    /// An endpoint of a ServiceEntry is at such an address.
    pub(super) const ENDPOINT: &str = "SE011";
    /// A WorkloadEntry is.
    pub(super) const WORKLOAD: &str = "WE002";
}

/// Declares what authors of such addresses should know.
pub(crate) fn declare_findings(
    b: &mut Builder,
    out: &mut Outputs,
    entries: Table<Name, ServiceEntry>,
    workloads: Table<Name, WorkloadEntry>,
) {
    out.diagnostics(b, "endpoint_address_findings", entries, |name, entry| {
        let each = entry.endpoints.iter().enumerate().filter_map(|(n, endpoint)| {
            let field = format!("spec.endpoints[{n}].address");
            finding(code::ENDPOINT, Kind::ServiceEntry, name, field, &endpoint.address)
        });
        each.collect::<Vec<_>>()
    });
    out.diagnostics(b, "workload_address_findings", workloads, |name, entry| {
        finding(code::WORKLOAD, Kind::WorkloadEntry, name, "spec.address".to_owned(), &entry.spec.address)
    });
}

fn finding(
    code: &'static str,
    kind: Kind,
    name: &Name,
    field: String,
    address: &EntryAddress,
) -> Option<Diagnostic> {
    let EntryAddress::Ip(ip) = address else { return None };
    (!is_same_for_all(*ip)).then(|| Diagnostic {
        code,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind, name: name.clone() }),
        field,
        message: format!(
            "{ip} is an address of whoever dials it, or of its link: waypoints send nothing there"
        ),
        help: "write the address that the host has for others, such as 10.0.0.1".to_owned(),
        place: None,
    })
}
