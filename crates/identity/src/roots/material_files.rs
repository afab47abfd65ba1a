//! Key material as named files: in a directory, or as the data of a Secret.

use ca::{CRL_FILE, PLUGGED_IN_FILES, TLS_FILES};
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The marker of key material that a control plane has generated itself.
const GENERATED: &str = "istio-generated";

/// Maximum size of a file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Contents of files, or of the keys of a Secret, by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Returns whether there is any key material among `files`.
pub(super) fn has_material(files: &Files) -> bool {
    PLUGGED_IN_FILES.iter().chain(&TLS_FILES).any(|name| files.contains_key(*name))
}

/// Returns the data of a Secret by key.
pub(super) fn data_of(secret: &Secret) -> Files {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Reads the files of key material that exist in `dir`.
///
/// # Errors
/// When a file exists and cannot be read, or is larger than 1 MiB.
pub(super) fn read_files(dir: &Path) -> io::Result<Files> {
    let mut files = BTreeMap::new();
    for name in PLUGGED_IN_FILES.iter().chain(&TLS_FILES).chain(&[CRL_FILE, GENERATED]) {
        let path = dir.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() > MAX_FILE_BYTES => {
                return Err(io::Error::new(ErrorKind::FileTooLarge, format!("{name} has more than 1 MiB")));
            }
            Ok(_) => drop(files.insert((*name).to_owned(), std::fs::read(&path)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Returns whether the API server is unavailable or overloaded, rather than refusing the request.
pub(super) fn is_unavailable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        _ => true,
    }
}
