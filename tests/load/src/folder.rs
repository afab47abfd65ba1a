//! Writes a mesh to a folder: one file for the nodes and one for each namespace.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::kinds;
use crate::mesh::{Mesh, PodId};
use crate::report::Fill;

/// Writes all files; existing ones are replaced, each at once.
///
/// # Errors
/// If a file cannot be written.
pub fn fill(mesh: &Mesh, folder: &Path) -> anyhow::Result<Fill> {
    let begun = Instant::now();
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut nodes: Vec<Value> = (0..usize::from(mesh.nodes)).map(Mesh::node_object).collect();
    nodes.extend(mesh.all_kinds.then(|| kinds::class().object));
    let mut objects = write(folder, "nodes", &nodes)?;
    for namespace in 0..mesh.namespaces {
        objects += write(folder, &mesh.namespace(namespace), &namespace_objects(mesh, namespace))?;
    }
    Ok(Fill { objects, writes: mesh.namespaces + 1, seconds: begun.elapsed().as_secs_f64() })
}

fn namespace_objects(mesh: &Mesh, namespace: usize) -> Vec<Value> {
    let mut all = vec![mesh.namespace_object(namespace), mesh.account_object(namespace)];
    if mesh.all_kinds {
        all.extend(kinds::objects(mesh, namespace).into_iter().map(|mut one| {
            if let Some(status) = one.status {
                one.object["status"] = status;
            }
            one.object
        }));
    }
    for service in 0..mesh.services {
        all.push(mesh.service_object(namespace, service, true));
        let mut uids = Vec::new();
        for pod in 0..usize::from(mesh.pods) {
            let id = PodId { namespace, service, pod };
            let ip = mesh.pod_ip(id);
            // one pod, one address: good for an identifier too
            let uid = format!("00000000-0000-4000-8000-{:012x}", ip.to_bits());
            let mut object = mesh.pod_object(id);
            object["metadata"]["uid"] = json!(uid);
            object["status"] = Mesh::status(ip, true);
            all.push(object);
            uids.push(uid);
        }
        all.push(mesh.slice_object(namespace, service, &uids));
    }
    all
}

/// Writes one file beside its place, then renames it, so that no reader meets half of it.
fn write(folder: &Path, name: &str, objects: &[Value]) -> anyhow::Result<usize> {
    let place = folder.join(format!("{name}.yaml"));
    let beside = folder.join(format!(".{name}.yaml.new"));
    let written = || -> anyhow::Result<()> {
        let mut file = std::io::BufWriter::new(fs::File::create(&beside)?);
        for object in objects {
            file.write_all(b"---\n")?;
            serde_yaml::to_writer(&mut file, object)?;
        }
        file.flush()?;
        Ok(fs::rename(&beside, &place)?)
    };
    written().with_context(|| format!("writing {}", place.display()))?;
    Ok(objects.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde::Deserialize as _;

    #[test]
    fn a_folder_holds_every_object_once_with_status_and_references() {
        let dir = tempfile::tempdir().unwrap();
        let mesh =
            Mesh { namespaces: 2, services: 3, pods: 4, nodes: 5, prefix: "m".to_owned(), all_kinds: true };
        let fill = fill(&mesh, dir.path()).unwrap();
        assert_eq!(fill.objects, 5 + 1 + 2 * (2 + 9 + 3 * (1 + 4 + 1)));
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["m-0000.yaml", "m-0001.yaml", "nodes.yaml"]);
        let text = fs::read_to_string(dir.path().join("m-0001.yaml")).unwrap();
        let documents: Vec<Value> =
            serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap()).collect();
        let of = |kind: &str| documents.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
        let (pods, slices) = (of("Pod"), of("EndpointSlice"));
        assert_eq!((pods.len(), slices.len()), (1 + 12, 3));
        assert_eq!(pods[1]["status"]["podIP"], slices[0]["endpoints"][0]["addresses"][0]);
        assert_eq!(pods[1]["metadata"]["uid"], slices[0]["endpoints"][0]["targetRef"]["uid"]);
        assert!(of("Service")[0]["spec"]["clusterIP"].is_string());
    }
}
