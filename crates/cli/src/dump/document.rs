//! Resources as documents for programs.
//!
//! They read as the JSON mapping of protobuf says (names in camel case, enumerations by name,
//! defaults left out), but for IP addresses, which are text rather than base64.

use super::resources::{NodeSummary, Resources, ip};
use super::view::View;
use model::yaml::{self, Mapping, Value};
use proto::security::string_match::MatchType;
use proto::security::{self, Authorization, Match, StringMatch};
use proto::workload::gateway_address::Destination;
use proto::workload::{
    AppProtocol, Extension, GatewayAddress, IpFamilies, LoadBalancing, NetworkAddress, NetworkMode, Port,
    Service, TunnelProtocol, Workload, WorkloadStatus, WorkloadType, application_tunnel, load_balancing,
    service,
};
use serde::Serialize;

/// Returns the resources of a view as a list; with a namespace only its own.
///
/// The value is ordered, so that equal resources give equal text.
///
/// # Errors
/// When a value cannot be written, such as for a key that is no text.
pub fn list(all: &Resources, view: View, namespace: Option<&str>) -> Result<Value, yaml::Error> {
    let shown = |ns: &str| namespace.is_none_or(|wanted| wanted == ns);
    Ok(Value::Sequence(match view {
        View::Workloads => all.workloads.iter().filter(|w| shown(&w.namespace)).map(workload).collect(),
        View::Services => all.services.iter().filter(|s| shown(&s.namespace)).map(service).collect(),
        View::Policies => all.policies.iter().filter(|p| shown(&p.namespace)).map(policy).collect(),
        View::Nodes => all.nodes(namespace).iter().map(node).collect(),
        View::Gateways => views(all.gateways.iter().filter(|of| shown(&of.namespace)))?,
        View::Routes => views(all.routes.iter().filter(|of| shown(&of.namespace)))?,
        View::Status => views(all.objects.iter().filter(|of| shown(&of.metadata.namespace)))?,
        View::Waypoints => views(all.waypoints.iter().filter(|of| shown(&of.namespace)))?,
        View::Config => views(all.config.iter())?,
    }))
}

fn views(all: impl Iterator<Item = impl Serialize>) -> Result<Vec<Value>, yaml::Error> {
    all.map(|view| yaml::to_value(view)).collect()
}

/// Returns the value with every string printable.
pub fn printable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(model::printable(&text).into_owned()),
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(printable).collect()),
        Value::Mapping(entries) => {
            let entries = entries.into_iter().map(|(name, value)| (printable(name), printable(value)));
            Value::Mapping(entries.collect())
        }
        other => other,
    }
}

/// A message under construction: fields with their default are left out.
#[derive(Default)]
struct Message(Mapping);

impl Message {
    fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(Value::from(name), value.into());
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.put(name, value) }
    }

    fn number(self, name: &str, value: u32) -> Self {
        if value == 0 { self } else { self.put(name, value) }
    }

    fn flag(self, name: &str, value: bool) -> Self {
        if value { self.put(name, true) } else { self }
    }

    /// A value of an enumeration that has this name; without one it is of a newer version.
    fn choice(self, name: &str, value: i32, known: Option<&'static str>) -> Self {
        if value == 0 { self } else { self.put(name, enum_value(value, known)) }
    }

    fn maybe<T: Into<Value>>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    fn list<T: Into<Value>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        let values: Vec<Value> = values.map(Into::into).collect();
        if values.is_empty() { self } else { self.put(name, values) }
    }
}

impl From<Message> for Value {
    fn from(message: Message) -> Self {
        Self::Mapping(message.0)
    }
}

fn enum_value(value: i32, known: Option<&'static str>) -> Value {
    known.map_or_else(|| Value::from(value), Value::from)
}

macro_rules! known {
    ($kind:ty, $value:expr) => {
        <$kind>::try_from($value).ok().map(|of| of.as_str_name())
    };
}

fn workload(of: &Workload) -> Value {
    let services: Mapping = of
        .services
        .iter()
        .map(|(name, list)| {
            let ports = Message::default().list("ports", list.ports.iter().map(port));
            (Value::from(name.as_str()), Value::from(ports))
        })
        .collect();
    let application_tunnel = of.application_tunnel.as_ref().map(|tunnel| {
        Message::default()
            .choice("protocol", tunnel.protocol, known!(application_tunnel::Protocol, tunnel.protocol))
            .number("port", tunnel.port)
    });
    let locality = of.locality.as_ref().map(|l| {
        Message::default().text("region", &l.region).text("zone", &l.zone).text("subzone", &l.subzone)
    });
    Message::default()
        .text("uid", &of.uid)
        .text("name", &of.name)
        .text("namespace", &of.namespace)
        .list("addresses", of.addresses.iter().map(|bytes| ip(bytes)))
        .text("hostname", &of.hostname)
        .text("network", &of.network)
        .choice("tunnelProtocol", of.tunnel_protocol, known!(TunnelProtocol, of.tunnel_protocol))
        .text("trustDomain", &of.trust_domain)
        .text("serviceAccount", &of.service_account)
        .maybe("waypoint", of.waypoint.as_ref().map(gateway))
        .maybe("networkGateway", of.network_gateway.as_ref().map(gateway))
        .text("node", &of.node)
        .text("canonicalName", &of.canonical_name)
        .text("canonicalRevision", &of.canonical_revision)
        .choice("workloadType", of.workload_type, known!(WorkloadType, of.workload_type))
        .text("workloadName", &of.workload_name)
        .flag("nativeTunnel", of.native_tunnel)
        .maybe("applicationTunnel", application_tunnel)
        .maybe("services", (!services.is_empty()).then_some(services))
        .list("authorizationPolicies", of.authorization_policies.iter().map(String::as_str))
        .choice("status", of.status, known!(WorkloadStatus, of.status))
        .text("clusterId", &of.cluster_id)
        .maybe("locality", locality)
        .choice("networkMode", of.network_mode, known!(NetworkMode, of.network_mode))
        .list("extensions", of.extensions.iter().map(extension))
        // A capacity of zero is not the same as none.
        .maybe("capacity", of.capacity)
        .into()
}

fn service(of: &Service) -> Value {
    let weighted = of.weighted_waypoints.iter().map(|w| {
        Message::default()
            .maybe("destination", w.destination.as_ref().map(gateway))
            .number("weight", w.weight)
    });
    Message::default()
        .text("name", &of.name)
        .text("namespace", &of.namespace)
        .text("hostname", &of.hostname)
        .list("addresses", of.addresses.iter().map(network_address))
        .list("ports", of.ports.iter().map(port))
        .list("subjectAltNames", of.subject_alt_names.iter().map(String::as_str))
        .maybe("waypoint", of.waypoint.as_ref().map(gateway))
        .maybe("loadBalancing", of.load_balancing.as_ref().map(balancing))
        .choice("ipFamilies", of.ip_families, known!(IpFamilies, of.ip_families))
        .list("extensions", of.extensions.iter().map(extension))
        .flag("canonical", of.canonical)
        .flag("ingressUseWaypoint", of.ingress_use_waypoint)
        .list("weightedWaypoints", weighted)
        .choice("visibility", of.visibility, known!(service::Visibility, of.visibility))
        .into()
}

fn balancing(of: &LoadBalancing) -> Message {
    use load_balancing::{HealthPolicy, Mode, Scope};
    let scopes = of.routing_preference.iter().map(|scope| enum_value(*scope, known!(Scope, *scope)));
    Message::default()
        .list("routingPreference", scopes)
        .choice("mode", of.mode, known!(Mode, of.mode))
        .choice("healthPolicy", of.health_policy, known!(HealthPolicy, of.health_policy))
}

fn port(of: &Port) -> Message {
    Message::default().number("servicePort", of.service_port).number("targetPort", of.target_port).choice(
        "appProtocol",
        of.app_protocol,
        known!(AppProtocol, of.app_protocol),
    )
}

fn gateway(of: &GatewayAddress) -> Message {
    let message = match &of.destination {
        Some(Destination::Hostname(name)) => {
            let host = Message::default().text("namespace", &name.namespace).text("hostname", &name.hostname);
            Message::default().put("hostname", host)
        }
        Some(Destination::Address(address)) => Message::default().put("address", network_address(address)),
        None => Message::default(),
    };
    message.number("hboneMtlsPort", of.hbone_mtls_port)
}

fn network_address(of: &NetworkAddress) -> Message {
    Message::default().text("network", &of.network).put("address", ip(&of.address)).maybe("length", of.length)
}

/// The content is of a type that only its reader knows, so it is left as bytes.
fn extension(of: &Extension) -> Message {
    let config = of.config.as_ref().map(|any| {
        let bytes = any.value.iter().map(|byte| Value::from(*byte));
        Message::default().text("@type", &any.type_url).list("value", bytes)
    });
    Message::default().text("name", &of.name).maybe("config", config)
}

fn policy(of: &Authorization) -> Value {
    let groups = of.groups.iter().map(|group| {
        let rules = group.rules.iter().map(|r| Message::default().list("matches", r.matches.iter().map(one)));
        Message::default().list("rules", rules)
    });
    Message::default()
        .text("name", &of.name)
        .text("namespace", &of.namespace)
        // These mean too much to be left out.
        .put("scope", enum_value(of.scope, known!(security::Scope, of.scope)))
        .put("action", enum_value(of.action, known!(security::Action, of.action)))
        .list("groups", groups)
        .flag("dryRun", of.dry_run)
        .list("extensions", of.extensions.iter().map(extension))
        .into()
}

fn one(of: &Match) -> Message {
    let ranges = |list: &[security::Address]| {
        let range = |r: &security::Address| {
            Message::default().put("address", ip(&r.address)).number("length", r.length)
        };
        list.iter().map(range).collect::<Vec<_>>().into_iter()
    };
    let accounts = |list: &[security::ServiceAccountMatch]| {
        let account = |a: &security::ServiceAccountMatch| {
            Message::default().text("namespace", &a.namespace).text("serviceAccount", &a.service_account)
        };
        list.iter().map(account).collect::<Vec<_>>().into_iter()
    };
    Message::default()
        .list("namespaces", of.namespaces.iter().map(string))
        .list("notNamespaces", of.not_namespaces.iter().map(string))
        .list("principals", of.principals.iter().map(string))
        .list("notPrincipals", of.not_principals.iter().map(string))
        .list("sourceIps", ranges(&of.source_ips))
        .list("notSourceIps", ranges(&of.not_source_ips))
        .list("destinationIps", ranges(&of.destination_ips))
        .list("notDestinationIps", ranges(&of.not_destination_ips))
        .list("destinationPorts", of.destination_ports.iter().copied())
        .list("notDestinationPorts", of.not_destination_ports.iter().copied())
        .list("serviceAccounts", accounts(&of.service_accounts))
        .list("notServiceAccounts", accounts(&of.not_service_accounts))
        .list("extensions", of.extensions.iter().map(extension))
}

fn string(of: &StringMatch) -> Message {
    match &of.match_type {
        Some(MatchType::Exact(text)) => Message::default().put("exact", text.as_str()),
        Some(MatchType::Prefix(text)) => Message::default().put("prefix", text.as_str()),
        Some(MatchType::Suffix(text)) => Message::default().put("suffix", text.as_str()),
        Some(MatchType::Presence(())) => Message::default().put("presence", Message::default()),
        None => Message::default(),
    }
}

fn node(of: &NodeSummary<'_>) -> Value {
    let (workloads, enrolled) = (of.workloads as u64, of.enrolled as u64);
    Message::default()
        .text("name", of.name)
        .text("region", of.region)
        .text("zone", of.zone)
        // Zero says something here.
        .put("workloads", workloads)
        .put("enrolled", enrolled)
        .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_as_its_message_does() {
        let of = Authorization {
            name: "p".to_owned(),
            namespace: "shop".to_owned(),
            scope: security::Scope::WorkloadSelector.into(),
            action: security::Action::Deny.into(),
            groups: vec![security::Group {
                rules: vec![security::Rules {
                    matches: vec![Match {
                        not_source_ips: vec![security::Address {
                            address: vec![10, 0, 0, 0].into(),
                            length: 8,
                        }],
                        principals: vec![StringMatch { match_type: Some(MatchType::Presence(())) }],
                        ..Match::default()
                    }],
                }],
            }],
            ..Authorization::default()
        };
        let all = Resources { policies: vec![of], ..Resources::default() };
        let text = serde_json::to_string(&list(&all, View::Policies, Some("shop")).unwrap()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"[{"name":"p","namespace":"shop","scope":"WORKLOAD_SELECTOR","action":"DENY","#,
                r#""groups":[{"rules":[{"matches":[{"principals":[{"presence":{}}],"#,
                r#""notSourceIps":[{"address":"10.0.0.0","length":8}]}]}]}]}]"#
            )
        );
        assert_eq!(list(&all, View::Policies, Some("other")).unwrap(), Value::Sequence(Vec::new()));
    }

    #[test]
    fn defaults_are_left_out_and_values_of_newer_versions_are_numbers() {
        let of = Workload { tunnel_protocol: 99, capacity: Some(0), ..Workload::default() };
        let all = Resources { workloads: vec![of], ..Resources::default() };
        let text = serde_json::to_string(&list(&all, View::Workloads, None).unwrap()).unwrap();
        assert_eq!(text, r#"[{"tunnelProtocol":99,"capacity":0}]"#);
    }
}
