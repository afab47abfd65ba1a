//! How long a certificate lives.

use crate::der::LAST_SECOND;
use crate::refusal::{Code, Refusal};
use rustls_pki_types::UnixTime;
use std::time::Duration;

/// How far a certificate is dated back, so that a peer whose clock is slow accepts it.
pub(crate) const BACKDATE: Duration = Duration::from_secs(120);

/// Why no validity can be given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TtlError {
    /// More was asked for than is allowed.
    #[error("requested validity of {requested} s is over the maximum of {max} s")]
    OverMaximum {
        /// Seconds asked for.
        requested: i64,
        /// Most seconds allowed.
        max: u64,
    },
    /// The settings contradict each other.
    #[error("default validity of {default} s must be at least 1 s and at most the maximum of {max} s")]
    Settings {
        /// Default in seconds.
        default: u64,
        /// Maximum in seconds.
        max: u64,
    },
    /// The signing certificate has expired.
    #[error("signing certificate has expired; replace it before certificates can be issued")]
    SignerExpired,
}

impl Refusal for TtlError {
    fn code(&self) -> Code {
        match self {
            Self::OverMaximum { .. } => Code::InvalidArgument,
            Self::Settings { .. } | Self::SignerExpired => Code::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::OverMaximum { .. } => "ttl_over_maximum",
            Self::Settings { .. } => "ttl_settings",
            Self::SignerExpired => "signer_expired",
        }
    }
}

/// Default and longest life of a leaf (`DEFAULT_WORKLOAD_CERT_TTL`, `MAX_WORKLOAD_CERT_TTL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TtlPolicy {
    default: Duration,
    max: Duration,
    longest_for_others: Option<Duration>,
}

impl Default for TtlPolicy {
    /// 24 hours, and at most 90 days.
    fn default() -> Self {
        Self {
            default: Duration::from_secs(24 * 3600),
            max: Duration::from_secs(90 * 24 * 3600),
            longest_for_others: None,
        }
    }
}

impl TtlPolicy {
    /// Builds a policy; fractions of a second are dropped.
    ///
    /// # Errors
    /// [`TtlError::Settings`] when the default is below one second or above the maximum.
    pub fn new(default: Duration, max: Duration) -> Result<Self, TtlError> {
        if default.as_secs() == 0 || default > max {
            return Err(TtlError::Settings { default: default.as_secs(), max: max.as_secs() });
        }
        Ok(Self { default, max, longest_for_others: None })
    }

    /// Returns the life of a certificate for which `requested` seconds are asked; zero and less
    /// stand for the default.
    ///
    /// # Errors
    /// [`TtlError::OverMaximum`]: too long a life is refused, not shortened.
    pub fn resolve(&self, requested: i64) -> Result<Duration, TtlError> {
        match u64::try_from(requested) {
            Ok(0) | Err(_) => Ok(self.default),
            Ok(seconds) if seconds > self.max.as_secs() => {
                Err(TtlError::OverMaximum { requested, max: self.max.as_secs() })
            }
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
        }
    }

    /// Returns for how many seconds a certificate may be asked when its predecessor is all that vouches
    /// for it: the default life at most, so that a long one does not beget another.
    ///
    /// # Errors
    /// As [`TtlPolicy::resolve`].
    pub fn renewal_seconds(&self, requested: i64) -> Result<i64, TtlError> {
        self.at_most(requested, self.default)
    }

    /// Returns for how many seconds somebody may ask a certificate for the account of another: the default life at
    /// most, unless [another](Self::with_longest_for_others) is set, so that a moment on a node gives nothing that lasts.
    ///
    /// # Errors
    /// As [`TtlPolicy::resolve`].
    pub fn seconds_for_others(&self, requested: i64) -> Result<i64, TtlError> {
        self.at_most(requested, self.longest_for_others.unwrap_or(self.default))
    }

    fn at_most(&self, requested: i64, longest: Duration) -> Result<i64, TtlError> {
        let life = self.resolve(requested)?.min(longest);
        Ok(i64::try_from(life.as_secs()).unwrap_or(i64::MAX))
    }

    /// Sets the longest life of a certificate that somebody asks for the account of another, one second at least;
    /// `None` for the default life.
    #[must_use]
    pub fn with_longest_for_others(self, longest: Option<Duration>) -> Self {
        Self { longest_for_others: longest.map(|longest| longest.max(Duration::from_secs(1))), ..self }
    }

    /// Returns the life of a certificate when nothing is asked for.
    pub fn default_life(&self) -> Duration {
        self.default
    }

    /// Returns the longest life that can be asked for.
    pub fn max_life(&self) -> Duration {
        self.max
    }
}

/// The time during which a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// First valid second.
    pub not_before: UnixTime,
    /// Last valid second.
    pub not_after: UnixTime,
}

impl Validity {
    /// Returns the validity of a certificate that is to live for `ttl` from `now` on, and not
    /// longer than its signer.
    ///
    /// Dated back by two minutes, but never by more than half of the life that is left: clients
    /// renew half-way between the two times, which must lie ahead.
    ///
    /// # Errors
    /// [`TtlError::SignerExpired`].
    pub fn of_leaf(now: UnixTime, ttl: Duration, signer_not_after: UnixTime) -> Result<Self, TtlError> {
        if signer_not_after <= now {
            return Err(TtlError::SignerExpired);
        }
        let end =
            now.as_secs().saturating_add(ttl.as_secs()).min(signer_not_after.as_secs()).min(LAST_SECOND);
        let left = end.saturating_sub(now.as_secs());
        Ok(Self {
            not_before: at(now.as_secs().saturating_sub(BACKDATE.as_secs().min(left / 2))),
            not_after: at(end),
        })
    }

    /// Returns the moment half-way, at which a certificate should be renewed.
    pub fn half_life(&self) -> UnixTime {
        let life = self.not_after.as_secs().saturating_sub(self.not_before.as_secs());
        at(self.not_before.as_secs() + life / 2)
    }

    /// Tells whether `now` lies within.
    pub fn contains(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Returns the moment `seconds` after 1970.
pub(crate) const fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_asked_means_the_default() {
        let policy = TtlPolicy::default();
        for requested in [0, -1, i64::MIN] {
            assert_eq!(policy.resolve(requested).unwrap(), Duration::from_secs(86_400));
        }
    }

    #[test]
    fn too_long_a_life_is_refused_not_shortened() {
        let policy = TtlPolicy::default();
        assert_eq!(policy.resolve(2160 * 3600).unwrap(), Duration::from_secs(2160 * 3600));
        for requested in [2160 * 3600 + 1, i64::MAX, i64::MAX / 1_000_000_000 + 1] {
            let error = policy.resolve(requested).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn what_is_asked_for_others_lives_no_longer_than_the_default_or_what_is_set() {
        let policy = TtlPolicy::default();
        let (hour, day, month) = (3600, 24 * 3600, 30 * 24 * 3600);
        for (requested, lives) in [(hour, hour), (0, day), (-1, day), (month, day), (2160 * hour, day)] {
            assert_eq!(policy.seconds_for_others(requested).unwrap(), lives, "{requested}");
        }
        assert!(policy.seconds_for_others(2160 * hour + 1).is_err(), "refused as before");
        let with = |seconds: u64| policy.with_longest_for_others(Some(Duration::from_secs(seconds)));
        let raised = with(10 * 24 * 3600);
        assert_eq!(raised.seconds_for_others(month).unwrap(), 10 * day);
        assert_eq!(raised.renewal_seconds(month).unwrap(), day);
        assert_eq!(with(60).seconds_for_others(0).unwrap(), 60);
        assert_eq!(with(0).seconds_for_others(0).unwrap(), 1, "not the default, for which zero stands");
    }

    #[test]
    fn contradictory_settings_are_refused() {
        assert!(TtlPolicy::new(Duration::ZERO, Duration::from_secs(1)).is_err());
        assert!(TtlPolicy::new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
    }

    #[test]
    fn expired_signer_signs_nothing() {
        for now in [at(100), at(101)] {
            let refused = Validity::of_leaf(now, Duration::from_secs(1), at(100));
            assert_eq!(refused, Err(TtlError::SignerExpired));
        }
    }

    proptest! {
        #[test]
        fn leaf_lies_within_its_signer_and_renews_in_the_future(
            now in 0..u64::MAX, ttl in 1..u64::MAX, signer in 0..u64::MAX,
        ) {
            if let Ok(v) = Validity::of_leaf(at(now), Duration::from_secs(ttl), at(signer)) {
                prop_assert!(v.not_after <= at(signer));
                prop_assert!(v.not_before <= at(now));
                if now < LAST_SECOND {
                    prop_assert!(v.contains(at(now)));
                    prop_assert!(v.half_life() >= at(now));
                }
            }
        }
    }
}
