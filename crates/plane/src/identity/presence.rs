//! Whether there are pods, as time passes.

use std::collections::BTreeMap;

/// Pods that are alike, such as those of an account on a node: how many are to stay, and from when on the others are
/// gone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Presence {
    staying: u32,
    /// Those that are being deleted: how many, by the second since 1970 from which on they are gone. Boxed, since most
    /// have none.
    #[allow(clippy::box_collection)] // half the size, of each account on each node
    leaving: Option<Box<BTreeMap<i64, u32>>>,
}

impl Presence {
    /// Adds pods, or takes them away; returns `None` when none are left.
    pub fn with(mut self, gone_at: Option<i64>, by: i32) -> Option<Self> {
        match gone_at {
            None => self.staying = self.staying.saturating_add_signed(by),
            Some(gone_at) => {
                let leaving = self.leaving.get_or_insert_default();
                let count = leaving.entry(gone_at).or_default();
                *count = count.saturating_add_signed(by);
                if *count == 0 {
                    leaving.remove(&gone_at);
                }
            }
        }
        self.leaving = self.leaving.filter(|leaving| !leaving.is_empty());
        (self.staying > 0 || self.leaving.is_some()).then_some(self)
    }

    /// Tells whether one of them is there at a time, in seconds since 1970.
    pub fn is_there(&self, now: i64) -> bool {
        let last = self.leaving.as_ref().and_then(|leaving| leaving.last_key_value());
        self.staying > 0 || last.is_some_and(|(gone_at, _)| now < *gone_at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Presence;

    #[test]
    fn the_last_that_is_there_counts() {
        let with = |presence: Presence, gone_at, by| presence.with(gone_at, by).unwrap();
        let two = with(with(Presence::default(), Some(100), 1), Some(200), 1);
        assert_eq!([99, 100, 199, 200].map(|now| two.is_there(now)), [true, true, true, false]);
        let one = with(two.clone(), Some(200), -1);
        assert_eq!([99, 100].map(|now| one.is_there(now)), [true, false]);
        let staying = with(two, None, 1);
        assert!(staying.is_there(i64::MAX));
        assert_eq!(one.with(Some(100), -1), None);
        assert_eq!(Presence::default().with(None, 2).unwrap().with(None, -2), None);
    }
}
