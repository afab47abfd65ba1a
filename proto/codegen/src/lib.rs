//! Compiles the files of `proto/` to what `crates/proto/src/gen` holds: messages in Rust, and what describes them to
//! whoever shows them.

use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files to compile, by name inside `proto/`.
const FILES: [&str; 5] =
    ["workload.proto", "authorization.proto", "citadel.proto", "discovery.proto", "status.proto"];

/// Those of them that are shown to people as Envoy's are.
const DESCRIBED: [&str; 2] = ["workload.proto", "authorization.proto"];

/// The folder that holds the committed result.
pub fn output_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/proto/src/gen")
}

/// Compiles every proto file: file name to content, in memory.
///
/// # Errors
/// When a file of `proto/` cannot be read or compiled.
pub fn generate() -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let descriptors = protox::compile(FILES, [protos])?;
    let out = tempfile::tempdir()?;
    let mut config = prost_build::Config::new();
    config
        .btree_map(["."])
        .bytes(["."])
        .extern_path(".google.rpc", "crate::rpc")
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    // `extern_path` keeps a package out of its own output too: a second pass for it alone.
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = protox::compile(["status.proto"], [protos])?;
    prost_build::Config::new().out_dir(out.path()).compile_fds(status)?;

    // Messages of Envoy are put into others as ones of any type, for which their types know their names.
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = std::fs::read_dir(protos.join("envoy"))?
        .map(|entry| Ok(format!("envoy/{}", entry?.file_name().to_string_lossy())))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    let descriptors = protox::compile(&names, [&protos])?;
    let meshes = FILES.iter().filter(|file| DESCRIBED.contains(file)).map(|file| (*file).to_owned());
    let mut described = protox::compile(names.iter().cloned().chain(meshes), [protos])?;
    for file in &mut described.file {
        // Comments are for the messages in Rust.
        file.source_code_info = None;
    }
    let described = described.encode_to_vec();
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .out_dir(out.path())
        .compile_fds(descriptors)?;

    let mut files = BTreeMap::from([("described.bin".to_owned(), described)]);
    for entry in std::fs::read_dir(out.path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, std::fs::read(entry.path())?);
    }
    Ok(files)
}
