//! The intermediate of this process below a slow signing key: made when a certificate is first asked for,
//! and again when half of its life is over. In memory only; another replica has another one.

use ca::{Issuer, SystemEntropy};
use model::{TrustDomain, rfc3339};
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// How long after a refusal it is tried again: what stands in the way mostly stays, and until then the
/// signing key itself signs.
const RETRY: Duration = Duration::from_secs(60);

/// Makes and keeps the intermediate.
#[derive(Debug)]
pub(super) struct OwnIntermediate {
    trust_domain: TrustDomain,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unasked,
    Active(Arc<Issuer>),
    Refused {
        reason: String,
        retry_at: UnixTime,
    },
}

impl OwnIntermediate {
    /// Makes none yet.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, state: Mutex::default() }
    }

    /// Returns the issuer to sign with instead of `parent`; `None` if `parent` itself is to sign.
    ///
    /// Takes a signature of `parent`, some milliseconds, when a new one is due: once in half of the life
    /// of an intermediate, and once in a minute while there can be none.
    pub fn issuer(&self, parent: &Issuer, now: UnixTime) -> Option<Arc<Issuer>> {
        let mut state = self.state.lock();
        match &*state {
            State::Active(active) if !parent.is_due(active, now) => return Some(Arc::clone(active)),
            State::Refused { retry_at, .. } if now < *retry_at => return None,
            _ => {}
        }
        match parent.intermediate(&self.trust_domain, now, &SystemEntropy) {
            Ok(made) => {
                let certificate = made.certificate();
                tracing::info!(
                    subject = certificate.subject(),
                    serial = certificate.serial(),
                    not_after = rfc3339(certificate.validity().not_after.as_secs()),
                    issuer = parent.certificate().subject(),
                    "signing with an intermediate of this process",
                );
                let made = Arc::new(made);
                *state = State::Active(Arc::clone(&made));
                Some(made)
            }
            Err(error) => {
                let reason = error.to_string();
                if !matches!(&*state, State::Refused { reason: known, .. } if *known == reason) {
                    tracing::warn!(
                        "{reason}: certificates are signed with the RSA key of {} itself, which takes more CPU time; --signing-intermediate=never says that this is wanted",
                        parent.certificate().subject()
                    );
                }
                let retry_at = Duration::from_secs(now.as_secs()) + RETRY;
                *state = State::Refused { reason, retry_at: UnixTime::since_unix_epoch(retry_at) };
                None
            }
        }
    }

    /// Returns the intermediate that signed last, or why there is none; nothing before the first
    /// certificate.
    pub fn status(&self) -> Option<Result<ca::Certificate, String>> {
        match &*self.state.lock() {
            State::Unasked => None,
            State::Active(active) => Some(Ok(active.certificate().clone())),
            State::Refused { reason, .. } => Some(Err(reason.clone())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ca::{Root, TtlPolicy};

    const DAY: u64 = 86_400;

    fn at(days: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000 + days * DAY))
    }

    /// A root that lives for ten years, and its intermediate's keeper.
    fn root() -> (Issuer, OwnIntermediate) {
        let root = Root::create("cluster.local", Duration::from_secs(3650 * DAY), at(0), &SystemEntropy);
        let issuer = Issuer::self_signed(&root.unwrap(), TtlPolicy::default()).unwrap();
        (issuer, OwnIntermediate::new(TrustDomain::default()))
    }

    #[test]
    fn one_intermediate_signs_until_half_of_its_life_is_over() {
        let (parent, own) = root();
        assert!(own.status().is_none(), "none is made before it is needed");
        let first = own.issuer(&parent, at(0)).unwrap();
        for days in [0, 1, 89] {
            assert!(Arc::ptr_eq(&own.issuer(&parent, at(days)).unwrap(), &first));
        }
        let second = own.issuer(&parent, at(91)).unwrap();
        assert!(!Arc::ptr_eq(&second, &first));
        assert!(Arc::ptr_eq(&own.issuer(&parent, at(92)).unwrap(), &second));
        assert_eq!(own.status().unwrap().unwrap(), *second.certificate());
    }

    #[test]
    fn parent_signs_where_there_can_be_no_intermediate_and_it_is_tried_again() {
        let (parent, own) = root();
        // Nothing may be below an intermediate of ours.
        let narrow = parent.intermediate(&TrustDomain::default(), at(0), &SystemEntropy).unwrap();
        assert!(own.issuer(&narrow, at(0)).is_none());
        let reason = own.status().unwrap().unwrap_err();
        assert!(reason.contains("pathLenConstraint"), "{reason}");
        // Not before its time, even if it could be now.
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(at(0).as_secs() + 59));
        assert!(own.issuer(&parent, soon).is_none());
        let later = UnixTime::since_unix_epoch(Duration::from_secs(at(0).as_secs() + 60));
        assert!(own.issuer(&parent, later).is_some());
    }

    #[test]
    fn expired_parent_has_no_intermediate() {
        let (parent, own) = root();
        assert!(own.issuer(&parent, at(3649)).is_some());
        assert!(own.issuer(&parent, at(3651)).is_none());
    }

    #[test]
    fn requests_that_come_together_share_one_intermediate() {
        let (parent, own) = root();
        let made: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..8).map(|_| scope.spawn(|| own.issuer(&parent, at(0)).unwrap())).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(made.iter().all(|one| Arc::ptr_eq(one, &made[0])));
    }

    #[test]
    fn debug_output_hides_the_key() {
        let (parent, own) = root();
        own.issuer(&parent, at(0)).unwrap();
        let text = format!("{own:?}");
        assert!(text.contains("pilothouse-") && !text.contains("PRIVATE"), "{text}");
    }
}
