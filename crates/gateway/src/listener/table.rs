//! Listeners of all gateways.

use engine::{Builder, Index, Table};
use model::Name;

use super::merge::GatewayListeners;
use super::row::Listener;
use crate::key::{ListenerKey, Owner};

/// Listeners, one row each.
#[derive(Clone, Copy)]
pub(crate) struct Listeners {
    pub rows: Table<ListenerKey, Listener>,
    /// By the object that has them: those of ListenerSets are not the gateway's own.
    pub by_owner: Index<Owner, ListenerKey, Listener>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, gateways: Table<Name, GatewayListeners>) -> Listeners {
    let rows = b.expand("listeners", gateways, |_, _, gateway| gateway.listeners.clone());
    let by_owner = b.index(rows, "listener_by_owner", |key: &ListenerKey, _| [key.owner.clone()]);
    Listeners { rows, by_owner }
}
