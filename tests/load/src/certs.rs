//! How many certificates an authority issues over TLS, and how long each takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use pilothouse_tests::client::Target;
use pilothouse_tests::client::transport::channel;
use proto::citadel::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::args::Certificates;
use crate::process::Meter;
use crate::report::{Certs, Latency};

/// The longest request that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// Pause after a connection that was refused.
const AGAIN: Duration = Duration::from_millis(10);

/// What each request is made from.
struct Question {
    targets: Vec<Target>,
    request: IstioCertificateRequest,
    next: AtomicUsize,
    refused: AtomicU64,
    pause: Duration,
    end: Instant,
}

/// Asks for certificates for as long as told, and tells how that went.
///
/// # Errors
/// If nothing can be asked: no token, no connection. Refusals are counted.
pub async fn measure(args: &Certificates, meter: Meter) -> anyhow::Result<Certs> {
    let targets = args.targets()?;
    let first = targets.first().context("name a token by --token-file")?;
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(channel(first).await.context("connecting")?);
    }
    let begin = Instant::now();
    let question = Arc::new(Question {
        targets,
        request: request(args)?,
        next: AtomicUsize::new(0),
        refused: AtomicU64::new(0),
        pause: args.pause,
        end: begin + args.duration,
    });
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..args.in_flight {
        let connection = connections.get(index % args.connections).cloned();
        let connection = connection.filter(|_| !args.new_connections);
        asking.spawn(ask(Arc::clone(&question), connection));
    }
    let mut micros = Histogram::new_with_bounds(1, LONGEST, 3)?;
    while let Some(done) = asking.join_next().await {
        micros.add(&done??)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Certs {
        in_flight: args.in_flight,
        new_connections: args.new_connections,
        seconds,
        per_second: micros.len() as f64 / seconds,
        refused: question.refused.load(Ordering::Relaxed),
        answer: Latency::of(&micros),
        process: meter.finish(),
    })
}

/// One request, as a ztunnel makes it; the same each time: what costs is the answer.
fn request(args: &Certificates) -> anyhow::Result<IstioCertificateRequest> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = params.serialize_request(&key)?.pem()?;
    let metadata = args.identity.as_ref().map(|identity| prost_types::Struct {
        fields: [("ImpersonatedIdentity".to_owned(), identity.clone().into())].into(),
    });
    Ok(IstioCertificateRequest { csr, validity_duration: 86_400, metadata })
}

/// Asks one after the other until the end.
async fn ask(question: Arc<Question>, connection: Option<Channel>) -> anyhow::Result<Histogram<u64>> {
    let mut micros = Histogram::new_with_bounds(1, LONGEST, 3)?;
    while Instant::now() < question.end {
        if !question.pause.is_zero() {
            tokio::time::sleep(question.pause).await;
        }
        let index = question.next.fetch_add(1, Ordering::Relaxed) % question.targets.len();
        let target = question.targets.get(index).context("a target")?;
        let begin = Instant::now();
        let channel = match &connection {
            Some(connection) => connection.clone(),
            None => match channel(target).await {
                Ok(channel) => channel,
                Err(_) => {
                    // A connection that is refused is as good as a request that is.
                    question.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        let mut call = tonic::Request::new(question.request.clone());
        for (key, value) in &target.metadata {
            let key: tonic::metadata::AsciiMetadataKey = key.parse()?;
            call.metadata_mut().insert(key, value.parse()?);
        }
        let bearer = format!("Bearer {}", target.token.as_deref().unwrap_or_default());
        call.metadata_mut().insert("authorization", bearer.parse::<AsciiMetadataValue>()?);
        let mut grpc = tonic::client::Grpc::new(channel);
        if grpc.ready().await.is_err() {
            question.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        let path = http::uri::PathAndQuery::from_static(proto::rpc_path::CREATE_CERTIFICATE);
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        match grpc.unary(call, path, codec).await {
            Ok(_) => micros.saturating_record(took(begin)),
            Err(_) => {
                question.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(micros)
}

fn took(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().max(Duration::from_micros(1)).as_micros()).unwrap_or(LONGEST)
}
