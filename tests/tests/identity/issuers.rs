//! Tokens of additional issuers, whose keys are fetched over real TLS.

use crate::clock::FakeClock;
use crate::laptop::Laptop;
use crate::plane::{Plane, UNAUTHENTICATED};
use crate::publisher::{Answer, Publisher};
use crate::streams::refusal;
use ca::SystemEntropy;
use ca::token::{DevelopmentIssuer, DevelopmentToken};
use identity::NO_UID;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Node, Options};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use std::time::Duration;

/// The status code of a call whose token cannot be verified.
const UNAVAILABLE: u8 = 14;

/// An issuer other than the API server.
struct Issuer(DevelopmentIssuer);

impl Issuer {
    fn new(name: &str) -> anyhow::Result<Self> {
        Ok(Self(DevelopmentIssuer::generate(name)?))
    }

    fn token(&self, audience: &str) -> anyhow::Result<String> {
        self.issue(audience, "shop", "web", None)
    }

    fn issue(
        &self,
        audience: &str,
        namespace: &str,
        account: &str,
        pod: Option<&str>,
    ) -> anyhow::Result<String> {
        let token = DevelopmentToken {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            pod: pod.map(|name| (name.to_owned(), NO_UID.to_owned())),
            node: pod.map(|_| "laptop".to_owned()),
            audiences: vec!["unrelated".to_owned(), audience.to_owned()],
            life: Duration::from_secs(3600),
        };
        Ok(self.0.issue(&token, UnixTime::now(), &SystemEntropy)?)
    }
}

/// A control plane without a cluster that accepts the tokens of these rules, and trusts the publisher's certificate.
fn laptop(publisher: &Publisher, rules: &serde_json::Value) -> anyhow::Result<Laptop> {
    let mut laptop = Laptop::new()?;
    let roots = laptop.dir().join("publisher.pem");
    std::fs::write(&roots, publisher.roots_pem())?;
    laptop.args.identity.jwt_roots = Some(roots.display().to_string());
    laptop.args.identity.jwt_rules = ca::token::IssuerRules::parse(&rules.to_string())?;
    Ok(laptop)
}

fn fetches(plane: &Plane, outcome: &str) -> u64 {
    let all = plane.stats().issuer_key_fetches.list();
    all.iter().find(|(name, _)| *name == outcome).map_or(0, |(_, count)| *count)
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[tokio::test(flavor = "multi_thread")]
async fn invalid_roots_are_an_error_at_start() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let rule = json!({"issuer": "https://issuer.example", "audiences": ["mesh"]});
    let mut laptop = laptop(&publisher, &rule)?;
    for roots in ["/nonexistent/roots.pem", "-----BEGIN NOTHING-----"] {
        laptop.args.identity.jwt_roots = Some(roots.to_owned());
        let refused = Plane::start(&laptop.args).await.err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|text| text.contains("--jwt-roots")), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_additional_issuer_are_accepted_for_their_own_account_only() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let issuer = Issuer::new("https://issuer.example")?;
    publisher.put("/keys", Answer::document(issuer.0.jwks()));
    let rule = json!({"issuer": "https://issuer.example", "jwks_uri": publisher.url("/keys"),
                      "audiences": ["other", "mesh"]});
    let laptop = laptop(&publisher, &rule)?;
    let plane = Plane::open(&laptop.args).await?;

    let new = plane.certificate(&issuer.token("mesh")?, None).await?;
    let leaf = ca::Certificate::from_der(&CertificateDer::from_pem_slice(new.chain[0].as_bytes())?)?;
    assert_eq!(leaf.identity()?.to_string(), WEB);
    // Its claims about pods are ignored: it cannot request certificates of others.
    let ztunnel = issuer.issue("mesh", "istio-system", "ztunnel", Some("ztunnel"))?;
    assert_eq!(plane.refusal(&ztunnel, Some(WEB)).await?, UNAUTHENTICATED);
    assert_eq!(plane.refused("caller_unbound"), 1, "{:?}", plane.stats().refused.list());
    // The same claims by the primary issuer are accepted.
    plane.certificate(&laptop.ztunnel()?, Some(WEB)).await?;

    let other_key = Issuer::new("https://issuer.example")?;
    let elsewhere = Issuer::new("https://elsewhere.example")?;
    for (reason, token) in [
        ("token_audience", issuer.token("other-audience")?),
        ("token_unknown_key", other_key.token("mesh")?),
        ("token_unknown_key", elsewhere.token("mesh")?),
        ("token_subject", issuer.issue("mesh", "shop", "web:more", None)?),
        ("token_subject", issuer.issue("mesh", "", "web", None)?),
    ] {
        let before = plane.refused(reason);
        assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED, "{reason}");
        assert_eq!(plane.refused(reason), before + 1, "{reason}: {:?}", plane.stats().refused.list());
    }
    // The audiences of the primary issuer and of the rule are separate.
    assert_eq!(plane.refusal(&issuer.token("istio-ca")?, None).await?, UNAUTHENTICATED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ztunnel_with_a_token_of_an_additional_issuer_cannot_open_streams() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let issuer = Issuer::new(&publisher.url(""))?;
    // The keys are found by the discovery document, behind a redirect.
    let document = json!({"issuer": publisher.url(""), "jwks_uri": publisher.url("/moved")});
    publisher.put("/.well-known/openid-configuration", Answer::document(document.to_string()));
    publisher.put("/moved", Answer::redirect("/keys"));
    publisher.put("/keys", Answer::document(issuer.0.jwks()));
    let mut laptop = laptop(&publisher, &json!([{"issuer": publisher.url(""), "audiences": ["mesh"]}]))?;
    // As the chart passes the roots, which mounts no file.
    laptop.args.identity.jwt_roots = Some(publisher.roots_pem().to_owned());
    let plane = Plane::open(&laptop.args).await?;
    // It is authenticated and gets its own certificates, but its node is not proven.
    let token = issuer.issue("mesh", "istio-system", "ztunnel", Some("ztunnel"))?;
    plane.certificate(&token, None).await?;
    for node in ["laptop", ""] {
        let options = Options { node: Node::ztunnel(node), ..plane.client_options(&token)? };
        let error = refusal(options).await?;
        assert!(error.contains("proves no node"), "{error}");
    }
    assert!(plane.stats().streams_refused.list().contains(&("node_unproven", 2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_issuer_does_not_affect_others() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let good = Issuer::new("https://good.example")?;
    publisher.put("/good", Answer::document(good.0.jwks()));
    publisher.put("/garbage", Answer::document("{\"keys\": 1}".to_owned()));
    publisher.put("/none", Answer::document("{\"keys\": []}".to_owned()));
    publisher.put("/endless", Answer::document(" ".repeat(300 * 1024)));
    publisher.put("/silent", Answer::Silence);
    publisher.put("/loop", Answer::redirect("/loop"));
    publisher.put("/plain", Answer::redirect(&publisher.url("/good").replace("https:", "http:")));
    publisher.put("/metadata", Answer::redirect("https://169.254.169.254/latest/meta-data"));
    let rule = |issuer: &str, at: String| json!({"issuer": issuer, "jwks_uri": at, "audiences": ["mesh"]});
    let bad = ["garbage", "none", "endless", "silent", "loop", "plain", "metadata", "missing"];
    let mut rules: Vec<_> = bad
        .iter()
        .map(|name| rule(&format!("https://{name}.example"), publisher.url(&format!("/{name}"))))
        .collect();
    // A link-local address, and a name that is not in the certificate.
    rules.push(rule("https://linklocal.example", "https://[fe80::1]/keys".to_owned()));
    rules.push(rule("https://misnamed.example", publisher.url("/good").replace("127.0.0.1", "127.0.0.2")));
    rules.push(rule("https://good.example", publisher.url("/good")));
    let laptop = laptop(&publisher, &json!(rules))?;
    let plane = Plane::open(&laptop.args).await?;

    plane.certificate(&good.token("mesh")?, None).await?;
    for name in bad.iter().copied().chain(["linklocal", "misnamed"]) {
        let token = Issuer::new(&format!("https://{name}.example"))?.token("mesh")?;
        let expected = if name == "none" { UNAUTHENTICATED } else { UNAVAILABLE };
        assert_eq!(plane.refusal(&token, None).await?, expected, "{name}");
        plane.certificate(&laptop.ztunnel()?, Some(WEB)).await?;
    }
    assert!(fetches(&plane, "blocked") >= 2, "{:?}", plane.stats().issuer_key_fetches.list());
    plane.certificate(&good.token("mesh")?, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_unavailable_at_start_are_fetched_before_a_token_needs_them() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let issuer = Issuer::new("https://issuer.example")?;
    let rule = json!({"issuer": "https://issuer.example", "jwks_uri": publisher.url("/keys"),
                      "audiences": ["mesh"]});
    let laptop = laptop(&publisher, &rule)?;
    let plane = Plane::open(&laptop.args).await?;
    until(LIMIT, async || Ok((fetches(&plane, "unreachable") > 0).then_some(()))).await?;
    publisher.put("/keys", Answer::document(issuer.0.jwks()));
    until(LIMIT, async || Ok((fetches(&plane, "ok") > 0).then_some(()))).await?;
    publisher.put("/keys", Answer::Silence);
    plane.certificate(&issuer.token("mesh")?, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_of_an_issuer_is_fetched_and_a_removed_one_refused() -> anyhow::Result<()> {
    let publisher = Publisher::start().await?;
    let (old, new) = (Issuer::new("https://issuer.example")?, Issuer::new("https://issuer.example")?);
    publisher.put("/keys", Answer::document(old.0.jwks()));
    let rule = json!({"issuer": "https://issuer.example", "jwks_uri": publisher.url("/keys"),
                      "audiences": ["mesh"]});
    let laptop = laptop(&publisher, &rule)?;
    let clock = FakeClock::stopped();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let (before, after) = (old.token("mesh")?, new.token("mesh")?);
    plane.certificate(&before, None).await?;
    assert_eq!(publisher.requests(), 1);

    publisher.put("/keys", Answer::document(new.0.jwks()));
    assert_eq!(plane.refusal(&after, None).await?, UNAUTHENTICATED, "the last fetch is too recent");
    clock.advance_seconds(10);
    plane.certificate(&after, None).await?;
    assert_eq!(plane.refusal(&before, None).await?, UNAUTHENTICATED, "even though it was cached");
    assert_eq!(publisher.requests(), 2);

    // Unknown keys do not cause more fetches than the rate limit allows.
    for _ in 0..20 {
        let forged = Issuer::new("https://issuer.example")?.token("mesh")?;
        let both = tokio::join!(plane.refusal(&forged, None), plane.refusal(&forged, None));
        assert_eq!((both.0?, both.1?), (UNAUTHENTICATED, UNAUTHENTICATED));
    }
    assert_eq!(publisher.requests(), 2);
    plane.certificate(&after, None).await?;

    // After five minutes the keys are refreshed in the background.
    clock.advance_seconds(301);
    let again = new.token("mesh")?;
    plane.certificate(&again, None).await?;
    until(LIMIT, async || Ok((publisher.requests() == 3).then_some(()))).await
}
