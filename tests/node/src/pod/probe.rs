//! Whether a container is ready.

use super::container::Programs;
use crate::image::Image;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// What a container is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    port: u16,
    /// Absent: it is enough that the port is open.
    path: Option<String>,
}

impl Probe {
    /// Returns the probe of a container; of this program's server where it has none, that its first port is open.
    pub(super) fn of(container: &Container, programs: &Programs) -> Option<Self> {
        let number = |port: &IntOrString| match port {
            IntOrString::Int(port) => u16::try_from(*port).ok(),
            IntOrString::String(name) => {
                let named = container.ports.iter().flatten().find(|of| of.name.as_ref() == Some(name))?;
                u16::try_from(named.container_port).ok()
            }
        };
        match &container.readiness_probe {
            Some(probe) => {
                let http = probe
                    .http_get
                    .as_ref()
                    .map(|get| (&get.port, Some(get.path.clone().unwrap_or_default())));
                let tcp = probe.tcp_socket.as_ref().map(|tcp| (&tcp.port, None));
                let (port, path) = http.or(tcp)?;
                Some(Self { port: number(port)?, path })
            }
            None => {
                let image = container.image.as_deref().unwrap_or_default();
                let is_own = Image::of(image) == Image::Echo && programs.given(image).is_none();
                let port = container.ports.iter().flatten().next().filter(|_| is_own)?.container_port;
                Some(Self { port: u16::try_from(port).ok()?, path: None })
            }
        }
    }

    /// Asks.
    pub(super) async fn succeeds(&self, address: Ipv4Addr) -> bool {
        matches!(tokio::time::timeout(LIMIT, self.ask(address)).await, Ok(Ok(true)))
    }

    async fn ask(&self, address: Ipv4Addr) -> anyhow::Result<bool> {
        let stream = TcpStream::connect((address, self.port)).await?;
        let Some(path) = &self.path else { return Ok(true) };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request =
            Request::get(path.as_str()).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
        let status = sender.send_request(request).await?.status();
        Ok((StatusCode::OK..StatusCode::BAD_REQUEST).contains(&status))
    }
}
