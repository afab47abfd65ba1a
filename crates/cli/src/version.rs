//! `pilothouse version`: of this command, and of a control plane.

use crate::address::dialled;
use crate::{monitoring, output};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use model::Lines;
use serde_json::json;

/// Most bytes of an answer that are read.
const MAX_BYTES: usize = 64 * 1024;

/// Whose version is printed.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Control plane to ask, too: its monitoring address; without a value, that of PILOTHOUSE_MONITORING_ADDR,
    /// or the one at 127.0.0.1:15014
    #[arg(long, value_name = "ADDR", num_args = 0..=1)]
    server: Option<Option<String>>,
    /// What stands for --server without a value
    #[arg(long, hide = true, env = "PILOTHOUSE_MONITORING_ADDR", default_value = "127.0.0.1:15014")]
    monitoring_addr: String,
    /// Lines, or an object
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each
    Text,
    /// One JSON object
    Json,
}

/// Prints the versions.
///
/// # Errors
/// When the control plane cannot be asked, after the version of this command is printed.
pub fn run(args: &VersionArgs) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let mut server = None;
    if args.output == Format::Text {
        output::print(&Lines::from_iter([format!("client {client}")]))?;
    }
    if let Some(address) = &args.server {
        let address = &dialled(address.as_ref().unwrap_or(&args.monitoring_addr));
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
        server = Some(threads.block_on(ask(address)).map_err(|error| {
            anyhow!(
                "cannot ask the control plane at {address} for its version: {error:#}; \
                 name its monitoring address by --server"
            )
        })?);
    }
    match (args.output, server) {
        (Format::Text, None) => Ok(()),
        (Format::Text, Some(server)) => output::print(&Lines::from_iter([format!("server {server}")])),
        (Format::Json, server) => {
            let versions = match server {
                Some(server) => json!({ "client": client, "server": server }),
                None => json!({ "client": client }),
            };
            output::print_json(&format!("{versions}\n"))
        }
    }
}

/// Asks for `/version` over HTTP.
async fn ask(address: &str) -> anyhow::Result<String> {
    let body = monitoring::get(address, "/version", MAX_BYTES).await?;
    // VERSION-REVISION-STATE; a version may have hyphens itself.
    let answer = std::str::from_utf8(&body).ok().filter(|text| !text.contains(char::is_whitespace));
    let mut parts = answer.context("it is no control plane")?.rsplitn(3, '-');
    let version = parts.nth(2).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    Ok(version.context("it is no control plane")?.to_owned())
}
