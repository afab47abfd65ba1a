//! Statuses, from the same rows as the routing model.

mod class;
mod destination_rule;
mod istio;
mod listeners;
mod programming;
mod route;
mod virtual_service;
mod waypoint;

pub(crate) use class::{declare as declare_classes, declare_without_class};
pub(crate) use destination_rule::{Inputs as DestinationRuleInputs, declare as declare_destination_rules};
pub(crate) use listeners::{Inputs as ListenerInputs, declare as declare_listeners};
pub(crate) use route::{Inputs as RouteInputs, declare as declare_routes};
pub(crate) use virtual_service::{
    Inputs as VirtualServiceInputs, declare as declare_virtual_services, rule_faults,
};
pub(crate) use waypoint::Waypoints;

use output::Condition;

const ACCEPTED: &str = "Accepted";
const RESOLVED_REFS: &str = "ResolvedRefs";
const PROGRAMMED: &str = "Programmed";

/// A condition that is as it should be. Its reason is its type, as the Gateway API has it.
fn fine(kind: &'static str, message: &str) -> Condition {
    Condition { kind, status: true, reason: kind, message: message.to_owned() }
}

/// A condition that is not as it should be.
fn wrong(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Condition {
    Condition { kind, status: false, reason, message: message.into() }
}
