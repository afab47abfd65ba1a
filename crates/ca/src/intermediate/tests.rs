#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::{DAY, Foreign, IDENTITY, NOW, authority, issuer, later, request_pem, root};
use crate::{Identity, SigningRequest, SystemEntropy, TrustBundle, TtlPolicy};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    NameConstraints,
};
use std::time::Duration;

fn domain() -> TrustDomain {
    TrustDomain::parse("cluster.local").unwrap()
}

fn below(issuer: &Issuer, now: UnixTime) -> Result<Issuer, IntermediateError> {
    issuer.intermediate(&domain(), now, &SystemEntropy)
}

/// An issuer with this signing certificate and these certificates between it and `root`.
fn plugged_in(root: &Foreign, between: &[&Foreign], signing: &Foreign) -> Issuer {
    let key = Arc::new(SigningKey::from_pem(&signing.key_pem).unwrap());
    let chain = std::iter::once(&signing).chain(between).map(|a| a.certificate.clone()).collect();
    let trust = TrustBundle::new([root.certificate.clone()]).unwrap();
    Issuer::new(signing.certificate.clone(), key, chain, trust, TtlPolicy::default()).unwrap()
}

fn limited(name: &str, permitted: u8) -> CertificateParams {
    let mut params = authority(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(permitted));
    params
}

#[test]
fn answer_holds_the_intermediate_right_after_the_leaf() {
    let foreign = Foreign::root("root");
    let signing = Foreign::below(&foreign, authority("signing"));
    for parent in [issuer(&root()), plugged_in(&foreign, &[], &signing)] {
        let own = below(&parent, NOW).unwrap();
        let request = SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
        let identity = Identity::parse(IDENTITY).unwrap();
        let issued = own.issue(&request, &identity, 0, NOW, &SystemEntropy).unwrap();
        let direct = parent.issue(&request, &identity, 0, NOW, &SystemEntropy).unwrap();
        assert_eq!(issued.validity, direct.validity);
        assert_eq!(issued.chain[1], own.certificate().to_pem());
        assert_eq!(issued.chain[2..], direct.chain[1..], "the rest is as without it");
        let leaf = Certificate::from_der(&issued.leaf).unwrap();
        assert_eq!(leaf.issuer, own.certificate().subject);
        verify_chain(&leaf, own.intermediates(), parent.trust().roots(), NOW).unwrap();
        assert!(verify_chain(&leaf, parent.intermediates(), parent.trust().roots(), NOW).is_err());
    }
}

#[test]
fn intermediate_may_sign_leaves_and_nothing_else() {
    let own = below(&issuer(&root()), NOW).unwrap();
    let certificate = own.certificate();
    assert!(certificate.subject().starts_with("O=cluster.local, CN=pilothouse-"), "{certificate:?}");
    assert_eq!((certificate.is_ca(), certificate.path_length()), (true, Some(0)));
    assert!(matches!(below(&own, NOW), Err(IntermediateError::Chain(ChainError::PathLength { .. }))));
    assert!(!own.is_slow());
}

#[test]
fn intermediates_of_replicas_have_keys_and_names_of_their_own() {
    let parent = issuer(&root());
    let (one, other) = (below(&parent, NOW).unwrap(), below(&parent, NOW).unwrap());
    let (one, other) = (one.certificate(), other.certificate());
    assert_ne!(one.subject, other.subject);
    assert_ne!(one.public_key, other.public_key);
    assert_ne!(one.key_id, other.key_id);
    assert_ne!(one.serial(), other.serial());
}

#[test]
fn intermediate_shortens_no_leaf_while_it_is_not_due_and_never_outlives_its_issuer() {
    let parent = issuer(&root());
    let own = below(&parent, NOW).unwrap();
    assert_eq!(own.certificate().validity().not_after, later(180 * DAY));
    let longest = parent.ttl().max_life();
    let request = SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
    let identity = Identity::parse(IDENTITY).unwrap();
    let life = i64::try_from(longest.as_secs()).unwrap();
    let mut now = NOW;
    while !parent.is_due(&own, now) {
        let issued = own.issue(&request, &identity, life, now, &SystemEntropy).unwrap();
        assert_eq!(issued.validity.not_after.as_secs(), now.as_secs() + longest.as_secs());
        now = crate::ttl::at(now.as_secs() + DAY);
    }
    assert_eq!(now, later(90 * DAY), "it is due when half of its life is over");

    // The root ends before the intermediate would: nothing is gained by another one.
    let late = later(3600 * DAY);
    let own = below(&parent, late).unwrap();
    assert_eq!(own.certificate().validity().not_after, later(3650 * DAY));
    assert!(!parent.is_due(&own, later(3650 * DAY - 1)));
    assert!(parent.is_due(&own, later(3650 * DAY + 1)));
    assert!(matches!(below(&parent, later(3650 * DAY)), Err(IntermediateError::Ttl(_))));
}

#[test]
fn intermediate_is_due_when_the_clock_is_set_back_before_it() {
    let parent = issuer(&root());
    let own = below(&parent, later(DAY)).unwrap();
    assert!(parent.is_due(&own, NOW));
    assert!(!parent.is_due(&own, later(DAY - 60)), "it is dated back as leaves are");
}

#[test]
fn short_lives_of_leaves_make_a_short_life_of_the_intermediate() {
    let ttl = TtlPolicy::new(Duration::from_secs(600), Duration::from_secs(3600)).unwrap();
    let parent = Issuer::self_signed(&root(), ttl).unwrap();
    let own = below(&parent, NOW).unwrap();
    assert_eq!(own.certificate().validity().not_after, later(7200));
}

#[test]
fn chain_without_room_for_another_authority_has_no_intermediate() {
    let free = Foreign::root("root");
    let (narrow, wide) = (Foreign::root_of(limited("root", 1)), Foreign::root_of(limited("root", 2)));
    let no_more = Foreign::below(&free, limited("signing", 0));
    let one_more = Foreign::below(&free, limited("signing", 1));
    let (of_narrow, of_wide) =
        (Foreign::below(&narrow, authority("signing")), Foreign::below(&wide, authority("signing")));
    let alone = Foreign::root_of(limited("root", 0));
    for (root, signing, subject) in [
        (&free, &no_more, Some("CN=signing")),
        // Not all peers heed a limit of the root, but some do.
        (&narrow, &of_narrow, Some("CN=root")),
        (&alone, &alone, Some("CN=root")),
        (&free, &one_more, None),
        (&wide, &of_wide, None),
        (&free, &free, None),
    ] {
        let refused = below(&plugged_in(root, &[], signing), NOW).err();
        let by = refused.as_ref().map(|error| match error {
            IntermediateError::Chain(ChainError::PathLength { subject, .. }) => subject.as_str(),
            other => panic!("{other}"),
        });
        assert_eq!(by, subject);
    }
}

#[test]
fn authority_with_restrictions_has_no_intermediate_below_it() {
    let mut named = authority("signing");
    named.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let mut unknown = authority("signing");
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
    extension.set_criticality(true);
    unknown.custom_extensions = vec![extension];
    // requireExplicitPolicy: 0
    let mut policies = authority("signing");
    policies.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 36], vec![0x30, 3, 0x80, 1, 0])];
    for (params, what) in [
        (named, "has name constraints"),
        (unknown, "has a critical extension that is not known"),
        (policies, "has constraints of policies"),
    ] {
        // On the signing certificate, between it and the root, and on the root.
        let root = Foreign::root("root");
        let limited = Foreign::below(&root, params.clone());
        let signing = Foreign::below(&limited, authority("below"));
        let mut of_root = params;
        of_root.distinguished_name = authority("root").distinguished_name;
        let limited_root = Foreign::root_of(of_root);
        let under = Foreign::below(&limited_root, authority("signing"));
        for issuer in [
            plugged_in(&root, &[], &limited),
            plugged_in(&root, &[&limited], &signing),
            plugged_in(&limited_root, &[], &under),
        ] {
            let refused = below(&issuer, NOW).unwrap_err().to_string();
            assert!(refused.contains(what), "{refused}");
        }
    }
}

#[test]
fn restrictions_of_a_root_of_another_mesh_do_not_count() {
    let root = Foreign::root("root");
    let signing = Foreign::below(&root, authority("signing"));
    let mut named = authority("other");
    named.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let trust = TrustBundle::new([root.certificate.clone(), Foreign::root_of(named).certificate]).unwrap();
    let key = Arc::new(SigningKey::from_pem(&signing.key_pem).unwrap());
    let chain = vec![signing.certificate.clone()];
    let issuer = Issuer::new(signing.certificate, key, chain, trust, TtlPolicy::default()).unwrap();
    below(&issuer, NOW).unwrap();
}

#[test]
fn authority_whose_leaves_peers_refuse_has_no_intermediate() {
    let root = Foreign::root("root");
    let mut only_servers = authority("signing");
    only_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let signing = Foreign::below(&root, only_servers);
    let refused = below(&plugged_in(&root, &[], &signing), NOW);
    assert!(matches!(refused, Err(IntermediateError::Peers(_))), "{refused:?}");
}
