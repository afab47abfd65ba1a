//! `pilothouse token`: issues tokens for trying proxies where there is no cluster.

use crate::output;
use ca::token::DevelopmentToken;
use clap::Args;
use identity::{DEVELOPMENT_TOKEN_TTL, NO_UID, StateDir, development_token};
use model::{Lines, is_dns_label};
use runtime::config::at_least_a_second;
use std::path::PathBuf;
use std::time::Duration;

/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

/// Whom a token is for.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Folder of the control plane's state; the same as of `pilothouse serve`
    #[arg(long, value_name = "DIR", env = "PILOTHOUSE_STATE_DIR")]
    pub state_dir: PathBuf,
    #[command(flatten)]
    pub subject: Subject,
}

/// The account that a token names, and the pod that it is bound to.
#[derive(Debug, Clone, Args)]
pub struct Subject {
    /// Namespace of the service account
    #[arg(long, value_name = "NAME", default_value = "istio-system", value_parser = namespace)]
    pub namespace: String,
    /// Service account
    #[arg(long, value_name = "NAME", default_value = "ztunnel", value_parser = object_name)]
    pub service_account: String,
    /// Pod that the token is bound to; without it a pod named after the account
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub pod: Option<String>,
    /// UID of that pod, if a manifest gives it one
    #[arg(long, value_name = "UID", default_value = NO_UID)]
    pub pod_uid: String,
    /// Node of that pod: a ztunnel is served as that of its node, and gets certificates for the pods there
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Audiences
    #[arg(long, value_name = "NAMES", default_value = "istio-ca", value_delimiter = ',')]
    pub audience: Vec<String>,
    /// How long the token is valid; 24h without it
    #[arg(long, value_name = "TIME", value_parser = at_least_a_second)]
    pub token_life: Option<Duration>,
}

/// Reads the name of a namespace.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err("a namespace is called by lower-case letters, digits and `-`, at most 63".to_owned())
}

/// Reads the name of an object: labels of DNS with dots between them.
pub(crate) fn object_name(text: &str) -> Result<String, String> {
    if text.len() <= LONGEST_NAME && text.split('.').all(is_dns_label) {
        return Ok(text.to_owned());
    }
    Err("a name has lower-case letters, digits, `-` and `.`".to_owned())
}

impl Subject {
    /// Issues a token from the key of a state folder.
    ///
    /// # Errors
    /// When the folder or its key cannot be used.
    pub fn token(&self, state: &StateDir) -> anyhow::Result<String> {
        let pod = self.pod.clone().unwrap_or_else(|| self.service_account.clone());
        let token = DevelopmentToken {
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            pod: Some((pod, self.pod_uid.clone())),
            node: self.node.clone(),
            audiences: self.audience.clone(),
            life: self.token_life.unwrap_or(DEVELOPMENT_TOKEN_TTL),
        };
        Ok(development_token(state, &token)?)
    }
}

/// Prints a token.
///
/// # Errors
/// When the state folder cannot be used.
pub fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let token = args.subject.token(&StateDir::existing(&args.state_dir)?)?;
    output::print(&Lines::from_iter([token]))
}
