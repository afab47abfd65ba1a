//! Measures one core: requests verified and certificates issued, tokens verified, a second.
//!
//! `cargo run --release -p pilothouse-ca --example sign_rate`

use pilothouse_ca::token::{DevelopmentIssuer, DevelopmentToken, PodBinding, TokenPolicy, verify};
use pilothouse_ca::{Identity, Issuer, Root, SigningKey, SigningRequest, SystemEntropy, TtlPolicy};
use rustls_pki_types::UnixTime;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(3);

/// Prints how often `work` runs in a second.
fn measure<T>(name: &str, mut work: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut rounds = 0u32;
    while start.elapsed() < WINDOW {
        for _ in 0..100 {
            black_box(work()?);
        }
        rounds += 100;
    }
    println!("{name:<34} {:>8.0} /s", f64::from(rounds) / start.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = UnixTime::now();
    let root = Root::create("cluster.local", Duration::from_secs(87_600 * 3600), now, &SystemEntropy)?;
    let issuer = Issuer::self_signed(&root, TtlPolicy::default())?;
    let identity = Identity::parse("spiffe://cluster.local/ns/shop/sa/web")?;
    let text = SigningKey::generate_p256()?.request_pem(&["spiffe://cluster.local/ns/shop/sa/web"])?;
    let request = SigningRequest::from_pem(&text)?;

    measure("verify a request", || Ok(SigningRequest::from_pem(&text)?))?;
    measure("issue a certificate", || Ok(issuer.issue(&request, &identity, 0, now, &SystemEntropy)?))?;
    measure("verify a request and issue", || {
        let request = SigningRequest::from_pem(&text)?;
        Ok(issuer.issue(&request, &identity, 0, now, &SystemEntropy)?)
    })?;

    let tokens = DevelopmentIssuer::generate("development")?;
    let keys = tokens.keys()?;
    let policy = TokenPolicy {
        issuers: vec!["development".to_owned()],
        audiences: vec!["istio-ca".to_owned()],
        leeway: Duration::ZERO,
        pod: PodBinding::Ignored,
    };
    let wanted = DevelopmentToken {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        audiences: policy.audiences.clone(),
        life: Duration::from_secs(3600),
        ..DevelopmentToken::default()
    };
    let token = tokens.issue(&wanted, now, &SystemEntropy)?;
    measure("verify a token (ES256)", || Ok(verify(&token, &keys, &policy, now)?))
}
