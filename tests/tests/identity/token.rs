//! Tokens of the API server, and forged ones.

use crate::plane::openssl;
use anyhow::Context;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use pilothouse_tests::apiserver::ApiServer;
use serde_json::Value;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns a token of a pod's account, bound to the pod.
pub async fn bound_token(server: &ApiServer, pod: &Pod, audiences: &[&str]) -> anyhow::Result<String> {
    let namespace = pod.metadata.namespace.as_deref().context("no namespace")?;
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).context("no account")?;
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences.iter().map(|&a| a.to_owned()).collect()),
            bound_object_ref: Some(bound),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(server.client().await?, namespace);
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).context("no token in the answer")
}

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (i, b)| bits | u32::from(*b) << (16 - 8 * i));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

fn decode(text: &str) -> anyhow::Result<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|&b| b == byte).context("not base64url")?;
        bits = bits << 6 | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

/// The parts of a token.
pub struct Parts {
    pub header: Value,
    pub claims: Value,
    pub signature: String,
}

impl Parts {
    pub fn of(token: &str) -> anyhow::Result<Self> {
        let mut parts = token.split('.');
        let mut next = || parts.next().context("three parts");
        Ok(Self {
            header: serde_json::from_slice(&decode(next()?)?)?,
            claims: serde_json::from_slice(&decode(next()?)?)?,
            signature: next()?.to_owned(),
        })
    }

    fn signed(&self) -> String {
        format!(
            "{}.{}",
            encode(self.header.to_string().as_bytes()),
            encode(self.claims.to_string().as_bytes())
        )
    }

    /// Joins the parts with the existing signature.
    pub fn unsigned(&self) -> String {
        format!("{}.{}", self.signed(), self.signature)
    }

    /// Signs the parts with the key of the API server.
    pub fn sign(&self, server: &ApiServer) -> anyhow::Result<String> {
        let dir = tempfile::tempdir()?;
        let signed = self.signed();
        std::fs::write(dir.path().join("signed"), &signed)?;
        let key = server.dir().join("pki/service-account.key");
        let key = key.to_str().context("a path of text")?;
        let der = openssl(&["dgst", "-sha256", "-sign", key, "signed"], dir.path())?;
        Ok(format!("{signed}.{}", encode(&raw_signature(&der)?)))
    }
}

/// Returns both numbers of an ECDSA signature in DER, 32 bytes each.
fn raw_signature(der: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut rest = der.get(2..).context("a sequence")?;
    let mut raw = Vec::new();
    for _ in 0..2 {
        let length = usize::from(*rest.get(1).context("a length")?);
        let number = rest.get(2..2 + length).context("a number")?;
        let digits = &number[number.iter().take_while(|b| **b == 0).count()..];
        raw.extend(std::iter::repeat_n(0, 32 - digits.len()));
        raw.extend_from_slice(digits);
        rest = &rest[2 + length..];
    }
    Ok(raw)
}
