//! Reads folders of manifests once, as `pilothouse serve --from` would serve them.

use super::resources::{Collector, Resources};
use anyhow::anyhow;
use mesh::{Conditions, Mesh, ResourceKind};
use model::{Diagnostic, Kind};
use proto::type_url;
use runtime::config::MeshArgs;
use runtime::source::folder::{FolderSettings, load_once};
use std::path::PathBuf;

/// Returns the resources that folders give, and what is wrong with the manifests.
///
/// # Errors
/// When a folder is not there. What is wrong with a manifest is no error: the rest is served.
pub fn resources(folders: &[PathBuf], args: &MeshArgs) -> anyhow::Result<(Resources, Vec<Diagnostic>)> {
    for path in folders {
        std::fs::metadata(path).map_err(|error| {
            anyhow!("cannot read {}: {error}; name a folder of manifests by --from", path.display())
        })?;
    }
    let settings = FolderSettings {
        folders: folders.to_vec(),
        config_namespace: args.system_namespace.clone(),
        config_name: mesh::config_map(&args.revision),
    };
    let (events, mut diagnostics) = load_once(&settings);
    let mut mesh = Mesh::new(&args.options());
    mesh.apply(events);
    let of_objects = mesh.diagnostics();
    for diagnostic in of_objects {
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    let mut collector = Collector::default();
    for resource in mesh.resources() {
        let type_url = match resource.kind {
            ResourceKind::Address => type_url::ADDRESS,
            ResourceKind::Authorization => type_url::AUTHORIZATION,
        };
        collector.put(type_url, &resource.name, &resource.body.unwrap_or_default())?;
    }
    let statuses = mesh.conditions().into_iter().filter_map(|change| {
        let of = change.object;
        let conditions = change.conditions.filter(|_| of.kind == Kind::AuthorizationPolicy)?;
        Some(((of.name.ns.to_string(), of.name.name.to_string()), status(&conditions)))
    });
    let statuses = Some(statuses.collect());
    Ok((Resources { statuses, ..collector.finish() }, diagnostics))
}

fn status(all: &Conditions) -> String {
    let texts = all.conditions.iter().map(|condition| {
        let status = if condition.status { "True" } else { "False" };
        format!("{}={status} {}", condition.kind, condition.reason)
    });
    texts.collect::<Vec<_>>().join(", ")
}
