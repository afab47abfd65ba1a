//! Certificates and requests, judged and made by the `openssl` program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pilothouse_ca::{
    Certificate, Identity, Issuer, KeyMaterial, Refusal, RequestError, Root, RootState, RotationPolicy,
    SigningKey, SigningRequest, SystemEntropy, TrustDomain, TtlPolicy,
};
use rustls_pki_types::UnixTime;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

const IDENTITY: &str = "spiffe://cluster.local/ns/shop/sa/web";
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn run(folder: &Path, arguments: &str) -> Output {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    output.expect("the openssl program is needed for this test")
}

fn openssl(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {arguments}: {text}");
    text
}

/// A request made by openssl with the options `key`.
fn request(folder: &Path, key: &str) -> String {
    openssl(folder, &format!("req -new -nodes -subj /O= -keyout leaf.key -out leaf.csr {key}"));
    fs::read_to_string(folder.join("leaf.csr")).unwrap()
}

fn root(now: UnixTime) -> Root {
    Root::create("cluster.local", YEAR, now, &SystemEntropy).unwrap()
}

/// Writes what an answer has, as a peer takes it: leaf, what is between, roots.
fn write_answer(folder: &Path, chain: &[String]) {
    let (roots, rest) = chain.split_last().unwrap();
    fs::write(folder.join("roots.pem"), roots).unwrap();
    fs::write(folder.join("leaf.pem"), &rest[0]).unwrap();
    fs::write(folder.join("between.pem"), rest.concat()).unwrap();
}

fn issue(issuer: &Issuer, request: &str, now: UnixTime) -> Vec<String> {
    let request = SigningRequest::from_pem(request).unwrap();
    issuer.issue(&request, &Identity::parse(IDENTITY).unwrap(), 3600, now, &SystemEntropy).unwrap().chain
}

const VERIFY: &str = "verify -x509_strict -check_ss_sig -CAfile roots.pem -untrusted between.pem";

#[test]
fn openssl_verifies_certificates_for_each_kind_of_key() {
    let folder = TempDir::new().unwrap();
    let (folder, now) = (folder.path(), UnixTime::now());
    let issuer = Issuer::self_signed(&root(now), TtlPolicy::default()).unwrap();
    for key in [
        "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
        "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384",
        "-newkey rsa:2048",
        "-newkey rsa:3072 -sha512",
    ] {
        write_answer(folder, &issue(&issuer, &request(folder, key), now));
        for purpose in ["sslclient", "sslserver"] {
            openssl(folder, &format!("{VERIFY} -purpose {purpose} leaf.pem"));
        }
        let text = openssl(folder, "x509 -in leaf.pem -noout -text");
        for expected in [
            "X509v3 Subject Alternative Name: critical",
            "URI:spiffe://cluster.local/ns/shop/sa/web",
            "X509v3 Key Usage: critical",
            "Digital Signature, Key Encipherment",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "CA:FALSE",
        ] {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
        // The certificate is for the key that the request was made with.
        let public = openssl(folder, "x509 -in leaf.pem -noout -pubkey");
        assert_eq!(public, openssl(folder, "pkey -in leaf.key -pubout"));
    }
}

#[test]
fn slow_clock_of_a_peer_is_tolerated() {
    let folder = TempDir::new().unwrap();
    let (folder, now) = (folder.path(), UnixTime::now());
    let issuer = Issuer::self_signed(&root(now), TtlPolicy::default()).unwrap();
    let request = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    write_answer(folder, &issue(&issuer, &request, now));
    openssl(folder, &format!("{VERIFY} -attime {} leaf.pem", now.as_secs() - 110));
    let early = run(folder, &format!("{VERIFY} -attime {} leaf.pem", now.as_secs() - 200));
    assert!(!early.status.success());
}

#[test]
fn weak_and_odd_requests_of_openssl_are_refused() {
    let folder = TempDir::new().unwrap();
    for (key, reason) in [
        ("-newkey rsa:1024", "csr_key"),
        ("-newkey ec -pkeyopt ec_paramgen_curve:P-521", "csr_key"),
        ("-newkey ec -pkeyopt ec_paramgen_curve:secp256k1", "csr_key"),
        ("-newkey ed25519", "csr_key"),
        ("-newkey rsa:2048 -sha1", "csr_signature"),
        ("-newkey rsa:2048 -sigopt rsa_padding_mode:pss", "csr_signature"),
        ("-newkey rsa:2048 -pkeyopt rsa_keygen_pubexp:36893488147419103233", "csr_key"),
    ] {
        let text = request(folder.path(), key);
        let refused = SigningRequest::from_pem(&text).unwrap_err();
        assert_eq!(refused.reason(), reason, "{key}: {refused}");
    }
    let small = SigningRequest::from_pem(&request(folder.path(), "-newkey rsa:1024")).unwrap_err();
    assert_eq!(small, RequestError::RsaBits(1024));
}

/// The root that an existing mesh has: an RSA key in PKCS#1, named by its organization.
#[test]
fn existing_rsa_root_is_kept_and_its_renewal_trusted_by_old_peers() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    openssl(folder, "genrsa -traditional -out ca.key 2048");
    openssl(
        folder,
        "req -x509 -new -key ca.key -subj /O=cluster.local -days 3650 -out ca.pem \
         -addext keyUsage=critical,keyCertSign",
    );
    // Only now: openssl does not date certificates back.
    let now = UnixTime::now();
    let key = fs::read_to_string(folder.join("ca.key")).unwrap();
    assert!(key.contains("BEGIN RSA PRIVATE KEY"));
    let certificate = fs::read(folder.join("ca.pem")).unwrap();
    let data = BTreeMap::from([
        ("ca-cert.pem".to_owned(), certificate.clone()),
        ("ca-key.pem".to_owned(), key.clone().into_bytes()),
        ("root-cert.pem".to_owned(), certificate.clone()),
        ("cert-chain.pem".to_owned(), Vec::new()),
        ("key.pem".to_owned(), Vec::new()),
    ]);
    let state = RootState::from_secret(&data).unwrap();
    assert_eq!(state.to_secret(false).unwrap(), data, "saving changes nothing for another reader");

    let request = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    let renewed = RootState::new(state.active().renew(YEAR, now, &SystemEntropy).unwrap());
    for (signer, trusted) in [(&state, &state), (&renewed, &state), (&state, &renewed), (&renewed, &renewed)]
    {
        let issuer = signer.issuer(TtlPolicy::default()).unwrap();
        write_answer(folder, &issue(&issuer, &request, now));
        fs::write(folder.join("roots.pem"), trusted.active().certificate().to_pem()).unwrap();
        openssl(folder, &format!("{VERIFY} leaf.pem"));
    }
}

/// An RSA authority made by openssl, as a root or below `parent`: the files `NAME.pem` and `NAME.key`.
fn rsa_authority(folder: &Path, name: &str, parent: Option<&str>, bits: u32, constraints: &str) {
    openssl(folder, &format!("genrsa -traditional -out {name}.key {bits}"));
    let extensions = format!(
        "basicConstraints=critical,{constraints}\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    );
    fs::write(folder.join("ca.ext"), extensions).unwrap();
    openssl(folder, &format!("req -new -key {name}.key -subj /O=example/CN={name} -out ca.csr"));
    let signer = match parent {
        Some(parent) => format!("-CA {parent}.pem -CAkey {parent}.key -CAcreateserial"),
        None => format!("-signkey {name}.key"),
    };
    openssl(folder, &format!("x509 -req -in ca.csr {signer} -days 1000 -extfile ca.ext -out {name}.pem"));
}

/// An issuer with the RSA authority `signing`, below the authorities `between`, below `root`.
fn rsa_issuer(folder: &Path, signing: &str, between: &[&str], root: &str) -> Issuer {
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let chain: Vec<u8> =
        [&[signing], between].concat().iter().flat_map(|name| read(&format!("{name}.pem"))).collect();
    let files = BTreeMap::from([
        ("ca-cert.pem".to_owned(), read(&format!("{signing}.pem"))),
        ("ca-key.pem".to_owned(), read(&format!("{signing}.key"))),
        ("cert-chain.pem".to_owned(), chain),
        ("root-cert.pem".to_owned(), read(&format!("{root}.pem"))),
    ]);
    let material = KeyMaterial::from_files(&files, UnixTime::now()).unwrap().unwrap();
    material.issuer(TtlPolicy::default()).unwrap()
}

#[test]
fn openssl_verifies_what_an_intermediate_below_rsa_keys_signs() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let domain = TrustDomain::parse("cluster.local").unwrap();
    rsa_authority(folder, "root", None, 4096, "CA:TRUE,pathlen:2");
    rsa_authority(folder, "middle", Some("root"), 3072, "CA:TRUE");
    rsa_authority(folder, "signing", Some("root"), 2048, "CA:TRUE,pathlen:1");
    rsa_authority(folder, "deep", Some("middle"), 2048, "CA:TRUE,pathlen:1");
    rsa_authority(folder, "narrow", Some("root"), 2048, "CA:TRUE,pathlen:0");
    let leaf = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    let now = UnixTime::now();
    for (signing, between) in [("root", &[][..]), ("signing", &[])] {
        let own = rsa_issuer(folder, signing, between, "root").intermediate(&domain, now, &SystemEntropy);
        write_answer(folder, &issue(&own.unwrap(), &leaf, now));
        for purpose in ["sslclient", "sslserver"] {
            openssl(folder, &format!("{VERIFY} -purpose {purpose} leaf.pem"));
        }
        assert!(openssl(folder, "x509 -in leaf.pem -noout -text").contains("ecdsa-with-SHA256"));
        // The leaf alone does not lead to the root: it is the answer that holds the intermediate.
        assert!(!run(folder, "verify -CAfile roots.pem leaf.pem").status.success());
        fs::write(folder.join("own.pem"), between_leaf_and_roots(folder)).unwrap();
        let text = openssl(folder, "x509 -in own.pem -noout -text");
        for expected in [
            "sha256WithRSAEncryption",
            "prime256v1",
            "CA:TRUE, pathlen:0",
            "X509v3 Key Usage: critical\n                Certificate Sign\n",
            "TLS Web Server Authentication, TLS Web Client Authentication",
        ] {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
    }
    // There is no room for another authority: the RSA key itself signs, and is accepted.
    for (signing, between, subject) in [("narrow", &[][..], "CN=narrow"), ("deep", &["middle"], "CN=root")] {
        let issuer = rsa_issuer(folder, signing, between, "root");
        let refused = issuer.intermediate(&domain, now, &SystemEntropy).unwrap_err().to_string();
        assert!(refused.contains(subject) && refused.contains("pathLenConstraint"), "{refused}");
        write_answer(folder, &issue(&issuer, &leaf, now));
        openssl(folder, &format!("{VERIFY} leaf.pem"));
    }
}

/// The first certificate after the leaf, of the answer that was written last.
fn between_leaf_and_roots(folder: &Path) -> String {
    let all = Certificate::all_from_pem(&fs::read(folder.join("between.pem")).unwrap()).unwrap();
    all[1].to_pem()
}

/// A root is renewed under the same key while intermediates of the old certificate are in use.
#[test]
fn intermediate_of_a_root_is_trusted_by_peers_with_the_renewed_root_and_the_other_way_round() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let domain = TrustDomain::parse("cluster.local").unwrap();
    rsa_authority(folder, "root", None, 2048, "CA:TRUE");
    let now = UnixTime::now();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let old = Root::from_pem(&read("root.pem"), &String::from_utf8(read("root.key")).unwrap()).unwrap();
    let new = old.renew(YEAR, now, &SystemEntropy).unwrap();
    let leaf = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    for (signing, trusted) in [(&old, &new), (&new, &old)] {
        let issuer = Issuer::self_signed(signing, TtlPolicy::default()).unwrap();
        let own = issuer.intermediate(&domain, now, &SystemEntropy).unwrap();
        write_answer(folder, &issue(&own, &leaf, now));
        fs::write(folder.join("roots.pem"), trusted.certificate().to_pem()).unwrap();
        openssl(folder, &format!("{VERIFY} leaf.pem"));
    }
}

#[test]
fn openssl_follows_a_rotation_between_roots_of_one_name() {
    let folder = TempDir::new().unwrap();
    let (folder, now) = (folder.path(), UnixTime::now());
    let policy = RotationPolicy { overlap: Duration::ZERO, ..RotationPolicy::default() };
    let request = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    let announced = RootState::new(root(now)).announce(root(now), &policy, now).unwrap();
    let switched = announced.advance(&policy, now, &SystemEntropy).unwrap();
    for signer in [&announced, &switched] {
        for trusted in [&announced, &switched] {
            write_answer(folder, &issue(&signer.issuer(TtlPolicy::default()).unwrap(), &request, now));
            fs::write(folder.join("roots.pem"), trusted.trust().unwrap().to_pem()).unwrap();
            openssl(folder, &format!("{VERIFY} leaf.pem"));
        }
    }
}

#[test]
fn intermediates_of_each_kind_of_key_sign() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let leaf = request(folder, "-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    openssl(folder, "ecparam -name secp384r1 -genkey -noout -out root.key");
    openssl(
        folder,
        "req -x509 -new -key root.key -subj /O=example/CN=root -days 100 -out root.pem \
         -addext keyUsage=critical,keyCertSign",
    );
    for key in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca.key",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out ca.key",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out ca.key",
        "ecparam -name prime256v1 -genkey -out ca.key",
    ] {
        openssl(folder, key);
        openssl(folder, "req -new -key ca.key -subj /O=example/CN=intermediate -out ca.csr");
        let extensions =
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";
        fs::write(folder.join("ca.ext"), extensions).unwrap();
        openssl(
            folder,
            "x509 -req -in ca.csr -CA root.pem -CAkey root.key -days 50 -extfile ca.ext -out ca.pem",
        );
        let now = UnixTime::now();
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let files = BTreeMap::from([
            ("ca-cert.pem".to_owned(), read("ca.pem")),
            ("ca-key.pem".to_owned(), read("ca.key")),
            ("cert-chain.pem".to_owned(), [read("ca.pem"), read("root.pem")].concat()),
            ("root-cert.pem".to_owned(), read("root.pem")),
        ]);
        let material = KeyMaterial::from_files(&files, now).unwrap().unwrap();
        let issuer = material.issuer(TtlPolicy::default()).unwrap();
        write_answer(folder, &issue(&issuer, &leaf, now));
        openssl(folder, &format!("{VERIFY} leaf.pem"));
    }
}

#[test]
fn openssl_reads_our_keys_requests_and_roots() {
    let folder = TempDir::new().unwrap();
    let (folder, now) = (folder.path(), UnixTime::now());
    let root = root(now);
    fs::write(folder.join("root.key"), root.key().to_pem()).unwrap();
    fs::write(folder.join("root.pem"), root.certificate().to_pem()).unwrap();
    openssl(folder, "pkey -in root.key -noout -check");
    let text = openssl(folder, "x509 -in root.pem -noout -text");
    for expected in ["O = cluster.local", "CA:TRUE", "Certificate Sign", "prime256v1"] {
        assert!(text.replace("O=", "O = ").contains(expected), "{expected} is missing in {text}");
    }
    let key = SigningKey::generate_p256().unwrap();
    fs::write(folder.join("own.csr"), key.request_pem(&[IDENTITY]).unwrap()).unwrap();
    let text = openssl(folder, "req -in own.csr -noout -verify -text");
    assert!(text.contains("URI:spiffe://cluster.local/ns/shop/sa/web"), "{text}");
    let all = Certificate::all_from_pem(&fs::read(folder.join("root.pem")).unwrap()).unwrap();
    assert_eq!(all, [root.certificate().clone()]);
}
