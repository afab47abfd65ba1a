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
        let written = authorizer.service.as_str();
        let (ns, host) = match written.split_once('/') {
            Some((ns, host)) => (Some(Ns::own(ns)), Str::from(host)),
            None => (None, authorizer.service.clone()),
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
        let Some((service, ports)) = &found else { return Err(format!("there is no service {written:?}")) };
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
