//! `pilothouse man`: the manual, as `man` reads it.

use crate::output;
use anyhow::anyhow;
use clap::Args;
use std::path::PathBuf;

/// Where the manual goes.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write a page for each command into, such as ~/.local/share/man/man1; without it the first page is printed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the pages.
///
/// # Errors
/// When the folder, or standard output, cannot be written.
pub fn run(args: &ManArgs, command: clap::Command) -> anyhow::Result<()> {
    if let Some(dir) = &args.dir {
        return clap_mangen::generate_to(command, dir).map_err(|error| {
            anyhow!(
                "cannot write pages into {}: {error}; name a folder that is there by --dir",
                dir.display()
            )
        });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    output::print_document(&String::from_utf8_lossy(&page))
}
