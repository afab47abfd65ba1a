//! The port of xDS over TLS, which is bound at the start and opened later.

use crate::service::Service;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The secure port: bound, and not open before there is a certificate to serve with.
pub struct SecurePort {
    socket: TcpSocket,
    address: SocketAddr,
}

impl SecurePort {
    /// Binds the port without listening: connections are refused.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the port, cancels `opened` when it is open, and serves until `stop`.
    pub async fn serve(
        self,
        service: Service,
        tls: tokio_rustls::TlsAcceptor,
        opened: &CancellationToken,
        stop: CancellationToken,
    ) {
        let listener = match self.socket.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(
                    address = %self.address, %error,
                    "cannot open the secure port; choose another by --secure-addr",
                );
            }
        };
        opened.cancel();
        tracing::info!(address = %self.address, "the secure port is open");
        if let Err(error) = service.serve_tls(listener, tls, stop).await {
            tracing::error!(%error, "the secure port is lost");
        }
    }
}
