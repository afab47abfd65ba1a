//! Feeds manifests to the parsers: the first byte chooses the kind, the rest is the document.
#![cfg_attr(fuzzing, no_main)]

use model::{Kind, Object};

pilothouse_fuzz::target!(|input: &[u8]| {
    let Some((&choice, json)) = input.split_first() else { return };
    let kind = Kind::ALL[usize::from(choice) % Kind::ALL.len()];
    let first = model::parse(kind, json);
    assert_eq!(first, model::parse(kind, json), "one document gives one result");
    match first {
        Ok(object) => {
            assert_eq!(object.kind(), kind);
            assert!(!object.name().name.is_empty());
            if let Object::AuthorizationPolicy(policy) = &object
                && let Err(refused) = &policy.spec
            {
                assert_eq!(refused.diagnostic.object, Some(object.reference()));
            }
        }
        Err(diagnostic) => {
            assert!(model::parse::code::ALL.contains(&diagnostic.code));
            // A policy fails closed: once it is named it is never lost.
            let is_policy = matches!(kind, Kind::AuthorizationPolicy | Kind::PeerAuthentication);
            assert!(!(is_policy && diagnostic.object.is_some()), "{diagnostic}");
        }
    }
});
