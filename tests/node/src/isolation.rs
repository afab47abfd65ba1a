//! Namespaces of this program's own, so that nothing it does is seen outside and nothing of it stays behind.
//!
//! ```text
//!  this machine                         own namespaces of network, mounts and processes
//!  program ──▶ unshare ──fork──▶ the program again, as process 1
//!     └───────── pipe ─────────▶ its standard input: it ends when that closes
//! ```
//!
//! Interfaces, rules, mounts and processes belong to these namespaces, and the kernel removes them with their process
//! 1, however that ends. Runs beside each other cannot meet: each has a network in which nobody else is.

use crate::load_balancer;
use anyhow::{Context, bail};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use tokio::sync::oneshot;

/// The variable by which the program knows that it is inside.
const INSIDE: &str = "PILOTHOUSE_NODE_INSIDE";

/// Why namespaces are needed, for people.
pub const WHY: &str = "\
each pod gets a network namespace with an address of its own, and what it sends is redirected to the proxy of the node. \
Only root may make these, so this runs as root, or as the root of a user namespace where the system lets users have \
one. All of it is in namespaces of this run: nothing on this machine is changed, and nothing is left behind";

/// Tells whether this process is inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again with these arguments and variables, inside, and returns how that ended. Where a file is
/// given, it gets what [`enter`] needs.
///
/// # Errors
/// When namespaces cannot be had.
pub fn run_inside(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (&'static str, String)>,
    door: Option<&Path>,
) -> anyhow::Result<ExitStatus> {
    let mut unshare = Command::new("unshare");
    if !is_root()? {
        unshare.args(["--user", "--map-root-user"]);
    }
    // Who makes namespaces leaves them with the last process in them, and process 1 takes all others with it.
    unshare.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "--"]);
    unshare.arg(std::env::current_exe()?).args(arguments).env(INSIDE, "1").envs(variables);
    // Held open for as long as this process lives.
    let mut child = unshare.stdin(Stdio::piped()).spawn().context("cannot run unshare (util-linux)")?;
    let input = child.stdin.take();
    if let Some(door) = door {
        fs::write(door, child.id().to_string())?;
    }
    let status = child.wait()?;
    drop(input);
    Ok(status)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// Becomes a command in the network of a run, by what [`run_inside`] wrote: what it reaches is what the node reaches.
///
/// # Errors
/// When the run has ended, or the command cannot be run.
pub fn enter(door: &Path, command: &[OsString]) -> anyhow::Result<Infallible> {
    let process = fs::read_to_string(door).with_context(|| format!("nothing runs: no {}", door.display()))?;
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &process, "--net"]);
    if !is_root()? {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    let error = nsenter.arg("--").args(command).exec();
    Err(error).context("cannot run nsenter (util-linux)")
}

/// Prepares the namespaces; called inside, once and first.
///
/// # Errors
/// When something of them cannot be had, as without the rights that they need.
pub fn prepare(name_server: &str) -> anyhow::Result<()> {
    // Named network namespaces and what else runs keeps there, of this run alone.
    command("mount", &["-t", "tmpfs", "tmpfs", "/run"])
        .with_context(|| format!("not enough rights: {WHY}"))?;
    fs::create_dir_all("/var/run/netns").context("cannot make /var/run/netns")?;
    let resolver = PathBuf::from("/run/resolv.conf");
    fs::write(&resolver, format!("nameserver {name_server}\noptions timeout:1 attempts:2\n"))?;
    bind(&resolver, Path::new("/etc/resolv.conf"))?;
    command("ip", &["link", "set", "lo", "up"])?;
    command("ip", &["address", "add", name_server, "dev", "lo"])?;
    command("ip", &["route", "add", "local", load_balancer::RANGE, "dev", "lo", "src", name_server])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")
}

/// Shows a file in the place of another one.
fn bind(file: &Path, over: &Path) -> anyhow::Result<()> {
    if !over.exists() {
        // A link to what was below /run.
        let target = fs::read_link(over).unwrap_or_else(|_| over.to_owned());
        let target = over.parent().unwrap_or(Path::new("/")).join(target);
        fs::create_dir_all(target.parent().context("a file is in a folder")?)?;
        File::create(&target).with_context(|| format!("cannot make {}", target.display()))?;
    }
    let (file, over) = (file.display().to_string(), over.display().to_string());
    command("mount", &["--bind", &file, &over])
}

/// Waits until whoever called is gone.
pub async fn abandoned() {
    let (tell, told) = oneshot::channel();
    // Not one of the runtime's: nobody waits for it.
    thread::spawn(move || {
        // Nothing is ever written: the other end is closed with the process that has it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// Runs a command of the system to its end.
///
/// # Errors
/// With its own words when it fails.
pub(crate) fn command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
