//! The breaker's settings: every number with its reason, as YAML for `cairn breaker replay --rules`.
//!
//! The numbers were set on seven healthy GPT-2 runs with seeded incidents, at logging intervals of 1 and 10 steps, on the
//! BigScience excerpts and on tiny CPU runs; `tests/breaker_*.rs` prints what they give.

use serde::{Deserialize, Serialize};

use crate::windows::WindowSettings;

/// Everything that decides when a breaker opens and closes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerRules {
    /// The windows that it looks at.
    pub windows: WindowSettings,
    /// The run has stopped learning.
    pub plateau: PlateauRule,
    /// The loss rises and stays up.
    pub divergence: DivergenceRule,
    /// A loss or gradient norm is no finite number.
    pub non_finite: NonFiniteRule,
    /// What closes a breaker again.
    pub recovery: RecoveryRule,
}

/// When a run counts as having stopped learning. See `plateau.rs` for the reasoning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlateauRule {
    /// Whether the rule is on.
    pub enabled: bool,
    /// Horizons tried, as shares of the steps so far, shortest first. A share, because loss falls with the logarithm of the step:
    /// a fixed number of steps is always flat late in a run. Short ones notice early where noise is small, long ones see through noise.
    pub horizons: Vec<f64>,
    /// Points that a horizon must have. 10: Sen's interval needs that many to be an interval.
    pub points_min: usize,
    /// Confidence of the slope's interval. 0.98: a run is judged some hundred times.
    pub level: f64,
    /// Flat means: progress below this share of what the run's own past lets expect. 0.25: healthy runs in noiseless stretches stay above 0.4.
    pub open_ratio: f64,
    /// And the interval leaves out this share of the expected progress. 0.6: else noise alone could hide a healthy slope.
    pub exclude_ratio: f64,
    /// And the interval is narrow enough to tell: half of it at most this share of the expected progress. 0.6: without it, the
    /// noisier a run is the sooner chance makes it look flat.
    pub width_ratio: f64,
    /// Moving again means: progress above this share. 0.5: above `open_ratio`, so that a run at the edge does not flap.
    pub close_ratio: f64,
    /// Consecutive flat evaluations before it opens. 3.
    pub patience: u32,
    /// Exponent with which expected progress per e-fold of steps shrinks as steps grow. 1.2: the steepest seen in healthy
    /// GPT-2 runs (0.4 late, 0.9 to 1.2 where the first descent ends), so that a curve that bends does not look like a plateau.
    pub decay: f64,
    /// Least progress in nats that must be expected over a horizon before its absence counts. 0.03: an over-trained small
    /// model gains less than that in half a run, waits for its learning rate to fall, and is healthy.
    pub nats_min: f64,
    /// Steps at the start that are not judged where the warm-up is not known. 500.
    pub warmup_steps: i64,
    /// Past this share of the planned steps a flat curve is the end of the schedule, not a fault. 0.85.
    pub planned_end_share: f64,
    /// Where no plan is known: a learning rate at or below this share of its peak, reached gradually, is a schedule's end. 0.25.
    pub schedule_end_lr: f64,
    /// Gradually: the way from 0.9 of the peak took at least this share of the steps so far. 0.04: the shortest decay in use is
    /// some 7 % of a run from 0.9 down to 0.25; a collapse takes a few steps.
    pub schedule_gradual_share: f64,
    /// And a learning rate that has lain still at its floor for this share of the steps is no schedule's end any more. 0.15.
    pub schedule_floor_share: f64,
}

impl Default for PlateauRule {
    fn default() -> Self {
        Self {
            enabled: true,
            horizons: vec![0.2, 0.3, 0.45, 0.7, 0.85],
            points_min: 10,
            level: 0.98,
            open_ratio: 0.25,
            exclude_ratio: 0.6,
            width_ratio: 0.6,
            close_ratio: 0.5,
            patience: 3,
            decay: 1.2,
            nats_min: 0.03,
            warmup_steps: 500,
            planned_end_share: 0.85,
            schedule_end_lr: 0.25,
            schedule_gradual_share: 0.04,
            schedule_floor_share: 0.15,
        }
    }
}

/// When a loss counts as diverging: by rows where it is violent, by window medians where it creeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DivergenceRule {
    /// Whether the rule is on.
    pub enabled: bool,
    /// A row is elevated from this many nats above the run's level. 0.5: what a healthy run's outliers reach for one step.
    pub row_nats: f64,
    /// And from this many standard deviations of the rows' own noise. 6.
    pub row_sigmas: f64,
    /// Good rows needed to know the noise. 8; before, only strong rises count.
    pub noise_rows_min: usize,
    /// Rows elevated for this many steps are a divergence. 200: the spikes of healthy runs are over in tens of steps.
    pub sustained_steps: i64,
    /// Share of rows in that stretch that must be elevated. 0.75.
    pub sustained_share: f64,
    /// Below this share of its tallest, a rise is on its way down and gets three times the patience. 0.5.
    pub falling_share: f64,
    /// A strong rise in nats: still rising over three rows at this height does not wait. 2.
    pub strong_nats: f64,
    /// Rows of a strong rise. 3: one or two may be outliers.
    pub strong_rows: usize,
    /// Steps of a strong rise. 30: BigScience's exp2 went up 2.8 nats in 30 steps.
    pub strong_steps: i64,
    /// A window is elevated from this many nats above the best level. 0.15: healthy runs stay below 0.08.
    pub window_nats: f64,
    /// And from this many standard deviations of the window medians' noise. 4: the level is a median of three windows,
    /// and several must agree; healthy runs stay below 1.5.
    pub window_sigmas: f64,
    /// Consecutive elevated windows before it opens. 3.
    pub window_patience: u32,
    /// A learning rate this many times above its low since the peak is a warm restart: the level is taken anew. 1.5.
    pub restart_lr_ratio: f64,
    /// Gradient norms this many times above their median are an explosion, if they stay. 100.
    pub grad_norm_ratio: f64,
    /// Consecutive rows of such gradient norms. 3.
    pub grad_norm_rows: u32,
}

impl Default for DivergenceRule {
    fn default() -> Self {
        Self {
            enabled: true,
            row_nats: 0.5,
            row_sigmas: 6.0,
            noise_rows_min: 8,
            sustained_steps: 200,
            sustained_share: 0.75,
            falling_share: 0.5,
            strong_nats: 2.0,
            strong_rows: 3,
            strong_steps: 30,
            window_nats: 0.15,
            window_sigmas: 4.0,
            window_patience: 3,
            restart_lr_ratio: 1.5,
            grad_norm_ratio: 100.0,
            grad_norm_rows: 3,
        }
    }
}

/// How many numbers that are none it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NonFiniteRule {
    /// Whether the rule is on.
    pub enabled: bool,
    /// Consecutive rows with a loss that is not finite. 1: the weights are lost, every further step is wasted.
    pub loss_rows: u32,
    /// Consecutive rows with a gradient norm that is not finite. 1.
    pub grad_norm_rows: u32,
    /// The same while a dynamic loss scale is in use and the norm is infinite. 10: the scale is found by overflowing, and such
    /// steps are skipped; it halves each time, so ten in a row is no search any more.
    pub scaled_grad_norm_rows: u32,
}

impl Default for NonFiniteRule {
    fn default() -> Self {
        Self {
            enabled: true,
            loss_rows: 1,
            grad_norm_rows: 1,
            scaled_grad_norm_rows: 10,
        }
    }
}

/// What it takes to close again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryRule {
    /// Consecutive good windows (plateau: evaluations that move) from open to half-open. 2.
    pub half_open_windows: u32,
    /// Consecutive good windows from half-open to closed. 3.
    pub close_windows: u32,
}

impl Default for RecoveryRule {
    fn default() -> Self {
        Self {
            half_open_windows: 2,
            close_windows: 3,
        }
    }
}

/// Rules by name, for `--rules PRESET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Thousands of steps or more: the default.
    #[default]
    Pretraining,
    /// A few hundred to a few thousand steps: windows of 20 steps, shorter patience in steps.
    FineTuning,
    /// Only what is certainly broken: divergence and non-finite numbers, no plateau.
    DivergenceOnly,
}

impl Preset {
    /// All presets with their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("pretraining", Self::Pretraining),
        ("fine_tuning", Self::FineTuning),
        ("divergence_only", Self::DivergenceOnly),
    ];

    /// The preset of that name; `-` and `_` are the same.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, preset)| preset)
    }

    /// Its rules.
    pub fn rules(self) -> BreakerRules {
        let mut rules = BreakerRules::default();
        match self {
            Self::Pretraining => {}
            Self::FineTuning => {
                rules.windows.step_size = 20;
                rules.plateau.warmup_steps = 100;
                rules.divergence.sustained_steps = 100;
            }
            Self::DivergenceOnly => rules.plateau.enabled = false,
        }
        rules
    }
}
