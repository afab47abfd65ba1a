//! The audit log: a line and a counter for each certificate that is issued or refused, without secrets.

use crate::certificates::call;
use crate::foreign::{Foreign, authority, plugged_in, secret, secrets};
use crate::plane::{Plane, Site, UNAUTHENTICATED};
use anyhow::Context;
use ca::Certificate;
use kube::api::PostParams;
use pilothouse_tests::apiserver::{LIMIT, until};
use proto::citadel::IstioCertificateRequest;
use runtime::engine_thread::EngineHandle;
use runtime::metrics::Metrics;
use serde_json::Value;
use server::Clients;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, SystemTime};

/// The log of this process from the first use on, including other tests.
struct Log;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() {
        static BEGUN: Once = Once::new();
        BEGUN.call_once(|| {
            // All levels of our crates: none of them may log a secret.
            let filter = "info,pilothouse_cluster=trace,pilothouse_identity=trace,pilothouse_server=trace,pilothouse_runtime=trace";
            tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| Log).init();
        });
    }

    fn text() -> String {
        String::from_utf8_lossy(&LOGGED.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Returns the fields of all lines with this message that match.
    fn lines(message: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let parsed =
            Self::text().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
        let parsed: Vec<Value> = parsed;
        let fields = parsed.into_iter().map(|mut line| line["fields"].take());
        fields.filter(|fields| fields["message"] == message && holds(fields)).collect()
    }

    /// Waits for the single line with this message that matches.
    async fn line(message: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut found =
            until(LIMIT, async || Ok(Some(Self::lines(message, &holds)).filter(|found| !found.is_empty())))
                .await
                .with_context(|| format!("no {message:?}"))?;
        anyhow::ensure!(found.len() == 1, "it is logged more than once: {found:#?}");
        found.pop().context("no line")
    }
}

/// A request with a new key, and that key.
fn request(identity: Option<&str>) -> anyhow::Result<(IstioCertificateRequest, String)> {
    let key = rcgen::KeyPair::generate()?;
    let csr = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    let metadata = identity.map(|identity| prost_types::Struct {
        fields: [(
            "ImpersonatedIdentity".to_owned(),
            prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(identity.to_owned())) },
        )]
        .into(),
    });
    Ok((IstioCertificateRequest { csr, validity_duration: 0, metadata }, key.serialize_pem()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_has_one_log_line_without_secrets() -> anyhow::Result<()> {
    Log::begin();
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    site.pod(&site.shop, "web", "web", "n1").await?;
    site.pod(&site.shop, "api", "api", "n2").await?;
    let (web, api) = (site.identity("web"), site.identity("api"));
    let caller = format!("spiffe://cluster.local/ns/{}/sa/ztunnel", site.system);
    let mut secret_texts = vec![token.clone()];

    let (message, key) = request(Some(&web))?;
    let issued = call(&plane, &token, &message).await?;
    let chain = issued.map_err(|refused| anyhow::anyhow!("{refused:?}"))?.cert_chain;
    let leaf = &Certificate::all_from_pem(chain[0].as_bytes())?[0];
    secret_texts.extend([message.csr, key]);
    let line = Log::line("issued a certificate", |line| line["identity"] == web.as_str()).await?;
    assert_eq!(line["caller"], caller.as_str());
    assert_eq!(line["pod"], "ztunnel-n1");
    let serial = line["serial"].as_str().context("no serial")?;
    assert_eq!(serial.trim_start_matches('0'), leaf.serial().trim_start_matches('0'));
    assert_eq!(line["not_after"], model::rfc3339(leaf.validity().not_after.as_secs()));
    assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");

    let (message, key) = request(Some(&api))?;
    let refused = call(&plane, &token, &message).await?;
    assert_eq!(refused.err().map(|(code, _)| code), Some(UNAUTHENTICATED));
    secret_texts.extend([message.csr, key]);
    let line = Log::line("refused a certificate", |line| line["requested"] == api.as_str()).await?;
    assert_eq!((&line["caller"], &line["reason"]), (&caller.as_str().into(), &"not_on_node".into()));
    assert!(line["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{line}");

    // A malformed request, and unauthenticated callers with tokens that are invalid in several ways.
    let (mut message, key) = request(None)?;
    secret_texts.extend([message.csr.clone(), key]);
    message.csr.insert(60, 'x');
    assert!(call(&plane, &token, &message).await?.is_err());
    let line = Log::line("refused a certificate", |line| {
        line["caller"] == caller.as_str() && line["requested"] == ""
    });
    let line = line.await?;
    assert!(line["reason"].as_str().is_some_and(|reason| reason.starts_with("csr")), "{line}");
    let (head, signature) = token.rsplit_once('.').context("a token has dots")?;
    let (_, payload) = head.split_once('.').context("a token has dots")?;
    let reversed: String = signature.chars().rev().collect();
    for invalid in [
        format!("{head}.{reversed}"),
        format!("{head}."),
        head.to_owned(),
        format!("x{token}"),
        payload.to_owned(),
    ] {
        let before = plane.stats().refused.list();
        let (message, key) = request(None)?;
        assert_eq!(
            call(&plane, &invalid, &message).await?.err().map(|(code, _)| code),
            Some(UNAUTHENTICATED)
        );
        secret_texts.extend([message.csr, key, invalid]);
        assert_ne!(plane.stats().refused.list(), before, "it is counted by reason");
    }
    // Repeated refusals of unauthenticated peers for the same reason share a later line; the metric counts each.
    let anonymous = Log::lines("refused a certificate", |line| line["caller"].is_null());
    let reasons: BTreeSet<&str> = anonymous.iter().filter_map(|line| line["reason"].as_str()).collect();
    assert!(reasons.len() >= 2, "{anonymous:#?}");
    assert!(anonymous.iter().all(|line| line["reason"].is_string() && line["peer"].is_string()));

    assert_eq!(plane.stats().issued.get(), 1);
    assert_eq!(plane.refused("not_on_node"), 1);
    assert_eq!(Log::lines("issued a certificate", |line| line["caller"] == caller.as_str()).len(), 1);

    let own = secrets(&site).await?.get("istio-ca-secret").await?.data.unwrap_or_default();
    secret_texts.push(String::from_utf8(own["ca-key.pem"].0.clone())?);
    let text = Log::text();
    // Tokens are searched by part and PEM by line; the first part of a token only names the signing key.
    let parts =
        secret_texts.iter().flat_map(|text| text.split(['.', '\n']).skip(usize::from(!text.contains('\n'))));
    let mut count = 0;
    for part in parts.filter(|part| part.len() > 24 && !part.starts_with('-')) {
        assert!(!text.contains(part), "{part:?} is logged");
        count += 1;
    }
    assert!(count > 20, "so few parts are not all");
    assert!(!text.contains("-----BEGIN"), "nothing in PEM is logged");
    Ok(())
}

/// Returns the value of a sample.
fn sample(text: &str, name: &str) -> anyhow::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_show_the_days_left_of_certificates() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let ending = |name: &str, days: u64| {
        let mut params = authority(name);
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        params
    };
    let root = Foreign::root_of(ending("root", 1000))?;
    let signing = root.below_of(ending("signing", 40))?;
    let files = plugged_in(&root, &signing, &signing.key);
    secrets(&site).await?.create(&PostParams::default(), &secret("cacerts", files)).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    for hours in [3, 24, 24, 24 * 39] {
        let target = plane.target(&token)?;
        pilothouse_tests::certificates::request_certificate(&target, None, hours * 3600).await?;
    }
    let metrics = Metrics::new(EngineHandle::start(mesh::Options::default())?, Clients::default());
    let text = metrics.with_identity(plane.identity.clone()).render().await;
    for (labels, days) in [
        ("certificate=\"root\",number=\"1\"", 1000.0),
        ("certificate=\"intermediate\",number=\"1\"", 40.0),
        // The chain file contains the root, too.
        ("certificate=\"intermediate\",number=\"2\"", 1000.0),
        // 90 days, limited by the expiry of the signer.
        ("certificate=\"serving\",number=\"1\"", 40.0),
    ] {
        let left = sample(&text, &format!("pilothouse_certificate_days_left{{{labels}}}"))?;
        assert!((days - 0.1..=days).contains(&left), "{labels}: {left}");
    }
    for (group, count) in [("0.25", 1.0), ("0.5", 0.0), ("1", 2.0), ("7", 0.0), ("30", 0.0), ("more", 1.0)] {
        let name = format!("pilothouse_workload_certificates{{days_left=\"{group}\"}}");
        assert_eq!(sample(&text, &name)?, count, "{group}");
    }
    Ok(())
}
