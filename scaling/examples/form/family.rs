//! Ladders whose truth is known and is *not* the fitted form: what the error of a floor's form is measured on.
//!
//! Sizes and token counts are in units of the smallest (x, y >= 1). Every member has a floor E, the limit of the loss for
//! unlimited size and data *and* a perfect optimiser. Constants are drawn per ladder, so that no single bend is learnt by heart.

/// What bends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Nothing: Hoffmann's form itself.
    Exact,
    /// A second, slower power of the size.
    TwoPowersOfSize,
    /// A second, slower power of the data.
    TwoPowersOfData,
    /// Both.
    TwoPowersOfBoth,
    /// A power of the size times one plus a logarithm: slower than the power.
    LogarithmOfSize,
    /// The terms combine with a power other than 1.
    PowerOfSum,
    /// A product of powers of both beside the two terms.
    Product,
    /// Small sizes count for more than they have: the local exponent rises with the size.
    FiniteSize,
    /// The optimiser stops learning from data within a factor of three of the longest run.
    DataSaturates,
    /// Depth or context stops the size within a factor of three of the largest model.
    SizeSaturates,
    /// The larger the model, the worse its learning rate suits it.
    Untuned,
    /// The exponent of the size falls over the data, and stays there.
    FallingExponent,
    /// The same of the data.
    FallingExponentOfData,
}

/// All members.
pub const MEMBERS: [Member; 13] = [
    Member::Exact,
    Member::TwoPowersOfSize,
    Member::TwoPowersOfData,
    Member::TwoPowersOfBoth,
    Member::LogarithmOfSize,
    Member::PowerOfSum,
    Member::Product,
    Member::FiniteSize,
    Member::DataSaturates,
    Member::SizeSaturates,
    Member::Untuned,
    Member::FallingExponent,
    Member::FallingExponentOfData,
];

/// A ladder.
pub struct Ladder {
    /// Size, tokens, loss.
    pub rows: Vec<(f64, f64, f64)>,
    /// The floor.
    pub floor: f64,
}

/// The ladder of a member and a seed.
pub fn ladder(member: Member, seed: u64) -> Ladder {
    let place = MEMBERS.iter().position(|one| *one == member).unwrap_or(0) as u64;
    let mut draws = Draws::new(1_000_003 * place + seed);
    let floor = 1.8;
    let noise = draws.decades(5e-4, 1e-2);
    let (sizes, lengths) = (
        5 + (3.0 * draws.uniform()) as usize,
        4 + (3.0 * draws.uniform()) as usize,
    );
    let (wide, long) = (draws.decades(10.0, 300.0), draws.decades(10.0, 300.0));
    // Terms at the smallest run, in floors.
    let (a, b) = (
        floor * draws.decades(0.05, 0.6),
        floor * draws.decades(0.05, 0.6),
    );
    let (alpha, beta) = (draws.between(0.25, 1.2), draws.between(0.25, 1.2));
    let share = draws.between(0.05, 0.5);
    let second_share = draws.between(0.05, 0.5);
    let bend = draws.between(0.2, 0.8);
    let limit = draws.decades(0.3, 3.0);
    let sharpness = draws.between(1.0, 4.0);
    let power = draws.between(0.6, 1.6);
    let (gamma, delta) = (draws.between(0.1, 0.6), draws.between(0.1, 0.6));
    let penalty = floor * draws.decades(0.002, 0.02);
    let two = |x: f64, exponent: f64, share: f64| {
        (1.0 - share) * x.powf(-exponent) + share * x.powf(-exponent / 3.0)
    };
    let saturated =
        |x: f64, end: f64| (x.powf(-sharpness) + end.powf(-sharpness)).powf(-1.0 / sharpness);
    // Exponent e at x = 1, (1 - bend) e from x = end on, falling in a straight line over ln x.
    let falling = |x: f64, exponent: f64, end: f64| {
        let (here, whole) = (x.ln(), end.ln());
        let inside = here.min(whole);
        let slope = exponent * bend / whole;
        (-(exponent * inside - 0.5 * slope * inside * inside)
            - (here - inside) * exponent * (1.0 - bend))
            .exp()
    };
    let loss = |x: f64, y: f64| -> f64 {
        let (size, data) = (a * x.powf(-alpha), b * y.powf(-beta));
        floor
            + match member {
                Member::Exact => size + data,
                Member::TwoPowersOfSize => a * two(x, alpha, share) + data,
                Member::TwoPowersOfData => size + b * two(y, beta, share),
                Member::TwoPowersOfBoth => {
                    a * two(x, alpha, share) + b * two(y, beta, second_share)
                }
                Member::LogarithmOfSize => size * (1.0 + bend * alpha * x.ln()) + data,
                Member::PowerOfSum => (size + data).powf(power),
                Member::Product => {
                    size + data + 2.0 * share * a.min(b) * x.powf(-gamma) * y.powf(-delta)
                }
                Member::FiniteSize => {
                    let shift = 3.0 * limit;
                    a * ((x + shift) / (1.0 + shift)).powf(-alpha) + data
                }
                Member::DataSaturates => size + b * saturated(y, limit * long).powf(-beta),
                Member::SizeSaturates => a * saturated(x, limit * wide).powf(-alpha) + data,
                Member::Untuned => size + data + penalty * (x.ln() / wide.ln()).powi(2),
                Member::FallingExponent => a * falling(x, alpha, wide) + data,
                Member::FallingExponentOfData => size + b * falling(y, beta, long),
            }
    };
    let mut rows = Vec::new();
    for size in 0..sizes {
        for length in 0..lengths {
            let x = wide.powf(size as f64 / (sizes - 1) as f64);
            let y = long.powf(length as f64 / (lengths - 1) as f64);
            let error = (noise * draws.normal()).exp();
            rows.push((1e5 * x, 1e6 * y, loss(x, y) * error));
        }
    }
    Ladder { rows, floor }
}

/// SplitMix64 (Steele et al. 2014), and normal draws by Box and Muller from it.
struct Draws(u64);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn decades(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.uniform())
    }

    fn normal(&mut self) -> f64 {
        let (one, two) = (self.uniform(), self.uniform());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }
}
