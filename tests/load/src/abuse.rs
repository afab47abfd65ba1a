//! A hostile client of the secure port, for as long as told: what others feel of it is measured beside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header;
use pilothouse_tests::client::Target;
use pilothouse_tests::client::transport::{dial, tcp};
use prost::Message as _;
use proto::discovery::{DeltaDiscoveryRequest, Node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::args::{Attack, Hostility};

/// How often an attacker acts; between two acts it does so many things that its rate comes out.
const TICK: Duration = Duration::from_millis(10);

/// What a client of HTTP/2 says first (RFC 9113, section 3.4), with empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// A PING.
const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00flooding";
/// Settings that change nothing.
const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// What an attack came to.
#[derive(Debug, Default, serde::Serialize)]
pub struct Attacked {
    /// Connections that were made.
    pub connections: u64,
    /// Things that were done: frames, streams, connections.
    pub acts: u64,
}

/// Attacks until the time is over.
///
/// # Errors
/// If no connection can be made at all: a server that refuses later ones does well.
pub async fn attack(args: &Hostility) -> anyhow::Result<Attacked> {
    let target = args.certificates.targets()?.into_iter().next().context("a token")?;
    let connections = args.certificates.connections;
    let each = args.rate / connections as f64;
    let end = Instant::now() + args.certificates.duration;
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (target, attack) = (target.clone(), args.attack);
        attackers.spawn(async move {
            let mut done = Attacked::default();
            while Instant::now() < end {
                // A server that ends the connection does well; the next one follows.
                let attacked = act(&target, attack, each, &mut done);
                tokio::select! {
                    _ = attacked => tokio::time::sleep(TICK).await,
                    () = sleep_until(end) => break,
                }
            }
            done
        });
    }
    let mut all = Attacked::default();
    while let Some(done) = attackers.join_next().await {
        let done = done?;
        all.connections += done.connections;
        all.acts += done.acts;
    }
    anyhow::ensure!(all.connections > 0, "no connection to {}", target.address);
    Ok(all)
}

/// Attacks on one connection until the server ends it.
async fn act(target: &Target, attack: Attack, rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    match attack {
        Attack::HalfOpen => half_open(target, rate, done).await,
        Attack::Handshake => handshakes(target, rate, done).await,
        Attack::NoCredential => calls(target, false, rate, done).await,
        Attack::GarbageTokens => calls(target, true, rate, done).await,
        Attack::Pings => frames(target, PING, rate, done).await,
        Attack::Settings => frames(target, SETTINGS, rate, done).await,
        Attack::Resets => resets(target, rate, done).await,
        Attack::Unread => unread(target, done).await,
    }
}

/// Waits for the next act and tells how many things are due.
struct Pace {
    ticks: tokio::time::Interval,
    rate: f64,
    owed: f64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, rate, owed: 0.0 }
    }

    async fn due(&mut self) -> usize {
        self.ticks.tick().await;
        self.owed += self.rate * TICK.as_secs_f64();
        let due = self.owed.floor();
        self.owed -= due;
        due as usize
    }
}

/// Opens connections and says nothing on them.
async fn half_open(target: &Target, rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    let mut held = Vec::new();
    let mut pace = Pace::new(rate);
    loop {
        for _ in 0..pace.due().await {
            held.push(tcp(target).await?);
            done.connections += 1;
            done.acts += 1;
        }
    }
}

/// Makes whole handshakes, one after the other.
async fn handshakes(target: &Target, rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    let mut pace = Pace::new(rate);
    loop {
        for _ in 0..pace.due().await {
            drop(dial(target).await?);
            done.connections += 1;
            done.acts += 1;
        }
    }
}

/// Calls with a forged token, or with none, until the server ends the connection.
async fn calls(target: &Target, forged: bool, rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    let (calls, connection) = h2::client::handshake(dial(target).await?).await?;
    done.connections += 1;
    let driving = async { connection.await.map_err(anyhow::Error::from) };
    let attacking = async {
        let mut pace = Pace::new(rate);
        let mut calls = calls;
        loop {
            for _ in 0..pace.due().await {
                calls = calls.ready().await?;
                let forged = forged.then(|| target.token.as_deref().map(forge)).flatten();
                let (answer, _) = calls.send_request(request(forged.as_deref())?, true)?;
                done.acts += 1;
                answer.await?;
            }
        }
    };
    tokio::select! {
        driven = driving => driven,
        attacked = attacking => attacked,
    }
}

/// Gives a token another signature, of the right form: what is refused only when that is verified.
fn forge(token: &str) -> String {
    const PLACES: usize = 10;
    static FORGED: AtomicU64 = AtomicU64::new(1_000_000_000);
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let number = FORGED.fetch_add(1, Ordering::Relaxed).to_string();
    let rest = signature.get(PLACES..).unwrap_or_default();
    format!("{signed}.{number:0>PLACES$}{rest}")
}

/// Sends the same frame, and reads what it is answered.
async fn frames(target: &Target, frame: &[u8], rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    let (mut from, mut to) = tokio::io::split(dial(target).await?);
    done.connections += 1;
    to.write_all(HELLO).await?;
    let reading = async {
        let mut said = vec![0; 64 * 1024];
        while from.read(&mut said).await? > 0 {}
        anyhow::Ok(())
    };
    let sending = async {
        let mut pace = Pace::new(rate);
        loop {
            let due = pace.due().await;
            to.write_all(&frame.repeat(due)).await?;
            to.flush().await?;
            done.acts += due as u64;
        }
    };
    tokio::select! {
        read = reading => read,
        sent = sending => sent,
    }
}

/// Opens streams and resets each at once.
async fn resets(target: &Target, rate: f64, done: &mut Attacked) -> anyhow::Result<()> {
    let (calls, connection) = h2::client::handshake(dial(target).await?).await?;
    done.connections += 1;
    let driving = async { connection.await.map_err(anyhow::Error::from) };
    let attacking = async {
        let mut pace = Pace::new(rate);
        let mut calls = calls;
        loop {
            for _ in 0..pace.due().await {
                calls = calls.ready().await?;
                let (_answer, mut requests) = calls.send_request(request(None)?, false)?;
                requests.send_reset(h2::Reason::CANCEL);
                done.acts += 1;
            }
        }
    };
    tokio::select! {
        driven = driving => driven,
        attacked = attacking => attacked,
    }
}

/// Opens a stream with a good token, asks for everything and never reads.
async fn unread(target: &Target, done: &mut Attacked) -> anyhow::Result<()> {
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(dial(target).await?);
    let (calls, connection) = handshake.await?;
    done.connections += 1;
    let driving = async { connection.await.map_err(anyhow::Error::from) };
    let attacking = async {
        let mut calls = calls.ready().await?;
        let (answer, mut requests) = calls.send_request(request(target.token.as_deref())?, false)?;
        let first = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "ztunnel~10.0.0.1~z.istio-system~istio-system.svc".to_owned(),
                ..Node::default()
            }),
            type_url: proto::type_url::ADDRESS.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(first.encoded_len())?);
        first.encode(&mut data)?;
        requests.send_data(data.freeze(), false)?;
        let _body = answer.await?.into_body();
        done.acts += 1;
        std::future::pending().await
    };
    tokio::select! {
        driven = driving => driven,
        attacked = attacking => attacked,
    }
}

fn request(token: Option<&str>) -> anyhow::Result<http::Request<()>> {
    let uri = format!("https://localhost{}", proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
    let mut request = http::Request::post(uri).header(header::CONTENT_TYPE, "application/grpc");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(request.body(())?)
}
