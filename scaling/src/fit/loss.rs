//! Losses of a residual: cost, pull, and the two curvatures that Newton's method uses.

/// Degrees of freedom of Student's t: heavy tails that still have a variance (Lange, Little and Taylor 1989 take 4).
pub(crate) const NU: f64 = 4.0;

/// A loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// Huber's, over delta: the pull of a row is at most 1.
    Huber { delta: f64 },
    /// Half the square.
    Squares,
    /// Student's t with [`NU`] degrees of freedom: negative log likelihood without constants.
    StudentT { scale: f64 },
}

/// What a residual does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    /// The loss.
    pub(crate) cost: f64,
    /// Its first derivative.
    pub(crate) pull: f64,
    /// Its second derivative.
    pub(crate) slope: f64,
    /// The weight of iterated least squares: pull over residual.
    pub(crate) least_squares: f64,
    /// The pull below which a residual counts with this pull in the *scale* of the gradient, so that a perfect fit, whose
    /// pulls are all rounding, can be seen to have converged: that of a residual of 1e-6 for squares.
    pub(crate) floor: f64,
}

impl Loss {
    /// The same loss for residuals divided by `unit`.
    pub(crate) fn in_unit(self, unit: f64) -> Self {
        self.wider(1.0 / unit)
    }

    /// The same with another width.
    pub(crate) fn wider(self, factor: f64) -> Self {
        match self {
            Self::Huber { delta } => Self::Huber {
                delta: delta * factor,
            },
            Self::Squares => Self::Squares,
            Self::StudentT { scale } => Self::StudentT {
                scale: scale * factor,
            },
        }
    }

    /// Where Huber's loss turns straight, the scale of Student's t, 0 for squares.
    pub(crate) fn delta(self) -> f64 {
        match self {
            Self::Huber { delta } => delta,
            Self::Squares => 0.0,
            Self::StudentT { scale } => scale,
        }
    }

    /// What a residual does.
    pub(crate) fn of(self, residual: f64) -> Effect {
        let distance = residual.abs();
        match self {
            Self::Huber { delta } if distance <= delta => {
                let inside = 1.0 / delta;
                Effect {
                    cost: 0.5 * residual * residual * inside,
                    pull: residual * inside,
                    slope: inside,
                    least_squares: inside,
                    floor: 1e-3,
                }
            }
            Self::Huber { delta } => Effect {
                cost: distance - 0.5 * delta,
                // Of a residual that is no number, `signum` is none either.
                pull: residual.signum(),
                slope: 0.0,
                least_squares: 1.0 / distance,
                floor: 1e-3,
            },
            Self::Squares => Effect {
                cost: 0.5 * residual * residual,
                pull: residual,
                slope: 1.0,
                least_squares: 1.0,
                floor: 1e-6,
            },
            Self::StudentT { scale } => {
                let wide = NU * scale * scale;
                let sum = wide + residual * residual;
                let weight = (NU + 1.0) / sum;
                Effect {
                    cost: 0.5 * (NU + 1.0) * libm::log1p(residual * residual / wide),
                    pull: weight * residual,
                    slope: weight * (wide - residual * residual) / sum,
                    least_squares: weight,
                    floor: 1e-3 / scale,
                }
            }
        }
    }

    /// The objective in natural units from its normalised sum; `unit` is what residuals were divided by.
    pub(crate) fn reported(self, sum: f64, unit: f64, weight: f64) -> f64 {
        match self {
            Self::Huber { delta } => sum * delta * unit * unit,
            Self::Squares => 2.0 * sum * unit * unit,
            Self::StudentT { scale } => sum + weight * libm::log(scale * unit),
        }
    }
}
