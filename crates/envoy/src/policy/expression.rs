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
        let mut asked = Vec::new();
        for one in of {
            match one {
                Self::Always => {}
                Self::Never => return Self::Never,
                one => asked.push(one),
            }
        }
        if asked.len() > 1 { Self::All(asked) } else { asked.pop().unwrap_or(Self::Always) }
    }

    /// One of these holds.
    pub fn one(of: impl IntoIterator<Item = Self>) -> Self {
        let mut asked = Vec::new();
        for one in of {
            match one {
                Self::Never => {}
                Self::Always => return Self::Always,
                one => asked.push(one),
            }
        }
        if asked.len() > 1 { Self::One(asked) } else { asked.pop().unwrap_or(Self::Never) }
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
