#![allow(clippy::unwrap_used)]
use super::*;
use crate::chain::verify_chain;
use crate::fixture::{DAY, IDENTITY, NOW, later, request_pem, root};
use crate::{Identity, SigningRequest, SystemEntropy};
use proptest::prelude::*;
use std::sync::LazyLock;

static REQUEST: LazyLock<SigningRequest> =
    LazyLock::new(|| SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap());

fn policy() -> RotationPolicy {
    RotationPolicy::default()
}

fn leaf(state: &RootState, now: UnixTime) -> Certificate {
    let identity = Identity::parse(IDENTITY).unwrap();
    let issuer = state.issuer(TtlPolicy::default()).unwrap();
    Certificate::from_der(&issuer.issue(&REQUEST, &identity, 0, now, &SystemEntropy).unwrap().leaf).unwrap()
}

#[test]
fn rotation_passes_through_its_phases() {
    let (old, new) = (root(), root());
    let state = RootState::new(old.clone());
    assert_eq!(state.due(&policy(), NOW), None);

    let announced = state.announce(new.clone(), &policy(), NOW).unwrap();
    assert_eq!(announced.active(), &old);
    assert_eq!(announced.trust().unwrap().roots(), [old.certificate().clone(), new.certificate().clone()]);
    assert_eq!(announced.next_due(&policy()), Some(later(DAY)));
    assert_eq!(announced.due(&policy(), later(DAY - 1)), None);
    assert_eq!(announced.advance(&policy(), later(DAY - 1), &SystemEntropy), Err(RotationError::NotDue));

    let switched = announced.advance(&policy(), later(DAY), &SystemEntropy).unwrap();
    assert_eq!(switched.active(), &new);
    assert_eq!(switched.trust().unwrap().roots(), [new.certificate().clone(), old.certificate().clone()]);
    assert_eq!(switched.due(&policy(), later(2 * DAY - 1)), None);

    let retired = switched.advance(&policy(), later(2 * DAY), &SystemEntropy).unwrap();
    assert_eq!(retired, RootState::new(new));
}

/// What the overlap is for.
#[test]
fn switch_without_overlap_would_cut_peers_off() {
    let hasty = RotationPolicy { overlap: Duration::ZERO, ..policy() };
    let before = RootState::new(root());
    let switched = before
        .announce(root(), &hasty, NOW)
        .and_then(|state| state.advance(&hasty, NOW, &SystemEntropy))
        .unwrap();
    let old_peer = before.trust().unwrap();
    assert!(verify_chain(&leaf(&switched, NOW), &[], old_peer.roots(), NOW).is_err());
}

#[test]
fn rotation_is_refused_where_it_cannot_work() {
    let state = RootState::new(root());
    let announced = state.announce(root(), &policy(), NOW).unwrap();
    assert_eq!(announced.announce(root(), &policy(), NOW), Err(RotationError::InProgress));
    assert_eq!(announced.abandon(), state);
    let renewed = state.active().renew(policy().life, NOW, &SystemEntropy).unwrap();
    assert_eq!(state.announce(renewed, &policy(), NOW), Err(RotationError::SameKey));
    let short = Root::create("td", Duration::from_secs(DAY / 2), NOW, &SystemEntropy).unwrap();
    assert_eq!(state.announce(short, &policy(), NOW), Err(RotationError::NotValid));
}

#[test]
fn renewal_keeps_key_and_name_so_that_both_roots_verify_both_leaves() {
    let state = RootState::new(root());
    let due = state.next_due(&policy()).unwrap();
    let life = 3650 * DAY;
    assert!(due >= later(life * 80 / 100 - 1000) && due <= later(life * 80 / 100 + 1000));
    assert_eq!(state.due(&policy(), due), Some(Step::Renew));
    let renewed = state.advance(&policy(), due, &SystemEntropy).unwrap();
    let (old, new) = (state.active().certificate(), renewed.active().certificate());
    assert_eq!((&old.subject, &old.key_id, &old.public_key), (&new.subject, &new.key_id, &new.public_key));
    assert_ne!(old.serial(), new.serial());
    assert!(new.validity().not_after > old.validity().not_after);
    for (signer, trusted) in [(&state, new), (&renewed, old)] {
        verify_chain(&leaf(signer, due), &[], std::slice::from_ref(trusted), due).unwrap();
    }
    assert_eq!(renewed.due(&policy(), due), None);
}

#[test]
fn root_just_renewed_is_not_due_again() {
    for (percent, life) in [(20, 3650 * DAY), (100, 3650 * DAY), (255, 60), (20, 10)] {
        let life = Duration::from_secs(life);
        let policy = RotationPolicy { renew_below_percent: percent, life, ..policy() };
        let state = RootState::new(Root::create("td", life, NOW, &SystemEntropy).unwrap());
        assert_eq!(state.due(&policy, NOW), None, "{policy:?}");
    }
}

#[test]
fn expired_root_is_renewed_rather_than_lost() {
    let state = RootState::new(root());
    let dead = later(4000 * DAY);
    assert!(
        state
            .issuer(TtlPolicy::default())
            .unwrap()
            .issue(&REQUEST, &Identity::parse(IDENTITY).unwrap(), 0, dead, &SystemEntropy)
            .is_err()
    );
    let renewed = state.advance(&policy(), dead, &SystemEntropy).unwrap();
    verify_chain(&leaf(&renewed, dead), &[], renewed.trust().unwrap().roots(), dead).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Peers fetch certificate and roots together at most one overlap apart; whenever two of them
    /// meet during a whole rotation, they accept each other.
    #[test]
    fn peers_accept_each_other_throughout(steps in proptest::collection::vec((0..3usize, 1..DAY / 3), 20..40)) {
        let mut state = RootState::new(root());
        let mut now = NOW;
        let mut peers: Vec<_> = (0..3).map(|_| (leaf(&state, now), state.trust().unwrap(), now)).collect();
        state = state.announce(root(), &policy(), now).unwrap();
        for (peer, wait) in steps {
            now = at(now.as_secs() + wait);
            if state.due(&policy(), now).is_some() {
                state = state.advance(&policy(), now, &SystemEntropy).unwrap();
            }
            // A peer renews at half of its certificate's life at the latest, and this one now.
            for (i, held) in peers.iter_mut().enumerate() {
                if i == peer || now >= held.0.validity().half_life() {
                    *held = (leaf(&state, now), state.trust().unwrap(), now);
                }
            }
            for (certificate, ..) in &peers {
                for (_, trust, _) in &peers {
                    prop_assert_eq!(verify_chain(certificate, &[], trust.roots(), now), Ok(()));
                }
            }
        }
    }
}
