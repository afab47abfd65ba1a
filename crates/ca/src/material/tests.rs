#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::{DAY, Foreign, IDENTITY, NOW, authority, later, request_pem};
use crate::{Identity, SigningRequest, SystemEntropy};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::pem::PemObject;

type Files = BTreeMap<String, Vec<u8>>;

fn files<const N: usize>(entries: [(&str, String); N]) -> Files {
    entries.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

/// A root, an intermediate below it, and the four files of a folder `cacerts`.
fn plugged_in() -> (Foreign, Foreign, Files) {
    let root = Foreign::root("root");
    let intermediate = Foreign::below(&root, authority("intermediate"));
    let files = files([
        ("ca-cert.pem", intermediate.pem()),
        ("ca-key.pem", intermediate.key_pem.clone()),
        ("cert-chain.pem", format!("{}{}", intermediate.pem(), root.pem())),
        ("root-cert.pem", root.pem()),
    ]);
    (root, intermediate, files)
}

fn refusal(files: &Files) -> String {
    KeyMaterial::from_files(files, NOW).unwrap_err().to_string()
}

#[test]
fn answer_has_one_certificate_per_element_and_the_whole_bundle_last() {
    let (root, intermediate, files) = plugged_in();
    let material = KeyMaterial::from_files(&files, NOW).unwrap().unwrap();
    let issuer = material.issuer(TtlPolicy::default()).unwrap();
    let request = SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
    let issued = issuer.issue(&request, &Identity::parse(IDENTITY).unwrap(), 0, NOW, &SystemEntropy).unwrap();
    // The root stands in the chain file too, by convention, and so appears twice.
    assert_eq!(issued.chain[1..], [intermediate.pem(), root.pem(), root.pem()]);
    let leaf = Certificate::from_der(&issued.leaf).unwrap();
    chain::verify_chain(&leaf, material.chain(), material.trust().roots(), NOW).unwrap();
}

#[test]
fn tls_layout_is_read() {
    let (root, intermediate, _) = plugged_in();
    let files = files([
        ("tls.crt", intermediate.pem()),
        ("tls.key", intermediate.key_pem.clone()),
        ("ca.crt", root.pem()),
    ]);
    let material = KeyMaterial::from_files(&files, NOW).unwrap().unwrap();
    assert_eq!(material.certificate(), &intermediate.certificate);
    assert_eq!(material.chain(), [intermediate.certificate, root.certificate]);
}

#[test]
fn no_files_are_no_material_and_some_are_an_error() {
    assert!(KeyMaterial::from_files(&Files::new(), NOW).unwrap().is_none());
    let (_, _, all) = plugged_in();
    for name in PLUGGED_IN_FILES {
        let mut some = all.clone();
        some.remove(name);
        assert!(
            refusal(&some).starts_with(&format!("files {name} are missing beside")),
            "{}",
            refusal(&some)
        );
    }
    let lone = files([("tls.crt", "x".to_owned())]);
    assert_eq!(refusal(&lone), "files tls.key, ca.crt are missing beside tls.crt; give all of them or none");
}

#[test]
fn signer_missing_in_its_chain_file_is_put_there() {
    let (root, intermediate, mut files) = plugged_in();
    files.insert("cert-chain.pem".to_owned(), root.pem().into_bytes());
    let material = KeyMaterial::from_files(&files, NOW).unwrap().unwrap();
    assert_eq!(material.chain(), [intermediate.certificate, root.certificate]);
}

#[test]
fn material_that_does_not_hold_together_is_refused() {
    let (root, intermediate, good) = plugged_in();
    let with = |name: &str, text: &str| {
        let mut changed = good.clone();
        changed.insert(name.to_owned(), text.as_bytes().to_vec());
        refusal(&changed)
    };
    let other = Foreign::root("root");
    for (name, text, expected) in [
        ("ca-cert.pem", "", "file ca-cert.pem: no certificate found"),
        ("ca-key.pem", other.key_pem.as_str(), "does not match"),
        ("ca-key.pem", "", "file ca-key.pem: no private key"),
        (
            "cert-chain.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "file cert-chain.pem: certificate 1",
        ),
        // Of the same name, yet another key.
        ("root-cert.pem", other.pem().as_str(), "does not lead to any root"),
        ("root-cert.pem", "nothing", "file root-cert.pem"),
    ] {
        let refused = with(name, text);
        assert!(refused.contains(expected), "{refused}");
    }
    let leaf = Foreign::below(&root, rcgen::CertificateParams::default());
    let mut not_authority = good.clone();
    not_authority.insert("ca-cert.pem".to_owned(), leaf.pem().into_bytes());
    not_authority.insert("ca-key.pem".to_owned(), leaf.key_pem.clone().into_bytes());
    assert!(refusal(&not_authority).contains("not a certificate authority"));
    assert!(with("root-cert.pem", &leaf.pem()).contains("not a certificate authority"));
    drop(intermediate);
}

#[test]
fn chain_that_has_expired_or_is_of_the_future_is_refused() {
    let mut expired = authority("intermediate");
    expired.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let mut early = authority("intermediate");
    early.not_before = rcgen::date_time_ymd(2030, 1, 1);
    for (params, expected) in [(expired, "has expired"), (early, "is not valid yet")] {
        let refused = refusal_of_intermediate(params);
        assert!(refused.contains(expected), "{refused}");
    }
}

fn refusal_of_intermediate(params: rcgen::CertificateParams) -> String {
    let root = Foreign::root("root");
    let intermediate = Foreign::below(&root, params);
    let files = files([
        ("ca-cert.pem", intermediate.pem()),
        ("ca-key.pem", intermediate.key_pem.clone()),
        ("cert-chain.pem", intermediate.pem()),
        ("root-cert.pem", root.pem()),
    ]);
    refusal(&files)
}

#[test]
fn limits_of_authorities_on_what_is_below_them_are_heeded() {
    let limited = |name: &str, most: u8| {
        let mut params = authority(name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(most));
        params
    };
    let files_of = |root: &Foreign, middle: &Foreign, signing: &Foreign| {
        files([
            ("ca-cert.pem", signing.pem()),
            ("ca-key.pem", signing.key_pem.clone()),
            ("cert-chain.pem", format!("{}{}{}", signing.pem(), middle.pem(), root.pem())),
            ("root-cert.pem", root.pem()),
        ])
    };
    for (of_root, of_middle, of_signing, refused) in [
        (2, 1, 0, None),
        (1, 9, 9, Some(("root", "permits 1 authorities below it (pathLenConstraint), and there are 2"))),
        (9, 0, 9, Some(("middle", "permits 0 authorities below it (pathLenConstraint), and there are 1"))),
    ] {
        let root = Foreign::root_of(limited("root", of_root));
        let middle = Foreign::below(&root, limited("middle", of_middle));
        let signing = Foreign::below(&middle, limited("signing", of_signing));
        let found = KeyMaterial::from_files(&files_of(&root, &middle, &signing), NOW);
        match refused {
            None => drop(found.unwrap()),
            Some((who, what)) => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains(&format!("certificate CN={who} {what}")), "{error}");
            }
        }
    }
}

fn crl(issuer: &Foreign) -> String {
    revoking(&issuer.issuer, &[])
}

/// A list by which an authority revokes the certificates of these serial numbers.
fn revoking(issuer: &rcgen::Issuer<'static, rcgen::KeyPair>, serials: &[u64]) -> String {
    let entry = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2036, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

#[test]
fn every_certificate_of_the_chain_needs_a_revocation_list() {
    let (root, intermediate, mut files) = plugged_in();
    let mut put = |text: String| {
        files.insert("ca-crl.pem".to_owned(), text.into_bytes());
        KeyMaterial::from_files(&files, NOW).map(|material| material.unwrap().revoked().to_pem().to_owned())
    };
    let both = format!("{}{}", crl(&root), crl(&intermediate));
    assert_eq!(put(both.clone()).unwrap(), both);
    let uncovered = put(crl(&root)).unwrap_err();
    assert!(
        matches!(&uncovered, MaterialError::Crl(CrlError::Uncovered { subject }) if subject.contains("intermediate"))
    );
    // A list of an authority that only has the name.
    let impostor = Foreign::root("root");
    assert!(put(format!("{}{}", crl(&impostor), crl(&intermediate))).is_err());
    assert!(matches!(put("nonsense".to_owned()), Err(MaterialError::Crl(CrlError::Malformed { number: 1 }))));
    // What else is in the file is nobody's business, a key least of all.
    assert_eq!(put(format!("{}{both}{}", intermediate.key_pem, root.pem())).unwrap(), both);
}

#[test]
fn list_of_a_certificate_that_may_not_sign_lists_is_none() {
    let (root, intermediate, mut files) = plugged_in();
    let mut params = authority("intermediate");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let unable = Foreign::below(&root, params);
    let signs = rcgen::KeyPair::from_pem(&unable.key_pem).unwrap();
    let list = revoking(&rcgen::Issuer::new(authority("intermediate"), signs), &[]);
    let text = format!("{}{list}{}", crl(&root), crl(&intermediate));
    files.insert("ca-cert.pem".to_owned(), unable.pem().into_bytes());
    files.insert("ca-key.pem".to_owned(), unable.key_pem.clone().into_bytes());
    files.insert("cert-chain.pem".to_owned(), unable.pem().into_bytes());
    files.insert("ca-crl.pem".to_owned(), text.into_bytes());
    assert!(refusal(&files).contains("cRLSign"), "{}", refusal(&files));
}

#[test]
fn certificate_is_revoked_by_any_list_of_its_issuer_and_by_no_other() {
    let (root, intermediate, mut files) = plugged_in();
    let of = |issuer: &Foreign, serial: u64| {
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        Foreign::below(issuer, params).certificate
    };
    let mut revokes = |lists: &[String], certificate: &Certificate| {
        files.insert("ca-crl.pem".to_owned(), lists.concat().into_bytes());
        KeyMaterial::from_files(&files, NOW).unwrap().unwrap().revoked().revokes(certificate)
    };
    // 200 has a zero byte before it in DER.
    let lists = [crl(&root), crl(&intermediate), revoking(&intermediate.issuer, &[7, 200, u64::MAX])];
    for serial in [7, 200, u64::MAX] {
        assert!(revokes(&lists, &of(&intermediate, serial)), "{serial}");
        assert!(!revokes(&lists[..2], &of(&intermediate, serial)), "{serial}");
        assert!(!revokes(&lists, &of(&root, serial)), "{serial}");
    }
    assert!(!revokes(&lists, &of(&intermediate, 8)));
}

#[test]
fn lists_that_peers_do_not_read_are_refused() {
    let (root, intermediate, mut files) = plugged_in();
    // Version 2 as a number of DER, its only place before the algorithm.
    let der = rustls_pki_types::CertificateRevocationListDer::from_pem_slice(crl(&root).as_bytes()).unwrap();
    let number = der.windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap();
    let mut other = der.to_vec();
    other[number + 2] = 0;
    let text = format!("{}{}{}", crl(&root), crl(&intermediate), crate::pem::pem("X509 CRL", &other));
    files.insert("ca-crl.pem".to_owned(), text.into_bytes());
    assert_eq!(
        refusal(&files),
        "file ca-crl.pem: revocation list 3 is of version 1; give complete lists of version 2, one of each authority"
    );
    let long = "\n".repeat(1000 * 1024 + 1);
    files.insert("ca-crl.pem".to_owned(), long.into_bytes());
    assert!(refusal(&files).contains("longer than 1000 KiB"));
}

#[test]
fn roots_change_only_where_peers_can_still_meet() {
    let bundle = |roots: &[&Foreign]| TrustBundle::new(roots.iter().map(|r| r.certificate.clone())).unwrap();
    let (a, b) = (Foreign::root("a"), Foreign::root("b"));
    let (only_a, only_b, both) = (bundle(&[&a]), bundle(&[&b]), bundle(&[&a, &b, &a]));
    assert_eq!(both.roots().len(), 2, "each once");
    assert_eq!(only_a.check_follows(&only_a, false), Ok(()));
    assert_eq!(bundle(&[&b, &a]).check_follows(&both, false), Ok(()), "order does not matter");
    assert_eq!(both.check_follows(&only_a, false), Err(BundleError::ChangeDisabled));
    assert_eq!(both.check_follows(&only_a, true), Ok(()));
    assert_eq!(only_b.check_follows(&both, true), Ok(()));
    assert_eq!(only_b.check_follows(&only_a, true), Err(BundleError::Disjoint));
    let merged = only_a.merged_with([&both, &only_b]).unwrap();
    assert_eq!(merged, both);
    assert_eq!(TrustBundle::from_pem(merged.to_pem().as_bytes()).unwrap(), merged);
}

#[test]
fn long_chains_end_the_search() {
    let root = Foreign::root("root");
    let mut line = vec![Foreign::below(&root, authority("0"))];
    for depth in 1..12 {
        line.push(Foreign::below(&line[depth - 1], authority(&depth.to_string())));
    }
    let all: Vec<Certificate> = line.iter().map(|ca| ca.certificate.clone()).collect();
    let roots = std::slice::from_ref(&root.certificate);
    assert_eq!(chain::verify_chain(&all[5], &all, roots, NOW), Ok(()));
    assert!(chain::verify_chain(&all[11], &all, roots, NOW).is_err());
    assert!(chain::verify_chain(&all[0], &[], &[], later(DAY)).is_err());
}
