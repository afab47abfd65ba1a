//! Asks the monitoring port of a control plane.

use anyhow::{anyhow, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the control plane may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most bytes of what a refusal says that are shown.
const SHOWN: usize = 400;

/// Asks for a page by HTTP, of which at most so many bytes are read.
///
/// # Errors
/// When there is no such page, or no answer: why, without the address.
pub async fn get(address: &str, path: &str, most: usize) -> anyhow::Result<Bytes> {
    let asked = tokio::time::timeout(ANSWER, ask(address, path, most)).await;
    asked.unwrap_or_else(|_| bail!("no answer in {} s", ANSWER.as_secs()))
}

async fn ask(address: &str, path: &str, most: usize) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map_err(|error| anyhow!("its answer cannot be read: {error}"))?.to_bytes();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::BAD_REQUEST | StatusCode::SERVICE_UNAVAILABLE => {
            let said = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
            bail!("{}", said.lines().next().unwrap_or_default())
        }
        status => bail!("it answers {status}"),
    }
}
