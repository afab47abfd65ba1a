//! Gateways as a whole, for people.

use gateway::{GatewayDeployment, GatewayListeners};
use model::Name;
use model::facts::Gateway;
use output::Conditions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Gateway that is served, with what became of it.
#[derive(Clone, Debug)]
pub struct GatewaySummary {
    /// Its name.
    pub name: Name,
    /// As its author wrote it.
    pub facts: Arc<Gateway>,
    /// Its listeners.
    pub listeners: Arc<GatewayListeners>,
    /// Its status; `None` where another revision writes that.
    pub status: Option<Arc<Conditions>>,
    /// The statuses of its ListenerSets, where they are ours to write.
    pub sets: BTreeMap<Name, Arc<Conditions>>,
    /// What is deployed for it; `None` when that is nobody's business here.
    pub deployment: Option<Arc<GatewayDeployment>>,
}
