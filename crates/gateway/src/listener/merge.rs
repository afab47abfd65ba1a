//! The listeners of a gateway: its own, then those of its ListenerSets, the oldest set first.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{self, Gateway, ListenerSet, Meta, Namespace};
use model::{Kind, Name, Ns, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conflict::Places;
use super::protocol::{self, Protocol, Unserved};
use super::row::{Listener, Tls};
use crate::allowed::admits;
use crate::class::Class;
use crate::hostname::{covers, or_any};
use crate::key::{ListenerKey, Owner};
use crate::name;

/// What a gateway says of a ListenerSet that names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetState {
    /// Its listeners are among those of the gateway.
    Attached,
    /// Gateways of the class have none.
    Unsupported,
    /// The gateway does not let it in.
    NotAllowed,
}

/// A gateway that is ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayListeners {
    /// What it is.
    pub class: Class,
    /// What is deployed for it is called so.
    pub name: Str,
    /// The service account of its pods.
    pub account: Str,
    /// In the order of precedence.
    pub listeners: Vec<(ListenerKey, Listener)>,
    /// The ListenerSets that name it, in the order of precedence.
    pub sets: Vec<(Name, SetState)>,
}

/// What gateways are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub gateways: Table<Name, Gateway>,
    pub sets: Table<Name, ListenerSet>,
    pub namespaces: Table<Ns, Namespace>,
    pub classes: Memo<Name, Class>,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// Declares the gateways that are ours by class, with their listeners.
pub(crate) fn declare(b: &mut Builder, inputs: &Inputs) -> Table<Name, GatewayListeners> {
    let by_gateway = b.index(inputs.sets, "listener_set_by_gateway", |name: &Name, set: &ListenerSet| {
        let gateway = set.parent.is(Kind::Gateway.group(), Kind::Gateway.name());
        gateway.then(|| set.parent.target(&name.ns))
    });
    let inputs = inputs.clone();
    b.derive("gateway_listeners", inputs.gateways, move |cx, name, gateway| {
        if !*cx.memo(inputs.in_scope, &name.ns)? {
            return None;
        }
        let class = *cx.memo(inputs.classes, &Name::in_cluster(&name.ns, &gateway.class))?;
        Some(merged(cx, &inputs, by_gateway, name, gateway, class))
    })
}

fn merged(
    cx: &Cx<'_>,
    inputs: &Inputs,
    by_gateway: Index<Name, Name, ListenerSet>,
    name: &Name,
    gateway: &Gateway,
    class: Class,
) -> GatewayListeners {
    let mut sets = cx.lookup(by_gateway, name);
    sets.retain(|(set, facts)| {
        (inputs.is_ours)(&facts.meta) && cx.memo(inputs.in_scope, &set.ns).is_some_and(|in_scope| *in_scope)
    });
    sets.sort_by(|(a, x), (b, y)| (x.meta.created, a).cmp(&(y.meta.created, b)));
    let state = |set: &Name| {
        let is_allowed = gateway
            .allowed_listeners
            .as_ref()
            .is_some_and(|allowed| admits(cx, inputs.namespaces, allowed, &name.ns, &set.ns));
        match (class.has_listener_sets(), is_allowed) {
            (false, _) => SetState::Unsupported,
            (true, false) => SetState::NotAllowed,
            (true, true) => SetState::Attached,
        }
    };
    let states: Vec<(Name, SetState)> = sets.iter().map(|(set, _)| (set.clone(), state(set))).collect();
    let attached = sets.iter().zip(&states).filter(|(_, (_, state))| *state == SetState::Attached);
    let own = gateway.listeners.iter().map(|listener| (Owner::Gateway(name.clone()), listener));
    let of_sets = attached
        .flat_map(|((set, facts), _)| facts.listeners.iter().map(move |one| (Owner::Set(set.clone()), one)));
    // A remote gateway takes no traffic here.
    let all = own.chain(of_sets).filter(|_| class != Class::Remote);
    let mut places = Places::default();
    let (mut names, mut listeners) = (BTreeSet::new(), Vec::new());
    for (owner, facts) in all {
        let key = ListenerKey { gateway: name.clone(), owner, name: facts.name.clone() };
        // An API server refuses a second one of the name.
        if names.insert(key.clone()) {
            let listener = listener(class, &key, facts, &mut places);
            listeners.push((key, listener));
        }
    }
    isolate(&mut listeners);
    GatewayListeners {
        class,
        name: name::of_gateway(gateway, class),
        account: name::of_account(gateway, class),
        listeners,
        sets: states,
    }
}

fn listener(class: Class, key: &ListenerKey, facts: &facts::Listener, places: &mut Places) -> Listener {
    let with_port = facts::Listener { port: port(facts), ..facts.clone() };
    let protocol = if with_port.port == 0 && matches!(key.owner, Owner::Set(_)) {
        let message = format!("protocol {:?} requires a port to be set", facts.protocol.as_str());
        Err(Unserved::protocol(message))
    } else {
        protocol::of(class, &with_port)
    };
    let tls = facts.tls.as_ref().map(|tls| Tls {
        // What is neither is refused by an API server, and must not be passed on unseen.
        is_terminated: tls.mode != "Passthrough",
        facts: tls.clone(),
    });
    let hostname = or_any(&facts.hostname);
    let taken = protocol.as_ref().ok().filter(|_| class.has_listener_sets());
    let conflict = taken.and_then(|protocol| places.take(with_port.port, *protocol, &hostname).err());
    let is_terminated = tls.as_ref().is_some_and(|tls| tls.is_terminated);
    let (kinds, has_invalid_kinds) = match &protocol {
        Ok(protocol) => protocol::kinds(*protocol, is_terminated, &facts.kinds),
        Err(_) => (Vec::new(), false),
    };
    Listener {
        class,
        port: with_port.port,
        protocol,
        hostname,
        tls,
        kinds,
        has_invalid_kinds,
        allowed: facts.allowed.clone(),
        conflict,
        narrower: Vec::new(),
    }
}

/// The port that is written, else the usual one of the protocol.
fn port(facts: &facts::Listener) -> u16 {
    match (facts.port, facts.protocol.as_str()) {
        (0, "HTTP") => 80,
        (0, "HTTPS") => 443,
        (port, _) => port,
    }
}

/// Tells each listener which more specific ones are beside it.
fn isolate(listeners: &mut [(ListenerKey, Listener)]) {
    let mut hosts: BTreeMap<(u16, Protocol), Vec<Str>> = BTreeMap::new();
    for (_, listener) in listeners.iter().filter(|(_, listener)| listener.is_active()) {
        if let Ok(protocol) = listener.protocol {
            hosts.entry((listener.port, protocol)).or_default().push(listener.hostname.clone());
        }
    }
    for (_, listener) in listeners.iter_mut().filter(|(_, listener)| listener.is_active()) {
        let Ok(protocol) = listener.protocol else { continue };
        let beside = hosts.get(&(listener.port, protocol)).into_iter().flatten();
        listener.narrower = beside
            .filter(|host| **host != listener.hostname && covers(&listener.hostname, host))
            .cloned()
            .collect();
        listener.narrower.sort_unstable();
        listener.narrower.dedup();
    }
}
