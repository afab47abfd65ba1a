//! Who is asked about requests: providers by name, with the services that the mesh has.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{AuthorizerProtocol, ExtensionProvider, Service};
use model::{Name, Ns, Str};
use std::sync::Arc;

use crate::policy::{Asked, Resolved, check_authorizer};
use crate::service::{Entries, HostKey, PortProtocol, Services, entry_tcp_ports, tcp_ports};

/// What providers are resolved by.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub providers: Table<(), Vec<ExtensionProvider>>,
    pub directory: Directory,
}

/// Where services are found by what the mesh settings call them.
#[derive(Clone, Copy)]
pub(crate) struct Directory {
    pub services: Table<Name, Service>,
    pub views: Services,
    pub entries: Entries,
}

/// Declares who is asked, by the names of providers.
pub(crate) fn declare(b: &mut Builder, sources: Sources) -> Memo<Str, Resolved> {
    b.memo("asked", move |cx, name: &Str| Some(sources.resolve(cx, name)))
}

/// A service that a hostname may mean: its name as a resource, and its ports with what is spoken there and their names.
type Found = (Str, Vec<(u16, PortProtocol, Str)>);

impl Sources {
    fn resolve(&self, cx: &Cx<'_>, name: &Str) -> Resolved {
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
        let port = authorizer.port;
        let is_grpc = authorizer.protocol == AuthorizerProtocol::Grpc;
        let service = self.directory.find(cx, &authorizer.service, port, is_grpc)?;
        Ok(Arc::new(Asked { provider: name.clone(), service, port, authorizer: authorizer.clone() }))
    }
}

impl Directory {
    /// Returns the name of a service, `NAMESPACE/HOSTNAME`, that is `written` as a hostname, perhaps after a namespace.
    ///
    /// # Errors
    /// In words, where there is none, it has no such port, or nobody speaks gRPC there who is to.
    pub fn find(self, cx: &Cx<'_>, written: &Str, port: u16, is_grpc: bool) -> Result<Str, String> {
        let (ns, host) = match written.split_once('/') {
            Some((ns, host)) => (Some(Ns::own(ns)), Str::from(host)),
            None => (None, written.clone()),
        };
        let is_in = |of: &Ns| ns.as_ref().is_none_or(|ns| ns == of);
        let mut services = cx.lookup(self.views.by_hostname, &host).into_iter();
        let service = services.find(|(of, _)| is_in(&of.ns)).map(|(name, view)| {
            let ports = cx.get(self.services, &name).map(|service| tcp_ports(&service));
            (view.key.clone(), ports.unwrap_or_default())
        });
        let found: Option<Found> = service.or_else(|| {
            // Without a namespace it is whoever's has the hostname in the whole mesh: others make it no other service.
            let key = match &ns {
                Some(ns) => HostKey { ns: ns.clone(), host: host.clone() },
                None => self.entries.hosts.in_mesh(cx, &host)?.0,
            };
            let row = cx.get(self.entries.rows, &key)?;
            let ports = cx.get(self.entries.entries, &row.object).map(|entry| entry_tcp_ports(&entry));
            Some((row.resource.clone(), ports.unwrap_or_default()))
        });
        let Some((service, ports)) = found else {
            return Err(format!("there is no service {:?}", written.as_str()));
        };
        let Some((_, protocol, _)) = ports.iter().find(|(number, ..)| *number == port) else {
            return Err(format!("service {service} has no port {port}"));
        };
        if is_grpc && !matches!(protocol, PortProtocol::Grpc | PortProtocol::Http2) {
            return Err(format!(
                "port {port} of service {service} is none of gRPC: let its name begin with grpc, or set its appProtocol"
            ));
        }
        Ok(service)
    }
}
