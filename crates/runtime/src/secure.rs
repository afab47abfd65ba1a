//! The secure port: identity, the port that it guards, the webhook beside it, and the publishing of its roots.

use crate::controllers::roots::RootsPublisher;
use crate::controllers::webhooks::WebhookConfigurations;
use crate::engine_thread::Snapshots;
use crate::webhook::{self, Webhook};
use identity::Identity;
use server::http::serve_tls;
use server::{SecurePort, Service};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Identity and the port that it guards, ready to run.
pub struct SecureServer {
    /// What authenticates and signs.
    pub identity: Identity,
    /// The port, which opens once there is a mesh and a certificate to serve with.
    pub port: SecurePort,
    /// What publishes the roots; nothing where the cluster is not written to.
    pub roots: Option<RootsPublisher>,
    /// What API servers ask; nothing where there is none.
    pub webhook: Option<WebhookServer>,
}

/// The webhook with its port.
pub struct WebhookServer {
    /// The port, of which handshakes fail until there is a certificate to serve with.
    pub port: TcpListener,
    /// What answers.
    pub webhook: Webhook,
    /// What keeps the configurations that lead here; nothing where the cluster is not written to.
    pub configurations: Option<WebhookConfigurations>,
}

impl SecureServer {
    /// Serves until `stop`: waits for the first snapshot and for identity, then opens the port.
    pub async fn run(self, service: Service, snapshots: Snapshots, stop: CancellationToken) {
        let Self { identity, port, roots, webhook } = self;
        let (authorizer, tls, opened) = (identity.authorizer(), identity.acceptor(), identity.opened());
        let web_tls = identity.web_acceptor();
        let published =
            |mut snapshots: Snapshots| async move { snapshots.wait_for(Option::is_some).await.is_ok() };
        let prepared = CancellationToken::new();
        let identity = identity.run(published(snapshots.clone()), prepared.clone(), stop.clone());
        let roots = async {
            let Some(roots) = roots else { return };
            tokio::select! {
                published = published(snapshots) => if published { roots.run(stop.clone()).await },
                () = stop.cancelled() => {}
            }
        };
        let port = async {
            tokio::select! {
                () = prepared.cancelled() => {
                    port.serve(service.guarded(authorizer), tls, &opened, stop.clone()).await;
                }
                () = stop.cancelled() => {}
            }
        };
        let webhook = async {
            let Some(WebhookServer { port, webhook, configurations }) = webhook else { return };
            let serving = serve_tls(port, webhook.router(), web_tls, webhook::bounds(), stop.clone());
            let keeping = async {
                if let Some(configurations) = configurations {
                    configurations.run(stop.clone()).await;
                }
            };
            tokio::join!(serving, keeping);
        };
        tokio::join!(identity, roots, port, webhook);
    }
}
