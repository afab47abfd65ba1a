//! Which tokens are accepted.

use crate::certificates::{call_on, channel};
use crate::clock::FakeClock;
use crate::plane::{Plane, Site, UNAUTHENTICATED, of_cluster, pod};
use crate::token::{Parts, bound_token};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::certificates::{RequestError, request_certificate};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// The number of TokenReviews.
fn reviews(plane: &Plane) -> u64 {
    plane.stats().token_reviews.list().iter().map(|(_, count)| count).sum()
}

fn count(list: &[(&'static str, u64)], name: &str) -> u64 {
    list.iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_of_live_pods_signed_by_the_api_server_for_our_audience_are_accepted()
-> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let token = bound_token(site.server, &web, &["istio-ca"]).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::of(&token)?;
        change(&mut parts);
        anyhow::Ok(parts)
    };
    let resigned = |change: &dyn Fn(&mut Parts)| with(change)?.sign(site.server);

    // A token that is signed again without changes is accepted.
    plane.certificate(&resigned(&|_| {})?, None).await?;

    let wrong = [
        ("token_expired", resigned(&|p| p.claims["exp"] = json!(now - 60))?),
        ("token_not_yet_valid", resigned(&|p| p.claims["nbf"] = json!(now + 3600))?),
        ("token_audience", bound_token(site.server, &web, &["other-audience"]).await?),
        ("token_audience", resigned(&|p| p.claims["aud"] = json!([]))?),
        ("token_unbound", site.server.token(&site.shop, "web", &["istio-ca"]).await?),
        ("token_subject", resigned(&|p| p.claims["sub"] = json!("system:serviceaccount:kube-system:admin"))?),
        ("token_unknown_key", with(&|p| p.header["kid"] = json!("forged"))?.unsigned()),
        ("token_no_key_id", with(&|p| p.header = json!({"alg": "ES256"}))?.unsigned()),
        ("token_algorithm", with(&|p| p.header["alg"] = json!("none"))?.unsigned()),
        (
            "token_algorithm",
            with(&|p| {
                p.header["alg"] = json!("none");
                p.signature.clear();
            })?
            .unsigned(),
        ),
        ("token_algorithm", with(&|p| p.header["alg"] = json!("HS256"))?.unsigned()),
        ("token_key_mismatch", with(&|p| p.header["alg"] = json!("RS256"))?.unsigned()),
        ("token_signature", with(&|p| p.claims["exp"] = json!(now + 999_999))?.unsigned()),
        ("token_malformed", "not.a.token".to_owned()),
        ("token_too_long", format!("{token}{}", "A".repeat(9000))),
        ("no_credential", String::new()),
    ];
    for (reason, token) in wrong {
        let before = plane.refused(reason);
        assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED, "{reason}");
        assert_eq!(plane.refused(reason), before + 1, "{reason}: {:?}", plane.stats().refused.list());
        assert_eq!(reviews(&plane), 0, "{reason}: the token was reviewed");
    }
    plane.certificate(&token, None).await?;
    assert_eq!(reviews(&plane), 0);
    assert!(count(&plane.stats().key_fetches.list(), "ok") <= 2, "unknown key ids do not cause fetches each");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_refused_after_its_pod_is_deleted_or_replaced() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let token = bound_token(site.server, &web, &["istio-ca"]).await?;
    plane.certificate(&token, None).await?;

    site.delete(&site.shop, "web").await?;
    until(LIMIT, async || Ok(plane.certificate(&token, None).await.is_err().then_some(()))).await?;
    assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED);
    assert!(plane.refused("pod_unknown") > 0);

    let again = site.pod(&site.shop, "web", "web", "n1").await?;
    let newer = bound_token(site.server, &again, &["istio-ca"]).await?;
    plane.certificate(&newer, None).await?;
    assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED);
    assert!(plane.refused("pod_replaced") > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn token_review_gives_the_same_results() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.always_review_tokens = true;
    let plane = Plane::open(&args).await?;
    let ztunnel = site.ztunnel("n1").await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    plane.certificate(&ztunnel, Some(&site.identity("web"))).await?;
    plane.certificate(&ztunnel, Some(&site.identity("web"))).await?;
    let accepted = plane.stats().tokens.list();
    assert_eq!((count(&accepted, "local"), count(&accepted, "review")), (0, 1), "one review for both");
    let unbound = site.server.token(&site.shop, "web", &["istio-ca"]).await?;
    assert_eq!(plane.refusal(&unbound, None).await?, UNAUTHENTICATED);
    assert_eq!((plane.refused("token_unbound"), reviews(&plane)), (1, 2));

    // Tokens that cannot be valid are not reviewed.
    let good = bound_token(site.server, &web, &["istio-ca"]).await?;
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::of(&good)?;
        change(&mut parts);
        anyhow::Ok(parts)
    };
    for (reason, token) in [
        ("token_audience", bound_token(site.server, &web, &["other-audience"]).await?),
        ("token_expired", with(&|p| p.claims["exp"] = json!(1))?.sign(site.server)?),
        ("token_not_yet_valid", with(&|p| p.claims["nbf"] = json!(u32::MAX))?.sign(site.server)?),
        ("token_algorithm", with(&|p| p.header["alg"] = json!("none"))?.unsigned()),
        ("token_malformed", "opaque".to_owned()),
    ] {
        assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED, "{reason}");
        assert_eq!((plane.refused(reason), reviews(&plane)), (1, 2), "{reason}");
    }
    // Concurrent calls with the same forged token share one review.
    let forged = with(&|p| p.claims["sub"] = json!("system:serviceaccount:kube-system:admin"))?.unsigned();
    let (channel, question) =
        (channel(&plane, &forged).await?, proto::citadel::IstioCertificateRequest::default());
    let calls = (0..8).map(|_| call_on(channel.clone(), &forged, &question));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer?.err().map(|(code, _)| code), Some(UNAUTHENTICATED));
    }
    assert_eq!((plane.refused("token_rejected"), reviews(&plane)), (8, 3));
    plane.certificate(&good, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_review_does_not_reveal_the_address_of_the_api_server() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let system = server.namespace("system").await?;
    let ztunnel = pod(&server, &system, "ztunnel-n1", "ztunnel", "n1").await?;
    let token = bound_token(&server, &ztunnel, &["istio-ca"]).await?;
    let mut args = of_cluster(&server, &system)?;
    args.identity.always_review_tokens = true;
    let plane = Plane::open(&args).await?;
    server.kill()?;
    let refused = request_certificate(&plane.target(&token)?, None, 0).await.err();
    let Some(RequestError::Refused { code, message, .. }) = refused else { anyhow::bail!("{refused:?}") };
    assert_eq!((code, message.as_str()), (14, "the API server cannot review the token"));
    assert_eq!(count(&plane.stats().token_reviews.list(), "unanswered"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_of_the_api_server_is_fetched_and_a_removed_one_refused() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let (system, shop) = (server.namespace("system").await?, server.namespace("shop").await?);
    let clock = FakeClock::stopped();
    let plane = Plane::open_at(&of_cluster(&server, &system)?, &clock).await?;
    let web = pod(&server, &shop, "web", "web", "n1").await?;
    let before = bound_token(&server, &web, &["istio-ca"]).await?;
    plane.certificate(&before, None).await?;
    let fetches = || count(&plane.stats().key_fetches.list(), "ok");
    assert_eq!(fetches(), 1);

    server.change_token_key().await?;
    let after = bound_token(&server, &web, &["istio-ca"]).await?;
    assert_eq!(plane.refusal(&after, None).await?, UNAUTHENTICATED, "the last fetch is too recent");
    assert_eq!(fetches(), 1);
    clock.advance_seconds(10);
    plane.certificate(&after, None).await?;
    assert_eq!(fetches(), 2, "one for the new key");
    assert_eq!(plane.refusal(&before, None).await?, UNAUTHENTICATED, "even though it was cached");
    assert!(plane.refused("token_unknown_key") > 0, "{:?}", plane.stats().refused.list());

    // Unknown key ids do not cause more fetches than the rate limit allows.
    let forged = async |name: String| {
        let mut parts = Parts::of(&after)?;
        parts.header["kid"] = json!(name);
        plane.refusal(&parts.unsigned(), None).await
    };
    for i in 0..50 {
        let both = tokio::join!(forged(format!("a{i}")), forged(format!("b{i}")));
        assert_eq!((both.0?, both.1?), (UNAUTHENTICATED, UNAUTHENTICATED));
    }
    assert_eq!(fetches(), 2);
    clock.advance_seconds(10);
    let both = tokio::join!(forged("c".to_owned()), forged("d".to_owned()));
    assert_eq!((both.0?, both.1?), (UNAUTHENTICATED, UNAUTHENTICATED));
    assert_eq!(fetches(), 3, "one for both");
    assert_eq!(reviews(&plane), 0, "nor reviews");
    plane.certificate(&after, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_token_is_accepted_if_the_api_server_becomes_unavailable_after_the_port_opened()
-> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let (system, shop) = (server.namespace("system").await?, server.namespace("shop").await?);
    let ztunnel = pod(&server, &system, "ztunnel-n1", "ztunnel", "n1").await?;
    let token = bound_token(&server, &ztunnel, &["istio-ca"]).await?;
    pod(&server, &shop, "web", "web", "n1").await?;
    let plane = Plane::open(&of_cluster(&server, &system)?).await?;
    server.kill()?;
    plane.certificate(&token, Some(&format!("spiffe://cluster.local/ns/{shop}/sa/web"))).await?;
    assert_eq!(count(&plane.stats().tokens.list(), "local"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_issued_while_the_api_server_is_unavailable() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let (system, shop) = (server.namespace("system").await?, server.namespace("shop").await?);
    let plane = Plane::open(&of_cluster(&server, &system)?).await?;
    let mut tokens = Vec::new();
    for node in ["n1", "n2"] {
        let ztunnel = pod(&server, &system, &format!("ztunnel-{node}"), "ztunnel", node).await?;
        tokens.push(bound_token(&server, &ztunnel, &["istio-ca"]).await?);
        pod(&server, &shop, &format!("web-{node}"), "web", node).await?;
    }
    let web = format!("spiffe://cluster.local/ns/{shop}/sa/web");
    plane.certificate(&tokens[0], Some(&web)).await?;
    // Once the ztunnel gets a certificate for the last pod, all pods are known.
    let probe = pod(&server, &shop, "probe", "probe", "n1").await?;
    drop(probe);
    let probe = format!("spiffe://cluster.local/ns/{shop}/sa/probe");
    plane.certificate(&tokens[0], Some(&probe)).await?;

    server.stop().await?;
    // A token that is not cached, of a known pod.
    plane.certificate(&tokens[1], Some(&web)).await?;
    plane.certificate(&tokens[0], Some(&web)).await?;
    assert_eq!(plane.refusal(&tokens[1], Some(&probe)).await?, UNAUTHENTICATED);
    Ok(())
}
