//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use pilothouse_tests::client::{Node, Target, Tls};

use crate::mesh::Mesh;

/// Fills an API server or a folder with a mesh and measures a control plane that serves ztunnels.
#[derive(Parser)]
#[command(version)]
pub struct Args {
    /// Process whose CPU time and memory are measured.
    #[arg(long, global = true)]
    pub pid: Option<u32>,
    /// File for the JSON report; standard output without it.
    #[arg(long, global = true)]
    pub json: Option<PathBuf>,
    /// Threads of this client.
    #[arg(long, global = true, default_value_t = 2, value_parser = positive)]
    pub threads: usize,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Print where the program of the API server of the tests is; it is built if it is not there.
    #[command(name = "apiserver")]
    ApiServer,
    /// Write a mesh to an API server or to a folder; what is there already is left.
    Fill {
        #[command(flatten)]
        mesh: Mesh,
        #[command(flatten)]
        destination: Destination,
    },
    /// Open streams and measure until all hold the mesh.
    Sync {
        #[command(flatten)]
        streams: Streams,
    },
    /// Open streams, change pods at a rate, and measure until the streams see it.
    Churn {
        #[command(flatten)]
        mesh: Mesh,
        #[command(flatten)]
        cluster: Cluster,
        #[command(flatten)]
        streams: Streams,
        #[command(flatten)]
        change: Change,
    },
    /// Ask for certificates over TLS, with requests in flight all the time.
    Certs {
        #[command(flatten)]
        certificates: Certificates,
    },
    /// Plays a hostile client of the secure port.
    Abuse {
        #[command(flatten)]
        hostility: Hostility,
    },
    /// Fill the API server, then sync, then churn.
    All {
        #[command(flatten)]
        mesh: Mesh,
        #[command(flatten)]
        cluster: Cluster,
        #[command(flatten)]
        streams: Streams,
        #[command(flatten)]
        change: Change,
    },
}

/// The API server.
#[derive(Group, Clone)]
pub struct Cluster {
    /// Kubeconfig of the API server; without it as kubectl would find one.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Requests to the API server in flight.
    #[arg(long, default_value_t = 32, value_parser = positive)]
    pub in_flight: usize,
}

/// Where a mesh is written.
#[derive(Group, Clone)]
pub struct Destination {
    /// Folder to write YAML to, instead of an API server.
    #[arg(long, conflicts_with = "kubeconfig")]
    pub folder: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// The control plane and the streams to it.
#[derive(Group, Clone)]
pub struct Streams {
    /// `host:port` of the control plane.
    #[arg(long)]
    pub address: String,
    /// Root certificates (PEM): connect over TLS.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// Name that the server's certificate must be for, if not the host of the address.
    #[arg(long, requires = "ca_file")]
    pub server_name: Option<String>,
    /// File with the bearer token of a ztunnel's service account.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Cluster identifier, sent with the call and in the node.
    #[arg(long, default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Namespace of the ztunnel; a token must be of the same.
    #[arg(long, default_value = "istio-system")]
    pub ztunnel_namespace: String,
    /// Streams to open, each on its own connection.
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub streams: usize,
    /// Streams whose resources are decoded to measure changes; the others only count.
    #[arg(long, default_value_t = 1)]
    pub sample: usize,
    /// Addresses (workloads and services) that a stream holds when it is synchronised; without it
    /// the first answer of each type, or what the mesh given has.
    #[arg(long)]
    pub expect: Option<usize>,
    /// Longest wait for the streams to be synchronised, in seconds.
    #[arg(long, default_value = "300", value_parser = seconds)]
    pub timeout: Duration,
}

impl Streams {
    /// How many streams are sampled.
    pub fn sampled(&self) -> usize {
        self.sample.min(self.streams)
    }

    /// Where to connect and what to show.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn target(&self) -> anyhow::Result<Target> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        let tls = match &self.ca_file {
            Some(path) => Some(Tls { roots_pem: read(path)?, server_name: self.server_name.clone() }),
            None => None,
        };
        let token = match &self.token_file {
            Some(path) => {
                let text = String::from_utf8(read(path)?).context("the token is not text")?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        let metadata = vec![("clusterid".to_owned(), self.cluster_id.clone())];
        Ok(Target { address: self.address.clone(), tls, token, metadata, ..Target::default() })
    }

    /// The ztunnel that stream `index` is.
    pub fn node(&self, index: usize) -> Node {
        let mut node = Node::ztunnel(&Mesh::node_name(index));
        node.namespace.clone_from(&self.ztunnel_namespace);
        node.metadata.insert("CLUSTER_ID".to_owned(), self.cluster_id.clone());
        node
    }
}

/// The certificate authority, and what it is asked.
#[derive(Group, Clone)]
pub struct Certificates {
    /// `host:port` of the control plane.
    #[arg(long)]
    pub address: String,
    /// Root certificates (PEM).
    #[arg(long)]
    pub ca_file: PathBuf,
    /// Name that the server's certificate must be for, if not the host of the address.
    #[arg(long)]
    pub server_name: Option<String>,
    /// Files with bearer tokens, one a line, shown in turn; limits hold for each client.
    #[arg(long, required = true, value_delimiter = ',')]
    pub token_file: Vec<PathBuf>,
    /// Address to connect from, such as 127.0.0.2; without it the system chooses.
    #[arg(long)]
    pub from_address: Option<IpAddr>,
    /// Cluster identifier, sent with the call.
    #[arg(long, default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Identity to ask for, a SPIFFE id; without it the caller's own.
    #[arg(long)]
    pub identity: Option<String>,
    /// Requests in flight.
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pub in_flight: usize,
    /// Connections that they share.
    #[arg(long, default_value_t = 8, value_parser = positive)]
    pub connections: usize,
    /// Make a new connection for each request instead.
    #[arg(long)]
    pub new_connections: bool,
    /// Pause before each request, in seconds.
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub pause: Duration,
    /// How long to ask, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub duration: Duration,
}

impl Certificates {
    /// Where to connect and what to show, for each token.
    ///
    /// # Errors
    /// If a file cannot be read, or there is no token.
    pub fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let roots_pem =
            std::fs::read(&self.ca_file).with_context(|| format!("reading {}", self.ca_file.display()))?;
        let mut targets = Vec::new();
        for file in &self.token_file {
            let tokens =
                std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            targets.extend(tokens.split_whitespace().map(|token| Target {
                address: self.address.clone(),
                tls: Some(Tls { roots_pem: roots_pem.clone(), server_name: self.server_name.clone() }),
                token: Some(token.to_owned()),
                metadata: vec![("clusterid".to_owned(), self.cluster_id.clone())],
                from: self.from_address,
                ..Target::default()
            }));
        }
        anyhow::ensure!(!targets.is_empty(), "there is no token in the files of --token-file");
        Ok(targets)
    }
}

/// A hostile client of the secure port. Its connections are those of `connections`.
#[derive(Group, Clone)]
pub struct Hostility {
    /// What it does.
    #[arg(long, value_enum)]
    pub attack: Attack,
    /// How often it does so in a second, over all connections.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub rate: f64,
    /// Where, and for how long.
    #[command(flatten)]
    pub certificates: Certificates,
}

/// What a hostile client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Opens connections and says nothing.
    HalfOpen,
    /// Makes whole TLS handshakes, and closes.
    Handshake,
    /// Calls without a credential.
    NoCredential,
    /// Calls with tokens whose signatures are wrong, another each time.
    GarbageTokens,
    /// Sends PING frames.
    Pings,
    /// Sends SETTINGS frames.
    Settings,
    /// Opens streams and resets them at once.
    Resets,
    /// Opens streams with a good token and does not read them.
    Unread,
}

/// How pods are changed.
#[derive(Group, Clone)]
pub struct Change {
    /// What is done to a pod.
    #[arg(long, value_enum, default_value_t = Kind::Ip)]
    pub change: Kind,
    /// Changes per second.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub rate: f64,
    /// How long pods are changed, in seconds.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub duration: Duration,
    /// How long to wait for the last changes afterwards, in seconds.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub drain: Duration,
}

/// What is done to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Its status gets another address.
    Ip,
    /// Its readiness flips.
    Ready,
    /// A new pod is created and set running, and an older such pod deleted: one change each.
    Replace,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number above 0".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=100_000.0).contains(number));
    number.ok_or_else(|| "not a number from 0.001 to 100000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn useless_numbers_are_refused() {
        let parse = |rest: &[&str]| {
            let line = ["load", "churn", "--address", "a:1"].iter().chain(rest);
            Args::try_parse_from(line).is_ok()
        };
        assert!(parse(&["--rate", "0.5", "--duration", "1.5"]));
        assert!(!parse(&["--rate", "0"]));
        assert!(!parse(&["--duration", "-1"]));
        assert!(!parse(&["--streams", "0"]));
    }
}
