//! `kubectl pilothouse`: under the name of a plugin of kubectl, commands ask the control plane of the cluster that kubectl
//! would take, through `kubectl port-forward`.

use anyhow::{Context, anyhow, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How the file of a plugin begins.
const PREFIX: &str = "kubectl-";
/// Most bytes of what kubectl complains of that are shown.
const SHOWN: u64 = 400;

/// Tells whether this process was started as a plugin of kubectl.
pub fn is_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| {
        Path::new(&program)
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX))
    })
}

/// Ports of a control plane in a cluster that are forwarded to this machine until it is dropped.
pub struct Forward {
    kubectl: Child,
    /// The address of plaintext xDS.
    pub xds: String,
    /// The address of the monitoring port.
    pub monitoring: String,
}

impl Drop for Forward {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

impl Forward {
    /// Forwards the ports of the control plane of a revision, where this is a plugin and no address is given.
    ///
    /// # Errors
    /// When there is no kubectl, or it cannot forward: what it says.
    pub fn in_place_of(
        given: Option<&String>,
        namespace: &str,
        revision: &str,
    ) -> anyhow::Result<Option<Self>> {
        if given.is_some() || !is_plugin() {
            return Ok(None);
        }
        Self::start(namespace, revision).map(Some)
    }

    fn start(namespace: &str, revision: &str) -> anyhow::Result<Self> {
        let deployment = match revision {
            "" => "deployment/istiod".to_owned(),
            revision => format!("deployment/istiod-{revision}"),
        };
        let mut command = Command::new("kubectl");
        command.args(["port-forward", "--namespace", namespace, &deployment, ":15010", ":15014"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut kubectl =
            command.spawn().map_err(|error| anyhow!("cannot run kubectl: {error}; install it"))?;
        let out = kubectl.stdout.take().context("kubectl has no output")?;
        let (mut xds, mut monitoring) = (None, None);
        for line in BufReader::new(out).lines() {
            let line = line?;
            // On the address of IPv6 as well, where the machine has one.
            let Some((local, port)) = forwarded(&line) else { continue };
            match port {
                "15010" => xds.get_or_insert(local),
                "15014" => monitoring.get_or_insert(local),
                _ => continue,
            };
            if let (Some(xds), Some(monitoring)) = (&xds, &monitoring) {
                let (xds, monitoring) = (xds.clone(), monitoring.clone());
                return Ok(Self { kubectl, xds, monitoring });
            }
        }
        let mut said = String::new();
        if let Some(errors) = kubectl.stderr.take() {
            errors.take(SHOWN).read_to_string(&mut said)?;
        }
        let _ = kubectl.wait();
        bail!("kubectl cannot forward ports of {deployment} in namespace {namespace}: {}", said.trim_end())
    }
}

/// Reads a line of `kubectl port-forward`: the address here, and the port there.
fn forwarded(line: &str) -> Option<(String, &str)> {
    let (local, port) = line.strip_prefix("Forwarding from ")?.split_once(" -> ")?;
    Some((local.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_of_what_kubectl_says() {
        for (line, expected) in [
            ("Forwarding from 127.0.0.1:41234 -> 15010", Some(("127.0.0.1:41234", "15010"))),
            ("Forwarding from [::1]:41234 -> 15014", Some(("[::1]:41234", "15014"))),
            ("Handling connection for 41234", None),
            ("", None),
        ] {
            let read = forwarded(line);
            assert_eq!(read.as_ref().map(|(local, port)| (local.as_str(), *port)), expected, "{line}");
        }
    }
}
