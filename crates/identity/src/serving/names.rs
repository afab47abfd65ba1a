//! The names of the serving certificate.

use tokio::sync::watch;

/// The names of the serving certificate: DNS names and IP addresses.
pub(crate) struct ServingNames {
    /// Names that stay as long as the process.
    pub fixed: Vec<String>,
    /// The discovery host that the mesh settings tell proxies.
    pub discovery_host: watch::Receiver<Option<String>>,
}

impl ServingNames {
    /// Returns all current names, sorted.
    pub fn current(&mut self) -> Vec<String> {
        let mut names = self.fixed.clone();
        names.extend(self.discovery_host.borrow_and_update().clone());
        names.sort();
        names.dedup();
        names
    }

    /// Waits until the names change.
    pub async fn changed(&mut self) {
        if self.discovery_host.changed().await.is_err() {
            // The sender is gone: the names cannot change any more.
            std::future::pending::<()>().await;
        }
    }
}
