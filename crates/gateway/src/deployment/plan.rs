//! What is to be deployed for a gateway, read from its facts before anything is rendered.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::facts::{Gateway, RequestedAddress};
use model::{Labels, Str};
use std::collections::{BTreeMap, BTreeSet};

use super::label;
use super::row::Fault;
use crate::class::Class;
use crate::listener::{Listener, Protocol};
use crate::name::{self, MAX_LABEL, is_label};

/// The annotation with the type of the Service.
pub(crate) const SERVICE_TYPE: &str = "networking.istio.io/service-type";
/// The annotation with the image of Envoy.
const IMAGE: &str = "sidecar.istio.io/proxyImage";
const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
const COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
const CONTROLLER_VERSION: &str = "gateway.istio.io/controller-version";
/// What annotations of our own begin with.
const OWN: &str = "gateway.pilothouse.io/";
/// How many pods there are, at least.
const REPLICAS: &str = "gateway.pilothouse.io/replicas";
/// How many pods there are at most, as load asks for them.
const MAX_REPLICAS: &str = "gateway.pilothouse.io/max-replicas";
/// How many pods stay while nodes are drained.
const MIN_AVAILABLE: &str = "gateway.pilothouse.io/min-available";

/// The annotations of a gateway that say how it is deployed: what is deployed does not have them.
const NOT_COPIED: [&str; 4] = [
    name::NAME_OVERRIDE,
    name::ACCOUNT,
    CONTROLLER_VERSION,
    // What kubectl keeps of the Gateway; facts do not have it.
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// The port on which a proxy tells whether it is ready.
pub(super) const STATUS_PORT: u16 = 15021;

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Port {
    pub name: String,
    pub port: u16,
    pub app_protocol: &'static str,
    /// Whether it is one of UDP.
    pub is_udp: bool,
}

/// What is to be deployed for a gateway.
pub(super) struct Plan {
    pub namespace: String,
    pub gateway: String,
    pub uid: String,
    pub class: Class,
    /// Of Deployment, Service and what scales them.
    pub name: String,
    pub account: String,
    /// Of all objects.
    pub labels: BTreeMap<String, String>,
    /// Of all objects.
    pub annotations: BTreeMap<String, String>,
    pub ports: Vec<Port>,
    pub service_type: String,
    /// The address that a load balancer is asked for.
    pub address: Option<String>,
    pub replicas: Option<i32>,
    pub max_replicas: Option<i32>,
    pub min_available: Option<IntOrString>,
    pub envoy_image: String,
    pub log_level: String,
    pub component_log_level: Option<String>,
    pub revision: String,
}

/// What a plan is made from besides the gateway itself.
pub(super) struct PlanInputs<'a> {
    pub class: Class,
    /// Those of the gateway, then those of its ListenerSets.
    pub listeners: Vec<&'a Listener>,
    /// Their names, in the same order.
    pub names: Vec<&'a Str>,
    /// The network of the cluster; empty where it has none.
    pub network: &'a str,
    pub envoy_image: &'a str,
    pub revision: &'a str,
}

impl Plan {
    /// Returns it.
    ///
    /// # Errors
    /// What of the gateway cannot be: nothing is deployed for it until that is changed.
    pub fn new(gateway: &Gateway, of: &PlanInputs<'_>) -> Result<Self, Fault> {
        let own = &gateway.meta.name;
        if own.name.len() > MAX_LABEL {
            let message = format!(
                "metadata.name has {} characters, and what is deployed is found by a label with it, which \
                 has at most {MAX_LABEL}",
                own.name.len()
            );
            return Err(Fault::new(message));
        }
        let (name, account) = (name::of_gateway(gateway, of.class), name::of_account(gateway, of.class));
        for (text, annotation) in [(&name, name::NAME_OVERRIDE), (&account, name::ACCOUNT)] {
            if !is_label(text) {
                return Err(Fault::new(format!(
                    "{:?} cannot be the name of what is deployed; write another by the annotation {annotation}",
                    text.as_str()
                )));
            }
        }
        let service_type = match annotation(gateway, SERVICE_TYPE) {
            None if of.class == Class::Waypoint => "ClusterIP",
            None => "LoadBalancer",
            Some(text) => one_of(SERVICE_TYPE, text, &["ClusterIP", "NodePort", "LoadBalancer"])?,
        };
        let replicas = count(gateway, REPLICAS, 0)?;
        let max_replicas = count(gateway, MAX_REPLICAS, 1)?;
        if let (Some(least), Some(most)) = (replicas, max_replicas)
            && (least > most || least == 0)
        {
            return Err(Fault::new(format!(
                "annotation {MAX_REPLICAS} is {most}, and {REPLICAS} must be from 1 to that, not {least}"
            )));
        }
        let requested = gateway.requested.first().filter(|_| service_type == "LoadBalancer");
        Ok(Self {
            namespace: own.ns.to_string(),
            gateway: own.name.to_string(),
            uid: gateway.uid.to_string(),
            class: of.class,
            name: name.to_string(),
            account: account.to_string(),
            labels: labels(gateway, of),
            annotations: annotations(gateway),
            ports: ports(of),
            service_type: service_type.to_owned(),
            address: requested.and_then(address),
            replicas,
            max_replicas,
            min_available: annotation(gateway, MIN_AVAILABLE).map(min_available).transpose()?,
            envoy_image: annotation(gateway, IMAGE).unwrap_or(of.envoy_image).to_owned(),
            log_level: annotation(gateway, LOG_LEVEL).unwrap_or("warning").to_owned(),
            component_log_level: annotation(gateway, COMPONENT_LOG_LEVEL).map(str::to_owned),
            revision: if of.revision.is_empty() { "default" } else { of.revision }.to_owned(),
        })
    }

    /// Returns what selects the pods.
    pub fn selector(&self) -> LabelSelector {
        let labels = BTreeMap::from([(label::GATEWAY_NAME.to_owned(), self.gateway.clone())]);
        LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
    }
}

fn annotation<'a>(gateway: &'a Gateway, key: &str) -> Option<&'a str> {
    gateway.annotations.get(key).map(Str::as_str).filter(|text| !text.is_empty())
}

fn one_of<'a>(annotation: &str, text: &str, all: &[&'a str]) -> Result<&'a str, Fault> {
    all.iter().find(|one| **one == text).copied().ok_or_else(|| {
        Fault::new(format!("annotation {annotation} is {text:?}; write one of {}", all.join(", ")))
    })
}

fn count(gateway: &Gateway, key: &str, least: i32) -> Result<Option<i32>, Fault> {
    let Some(text) = annotation(gateway, key) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number >= least);
    let wrong = || format!("annotation {key} is {text:?}; write a number of pods from {least}");
    number.map(Some).ok_or_else(|| Fault::new(wrong()))
}

/// A number of pods or a percentage of them.
fn min_available(text: &str) -> Result<IntOrString, Fault> {
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
    if let Some(number) = number(text) {
        return Ok(IntOrString::Int(number));
    }
    let percent = text.strip_suffix('%').and_then(number).filter(|number| *number <= 100);
    percent.map(|number| IntOrString::String(format!("{number}%"))).ok_or_else(|| {
        Fault::new(format!("annotation {MIN_AVAILABLE} is {text:?}; write a number of pods, or 50%"))
    })
}

fn address(requested: &RequestedAddress) -> Option<String> {
    let is_ip = requested.kind == "IPAddress" && !requested.value.is_empty();
    is_ip.then(|| requested.value.to_string())
}

/// What the author wants on all that is deployed: as `spec.infrastructure` says, else as on the Gateway.
fn propagated(written: Option<&Labels>, own: &Labels) -> BTreeMap<String, String> {
    let all = written.unwrap_or(own).iter();
    // These keys are for those who deploy.
    let kept = all.filter(|(key, _)| !key.starts_with("gateway.networking.k8s.io/"));
    kept.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn annotations(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut all = propagated(gateway.infrastructure.annotations.as_ref(), &gateway.annotations);
    all.retain(|key, _| !key.starts_with(OWN) && !NOT_COPIED.contains(&key.as_str()));
    all
}

fn labels(gateway: &Gateway, of: &PlanInputs<'_>) -> BTreeMap<String, String> {
    let mut all = propagated(gateway.infrastructure.labels.as_ref(), &gateway.meta.labels);
    if of.class.is_in_mesh() && !of.network.is_empty() {
        all.entry(mesh::NETWORK_LABEL.to_owned()).or_insert_with(|| of.network.to_owned());
    }
    all.insert(label::GATEWAY_NAME.to_owned(), gateway.meta.name.name.to_string());
    let class = gateway.class.as_str();
    // A name may be longer than the value of a label.
    let class: String = class.chars().take(MAX_LABEL).collect();
    let class = class.trim_end_matches(['-', '.']).to_owned();
    all.insert("gateway.networking.k8s.io/gateway-class-name".to_owned(), class);
    all.insert(label::MANAGED.to_owned(), of.class.controller().replace('/', "-"));
    all
}

/// One port for each that some listener has.
fn ports(of: &PlanInputs<'_>) -> Vec<Port> {
    let mut ports =
        vec![Port { name: "status-port".to_owned(), port: STATUS_PORT, app_protocol: "tcp", is_udp: false }];
    let mut taken = BTreeSet::from([STATUS_PORT]);
    for (listener, name) in of.listeners.iter().zip(&of.names) {
        let Ok(protocol) = listener.protocol else { continue };
        if listener.conflict.is_none() && taken.insert(listener.port) {
            let name = port_name(name, listener.port, &ports);
            let app_protocol = app_protocol(protocol);
            ports.push(Port { name, port: listener.port, app_protocol, is_udp: false });
        }
    }
    for (listener, name) in of.listeners.iter().zip(&of.names) {
        let is_quic = listener.is_active() && listener.asks_for_http3();
        if is_quic && !ports.iter().any(|port| port.is_udp && port.port == listener.port) {
            let name = port_name(&format!("{name}-quic"), listener.port, &ports);
            ports.push(Port { name, port: listener.port, app_protocol: "https", is_udp: true });
        }
    }
    ports
}

/// The name of a listener, as far as a port can have it.
fn port_name(listener: &str, port: u16, taken: &[Port]) -> String {
    let cut = |text: &str| text.chars().take(MAX_LABEL).collect::<String>();
    let is_free = |name: &str| taken.iter().all(|other| other.name != name);
    let plain = cut(&listener.replace('.', "-"));
    let plain = plain.trim_end_matches('-');
    if is_free(plain) {
        return plain.to_owned();
    }
    let mut end = format!("-{port}");
    loop {
        let begin: String = plain.chars().take(MAX_LABEL.saturating_sub(end.len())).collect();
        let name = format!("{begin}{end}");
        if is_free(&name) {
            return name;
        }
        end.push('x');
    }
}

fn app_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
        Protocol::Tls => "tls",
        Protocol::Tcp => "tcp",
        Protocol::Hbone => "hbone",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_have_the_names_of_their_listeners_as_far_as_they_can() {
        let port = |name: &str| Port { name: name.to_owned(), port: 1, app_protocol: "tcp", is_udp: false };
        let taken = ["http", "http-81", "a".repeat(63).as_str()].map(port);
        assert_eq!(port_name("https.main", 443, &taken), "https-main");
        assert_eq!(port_name("http", 80, &taken), "http-80");
        assert_eq!(port_name("http", 81, &taken), "http-81x");
        assert_eq!(port_name(&"a".repeat(80), 82, &taken), format!("{}-82", "a".repeat(60)));
        assert_eq!(port_name(&format!("{}.b", "c".repeat(62)), 83, &taken), "c".repeat(62));
    }

    #[test]
    fn a_budget_is_a_number_or_a_percentage() {
        assert_eq!(min_available("1").unwrap(), IntOrString::Int(1));
        assert_eq!(min_available("50%").unwrap(), IntOrString::String("50%".to_owned()));
        for wrong in ["", "-1", "one", "101%", "%"] {
            assert!(min_available(wrong).is_err(), "{wrong}");
        }
    }
}
