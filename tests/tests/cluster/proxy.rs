//! A way to the API server that can be cut.

use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a port of this machine while it is open; a cut ends those that there are.
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// Listens for connections to `port`.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    // Looks at once too: one that comes while there is a cut ends before it begins.
                    tokio::select! {
                        biased;
                        _ = is_open.wait_for(|open| !open) => {}
                        () = forward(inbound, port) => {}
                    }
                });
            }
        });
        Ok(Self { port: own, open })
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }

    /// Writes a kubeconfig that leads through here, beside the one given.
    pub fn kubeconfig(&self, direct: &Path, url: &str) -> anyhow::Result<PathBuf> {
        let text = std::fs::read_to_string(direct)?;
        let (host, _) = url.rsplit_once(':').context("no port in the url")?;
        let path = direct.with_extension("proxied");
        std::fs::write(&path, text.replace(url, &format!("{host}:{}", self.port)))?;
        Ok(path)
    }
}

async fn forward(mut inbound: TcpStream, port: u16) {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut outbound) = TcpStream::connect(target).await else { return };
    // Either side may end it at any time.
    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
}
