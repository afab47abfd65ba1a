//! Servers outside of a cluster: no pods, no part of its mesh, found by DNS.

use crate::names::Hosts;
use crate::namespace::Namespace;
use crate::pod::Programs;
use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

/// A server.
pub(super) struct Server {
    /// What DNS knows it by.
    pub name: &'static str,
    pub address: Ipv4Addr,
    /// At each it answers whatever is spoken, at 443 if it is TLS.
    pub ports: &'static [u16],
}

/// The numbers of their namespaces begin behind those of pods.
const FIRST: u32 = 900_000;

/// Servers that run until this is dropped.
pub(super) struct Outside {
    /// Who vouches for their certificates, PEM.
    pub authority: String,
    /// The file that has it.
    pub authority_file: PathBuf,
    _namespaces: Vec<Namespace>,
    _processes: Vec<Child>,
}

impl Outside {
    /// Starts servers, whose files are in a folder.
    ///
    /// # Errors
    /// When one cannot be started.
    pub(super) fn start(servers: &[Server], programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate whose issuer has its own name would count as one that signs itself.
        authority.distinguished_name.push(DnType::CommonName, "outside");
        let root = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);
        let (mut namespaces, mut processes) = (Vec::new(), Vec::new());
        for (number, server) in (FIRST..).zip(servers) {
            let key = KeyPair::generate()?;
            let chain = CertificateParams::new(vec![server.name.to_owned()])?.signed_by(&key, &issuer)?;
            let file = |what: &str| folder.join(format!("{}.{what}", server.name));
            fs::write(file("crt"), chain.pem())?;
            fs::write(file("key"), key.serialize_pem())?;
            let log = File::create(file("log"))?;
            let mut command = Command::new(&programs.node);
            command.arg("echo").arg("--certificate").arg(file("crt")).arg("--key").arg(file("key"));
            command.args(server.ports.iter().map(u16::to_string)).env("POD_NAME", server.name);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
            let namespace = Namespace::create(number, server.address)?;
            let handle = Handle::current();
            let spawned = namespace.within(|| {
                let _entered = handle.enter();
                command.spawn()
            })?;
            processes.push(spawned.with_context(|| format!("cannot run {}", server.name))?);
            namespaces.push(namespace);
        }
        let authority_file = folder.join("authority.crt");
        fs::write(&authority_file, &root)?;
        Ok(Self { authority: root, authority_file, _namespaces: namespaces, _processes: processes })
    }
}

/// What DNS knows of servers.
pub(super) fn hosts(servers: &[Server]) -> Hosts {
    servers.iter().map(|of| (of.name.to_owned(), of.address)).collect()
}
