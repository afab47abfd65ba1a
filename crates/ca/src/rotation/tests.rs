#![allow(clippy::unwrap_used)]
use super::*;
use crate::chain::{ChainError, verify_chain};
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

/// A whole rotation in which each step is taken as early as it may be: the roots, and since when.
struct Timeline(Vec<(u64, RootState)>);

impl Timeline {
    fn of(policy: &RotationPolicy) -> Self {
        let mut state = RootState::new(root());
        let mut all = vec![(NOW.as_secs(), state.clone())];
        // What came before has lived long enough to be met everywhere.
        let mut now = after(NOW, 2 * policy.overlap);
        state = state.announce(root(), policy, now).unwrap();
        all.push((now.as_secs(), state.clone()));
        while state.incoming().is_some() || !state.retiring().is_empty() {
            now = state.next_due(policy).unwrap();
            state = state.advance(policy, now, &SystemEntropy).unwrap();
            all.push((now.as_secs(), state.clone()));
        }
        Self(all)
    }

    fn at(&self, time: u64) -> &RootState {
        &self.0.iter().rev().find(|(since, _)| *since <= time).unwrap().1
    }

    /// When it is announced, when the new root signs, when the old one is dropped.
    fn steps(&self) -> [u64; 3] {
        [self.0[1].0, self.0[2].0, self.0[3].0]
    }

    /// Tells whether somebody who was given the roots at `trusting` accepts, at `meeting`, a certificate
    /// of `life` that was issued at `issued`.
    fn accepts(&self, issued: u64, life: u64, trusting: u64, meeting: u64) -> Result<(), ChainError> {
        let identity = Identity::parse(IDENTITY).unwrap();
        let issuer = self.at(issued).issuer(TtlPolicy::default()).unwrap();
        let life = i64::try_from(life).unwrap();
        let issued = issuer.issue(&REQUEST, &identity, life, at(issued), &SystemEntropy).unwrap();
        let leaf = Certificate::from_der(&issued.leaf).unwrap();
        verify_chain(&leaf, &[], self.at(trusting).trust().unwrap().roots(), at(meeting))
    }
}

/// The two ways in which a phase can be too short, each by its worst case.
#[test]
fn overlap_shorter_than_a_life_cuts_peers_off_and_one_as_long_does_not() {
    let life = DAY;
    for (overlap, is_enough) in [(life, true), (life - 2, false), (life / 2, false)] {
        let timeline = Timeline::of(&RotationPolicy { overlap: Duration::from_secs(overlap), ..policy() });
        let [announced, switched, retired] = timeline.steps();
        // The last certificate of the old root, at somebody who has just been given the roots without it.
        let last = switched - 1;
        let is_valid = retired <= last + life;
        assert_eq!(is_valid, !is_enough, "overlap {overlap}");
        if is_valid {
            assert!(timeline.accepts(last, life, retired, retired).is_err(), "overlap {overlap}");
        }
        assert_eq!(timeline.accepts(last, life, retired - 1, last + life), Ok(()), "overlap {overlap}");
        // The first certificate of the new root, at somebody who was the last to learn only the old one.
        let last = announced - 1;
        let is_trusting = switched <= last + life;
        assert_eq!(is_trusting, !is_enough, "overlap {overlap}");
        if is_trusting {
            assert!(timeline.accepts(switched, life, last, switched).is_err(), "overlap {overlap}");
        }
    }
}

#[test]
fn overlap_below_the_life_of_certificates_is_refused() {
    let lives =
        |default: u64| TtlPolicy::new(Duration::from_secs(default), Duration::from_secs(90 * DAY)).unwrap();
    assert_eq!(policy().check(&lives(DAY)), Ok(()));
    let refused = policy().check(&lives(DAY + 1)).unwrap_err();
    assert_eq!(refused, RotationError::Overlap { overlap: DAY, life: DAY + 1 });
    assert!(policy().cuts_off(&lives(DAY)));
    let long = RotationPolicy { overlap: Duration::from_secs(90 * DAY), ..policy() };
    assert!(!long.cuts_off(&lives(DAY)));
}

/// A time of a rotation: somewhere (in thousandths of all of it), or beside one of its steps.
fn moment() -> impl Strategy<Value = (usize, u64)> {
    prop_oneof![(Just(3), 0..1000u64), (0..3usize, 0..3u64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Peers take certificate and roots together and keep both until the certificate ends, which none
    /// renews before. Whoever meets meanwhile accepts each other: the last certificate of the old root
    /// is good everywhere until it ends, and so is the first one of the new root.
    #[test]
    fn certificates_are_accepted_everywhere_until_they_end(
        life in 60..90 * DAY, spare in 0..DAY, one in moment(), other in moment(),
    ) {
        let timeline = Timeline::of(&RotationPolicy { overlap: Duration::from_secs(life + spare), ..policy() });
        let steps = timeline.steps();
        let end = steps[2] + life;
        let time = |(step, place): (usize, u64)| match steps.get(step) {
            Some(taken) => taken + place - 1,
            None => NOW.as_secs() + (end - NOW.as_secs()) * place / 1000,
        };
        let (one, other) = (time(one), time(other));
        let (first, last) = (one.max(other), one.min(other) + life);
        for meeting in [first, last, (first + last) / 2, steps[1], steps[2]] {
            if first <= meeting && meeting <= last {
                prop_assert_eq!(timeline.accepts(one, life, other, meeting), Ok(()), "at {}", meeting);
                prop_assert_eq!(timeline.accepts(other, life, one, meeting), Ok(()), "at {}", meeting);
            }
        }
    }
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
