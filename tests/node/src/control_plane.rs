//! The control plane, a process of the node, which is started again when it ends, as by its Deployment.

use anyhow::{Context, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// The name by which proxies find it.
pub const NAME: &str = "istiod.istio-system.svc";
/// The port for proxies.
const PORT: u16 = 15012;
/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it stays away when it has ended.
const PAUSE: Duration = Duration::from_secs(1);

/// A control plane; dropping it ends it.
pub struct ControlPlane {
    _supervised: JoinSet<()>,
    address: SocketAddr,
}

impl ControlPlane {
    /// Starts `pilothouse serve` with these arguments, open to pods at an address of the node, and waits until it
    /// is open. Its log goes to a file.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn start(
        program: PathBuf,
        arguments: Vec<String>,
        address: Ipv4Addr,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((address, PORT));
        File::create(&log)?;
        let mut process = spawn(&program, &arguments, address, &log)?;
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if process.try_wait()?.is_some() || begin.elapsed() > LIMIT {
                bail!("the control plane does not open: {}", fs::read_to_string(&log)?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut supervised = JoinSet::new();
        supervised.spawn(async move {
            loop {
                // Its log says why.
                let _ = process.wait().await;
                tokio::time::sleep(PAUSE).await;
                if let Ok(again) = spawn(&program, &arguments, address, &log) {
                    process = again;
                }
            }
        });
        Ok(Self { _supervised: supervised, address })
    }

    /// Where proxies reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn spawn(program: &Path, arguments: &[String], address: SocketAddr, log: &Path) -> anyhow::Result<Child> {
    let said = File::options().append(true).open(log)?;
    Command::new(program)
        .arg("serve")
        .args(arguments)
        // Also where ports are forwarded to.
        .arg(format!("--secure-addr=0.0.0.0:{}", address.port()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the control plane")
}
