//! Who is asked about requests: providers by name, with the services that the mesh has.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{AuthorizerProtocol, ExtensionProvider, Service};
use model::{Name, Ns, Str};
use std::sync::Arc;

use crate::policy::{Asked, Resolved, check_authorizer};
use crate::service::{Entries, HostKey, PortProtocol, ServiceRow, Services, entry_tcp_ports, tcp_ports};

/// What providers are resolved by.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub providers: Table<(), Vec<ExtensionProvider>>,
    pub services: Table<Name, Service>,
    pub views: Services,
    pub entries: Entries,
}

/// Declares who is asked, by the names of providers.
pub(crate) fn declare(b: &mut Builder, sources: Sources) -> Memo<Str, Resolved> {
    let by_host = b.index(sources.entries.rows, "entry_by_host", |key: &HostKey, _| [key.host.clone()]);
    b.memo("asked", move |cx, name: &Str| Some(sources.resolve(cx, by_host, name)))
}

/// A service that a hostname may mean: its name as a resource, and its ports with what is spoken there and their names.
type Found = (Str, Vec<(u16, PortProtocol, Str)>);

impl Sources {
    fn resolve(&self, cx: &Cx<'_>, by_host: Index<Str, HostKey, ServiceRow>, name: &Str) -> Resolved {
        let providers = cx.single(self.providers);
        let mut named = providers.iter().flat_map(|all| all.iter()).filter(|of| of.name == *name);
        let Some(ExtensionProvider { authorizer, .. }) = named.next() else {
            return Err(format!(
                "extensionProviders of the mesh settings has no {:?} that decides about requests",
                name.as_str()
            ));
        };
        if named.next().is_some() {
            return Err(format!("extensionProviders of the mesh settings has {:?} twice", name.as_str()));
        }
        check_authorizer(authorizer)?;
        let written = authorizer.service.as_str();
        let (ns, host) = match written.split_once('/') {
            Some((ns, host)) => (Some(Ns::own(ns)), Str::from(host)),
            None => (None, authorizer.service.clone()),
        };
        let is_in = |of: &Ns| ns.as_ref().is_none_or(|ns| ns == of);
        // Without a namespace it is whoever's has the hostname in the whole mesh: others make it no other service.
        let leading =
            if ns.is_none() { self.entries.hosts.in_mesh(cx, &host).map(|(key, _)| key) } else { None };
        let is_meant = |key: &HostKey| match &ns {
            Some(ns) => *ns == key.ns,
            None => leading.as_ref() == Some(key),
        };
        let mut found: Vec<Found> = Vec::new();
        for (name, view) in
            cx.lookup(self.views.by_hostname, &host).into_iter().filter(|(of, _)| is_in(&of.ns))
        {
            let ports = cx.get(self.services, &name).map(|service| tcp_ports(&service));
            found.push((view.key.clone(), ports.unwrap_or_default()));
        }
        for (key, row) in cx.lookup(by_host, &host).into_iter().filter(|(of, _)| is_meant(of)) {
            let ports = cx.get(self.entries.entries, &row.object).map(|entry| entry_tcp_ports(&entry));
            found.push((Str::from(format!("{}/{}", &*key.ns, key.host)), ports.unwrap_or_default()));
        }
        found.sort();
        found.dedup_by(|a, b| a.0 == b.0);
        let (service, ports) = match found.as_slice() {
            [] => return Err(format!("there is no service {written:?}")),
            [one] => one,
            [(first, _), (second, _), ..] => {
                return Err(format!(
                    "service {written:?} may be {first} or {second}: write its namespace before it"
                ));
            }
        };
        let port = authorizer.port;
        let Some((_, protocol, _)) = ports.iter().find(|(number, ..)| *number == port) else {
            return Err(format!("service {service} has no port {port}"));
        };
        let speaks_http2 = matches!(protocol, PortProtocol::Grpc | PortProtocol::Http2);
        if authorizer.protocol == AuthorizerProtocol::Grpc && !speaks_http2 {
            return Err(format!(
                "port {port} of service {service} is none of gRPC: let its name begin with grpc, or set its appProtocol"
            ));
        }
        let asked =
            Asked { provider: name.clone(), service: service.clone(), port, authorizer: authorizer.clone() };
        Ok(Arc::new(asked))
    }
}
