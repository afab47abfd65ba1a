//! Intermediates of the process below RSA keys.

use crate::foreign::{Foreign, authority, plugged_in, secret, secrets};
use crate::laptop::Laptop;
use crate::plane::{Plane, Site, openssl, with_renewals};
use ca::Certificate;
use kube::api::{Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{CertificateTarget, NewCertificate, request_certificate};
use rcgen::{BasicConstraints, IsCa};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Returns the subject of the authority that signed the leaf of an answer.
fn signer(new: &NewCertificate) -> anyhow::Result<String> {
    Ok(Certificate::all_from_pem(new.chain[1].as_bytes())?[0].subject().to_owned())
}

fn is_own(subject: &str) -> bool {
    subject.starts_with("O=cluster.local, CN=pilothouse-")
}

/// Puts an RSA root as istiod makes it into the state folder.
fn rsa_root(laptop: &Laptop) -> anyhow::Result<()> {
    let (dir, folder) = (laptop.dir(), laptop.state().join("ca"));
    let request = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /O=cluster.local \
                   -days 3650 -addext keyUsage=critical,keyCertSign";
    openssl(&request.split_whitespace().collect::<Vec<_>>(), dir)?;
    fs::create_dir_all(&folder)?;
    for (name, from) in
        [("ca-cert.pem", "cert.pem"), ("ca-key.pem", "key.pem"), ("root-cert.pem", "cert.pem")]
    {
        fs::copy(dir.join(from), folder.join(name))?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600))?;
    }
    for folder in [laptop.state(), folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_an_intermediate_renews_itself_also_on_another_replica() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    rsa_root(&laptop)?;
    let args = with_renewals(laptop.args.clone());
    let planes = [Plane::open(&args).await?, Plane::open(&args).await?];
    let ztunnel = laptop.ztunnel()?;
    let identity = "spiffe://cluster.local/ns/shop/sa/web";
    let mut signers = Vec::new();
    for plane in &planes {
        let new = plane.certificate(&ztunnel, Some(identity)).await?;
        assert_eq!(new.chain.len(), 3);
        assert_eq!(new.chain[2].as_bytes(), fs::read(laptop.dir().join("cert.pem"))?, "the root is trusted");
        signers.push(signer(&new)?);
        fs::write(laptop.dir().join("leaf.pem"), &new.chain[0])?;
        fs::write(laptop.dir().join("between.pem"), &new.chain[1])?;
        let verify =
            ["verify", "-x509_strict", "-CAfile", "cert.pem", "-untrusted", "between.pem", "leaf.pem"];
        openssl(&verify, laptop.dir())?;
        // As a proxy presents it: what is before the roots.
        let shown = (new.chain[..2].concat().into_bytes(), new.key_pem.clone().into_bytes());
        for other in &planes {
            let target =
                CertificateTarget { token: String::new(), client: Some(shown.clone()), ..other.target("")? };
            assert!(is_own(&signer(&request_certificate(&target, None, 0).await?)?));
        }
    }
    assert!(signers.iter().all(|subject| is_own(subject)), "{signers:?}");
    assert_ne!(signers[0], signers[1], "each process has its own");
    for (plane, subject) in planes.iter().zip(&signers) {
        let active = plane.identity.authority.current().and_then(|signer| signer.own_intermediate());
        assert_eq!(active.and_then(Result::ok).map(|own| own.subject().to_owned()).as_ref(), Some(subject));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plugged_in_key_has_an_intermediate_if_asked_for_and_acceptable() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let root = Foreign::root("root")?;
    let signing = root.rsa_below_of(authority("signing"))?;
    let mut narrow = authority("narrow");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let narrow = root.rsa_below_of(narrow)?;
    api.create(&PostParams::default(), &secret("cacerts", plugged_in(&root, &signing, &signing.key))).await?;
    let token = site.ztunnel("n1").await?;
    let mut args = site.settings()?;
    let plane = Plane::open(&args).await?;
    assert_eq!(signer(&plane.certificate(&token, None).await?)?, "CN=signing", "not unless asked for");
    plane.stop().await?;

    args.identity.signing_intermediate = identity::SigningIntermediate::Always;
    let plane = Plane::open(&args).await?;
    let new = plane.certificate(&token, None).await?;
    assert!(is_own(&signer(&new)?));
    assert_eq!(new.chain[2], signing.pem, "the plugged-in chain follows");

    let signed_by = async |what: &str, is_right: &dyn Fn(&str) -> bool| {
        let found = until(LIMIT, async || {
            let subject = signer(&plane.certificate(&token, None).await?)?;
            Ok(is_right(&subject).then_some(()))
        });
        anyhow::Context::context(found.await, what.to_owned())
    };
    let put = async |data: serde_json::Value| {
        api.patch("cacerts", &PatchParams::default(), &Patch::Merge(json!({ "data": data }))).await
    };
    // Peers with lists want one of every authority in a chain.
    let lists = root.revoking(&[])? + &signing.revoking(&[])?;
    put(json!({ "ca-crl.pem": k8s_openapi::ByteString(lists.into_bytes()) })).await?;
    signed_by("no intermediate beside lists", &|subject| subject == "CN=signing").await?;
    put(json!({ "ca-crl.pem": null })).await?;
    signed_by("the lists are gone", &is_own).await?;
    put(json!(secret("cacerts", plugged_in(&root, &narrow, &narrow.key)).data)).await?;
    signed_by("no room for an intermediate", &|subject| subject == "CN=narrow").await?;
    let reason = plane.identity.authority.current().and_then(|signer| signer.own_intermediate());
    let reason = reason.and_then(Result::err).unwrap_or_default();
    assert!(reason.contains("CN=narrow permits 0 authorities below it"), "{reason}");
    Ok(())
}
