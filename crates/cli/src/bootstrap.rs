//! `pilothouse bootstrap`: what an Envoy of a gateway or waypoint reads first.

use crate::output;
use crate::token::{namespace, object_name};
use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use envoy::bootstrap::{Bootstrap, ProxyKind, ROOT_SECRET, TOKEN_SECRET};
use plane::bootstrap as setting;
use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The Envoy that a bootstrap is for.
#[derive(Debug, Args)]
#[command(override_usage = "pilothouse bootstrap [OPTIONS], each by its flag or its variable")]
pub struct BootstrapArgs {
    /// What the Envoy is
    #[arg(long = setting::KIND.flag, env = setting::KIND.variable, value_enum)]
    kind: Kind,
    /// Namespace of its pod, which is that of the Gateway
    #[arg(long = setting::NAMESPACE.flag, env = setting::NAMESPACE.variable, value_name = "NAME", value_parser = namespace)]
    namespace: String,
    /// Name of the Gateway
    #[arg(long = setting::GATEWAY.flag, env = setting::GATEWAY.variable, value_name = "NAME", value_parser = object_name)]
    gateway: String,
    /// Name of its pod
    #[arg(long = setting::POD.flag, env = setting::POD.variable, value_name = "NAME", value_parser = object_name)]
    pod: String,
    /// Address of its pod
    #[arg(long = setting::IP.flag, env = setting::IP.variable, value_name = "ADDR")]
    ip: IpAddr,
    /// Service account of its pod
    #[arg(
        long = setting::SERVICE_ACCOUNT.flag, env = setting::SERVICE_ACCOUNT.variable, value_name = "NAME",
        value_parser = object_name
    )]
    service_account: String,
    /// Control plane
    #[arg(long = setting::XDS.flag, env = setting::XDS.variable, value_name = "HOST:PORT", value_parser = host_and_port)]
    xds: (String, u16),
    /// Name that the certificate of the control plane has; without it the host of --xds
    #[arg(long = setting::XDS_NAME.flag, env = setting::XDS_NAME.variable, value_name = "NAME")]
    xds_name: Option<String>,
    /// File with the roots of the mesh, as Envoy sees it
    #[arg(long = setting::ROOT_CERT.flag, env = setting::ROOT_CERT.variable, value_name = "FILE")]
    root_cert: String,
    /// File with the token of the pod, as Envoy sees it
    #[arg(long = setting::TOKEN_FILE.flag, env = setting::TOKEN_FILE.variable, value_name = "FILE")]
    token_file: String,
    /// Folder for the two secrets that name these files, which Envoy follows; without it that of --file
    #[arg(
        long = setting::SECRETS.flag, env = setting::SECRETS.variable, value_name = "DIR",
        required_unless_present = "file"
    )]
    secrets: Option<PathBuf>,
    /// File to write instead of standard output
    #[arg(long = setting::FILE.flag, env = setting::FILE.variable, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Format
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A waypoint, or a gateway between networks
    Waypoint,
    /// A gateway at the edge of the mesh
    Gateway,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a file whose name ends in `.yaml`
    Yaml,
    /// For a file whose name ends in `.json`
    Json,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Ok((bare.to_owned(), port))
        }
        _ => Err("write a host and a port, such as pilothouse.istio-system.svc:15012".to_owned()),
    }
}

/// Writes the bootstrap and the secrets that it names.
///
/// # Errors
/// When one cannot be written.
pub fn run(args: &BootstrapArgs) -> anyhow::Result<()> {
    let beside = args.file.as_deref().map(|file| match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    });
    let Some(secrets) = args.secrets.clone().or(beside) else {
        bail!("nothing says where the secrets are to be: set --secrets or --file");
    };
    let (xds_host, xds_port) = args.xds.clone();
    let documents = Bootstrap {
        kind: match args.kind {
            Kind::Waypoint => ProxyKind::Waypoint,
            Kind::Gateway => ProxyKind::Gateway,
        },
        namespace: args.namespace.clone(),
        gateway: args.gateway.clone(),
        pod: args.pod.clone(),
        ip: args.ip,
        service_account: args.service_account.clone(),
        xds_name: args.xds_name.clone().unwrap_or_else(|| xds_host.clone()),
        xds_host,
        xds_port,
        root_cert: args.root_cert.clone(),
        token_file: args.token_file.clone(),
        secrets: secrets
            .to_str()
            .context("the folder of the secrets has a name that is no UTF-8")?
            .to_owned(),
    }
    .documents();
    write(&secrets.join(TOKEN_SECRET), &text(&documents.token_secret, Format::Json)?)?;
    write(&secrets.join(ROOT_SECRET), &text(&documents.root_secret, Format::Json)?)?;
    let bootstrap = text(&documents.bootstrap, args.output)?;
    match &args.file {
        Some(file) => write(file, &bootstrap),
        None => output::print_document(&bootstrap),
    }
}

fn text(document: &Value, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Yaml => model::yaml::to_string(document)?,
        Format::Json => serde_json::to_string_pretty(document)? + "\n",
    })
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).map_err(|error| anyhow!("cannot write {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_planes_are_named_by_host_and_port() {
        let read = |text: &str| host_and_port(text).ok();
        assert_eq!(read("a.b.svc:15012"), Some(("a.b.svc".to_owned(), 15_012)));
        assert_eq!(read("[fd00::1]:15012"), Some(("fd00::1".to_owned(), 15_012)));
        for wrong in ["a.b.svc", ":1", "a:b", "a:70000", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
