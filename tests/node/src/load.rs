//! Requests at a steady rate, one line for each answer: what sees whether something failed while something else happened.
//!
//! Clients differ in how long they keep a connection, and in what is under way when it ends. None asks twice for what was
//! sent: what a proxy does not finish is a failure.

use anyhow::{Context, ensure};
use clap::Args;
use futures::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a slow one takes, in milliseconds, as the server of pods is asked for.
const DELAY: u32 = 700;

/// What is asked.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// Where, as `http://HOST[:PORT]`
    url: Uri,
    /// How long a client waits from one request to the next, in milliseconds
    #[arg(long, default_value = "20")]
    pause: u64,
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each request on a connection of its own.
    New,
    /// All on one connection.
    Kept,
    /// All on one connection, and each answer takes a while.
    Slow,
    /// All on one connection of HTTP/2.
    Http2,
}

impl Manner {
    const ALL: [Self; 4] = [Self::New, Self::Kept, Self::Slow, Self::Http2];

    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Slow => "slow",
            Self::Http2 => "http2",
        }
    }
}

type Empties = Request<Empty<Bytes>>;

enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Load {
    /// Asks until it is ended.
    pub async fn run(&self) {
        join_all(Manner::ALL.map(|manner| self.client(manner))).await;
    }

    async fn client(&self, manner: Manner) {
        let mut ticks = interval(Duration::from_millis(self.pause));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            ticks.tick().await;
            let answer = timeout(LIMIT, self.ask(manner, &mut connection)).await;
            let answer = answer.map_err(anyhow::Error::from).flatten();
            let line = match answer {
                Ok(answer) => {
                    json!({"client": manner.name(), "peer": answer["peer"], "pod": answer["pod_name"]})
                }
                Err(error) => {
                    connection = None;
                    json!({"client": manner.name(), "error": format!("{error:#}")})
                }
            };
            println!("{line}");
        }
    }

    async fn ask(&self, manner: Manner, kept: &mut Option<Connection>) -> anyhow::Result<Value> {
        let response = loop {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect(manner).await?,
            };
            // What its peer closed before anything was sent is no failure.
            let Some(response) = connection.send(self.request(manner)?).await? else { continue };
            if manner != Manner::New {
                *kept = Some(connection);
            }
            break response;
        };
        let status = response.status();
        let body = response.into_body().collect().await.context("the answer breaks off")?.to_bytes();
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    fn request(&self, manner: Manner) -> anyhow::Result<Empties> {
        let authority = self.url.authority().context("no host")?;
        let path = if manner == Manner::Slow { format!("/delay/{DELAY}") } else { "/".to_owned() };
        let uri = if manner == Manner::Http2 { format!("http://{authority}{path}") } else { path };
        let request = Request::get(uri);
        let request =
            if manner == Manner::Http2 { request } else { request.header("host", authority.as_str()) };
        Ok(request.body(Empty::new())?)
    }

    async fn connect(&self, manner: Manner) -> anyhow::Result<Connection> {
        let authority = self.url.authority().context("no host")?;
        let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await;
        let stream = TokioIo::new(stream.with_context(|| format!("cannot connect to {authority}"))?);
        if manner == Manner::Http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            return Ok(Connection::Http2(sender));
        }
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Connection::Http1(sender))
    }
}

impl Connection {
    /// Returns the answer to a request; `None` if that was not sent, since the connection is closed.
    async fn send(&mut self, request: Empties) -> anyhow::Result<Option<Response<Incoming>>> {
        let sent = match self {
            Self::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Ok(None),
            },
            Self::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Ok(None),
            },
        };
        match sent {
            Ok(response) => Ok(Some(response)),
            Err(mut failed) => match failed.take_message() {
                Some(_) => Ok(None),
                None => Err(failed.into_error().into()),
            },
        }
    }
}
