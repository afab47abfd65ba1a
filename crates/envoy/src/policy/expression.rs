//! Conditions, of which those that always or never hold are known.

/// A condition on what Envoy knows, by leaves of one kind.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Expression<L> {
    Always,
    Never,
    Leaf(L),
    /// At least two.
    All(Vec<Self>),
    /// At least two.
    One(Vec<Self>),
    Not(Box<Self>),
}

impl<L> Expression<L> {
    /// All of these hold.
    pub fn all(of: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(of, true, Self::All)
    }

    /// One of these holds.
    pub fn one(of: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(of, false, Self::One)
    }

    /// Leaves out what always is as said, which decides nothing; what never is decides alone.
    fn joined(of: impl IntoIterator<Item = Self>, holds: bool, join: fn(Vec<Self>) -> Self) -> Self {
        let mut asked = Vec::new();
        for one in of {
            match (one, holds) {
                (Self::Always, true) | (Self::Never, false) => {}
                (constant @ (Self::Always | Self::Never), _) => return constant,
                (one, _) => asked.push(one),
            }
        }
        if asked.len() > 1 { join(asked) } else { asked.pop().unwrap_or(Self::of(holds)) }
    }

    /// This does not hold.
    pub fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Returns a constant.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }
}
