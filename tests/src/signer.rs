//! A signer of the API `certificates.k8s.io` that is not ours: it signs what is approved for it, with
//! an authority of its own (rcgen), or misbehaves as it is told.

use crate::apiserver::{ApiServer, LIMIT, until};
use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::task::AbortOnDropHandle;

/// What a signer does with the requests of workloads; servers always get what they ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conduct {
    Honest,
    Fails,
    OtherIdentity,
    OtherKey,
    Unchained,
    LongLived,
    Silent,
}

/// A root, and the intermediate below it that signs.
pub struct Authority {
    pub root_pem: String,
    between_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let params = |name: String| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let (root_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let (of_root, of_between) = (params(format!("{name} root")), params(format!("{name} between")));
        let root_pem = of_root.self_signed(&root_key)?.pem();
        let between_pem = of_between.signed_by(&key, &Issuer::new(of_root, root_key))?.pem();
        Ok(Self { root_pem, between_pem, issuer: Issuer::new(of_between, key) })
    }

    fn sign(
        &self,
        request: &CertificateSigningRequest,
        conduct: Conduct,
        longest: Duration,
    ) -> anyhow::Result<String> {
        let text = String::from_utf8(request.spec.request.0.clone())?;
        let mut wanted = CertificateSigningRequestParams::from_pem(&text)?;
        let asked = request.spec.expiration_seconds.context("no life asked for")?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let params = &mut wanted.params;
        params.not_before = epoch + now.saturating_sub(Duration::from_secs(1));
        params.not_after = epoch + now + Duration::from_secs(u64::try_from(asked)?).min(longest);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if is_of_workload(request) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        match conduct {
            Conduct::OtherIdentity => {
                params.subject_alt_names =
                    vec![SanType::URI("spiffe://cluster.local/ns/kube-system/sa/admin".try_into()?)];
            }
            Conduct::LongLived => params.not_after += Duration::from_secs(86_400),
            _ => {}
        }
        let leaf = match conduct {
            Conduct::OtherKey => wanted.params.signed_by(&KeyPair::generate()?, &self.issuer)?,
            Conduct::Unchained => wanted.signed_by(&Self::new("unrelated")?.issuer)?,
            _ => wanted.signed_by(&self.issuer)?,
        };
        Ok(format!("{}{}{}", leaf.pem(), self.between_pem, self.root_pem))
    }
}

/// A running signer; dropping it ends it.
pub struct Signer {
    pub name: String,
    pub authority: Arc<Authority>,
    conduct: Arc<Mutex<Conduct>>,
    longest: Arc<Mutex<Duration>>,
    unwanted: Arc<Mutex<Option<String>>>,
    requests: Api<CertificateSigningRequest>,
    seen: Arc<Mutex<Vec<CertificateSigningRequest>>>,
    _running: AbortOnDropHandle<()>,
}

fn is_of_workload(request: &CertificateSigningRequest) -> bool {
    request.spec.usages.iter().flatten().any(|usage| usage == "client auth")
}

impl Signer {
    /// Starts the signer of this name, an honest one.
    pub async fn start(server: &ApiServer, name: &str) -> anyhow::Result<Self> {
        let requests = Api::<CertificateSigningRequest>::all(server.client().await?);
        let authority = Arc::new(Authority::new(name)?);
        let (conduct, seen) = (Arc::new(Mutex::new(Conduct::Honest)), Arc::<Mutex<Vec<_>>>::default());
        let longest = Arc::new(Mutex::new(Duration::MAX));
        let unwanted = Arc::<Mutex<Option<String>>>::default();
        let running = tokio::spawn({
            let (name, api) = (name.to_owned(), requests.clone());
            let (authority, conduct, seen) = (authority.clone(), conduct.clone(), seen.clone());
            let (longest, unwanted) = (longest.clone(), unwanted.clone());
            async move {
                let mut events =
                    pin!(watcher(api.clone(), Config::default()).default_backoff().applied_objects());
                while let Some(event) = events.next().await {
                    let Ok(request) = event else { continue };
                    if request.spec.signer_name != name {
                        continue;
                    }
                    let unwanted = unwanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let conduct = match is_of_workload(&request) {
                        _ if unwanted.is_some_and(|name| has_name(&request, &name)) => Conduct::Fails,
                        true => *conduct.lock().unwrap_or_else(PoisonError::into_inner),
                        false => Conduct::Honest,
                    };
                    let life = *longest.lock().unwrap_or_else(PoisonError::into_inner);
                    // Before it is signed: who gets the certificate may look for the request at once.
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    if let Err(error) = decide(&api, &request, conduct, life, &authority).await {
                        // Often one that was withdrawn meanwhile.
                        eprintln!("the signer {name} cannot decide: {error:#}");
                    }
                }
            }
        });
        let _running = AbortOnDropHandle::new(running);
        Ok(Self { name: name.to_owned(), authority, conduct, longest, unwanted, requests, seen, _running })
    }

    /// Has it behave so from now on.
    pub fn be(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap_or_else(PoisonError::into_inner) = conduct;
    }

    /// Has it sign for no longer than this, whatever is asked for.
    pub fn sign_for(&self, longest: Duration) {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner) = longest;
    }

    /// Has it refuse whatever is to be for this DNS name; nothing for none.
    pub fn refuse_name(&self, name: Option<&str>) {
        *self.unwanted.lock().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
    }

    /// Returns how many requests of servers it has ever seen, each as it was approved.
    pub fn served(&self) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|r| !is_of_workload(r) && is_approved(r) && !has_certificate(r)).count()
    }

    /// Returns the requests of workloads that it has ever seen, each as it was approved.
    pub fn approved(&self) -> Vec<CertificateSigningRequest> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = |request: &&CertificateSigningRequest| {
            is_of_workload(request) && is_approved(request) && !has_certificate(request)
        };
        seen.iter().filter(decided).cloned().collect()
    }

    /// Returns how many requests for it there are now.
    pub async fn open(&self) -> anyhow::Result<usize> {
        let all = self.requests.list(&Default::default()).await?;
        Ok(all.items.iter().filter(|request| request.spec.signer_name == self.name).count())
    }

    /// Waits until there are so many requests for it.
    pub async fn until_open(&self, count: usize) -> anyhow::Result<()> {
        let mut last = 0;
        let reached = until(LIMIT, async || {
            last = self.open().await?;
            Ok((last == count).then_some(()))
        });
        let reached = reached.await;
        reached.with_context(|| format!("{last} requests where {count} are expected"))
    }
}

fn has_name(request: &CertificateSigningRequest, name: &str) -> bool {
    let text = String::from_utf8_lossy(&request.spec.request.0);
    let wanted = CertificateSigningRequestParams::from_pem(&text);
    let names = wanted.map(|wanted| wanted.params.subject_alt_names).unwrap_or_default();
    names.iter().any(|of| matches!(of, SanType::DnsName(of) if of.as_str() == name))
}

fn is_approved(request: &CertificateSigningRequest) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Approved")
}

fn has_certificate(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().is_some_and(|status| status.certificate.is_some())
}

async fn decide(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    conduct: Conduct,
    longest: Duration,
    authority: &Authority,
) -> anyhow::Result<()> {
    if !is_approved(request) || has_certificate(request) || conduct == Conduct::Silent {
        return Ok(());
    }
    let status = if conduct == Conduct::Fails {
        let condition =
            json!({"type": "Failed", "status": "True", "reason": "Policy", "message": "not today"});
        let mut conditions = json!(request.status.as_ref().and_then(|status| status.conditions.as_ref()));
        conditions.as_array_mut().context("no conditions")?.push(condition);
        json!({ "conditions": conditions })
    } else {
        let certificate = k8s_openapi::ByteString(authority.sign(request, conduct, longest)?.into_bytes());
        json!({ "certificate": certificate })
    };
    let name = request.metadata.name.as_deref().context("no name")?;
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
    Ok(())
}
