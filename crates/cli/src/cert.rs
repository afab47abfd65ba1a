//! `pilothouse cert`: inspects certificates, and requests them as a proxy does.

mod request;

use crate::address::dialled;
use crate::output;
use crate::token::Subject;
use anyhow::{Context, anyhow, bail};
use ca::Certificate;
use clap::{Args, Subcommand};
use identity::StateDir;
use model::{Lines, rfc3339};
use request::{NewCertificate, Target};
use runtime::config::at_least_a_second;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of certificates that are read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Show the certificates of a PEM file, or of standard input
    Inspect {
        /// File; `-` or nothing reads standard input
        file: Option<PathBuf>,
    },
    /// Request a certificate over TLS and show it
    Request(Box<RequestArgs>),
}

/// Whom to ask, as whom, and for what.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// Control plane to ask: its secure address
    #[arg(
        long,
        alias = "address",
        value_name = "ADDR",
        env = "PILOTHOUSE_SECURE_ADDR",
        default_value = "127.0.0.1:15012"
    )]
    server: String,
    /// Name that the server's certificate must have; without it the host of the address
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Roots to trust; without it those of the state folder
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// Token to show; without it one is issued from the state folder
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Client certificate to show instead of a token
    #[arg(long, value_name = "FILE", requires = "client_key", conflicts_with = "token_file")]
    client_cert: Option<PathBuf>,
    /// Private key of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Folder of the control plane's state
    #[arg(long, value_name = "DIR", env = "PILOTHOUSE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    subject: Subject,
    /// Identity of a pod on the node, such as spiffe://cluster.local/ns/shop/sa/web; without it the own
    #[arg(long, value_name = "SPIFFE-ID")]
    identity: Option<String>,
    /// Life to ask for; without it the default of the control plane
    #[arg(long, value_name = "TIME", value_parser = at_least_a_second)]
    life: Option<Duration>,
    /// Folder to write cert-chain.pem, key.pem and root-cert.pem to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs a command about certificates.
///
/// # Errors
/// When a file cannot be read or written, or no certificate is had.
pub fn run(command: &CertCommand) -> anyhow::Result<()> {
    match command {
        CertCommand::Inspect { file } => output::print(&describe(&read(file.as_deref())?)?),
        CertCommand::Request(args) => request(args),
    }
}

fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => {
            let opened = std::fs::File::open(file).and_then(|f| f.take(MAX_BYTES).read_to_end(&mut text));
            opened.map_err(|error| anyhow!("cannot read {}: {error}", file.display()))?;
        }
        None => {
            let read = std::io::stdin().take(MAX_BYTES).read_to_end(&mut text);
            read.map_err(|error| anyhow!("cannot read standard input: {error}"))?;
        }
    }
    Ok(text)
}

fn describe(pem: &[u8]) -> anyhow::Result<Lines> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut lines = Lines::default();
    for certificate in Certificate::all_from_pem(pem)? {
        let (begin, end) =
            (certificate.validity().not_before.as_secs(), certificate.validity().not_after.as_secs());
        let kind = if certificate.is_ca() { "authority" } else { "leaf" };
        let state = match (begin.checked_sub(now), end.checked_sub(now)) {
            (Some(wait), _) if wait > 0 => format!("not valid for another {}", words(wait)),
            (_, None) => format!("expired {} ago", words(now - end)),
            (_, Some(left)) => format!("{} left", words(left)),
        };
        lines.push(format_args!("{kind}     serial {}", certificate.serial()));
        if let Ok(identity) = certificate.identity() {
            lines.push(format_args!("  identity {identity}"));
        }
        if !certificate.subject().is_empty() {
            lines.push(format_args!("  subject  {}", certificate.subject()));
        }
        lines.push(format_args!("  valid    from {} to {}", rfc3339(begin), rfc3339(end)));
        lines.push(format_args!("  life     {}, {state}", words(end.saturating_sub(begin))));
    }
    Ok(lines)
}

/// A length of time in its two largest units.
fn words(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min {} s", seconds % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

fn request(args: &RequestArgs) -> anyhow::Result<()> {
    let state = args.state_dir.as_deref().map(StateDir::existing).transpose()?;
    let roots = match (&args.roots, &state) {
        (Some(file), _) => read(Some(file))?,
        (None, Some(state)) => read(Some(&state.root_file()))?,
        (None, None) => bail!("name the roots to trust by --roots, or a state folder by --state-dir"),
    };
    let client = match (&args.client_cert, &args.client_key) {
        (Some(chain), Some(key)) => Some((read(Some(chain))?, read(Some(key))?)),
        _ => None,
    };
    let token = match (&args.token_file, &state) {
        _ if client.is_some() => String::new(),
        (Some(file), _) => String::from_utf8(read(Some(file))?).context("the token is no text")?,
        (None, Some(state)) => args.subject.token(state)?,
        (None, None) => bail!("name a token by --token-file, or a state folder by --state-dir"),
    };
    let address = dialled(&args.server);
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let target = Target {
        server_name: args.server_name.clone().unwrap_or_else(|| host.to_owned()),
        address,
        roots_pem: roots,
        token,
        client,
    };
    let seconds = args.life.map_or(0, |life| i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let threads = threads.context("cannot start")?;
    let new = threads.block_on(request::request(&target, args.identity.as_deref(), seconds))?;
    if let Some(folder) = &args.out {
        save(folder, &new)?;
    }
    output::print(&describe(new.chain.concat().as_bytes())?)
}

fn save(folder: &Path, new: &NewCertificate) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| anyhow!("cannot make {}: {error}", folder.display()))?;
    let (roots, chain) = new.chain.split_last().context("the answer holds no certificate")?;
    for (name, text, mode) in [
        ("cert-chain.pem", chain.concat(), 0o644),
        ("root-cert.pem", roots.clone(), 0o644),
        ("key.pem", new.key_pem.clone(), 0o600),
    ] {
        let path = folder.join(name);
        write_anew(&path, text.as_bytes(), mode)
            .map_err(|error| anyhow!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Writes another file in place of the one that is there, whose mode would stay: a key must not go
/// where others can read.
fn write_anew(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".new-{}", std::process::id()));
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(content)?;
        std::fs::rename(&fresh, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}
