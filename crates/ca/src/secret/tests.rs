#![allow(clippy::unwrap_used)]
use super::*;
use crate::SystemEntropy;
use crate::fixture::{DAY, NOW, later, root};
use crate::rotation::RotationPolicy;
use proptest::prelude::*;

#[test]
fn secret_has_the_names_that_an_existing_mesh_has() {
    let root = root();
    let data = RootState::new(root.clone()).to_secret(false).unwrap();
    let names: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "key.pem", "root-cert.pem"]);
    assert_eq!(data["root-cert.pem"], data["ca-cert.pem"]);
    assert!(data["cert-chain.pem"].is_empty() && data["key.pem"].is_empty());
    assert!(RootState::new(root).to_secret(true).unwrap().contains_key("istio-generated"));
}

#[test]
fn every_phase_of_a_rotation_survives_the_secret() {
    let policy = RotationPolicy::default();
    let mut state = RootState::new(root());
    let mut phases = vec![state.clone()];
    state = state.announce(root(), &policy, NOW).unwrap();
    phases.push(state.clone());
    state = state.advance(&policy, later(DAY), &SystemEntropy).unwrap();
    phases.push(state.clone());
    for phase in phases {
        let data = phase.to_secret(false).unwrap();
        let again = RootState::from_secret(&data).unwrap();
        assert_eq!(again, phase);
        assert_eq!(again.active().key().to_pem(), phase.active().key().to_pem());
    }
}

#[test]
fn damaged_secrets_are_refused_and_never_taken_for_absent() {
    let policy = RotationPolicy::default();
    let good = RootState::new(root()).announce(root(), &policy, NOW).unwrap().to_secret(false).unwrap();
    let other = RootState::new(root()).to_secret(false).unwrap();
    type Data = BTreeMap<String, Vec<u8>>;
    let refused = |change: &dyn Fn(&mut Data)| {
        let mut data = good.clone();
        change(&mut data);
        RootState::from_secret(&data).unwrap_err().to_string()
    };
    for name in ["ca-cert.pem", "ca-key.pem", "incoming-ca-cert.pem", "incoming-ca-key.pem"] {
        assert_eq!(refused(&|d| drop(d.remove(name))), format!("key {name} is missing or empty"));
        assert_eq!(
            refused(&|d| drop(d.insert(name.to_owned(), vec![]))),
            format!("key {name} is missing or empty")
        );
        let text = refused(&|d| drop(d.insert(name.to_owned(), b"nonsense".to_vec())));
        assert!(text.contains(name), "{text}");
    }
    let mismatch = refused(&|d| drop(d.insert("ca-key.pem".to_owned(), other["ca-key.pem"].clone())));
    assert!(mismatch.contains("does not match"), "{mismatch}");
    let doubled = [good["ca-cert.pem"].as_slice(), other["ca-cert.pem"].as_slice()].concat();
    let several = refused(&|d| drop(d.insert("ca-cert.pem".to_owned(), doubled.clone())));
    assert!(several.contains("2 certificates"), "{several}");
    let rotation = refused(&|d| drop(d.insert("rotation.json".to_owned(), b"{".to_vec())));
    assert!(rotation.starts_with("key rotation.json"), "{rotation}");
    assert!(refused(&|d| drop(d.insert("ca-key.pem".to_owned(), vec![0xff]))).contains("UTF-8"));
}

#[test]
fn refusals_do_not_show_the_key() {
    let mut data = RootState::new(root()).to_secret(false).unwrap();
    let key = String::from_utf8(data["ca-key.pem"].clone()).unwrap();
    data.insert(
        "ca-cert.pem".to_owned(),
        RootState::new(root()).to_secret(false).unwrap()["ca-cert.pem"].clone(),
    );
    let error = RootState::from_secret(&data).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(key.lines().filter(|line| !line.starts_with('-')).all(|line| !shown.contains(line)));
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused(
        certificate in proptest::collection::vec(any::<u8>(), 0..100),
        key in ".{0,100}", rotation in ".{0,100}",
    ) {
        let mut data = BTreeMap::new();
        data.insert("ca-cert.pem".to_owned(), certificate);
        data.insert("ca-key.pem".to_owned(), key.into_bytes());
        data.insert("rotation.json".to_owned(), rotation.into_bytes());
        prop_assert!(RootState::from_secret(&data).is_err());
    }
}
