//! Network namespaces of pods, and the links to them.
//!
//! A pod has an interface `eth0` with its address; the node has the other end, and routes the address to it. All that a
//! pod sends goes to the node first, so pods may have any addresses.

use crate::isolation::command;
use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// The address of the node on its ends of all links: where the probes of a kubelet come from.
pub const LINK: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The mark of connections to an application that show it the address of whoever called: what it answers stays in its
/// namespace.
pub const RETURNED: u32 = 0x111;
/// Where `ip` keeps namespaces that have names.
const FOLDER: &str = "/var/run/netns";

/// The network namespace of a pod; dropping it removes it once no process is in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes one with an address, for the pod of a number that no other has. What is marked with [`RETURNED`] is routed
    /// to the namespace itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(number: u32, address: Ipv4Addr) -> anyhow::Result<Self> {
        let name = format!("pod-{number}");
        command("ip", &["netns", "add", &name])?;
        let handle = File::open(Path::new(FOLDER).join(&name))?;
        let namespace = Self { name, handle };
        let (name, link) = (&namespace.name, format!("pod{number}"));
        batch(
            &[],
            &format!(
                "link add {link} type veth peer name eth0 netns {name}\n\
                 address add {LINK}/32 dev {link}\n\
                 link set {link} up\n\
                 route add {address}/32 dev {link} src {LINK}\n"
            ),
        )?;
        batch(
            &["-n", name],
            &format!(
                "link set lo up\n\
                 address add {address}/32 dev eth0\n\
                 link set eth0 up\n\
                 route add {LINK} dev eth0 scope link src {address}\n\
                 route add default via {LINK} dev eth0 src {address}\n\
                 rule add fwmark {RETURNED} lookup {RETURNED}\n\
                 route add local default dev lo table {RETURNED}\n"
            ),
        )?;
        Ok(namespace)
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Does something within it, on a thread that has nothing else to do: what it opens and starts belongs to the
    /// namespace for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It goes with the process at the latest.
        let _ = command("ip", &["netns", "delete", &self.name]);
    }
}

/// Has `ip` do these lines.
fn batch(options: &[&str], lines: &str) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = ip.spawn().context("cannot run ip (iproute2)")?;
    process.stdin.take().context("no input")?.write_all(lines.as_bytes())?;
    let output = process.wait_with_output()?;
    ensure!(output.status.success(), "ip: {}in\n{lines}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
