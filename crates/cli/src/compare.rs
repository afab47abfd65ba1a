//! `pilothouse compare`: what two control planes tell ztunnels of one mesh, and what differs.

use crate::address::dialled;
use crate::dump::{View, document, server};
use crate::output;
use crate::plugin::Forward;
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use model::Lines;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

/// How long the two are left alone between two readings: what has only not arrived yet is no difference.
const PAUSE: Duration = Duration::from_secs(2);
/// Most differences of a kind that a person is shown; programs are given all.
const SHOWN: usize = 50;

/// Which control planes are compared.
#[derive(Args)]
#[command(after_help = "\
Both are asked twice, and what differs both times is printed: for each resource that one alone has, and each field that \
differs, what it decides. Lists whose order means nothing are compared without it. Exits with 1 if anything differs.

Beside istiod, before it is replaced:
  pilothouse serve --shadow &
  kubectl -n istio-system port-forward deployment/istiod 25010:15010 &
  pilothouse compare --with 127.0.0.1:25010")]
pub struct CompareArgs {
    /// The plaintext xDS address of the other control plane
    #[arg(long, value_name = "ADDR")]
    with: String,
    /// That of ours; without it, that of PILOTHOUSE_XDS_ADDR, or of this machine
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// What stands for --server where it is not given
    #[arg(long, hide = true, env = "PILOTHOUSE_XDS_ADDR", default_value = "127.0.0.1:15010")]
    xds_addr: String,
    /// Namespace of our control plane, where this is a plugin of kubectl
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "istio-system")]
    system_namespace: String,
    /// Its revision, likewise
    #[arg(long, value_name = "NAME", env = "REVISION", default_value = "")]
    revision: String,
    /// Only what is in this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Lines, or an object
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each difference
    Text,
    /// One JSON object
    Json,
}

/// Compares the two.
///
/// # Errors
/// When one of them cannot be asked, or standard output cannot be written.
pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let forward = Forward::in_place_of(args.server.as_ref(), &args.system_namespace, &args.revision)?;
    let stands = forward.as_ref().map_or(&args.xds_addr, |forward| &forward.xds);
    let own = dialled(args.server.as_ref().unwrap_or(stands));
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
    let (compared, differences) = threads.block_on(async {
        let (_, first) = args.read(&own).await?;
        if !first.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        let (compared, second) = args.read(&own).await?;
        let standing = second.into_iter().filter(|of| first.contains(of)).collect::<BTreeSet<_>>();
        anyhow::Ok((compared, standing))
    })?;
    match args.output {
        Format::Text => output::print(&text(compared, &differences))?,
        Format::Json => {
            let all: Vec<_> = differences.iter().map(Difference::json).collect();
            output::print_json(&format!("{}\n", json!({"compared": compared, "differences": all})))?;
        }
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl CompareArgs {
    /// Asks both, and returns how many resources ours has, and what differs.
    async fn read(&self, own: &str) -> anyhow::Result<(usize, BTreeSet<Difference>)> {
        let other = dialled(&self.with);
        let (ours, theirs) = tokio::try_join!(server::resources(own), server::resources(&other))?;
        let (mut compared, mut found) = (0, BTreeSet::new());
        for view in [View::Workloads, View::Services, View::Policies] {
            let namespace = self.namespace.as_deref();
            let of = |all| {
                let list = serde_json::to_value(document::list(all, view, namespace)?)?;
                anyhow::Ok(by_name(view, list))
            };
            let (ours, theirs) = (of(&ours)?, of(&theirs)?);
            compared += ours.len();
            found.extend(differences(view, &ours, &theirs));
        }
        Ok((compared, found))
    }
}

/// What differs of one resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Difference {
    /// `workload`, `service` or `policy`.
    what: &'static str,
    name: String,
    /// Which field; `None` for a resource that one alone has.
    field: Option<String>,
    /// What ours says, and what the other does, as JSON; `None` where it has nothing.
    ours: Option<String>,
    theirs: Option<String>,
}

impl Difference {
    /// What it decides, for whoever knows meshes and not this protocol.
    fn why(&self) -> &'static str {
        match (self.what, self.field.as_deref()) {
            ("workload", None) => {
                "to ztunnels, its address is that of nobody: traffic to it passes without policies and mTLS"
            }
            ("service", None) => "its address and hostname lead nowhere by way of the mesh",
            ("policy", None) => "it is enforced by ztunnels of one of them alone",
            (_, Some("authorizationPolicies")) => "which policies are enforced in front of it",
            (_, Some("tunnelProtocol" | "nativeTunnel" | "applicationTunnel")) => {
                "whether and how traffic to it is encrypted"
            }
            (_, Some("serviceAccount" | "trustDomain" | "subjectAltNames")) => {
                "which identity is expected of it"
            }
            (_, Some("waypoint" | "weightedWaypoints" | "ingressUseWaypoint")) => {
                "which waypoint traffic to it goes through"
            }
            (_, Some("services" | "status" | "capacity")) => "which services' traffic it gets, and how much",
            (_, Some("networkGateway" | "network" | "networkMode")) => {
                "how it is reached from other networks"
            }
            (_, Some("addresses" | "hostname" | "ports" | "ipFamilies")) => {
                "by which addresses and ports it is reached"
            }
            (_, Some("loadBalancing" | "locality" | "node")) => "which endpoints clients prefer",
            (_, Some("scope" | "action" | "groups" | "dryRun")) => {
                "whom it lets through, and to whom it applies"
            }
            (_, Some("canonical" | "visibility")) => "which of several objects a name means",
            (_, Some(_)) => "how it is called in metrics and logs",
            (_, None) => "",
        }
    }

    fn line(&self) -> String {
        let (what, name) = (self.what, &self.name);
        let why = self.why();
        match (&self.field, &self.ours, &self.theirs) {
            (None, Some(_), _) => format!("{what} {name}: ours alone has it ({why})"),
            (None, None, _) => format!("{what} {name}: the other alone has it ({why})"),
            (Some(field), ours, theirs) => {
                let shown = |of: &Option<String>| of.clone().unwrap_or_else(|| "nothing".to_owned());
                format!("{what} {name}: {field} is {} and not {} ({why})", shown(ours), shown(theirs))
            }
        }
    }

    fn json(&self) -> Value {
        let value =
            |text: &Option<String>| text.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        json!({
            "kind": self.what, "name": self.name, "field": self.field,
            "ours": value(&self.ours), "other": value(&self.theirs), "decides": self.why(),
        })
    }
}

type Fields = Map<String, Value>;

/// The resources of a list, by what names them.
fn by_name(view: View, list: Value) -> BTreeMap<String, Fields> {
    let Value::Array(items) = list else { return BTreeMap::new() };
    let text =
        |of: &Fields, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let named = items.into_iter().filter_map(|item| match item {
        Value::Object(of) => Some(of),
        _ => None,
    });
    let named = named.map(|of| {
        let name = match view {
            View::Workloads => text(&of, "uid"),
            View::Services => format!("{}/{}", text(&of, "namespace"), text(&of, "hostname")),
            _ => format!("{}/{}", text(&of, "namespace"), text(&of, "name")),
        };
        (name, of)
    });
    named.collect()
}

fn differences(
    view: View,
    ours: &BTreeMap<String, Fields>,
    theirs: &BTreeMap<String, Fields>,
) -> Vec<Difference> {
    let what = match view {
        View::Workloads => "workload",
        View::Services => "service",
        _ => "policy",
    };
    let mut found = Vec::new();
    for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let of = |field: Option<String>, ours: Option<String>, theirs: Option<String>| Difference {
            what,
            name: name.clone(),
            field,
            ours,
            theirs,
        };
        match (ours.get(name), theirs.get(name)) {
            (Some(ours), Some(theirs)) => {
                for field in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
                    let text = |of: &Fields| of.get(field).map(|value| written(field, value));
                    let (ours, theirs) = (text(ours), text(theirs));
                    if ours != theirs {
                        found.push(of(Some(field.clone()), ours, theirs));
                    }
                }
            }
            (ours, theirs) => {
                let text = |of: Option<&Fields>| of.map(|_| "true".to_owned());
                found.push(of(None, text(ours), text(theirs)));
            }
        }
    }
    found
}

/// A value as JSON, in which the order of what has none does not count.
fn written(field: &str, value: &Value) -> String {
    match value {
        Value::Array(items) if field != "groups" => {
            let mut items = items.clone();
            items.sort_by_key(ToString::to_string);
            Value::Array(items).to_string()
        }
        value => value.to_string(),
    }
}

fn text(compared: usize, differences: &BTreeSet<Difference>) -> Lines {
    let mut lines = Vec::new();
    for what in ["workload", "service", "policy"] {
        let of = differences.iter().filter(|of| of.what == what);
        let count = of.clone().count();
        lines.extend(of.take(SHOWN).map(Difference::line));
        if count > SHOWN {
            lines.push(format!("{} more of this kind: -o json has all", count - SHOWN));
        }
    }
    lines.push(match differences.len() {
        0 => format!("no difference in {compared} resources"),
        1 => format!("1 difference in {compared} resources"),
        count => format!("{count} differences in {compared} resources"),
    });
    Lines::from_iter(lines)
}
