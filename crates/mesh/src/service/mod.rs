//! Services: those of Kubernetes, and hosts of ServiceEntries.

pub(crate) mod app_protocol;
mod entry;
mod entry_findings;
mod port_choice;
mod row;
mod selection;
mod view;

pub use app_protocol::PortProtocol;
pub use entry::EntryHosts;

pub(crate) use entry::{Entries, HostKey, declare as declare_entries, entry_tcp_ports};
pub(crate) use entry_findings::{EndpointFault, endpoint_faults};
pub(crate) use row::{ServiceRow, declare_rows, ingress};
pub(crate) use selection::{SelectedServices, declare_services};
pub(crate) use view::{ServiceView, Services, declare, is_sent, ports, resource_name, tcp_ports};
