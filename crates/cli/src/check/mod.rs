//! `pilothouse check`: whether a control plane can be installed, or works, and why not.
//!
//! ```text
//! cluster ──gather──▶ Facts ──judge──▶ findings ──▶ one line each, exit status
//! ```

mod facts;
mod gather;
mod judge;
#[cfg(test)]
mod tests;

use crate::address::dialled;
use crate::output;
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use cluster::{Access, connect};
use judge::{Finding, Level};
use model::Lines;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is checked, and how it is printed.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Namespace of the control plane
    #[arg(short, long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "istio-system")]
    namespace: String,
    /// Revision of the control plane; without it the one without a name
    #[arg(short, long, value_name = "NAME", env = "REVISION", default_value = "")]
    revision: String,
    /// Control plane to ask for its clients and certificates: its monitoring address, such as that of
    /// `kubectl port-forward deployment/istiod 15014`
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// Kubeconfig file; without one kubectl's default ($KUBECONFIG, ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", env = "PILOTHOUSE_CONTEXT")]
    context: Option<String>,
    /// Lines, or a list of objects
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each finding
    Text,
    /// One JSON list
    Json,
}

/// Prints the findings; fails if one of them is an error.
///
/// # Errors
/// When the API server cannot be asked at all.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
    let findings = threads.block_on(find(args))?;
    match args.output {
        Format::Text => output::print(&findings.iter().collect::<Lines>())?,
        Format::Json => {
            let list: Vec<Value> = findings.iter().map(Finding::document).collect();
            output::print_json(&format!("{:#}\n", json!(list)))?;
        }
    }
    let is_good = findings.iter().all(|finding| finding.level != Level::Error);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn find(args: &CheckArgs) -> anyhow::Result<Vec<Finding>> {
    let access = Access { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let connection = connect(&access).await?;
    let server = args.server.as_ref().map(|address| dialled(address));
    let of = gather::Of { namespace: &args.namespace, revision: &args.revision, server: server.as_deref() };
    let facts = gather::gather(&connection, &of).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(judge::judge(&facts, now))
}
