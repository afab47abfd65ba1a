//! Renders the state as YAML, for people and for golden files.
//!
//! Fields with their default value are left out, addresses are written as text, enumerations by
//! name (unknown ones by number), so that equal states give equal text.

use proto::security::string_match::MatchType;
use proto::security::{self, Authorization, Match, StringMatch};
use proto::workload::address::Type;
use proto::workload::gateway_address::Destination;
use proto::workload::{
    AppProtocol, GatewayAddress, IpFamilies, NetworkAddress, NetworkMode, Port, Service, TunnelProtocol,
    Workload, WorkloadStatus, WorkloadType, application_tunnel, load_balancing, service,
};
use serde_yaml::{Mapping, Value};

use super::state::State;

impl State {
    /// All that is held, by kind and resource name, as YAML.
    pub fn to_yaml(&self) -> String {
        let mut all = Fields::default();
        let workloads = self.workloads().map(|(name, workload)| (name.to_owned(), workload_value(workload)));
        all.map("workloads", workloads);
        let services = self.services().map(|(name, service)| (name.to_owned(), service_value(service)));
        all.map("services", services);
        let policies = self.authorizations.iter();
        all.map("authorizations", policies.map(|(name, held)| (name.clone(), policy_value(&held.message))));
        text(&all.done())
    }
}

/// One address as YAML.
pub fn address(address: &Type) -> String {
    text(&match address {
        Type::Workload(workload) => workload_value(workload),
        Type::Service(service) => service_value(service),
    })
}

/// One policy as YAML.
pub fn authorization(policy: &Authorization) -> String {
    text(&policy_value(policy))
}

fn text(value: &Value) -> String {
    // mappings with text keys and scalar leaves always serialise
    serde_yaml::to_string(value).unwrap_or_default()
}

/// A mapping under construction that leaves defaults out.
#[derive(Default)]
struct Fields(Mapping);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(Value::from(name), value);
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, Value::from(value));
        }
    }

    fn number(&mut self, name: &str, value: u32) {
        if value != 0 {
            self.put(name, Value::from(value));
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.put(name, Value::from(value));
        }
    }

    /// An enumeration by name, unless it has its first value.
    fn choice(&mut self, name: &str, value: i32, known: Option<&'static str>) {
        if value != 0 {
            self.put(name, choice(value, known));
        }
    }

    fn optional(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn list(&mut self, name: &str, values: impl IntoIterator<Item = Value>) {
        let values: Vec<Value> = values.into_iter().collect();
        if !values.is_empty() {
            self.put(name, Value::Sequence(values));
        }
    }

    fn map(&mut self, name: &str, values: impl IntoIterator<Item = (String, Value)>) {
        let values: Mapping = values.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
        if !values.is_empty() {
            self.put(name, Value::Mapping(values));
        }
    }

    fn done(self) -> Value {
        Value::Mapping(self.0)
    }
}

fn choice(value: i32, known: Option<&'static str>) -> Value {
    known.map_or_else(|| Value::from(value), Value::from)
}

/// The name of an enumeration's value, if it is a known one.
macro_rules! name_of {
    ($kind:ty, $value:expr) => {
        <$kind>::try_from($value).ok().map(|known| known.as_str_name())
    };
}

fn workload_value(workload: &Workload) -> Value {
    let mut f = Fields::default();
    f.text("uid", &workload.uid);
    f.text("name", &workload.name);
    f.text("namespace", &workload.namespace);
    f.list("addresses", workload.addresses.iter().map(|bytes| ip_value(bytes)));
    f.text("hostname", &workload.hostname);
    f.text("network", &workload.network);
    f.choice("tunnelProtocol", workload.tunnel_protocol, name_of!(TunnelProtocol, workload.tunnel_protocol));
    f.text("trustDomain", &workload.trust_domain);
    f.text("serviceAccount", &workload.service_account);
    f.optional("waypoint", workload.waypoint.as_ref().map(gateway_value));
    f.optional("networkGateway", workload.network_gateway.as_ref().map(gateway_value));
    f.text("node", &workload.node);
    f.text("canonicalName", &workload.canonical_name);
    f.text("canonicalRevision", &workload.canonical_revision);
    f.choice("workloadType", workload.workload_type, name_of!(WorkloadType, workload.workload_type));
    f.text("workloadName", &workload.workload_name);
    f.flag("nativeTunnel", workload.native_tunnel);
    if let Some(tunnel) = &workload.application_tunnel {
        let mut g = Fields::default();
        g.choice("protocol", tunnel.protocol, name_of!(application_tunnel::Protocol, tunnel.protocol));
        g.number("port", tunnel.port);
        f.put("applicationTunnel", g.done());
    }
    let services = workload.services.iter();
    f.map(
        "services",
        services
            .map(|(key, list)| (key.clone(), Value::Sequence(list.ports.iter().map(port_value).collect()))),
    );
    f.list(
        "authorizationPolicies",
        workload.authorization_policies.iter().map(|name| Value::from(name.as_str())),
    );
    f.choice("status", workload.status, name_of!(WorkloadStatus, workload.status));
    f.text("clusterId", &workload.cluster_id);
    if let Some(locality) = &workload.locality {
        let mut g = Fields::default();
        g.text("region", &locality.region);
        g.text("zone", &locality.zone);
        g.text("subzone", &locality.subzone);
        f.put("locality", g.done());
    }
    f.choice("networkMode", workload.network_mode, name_of!(NetworkMode, workload.network_mode));
    f.list("extensions", workload.extensions.iter().map(|extension| Value::from(extension.name.as_str())));
    // zero, sent, is not the same as not sent
    f.optional("capacity", workload.capacity.map(Value::from));
    f.done()
}

fn service_value(service: &Service) -> Value {
    let mut f = Fields::default();
    f.text("name", &service.name);
    f.text("namespace", &service.namespace);
    f.text("hostname", &service.hostname);
    f.list("addresses", service.addresses.iter().map(network_value));
    f.list("ports", service.ports.iter().map(port_value));
    f.list("subjectAltNames", service.subject_alt_names.iter().map(|name| Value::from(name.as_str())));
    f.optional("waypoint", service.waypoint.as_ref().map(gateway_value));
    if let Some(balancing) = &service.load_balancing {
        use load_balancing::{HealthPolicy, Mode, Scope};
        let mut g = Fields::default();
        let scopes = balancing.routing_preference.iter();
        g.list("routingPreference", scopes.map(|scope| choice(*scope, name_of!(Scope, *scope))));
        g.choice("mode", balancing.mode, name_of!(Mode, balancing.mode));
        g.choice("healthPolicy", balancing.health_policy, name_of!(HealthPolicy, balancing.health_policy));
        f.put("loadBalancing", g.done());
    }
    f.choice("ipFamilies", service.ip_families, name_of!(IpFamilies, service.ip_families));
    f.list("extensions", service.extensions.iter().map(|extension| Value::from(extension.name.as_str())));
    f.flag("canonical", service.canonical);
    f.flag("ingressUseWaypoint", service.ingress_use_waypoint);
    f.list(
        "weightedWaypoints",
        service.weighted_waypoints.iter().map(|weighted| {
            let mut g = Fields::default();
            g.optional("destination", weighted.destination.as_ref().map(gateway_value));
            g.number("weight", weighted.weight);
            g.done()
        }),
    );
    f.choice("visibility", service.visibility, name_of!(service::Visibility, service.visibility));
    f.done()
}

fn port_value(port: &Port) -> Value {
    let mut f = Fields::default();
    f.number("servicePort", port.service_port);
    f.number("targetPort", port.target_port);
    f.choice("appProtocol", port.app_protocol, name_of!(AppProtocol, port.app_protocol));
    f.done()
}

fn gateway_value(gateway: &GatewayAddress) -> Value {
    let mut f = Fields::default();
    match &gateway.destination {
        Some(Destination::Hostname(name)) => {
            f.put("hostname", Value::from(format!("{}/{}", name.namespace, name.hostname)));
        }
        Some(Destination::Address(address)) => f.put("address", network_value(address)),
        None => {}
    }
    f.number("hboneMtlsPort", gateway.hbone_mtls_port);
    f.done()
}

/// `network/ip` or `network/ip/length`.
fn network_value(address: &NetworkAddress) -> Value {
    let ip = ip_text(&address.address);
    let network = &address.network;
    Value::from(match address.length {
        Some(length) => format!("{network}/{ip}/{length}"),
        None => format!("{network}/{ip}"),
    })
}

fn policy_value(policy: &Authorization) -> Value {
    let mut f = Fields::default();
    f.text("name", &policy.name);
    f.text("namespace", &policy.namespace);
    // scope and action mean too much to be left out
    f.put("scope", choice(policy.scope, name_of!(security::Scope, policy.scope)));
    f.put("action", choice(policy.action, name_of!(security::Action, policy.action)));
    f.list(
        "groups",
        policy.groups.iter().map(|group| {
            let rules = group.rules.iter();
            Value::Sequence(
                rules.map(|rules| Value::Sequence(rules.matches.iter().map(match_value).collect())).collect(),
            )
        }),
    );
    f.flag("dryRun", policy.dry_run);
    f.list("extensions", policy.extensions.iter().map(|extension| Value::from(extension.name.as_str())));
    f.done()
}

fn match_value(one: &Match) -> Value {
    let mut f = Fields::default();
    for (name, list) in [
        ("namespaces", &one.namespaces),
        ("notNamespaces", &one.not_namespaces),
        ("principals", &one.principals),
        ("notPrincipals", &one.not_principals),
    ] {
        f.list(name, list.iter().map(string_value));
    }
    for (name, list) in [
        ("sourceIps", &one.source_ips),
        ("notSourceIps", &one.not_source_ips),
        ("destinationIps", &one.destination_ips),
        ("notDestinationIps", &one.not_destination_ips),
    ] {
        let values = list.iter().map(|range| format!("{}/{}", ip_text(&range.address), range.length));
        f.list(name, values.map(Value::from));
    }
    f.list("destinationPorts", one.destination_ports.iter().map(|port| Value::from(*port)));
    f.list("notDestinationPorts", one.not_destination_ports.iter().map(|port| Value::from(*port)));
    for (name, list) in
        [("serviceAccounts", &one.service_accounts), ("notServiceAccounts", &one.not_service_accounts)]
    {
        let values = list.iter().map(|account| format!("{}/{}", account.namespace, account.service_account));
        f.list(name, values.map(Value::from));
    }
    f.list("extensions", one.extensions.iter().map(|extension| Value::from(extension.name.as_str())));
    f.done()
}

fn string_value(value: &StringMatch) -> Value {
    let mut f = Fields::default();
    match &value.match_type {
        Some(MatchType::Exact(exact)) => f.put("exact", Value::from(exact.as_str())),
        Some(MatchType::Prefix(prefix)) => f.put("prefix", Value::from(prefix.as_str())),
        Some(MatchType::Suffix(suffix)) => f.put("suffix", Value::from(suffix.as_str())),
        Some(MatchType::Presence(_)) => f.put("presence", Value::from(true)),
        None => {}
    }
    f.done()
}

fn ip_value(bytes: &[u8]) -> Value {
    Value::from(ip_text(bytes))
}

fn ip_text(bytes: &[u8]) -> String {
    super::ip(bytes).map_or_else(|| format!("{} bytes", bytes.len()), |ip| ip.to_string())
}
