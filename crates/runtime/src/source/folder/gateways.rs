//! Plays the control plane's own part in a folder: classes of gateways, what is deployed for them, and addresses.
//!
//! In a cluster an elected replica applies the one and writes the other, and everybody reads them there. A
//! folder has one reader: the folder is told what is deployed, so that its controllers make pods and addresses
//! of it, and statuses are completed on the way to that reader. What both are to be is asked of a mesh of its
//! own, which knows nothing but gateways and what is in front of them.

use folder::{Deployed, Key};
use mesh::Options;
use model::facts::{Gateway, GatewayAddress};
use model::{Event, Kind, Name, Object, ObjectRef, shared};
use plane::{BuiltInClass, Plane};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kinds on which deployments and addresses of gateways depend.
const READ: [Kind; 7] = [
    Kind::Namespace,
    Kind::ConfigMap,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::ListenerSet,
];

/// The gateways of a folder.
pub(super) struct Gateways {
    plane: Plane,
    /// As they are written.
    written: BTreeMap<Name, Arc<Gateway>>,
    /// The addresses of those whose author wrote none.
    addresses: BTreeMap<Name, Vec<GatewayAddress>>,
    /// Whether other networks are reached.
    is_multi_network: bool,
}

impl Gateways {
    /// Starts without a gateway.
    pub(super) fn new(options: &Options) -> Self {
        Self {
            plane: Plane::new(options),
            written: BTreeMap::new(),
            addresses: BTreeMap::new(),
            is_multi_network: options.multi_network,
        }
    }

    /// Tells whether it was told of everything once.
    pub(super) fn is_started(&self) -> bool {
        self.plane.is_synced()
    }

    /// Takes the events of a batch, at first a full listing, and gives the gateways among them their addresses.
    pub(super) fn take(&mut self, events: &mut [Event]) {
        for event in events.iter_mut() {
            match event {
                Event::Put(Object::Gateway(gateway)) => {
                    let name = gateway.meta.name.clone();
                    self.written.insert(name.clone(), Arc::clone(gateway));
                    if let Some(addresses) =
                        self.addresses.get(&name).filter(|_| gateway.addresses.is_empty())
                    {
                        Arc::make_mut(gateway).addresses.clone_from(addresses);
                    }
                }
                Event::Remove(ObjectRef { kind: Kind::Gateway, name }) => {
                    self.written.remove(name);
                    self.addresses.remove(name);
                }
                _ => {}
            }
        }
        let is_read = |event: &&Event| match event {
            Event::Put(object) => READ.contains(&object.kind()),
            Event::Remove(of) => READ.contains(&of.kind),
            _ => true,
        };
        self.plane.apply(events.iter().filter(is_read).cloned());
    }

    /// Returns what is deployed, and the classes that gateways name; what the folder declares itself stays.
    pub(super) fn deployed(&self) -> Vec<Deployed> {
        let key = |of: &Name| Key::new(Kind::Gateway.group(), Kind::Gateway.name(), &of.ns, &of.name);
        let classes = BuiltInClass::wanted(self.is_multi_network).filter_map(|class| {
            let (gateway, _) = self.written.iter().find(|(_, gateway)| gateway.class == class.name)?;
            Some(Deployed { cause: key(gateway), value: class.manifest() })
        });
        let mut all: Vec<Deployed> = classes.collect();
        for (gateway, deployment) in self.plane.deployments() {
            let cause = key(&gateway);
            let manifests = deployment.manifests.as_deref().unwrap_or_default();
            all.extend(
                manifests
                    .iter()
                    .map(|manifest| Deployed { cause: cause.clone(), value: (*manifest.body).clone() }),
            );
        }
        all
    }

    /// Returns the gateways whose addresses are others than before.
    pub(super) fn changed(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (name, gateway) in self.written.iter().filter(|(_, gateway)| gateway.addresses.is_empty()) {
            let object = ObjectRef { kind: Kind::Gateway, name: name.clone() };
            let addresses = self.plane.conditions_of(&object).map(|conditions| {
                let field = conditions.fields.iter().find(|(field, _)| *field == "addresses");
                field.and_then(|(_, value)| value.as_array()).into_iter().flatten().map(address).collect()
            });
            let addresses: Vec<GatewayAddress> = addresses.unwrap_or_default();
            if self.addresses.get(name).is_none_or(|before| *before != addresses) {
                let is_new = !addresses.is_empty() || self.addresses.contains_key(name);
                self.addresses.insert(name.clone(), addresses.clone());
                if is_new {
                    let gateway = Gateway { addresses, ..(**gateway).clone() };
                    events.push(Event::Put(Object::Gateway(Arc::new(gateway))));
                }
            }
        }
        self.plane.apply(events.iter().cloned());
        events
    }
}

/// Reads an address as statuses have it.
fn address(value: &Value) -> GatewayAddress {
    let text = value.get("value").and_then(Value::as_str).unwrap_or_default();
    match text.parse() {
        Ok(ip) => GatewayAddress::Ip(ip),
        Err(_) => GatewayAddress::Hostname(shared(text)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::batch::Emitter;
    use super::super::settings::FolderSettings;
    use super::*;
    use folder::Folder;
    use mesh::ProxyOptions;

    const MESH: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: wp}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
";

    const WAYPOINT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
";

    fn of(kind: Kind, name: &str) -> ObjectRef {
        ObjectRef { kind, name: Name::new("shop", name) }
    }

    fn is(plane: &Plane, object: &ObjectRef, condition: &str) -> bool {
        let conditions = plane.conditions_of(object);
        conditions.is_some_and(|all| all.conditions.iter().any(|of| of.kind == condition && of.status))
    }

    #[test]
    fn what_names_a_waypoint_is_bound_and_gateways_are_programmed() {
        let options =
            Options { gateway_api: true, proxies: Some(ProxyOptions::default()), ..Options::default() };
        let settings = FolderSettings { gateways: Some(options.clone()), ..FolderSettings::new(Vec::new()) };
        let (mut folder, mut emitter) = (Folder::default(), Emitter::new(&settings));
        let mut plane = Plane::new(&options);
        folder.set("mesh.yaml", MESH);
        folder.set("waypoint.yaml", WAYPOINT);
        let (events, problems) = emitter.next(&mut folder);
        assert_eq!(problems, []);
        plane.apply(events);
        let (web, gateways) = (of(Kind::Service, "web"), ["gw", "wp"].map(|name| of(Kind::Gateway, name)));
        assert!(gateways.iter().all(|gateway| is(&plane, gateway, "Programmed")));
        assert!(is(&plane, &web, "istio.io/WaypointBound"));
        let from_scratch = plane.conditions();

        folder.remove("waypoint.yaml");
        plane.apply(emitter.next(&mut folder).0);
        assert!(!is(&plane, &web, "istio.io/WaypointBound"));
        assert_eq!(plane.conditions_of(&of(Kind::Service, "wp")), None);
        folder.set("waypoint.yaml", WAYPOINT);
        plane.apply(emitter.next(&mut folder).0);
        assert_eq!(plane.conditions(), from_scratch);
        // Nothing is left to say.
        assert!(emitter.next(&mut folder).0.is_empty());
    }

    #[test]
    fn addresses_that_the_author_wrote_stay() {
        let options =
            Options { gateway_api: true, proxies: Some(ProxyOptions::default()), ..Options::default() };
        let settings = FolderSettings { gateways: Some(options), ..FolderSettings::new(Vec::new()) };
        let (mut folder, mut emitter) = (Folder::default(), Emitter::new(&settings));
        let written = format!("{WAYPOINT}status: {{addresses: [{{type: IPAddress, value: 10.9.9.9}}]}}\n");
        folder.set("waypoint.yaml", &written);
        let (events, _) = emitter.next(&mut folder);
        let addresses: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Put(Object::Gateway(gateway)) => Some(gateway.addresses.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(addresses, [vec![GatewayAddress::Ip("10.9.9.9".parse().unwrap())]]);
    }
}
