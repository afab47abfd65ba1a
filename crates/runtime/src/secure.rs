//! The secure port: identity, the port that it guards, and the publishing of its roots.

use crate::controllers::roots::RootsPublisher;
use crate::engine_thread::Snapshots;
use identity::Identity;
use server::{SecurePort, Service};
use tokio_util::sync::CancellationToken;

/// Identity and the port that it guards, ready to run.
pub struct SecureServer {
    /// What authenticates and signs.
    pub identity: Identity,
    /// The port, which opens once there is a mesh and a certificate to serve with.
    pub port: SecurePort,
    /// What publishes the roots; nothing where the cluster is not written to.
    pub roots: Option<RootsPublisher>,
}

impl SecureServer {
    /// Serves until `stop`: waits for the first snapshot and for identity, then opens the port.
    pub async fn run(self, service: Service, snapshots: Snapshots, stop: CancellationToken) {
        let Self { identity, port, roots } = self;
        let (authorizer, tls, opened) = (identity.authorizer(), identity.acceptor(), identity.opened());
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
        tokio::join!(identity, roots, port);
    }
}
