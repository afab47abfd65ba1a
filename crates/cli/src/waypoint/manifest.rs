//! A waypoint as a Gateway: what `generate` prints and `apply` sends.

use anyhow::bail;
use clap::{Args, ValueEnum};
use model::is_dns_label;
use serde_json::{Map, Value, json};

/// The class of waypoints.
pub const CLASS: &str = "istio-waypoint";
/// The label that says which traffic a waypoint takes.
pub const TRAFFIC: &str = "istio.io/waypoint-for";
/// The label that says which control plane serves an object.
pub const REVISION: &str = "istio.io/rev";
/// Name of the waypoint where none is given.
const NAME: &str = "waypoint";

/// Which traffic a waypoint takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Traffic {
    /// That to addresses of services
    Service,
    /// That to addresses of workloads
    Workload,
    /// Both
    All,
    /// Neither
    None,
}

impl Traffic {
    /// Returns the value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// What a waypoint is to be.
#[derive(Debug, Clone, Args)]
pub struct WaypointArgs {
    /// Name of the waypoint
    #[arg(long, value_name = "NAME", default_value = NAME)]
    pub name: String,
    /// Traffic that it takes; without it what the class says, which is that to services
    #[arg(long = "for", value_enum, value_name = "TRAFFIC")]
    pub traffic: Option<Traffic>,
    /// Revision that serves it; without it that of the namespace
    #[arg(short, long, value_name = "NAME")]
    pub revision: Option<String>,
}

impl WaypointArgs {
    /// Returns the Gateway, in this namespace if one is given.
    ///
    /// # Errors
    /// When no waypoint can have this name.
    pub fn gateway(&self, namespace: Option<&str>) -> anyhow::Result<Value> {
        if self.name == "none" {
            bail!(
                "no waypoint can be called \"none\": as a value of the label istio.io/use-waypoint it means no waypoint"
            );
        }
        if !self.name.split('.').all(is_dns_label) {
            bail!(
                "{:?} cannot be the name of a waypoint: write lower-case letters, digits, `-` and `.`",
                self.name
            );
        }
        let mut metadata = Map::new();
        let labels = [
            (REVISION, self.revision.as_deref().filter(|revision| !revision.is_empty())),
            (TRAFFIC, self.traffic.map(Traffic::label)),
        ];
        let labels: Map<String, Value> =
            labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect();
        if !labels.is_empty() {
            metadata.insert("labels".to_owned(), labels.into());
        }
        metadata.insert("name".to_owned(), json!(self.name));
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        Ok(json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": metadata,
            "spec": {
                "gatewayClassName": CLASS,
                "listeners": [{ "name": "mesh", "port": 15008, "protocol": "HBONE" }],
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waypoint(name: &str) -> WaypointArgs {
        WaypointArgs { name: name.to_owned(), traffic: None, revision: None }
    }

    #[test]
    fn labels_are_only_what_was_asked_for() -> anyhow::Result<()> {
        let plain = waypoint("waypoint").gateway(None)?;
        assert_eq!(plain["metadata"], json!({ "name": "waypoint" }));
        let labelled = WaypointArgs {
            traffic: Some(Traffic::All),
            revision: Some("canary".to_owned()),
            ..waypoint("waypoint")
        };
        let labels = json!({ "istio.io/rev": "canary", "istio.io/waypoint-for": "all" });
        let expected = json!({ "labels": labels, "name": "waypoint", "namespace": "shop" });
        assert_eq!(labelled.gateway(Some("shop"))?["metadata"], expected);
        Ok(())
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["none", "", "Waypoint", "a_b", "-a", "a\nb"] {
            assert!(waypoint(name).gateway(None).is_err(), "{name:?}");
        }
    }
}
