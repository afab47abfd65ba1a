//! Volumes of a pod: folders of the node. Containers are told where they are instead of where they mount them: each knows
//! of all mounts of the pod, since what one writes is read by another.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{KeyToPath, Pod, VolumeProjection};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where things are that containers mount, by the path of the mount.
pub(super) struct Volumes(BTreeMap<String, PathBuf>);

/// Makes the volumes of a pod.
///
/// # Errors
/// When the cluster does not have what is in them.
pub(super) async fn mount(pod: &Pod, cluster: &Cluster, folder: &Path) -> anyhow::Result<Volumes> {
    let spec = pod.spec.as_ref();
    let containers =
        spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let mounts: Vec<_> = containers.flat_map(|of| of.volume_mounts.iter().flatten()).collect();
    let mut all = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let path = path(folder, &volume.name);
        fs::create_dir_all(&path)?;
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            if let VolumeProjection { service_account_token: Some(token), .. } = source {
                let audience = token.audience.as_deref().unwrap_or_default();
                fs::write(path.join(&token.path), cluster.token(pod, audience).await?)?;
            }
        }
        let own = mounts.iter().filter(|mount| mount.name == volume.name);
        all.extend(own.map(|mount| (mount.mount_path.clone(), path.clone())));
    }
    refresh(pod, cluster, folder).await?;
    Ok(Volumes(all))
}

/// Brings what is there of ConfigMaps and Secrets up to date.
///
/// # Errors
/// When the cluster does not have one.
pub(super) async fn refresh(pod: &Pod, cluster: &Cluster, folder: &Path) -> anyhow::Result<()> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let path = path(folder, &volume.name);
        if let Some(map) = &volume.config_map {
            let data = cluster.config_map(namespace, &map.name).await?;
            let data = data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect();
            files(&path, &data, map.items.as_deref())?;
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let data = cluster.secret(namespace, name).await?;
            files(&path, &data, secret.items.as_deref())?;
        }
    }
    Ok(())
}

fn path(folder: &Path, volume: &str) -> PathBuf {
    folder.join("volumes").join(volume)
}

/// Has a folder with these items, or with all that there is.
fn files(
    folder: &Path,
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
) -> std::io::Result<()> {
    match items {
        None => data.iter().try_for_each(|(key, content)| write(&folder.join(key), content)),
        Some(items) => items.iter().try_for_each(|item| {
            write(&folder.join(&item.path), data.get(&item.key).map(Vec::as_slice).unwrap_or_default())
        }),
    }
}

/// Has a file with this content: another one takes its place, which who follows it sees.
fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    if fs::read(file).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let new = file.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(&new, file)
}

impl Volumes {
    /// Says where things are, in a text that says where containers mount them.
    pub(super) fn translated(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (mount, path)| text.replace(mount, &path.display().to_string()))
    }
}
