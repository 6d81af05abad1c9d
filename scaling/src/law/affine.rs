//! Parts of a formula that are data, or linear in the coordinates with data as coefficients.

use super::tape::Lane;

/// A number that is the same in all rows, or one a row.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Same(f64),
    Rows(Vec<f64>),
}

impl Data {
    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Same(value) => Self::Same(f(*value)),
            Self::Rows(values) => Self::Rows(values.iter().map(|one| f(*one)).collect()),
        }
    }

    pub(crate) fn join(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (_, Self::Same(right)) => self.map(|left| f(left, *right)),
            (Self::Same(left), _) => other.map(|right| f(*left, right)),
            (Self::Rows(left), Self::Rows(right)) => Self::Rows(
                left.iter()
                    .zip(right)
                    .map(|(left, right)| f(*left, *right))
                    .collect(),
            ),
        }
    }

    pub(crate) fn all(&self, f: impl Fn(f64) -> bool) -> bool {
        match self {
            Self::Same(value) => f(*value),
            Self::Rows(values) => values.iter().all(|one| f(*one)),
        }
    }

    pub(crate) fn lane(&self, from: usize, lanes: usize, out: &mut Lane) {
        match self {
            Self::Same(value) => out[..lanes].fill(*value),
            Self::Rows(values) => out[..lanes].copy_from_slice(&values[from..from + lanes]),
        }
    }
}

/// c0 + sum c_k z_k.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) constant: Data,
    pub(crate) slopes: Vec<(usize, Data)>,
}

impl Affine {
    pub(crate) fn constant(constant: Data) -> Self {
        Self {
            constant,
            slopes: Vec::new(),
        }
    }

    pub(crate) fn scaled(&self, by: &Data) -> Self {
        let times = |data: &Data| data.join(by, |left, right| left * right);
        Self {
            constant: times(&self.constant),
            slopes: self
                .slopes
                .iter()
                .map(|(k, data)| (*k, times(data)))
                .collect(),
        }
    }

    pub(crate) fn plus(mut self, other: &Self, sign: f64) -> Self {
        self.constant = self
            .constant
            .join(&other.constant, |left, right| left + sign * right);
        for (k, slope) in &other.slopes {
            match self.slopes.iter_mut().find(|(known, _)| known == k) {
                Some((_, known)) => *known = known.join(slope, |left, right| left + sign * right),
                None => self.slopes.push((*k, slope.map(|one| sign * one))),
            }
        }
        self.slopes.sort_by_key(|(k, _)| *k);
        self
    }
}
