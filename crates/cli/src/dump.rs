//! `pilothouse dump`: the mesh as tables.

use clap::Args;

/// What to print, and of which mesh.
#[derive(Args)]
pub struct DumpArgs {}

/// Prints it.
pub fn run(_: DumpArgs) -> anyhow::Result<()> {
    anyhow::bail!("not written")
}
