//! Where will a run under way end? Its own points so far, a law of learning curves, and what the law missed on finished runs.
//!
//! The law is `ln L`'s median per bin of time against
//!
//! ```text
//! L(t) = E + A S(t)^-alpha - G (1 - rate(t) / peak)
//! ```
//!
//! S is the learning rate summed up to t (time itself without a schedule), the last term what is gained as the rate falls:
//! the form of Tissue et al. 2024 (arXiv 2408.11029) with the lag of its annealing area left out, which a few dozen bins
//! cannot tell. E, A and G enter linearly and are not negative; alpha is averaged over a grid with weights by fit, so that
//! a curve that any alpha fits equally well gives a wide answer and not a lucky one.
//!
//! *Robust*: every bin is a median, so isolated one-step losses, which healthy runs have by the dozen, change nothing.
//! *Calibrated*: the width is not derived from the law, which is wrong in small ways, but measured. A [`Calibration`] replays
//! finished runs up to the same share of their length, and the interval is a conformal one from their errors (Vovk et al.
//! 2005; Lei et al. 2018): the level holds if the run is one like them, whatever the law.

use serde::{Deserialize, Serialize};

use crate::quantile::sample_quantile;
use crate::study::curve_fit::{self, Fitted};

/// Bins in ln t between the end of the warm-up and now.
pub(crate) const BINS: usize = 40;

/// Bins below which nothing is said.
const BINS_MIN: usize = 10;

/// The end of a run is the mean of the law over this last share of it, the truth the median of the points there.
pub(crate) const END_SHARE: f64 = 0.04;

/// Nothing is said of a run before this share of its length.
const PROGRESS_MIN: f64 = 0.1;

/// Half width, relative, from which the end counts as not identified.
const TOO_WIDE: f64 = 0.1;

/// One logged loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Tokens or steps so far; the unit is the caller's, the same for a whole curve.
    pub at: f64,
    /// Loss, nats per token.
    pub loss: f64,
}

/// A run's losses, its planned length and, if known, its schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The run.
    pub run_id: String,
    /// Points so far, in any order; those that are not positive numbers are passed over.
    pub points: Vec<CurvePoint>,
    /// Planned end, in the unit of `at`.
    pub end: f64,
    /// The learning rate as planned from start to end: (at, rate), straight lines between. Empty if not known.
    pub schedule: Vec<(f64, f64)>,
}

impl Curve {
    /// The curve up to a share of its planned length.
    pub fn until(&self, share: f64) -> Self {
        let last = share * self.end;
        let points = self
            .points
            .iter()
            .copied()
            .filter(|point| point.at <= last)
            .collect();
        Self {
            points,
            ..self.clone()
        }
    }

    /// How a finished run ended: the median of its points in the last 4 % (at least three points). `None` where it has
    /// not come within 1 % of its planned end.
    pub fn final_loss(&self) -> Option<f64> {
        let mut points = curve_fit::clean(self);
        let last = points.last()?.at;
        if last < 0.99 * self.end {
            return None;
        }
        let from = (1.0 - END_SHARE) * self.end;
        let mut first = points.partition_point(|point| point.at < from);
        first = first.min(points.len().saturating_sub(3));
        let mut losses: Vec<f64> = points.drain(first..).map(|point| point.loss).collect();
        losses.sort_by(f64::total_cmp);
        sample_quantile(&losses, 0.5)
    }
}

/// What finished runs taught: errors of forecasts made at shares of their length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Runs that finished and could be replayed.
    pub runs: usize,
    /// For each share of length the errors there, ascending by share.
    pub stages: Vec<Stage>,
    /// Finished runs' own alpha: middle and spread of ln alpha. Steadies a young run. `None` with fewer than three runs.
    pub exponent: Option<(f64, f64)>,
    /// Finished runs' own gain from the falling rate over their final loss: middle and spread. `None` without schedules.
    pub gain: Option<(f64, f64)>,
}

/// Errors of forecasts at one share of the length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Share of the length that was shown.
    pub progress: f64,
    /// One a run: ln of true over forecast loss, in units of the forecast's own scale; ascending.
    pub scores: Vec<f64>,
}

/// Shares of the length at which finished runs are replayed.
pub const STAGES: [f64; 8] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85];

/// Whether an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// It does.
    Yes,
    /// An interval is given, but its level is not backed by enough finished runs.
    Weakly,
    /// Too early, or too wide to be of use; `why` says which.
    No,
}

/// How the run will end, as far as can be said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The run.
    pub run_id: String,
    /// Share of the planned length that has been seen.
    pub progress: f64,
    /// Loss at the planned end, nats per token; `None` where nothing can be said.
    pub loss: Option<f64>,
    /// Interval for it at `level`.
    pub interval: Option<[f64; 2]>,
    /// Level of the interval.
    pub level: f64,
    /// Whether it stands.
    pub identified: Known,
    /// Reasons, a sentence each; empty where it stands.
    pub why: Vec<String>,
    /// The run's alpha, averaged.
    pub exponent: Option<f64>,
    /// Finished runs behind the interval.
    pub calibrated_on: usize,
}

/// Replays finished runs. Those without an end, or with too few points, are passed over.
pub fn calibrate(finished: &[Curve]) -> Calibration {
    calibrate_at(finished, &STAGES)
}

/// The same at these shares of their length, ascending. For one run the share that has been seen of it is best: where a
/// rate falls, errors at an earlier share are other errors.
pub fn calibrate_at(finished: &[Curve], shares: &[f64]) -> Calibration {
    let mut whole: Vec<(&Curve, f64, Fitted)> = Vec::new();
    for curve in finished {
        let (Some(end), Some(fitted)) = (
            curve.final_loss(),
            curve_fit::fit(curve, &Calibration::default()),
        ) else {
            continue;
        };
        whole.push((curve, end, fitted));
    }
    let exponents: Vec<f64> = whole
        .iter()
        .map(|(_, _, fitted)| libm::log(fitted.exponent))
        .collect();
    let gains: Vec<f64> = whole
        .iter()
        .filter(|(curve, _, _)| !curve.schedule.is_empty())
        .map(|(_, end, fitted)| fitted.gain / end)
        .collect();
    let mut calibration = Calibration {
        runs: whole.len(),
        stages: Vec::new(),
        exponent: middle_and_spread(&exponents, 0.3),
        gain: middle_and_spread(&gains, 0.01),
    };
    for progress in shares.iter().copied() {
        let mut scores: Vec<f64> = whole
            .iter()
            .filter_map(|(curve, end, _)| {
                let fitted = curve_fit::fit(&curve.until(progress), &calibration)?;
                Some(libm::log(end / fitted.loss) / fitted.scale)
            })
            .collect();
        scores.sort_by(f64::total_cmp);
        calibration.stages.push(Stage { progress, scores });
    }
    calibration
}

/// Median and a robust standard deviation, not less than `least`; `None` for fewer than three values.
fn middle_and_spread(values: &[f64], least: f64) -> Option<(f64, f64)> {
    if values.len() < 3 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sample_quantile(&sorted, 0.5)?;
    let mut away: Vec<f64> = sorted.iter().map(|value| (value - middle).abs()).collect();
    away.sort_by(f64::total_cmp);
    let spread = 1.4826 * sample_quantile(&away, 0.5)?;
    Some((middle, spread.max(least)))
}

/// Says how a run will end. `level` is that of the interval, .9 for instance.
pub fn forecast(curve: &Curve, calibration: &Calibration, level: f64) -> Forecast {
    let points = curve_fit::clean(curve);
    let last = points.last().map_or(0.0, |point| point.at);
    let progress = if curve.end > 0.0 {
        (last / curve.end).min(1.0)
    } else {
        0.0
    };
    let mut answer = Forecast {
        run_id: curve.run_id.clone(),
        progress,
        loss: None,
        interval: None,
        level: level.clamp(0.0, 1.0),
        identified: Known::No,
        why: Vec::new(),
        exponent: None,
        calibrated_on: 0,
    };
    if progress < PROGRESS_MIN {
        answer.why.push(format!(
            "{:.0} % of the planned length has been seen; nothing is said before {:.0} %",
            100.0 * progress,
            100.0 * PROGRESS_MIN
        ));
        return answer;
    }
    let fitted = curve_fit::fit(curve, calibration).filter(|fitted| fitted.bins >= BINS_MIN);
    let Some(fitted) = fitted else {
        answer.why.push(format!(
            "fewer than {BINS_MIN} separate stretches of the curve have points"
        ));
        return answer;
    };
    answer.exponent = Some(fitted.exponent);
    answer.identified = Known::Yes;
    let Some(stage) = nearest_stage(calibration, progress) else {
        answer.loss = Some(fitted.loss);
        answer.identified = Known::No;
        answer.why.push(
            "no finished run to measure errors on: the loss is a reading of the law and has no interval".to_owned(),
        );
        return answer;
    };
    let count = stage.scores.len();
    answer.calibrated_on = count;
    let (low, high, backed) = conformal(&stage.scores, answer.level);
    let centre = sample_quantile(&stage.scores, 0.5).unwrap_or(0.0);
    let loss = fitted.loss * libm::exp(centre * fitted.scale);
    let ends = [
        fitted.loss * libm::exp(low * fitted.scale),
        fitted.loss * libm::exp(high * fitted.scale),
    ];
    answer.loss = Some(loss);
    answer.interval = Some(ends);
    if !backed {
        answer.identified = Known::Weakly;
        answer.why.push(format!(
            "{count} finished runs back a level of {:.2} at most: the interval is stretched to {:.2} by a rule of thumb",
            f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / (count as f64 + 1.0),
            answer.level
        ));
    }
    let half = 0.5 * (ends[1] - ends[0]) / loss;
    if half > TOO_WIDE {
        answer.identified = Known::No;
        answer.why.push(format!(
            "the interval is {:.0} % of the loss to either side",
            100.0 * half
        ));
    }
    if !curve.schedule.is_empty() && fitted.gain_from_prior {
        answer.identified = if answer.identified == Known::No {
            Known::No
        } else {
            Known::Weakly
        };
        answer.why.push(
            "the rate has hardly begun to fall: what that will gain is taken from finished runs alone".to_owned(),
        );
    }
    answer
}

fn nearest_stage(calibration: &Calibration, progress: f64) -> Option<&Stage> {
    // The earlier neighbour: errors shrink as a run goes on, so this errs to the wide side.
    let usable = |stage: &&Stage| stage.scores.len() >= 3;
    let earlier = calibration
        .stages
        .iter()
        .filter(usable)
        .rfind(|stage| stage.progress <= progress + 1e-9);
    earlier.or_else(|| calibration.stages.iter().find(usable))
}

/// Conformal interval of the scores: symmetric about their median. The rank is that which makes the level exact for
/// exchangeable runs; where there are too few runs for it, the largest deviation is stretched as normal order statistics
/// would be, and the last value says `false`.
fn conformal(scores: &[f64], level: f64) -> (f64, f64, bool) {
    let centre = sample_quantile(scores, 0.5).unwrap_or(0.0);
    let mut away: Vec<f64> = scores.iter().map(|score| (score - centre).abs()).collect();
    away.sort_by(f64::total_cmp);
    let count = away.len();
    let rank = (level * (count as f64 + 1.0)).ceil() as usize;
    let (half, backed) = match away.get(rank.max(1) - 1) {
        Some(half) => (*half, true),
        None => {
            let largest = away.last().copied().unwrap_or(0.0);
            // t quantile at the level asked over the one that the count can back.
            let degrees = (count as f64 - 1.0).max(1.0);
            let can = count as f64 / (count as f64 + 1.0);
            let stretch = crate::quantile::student_t(level.min(0.999), degrees)
                / crate::quantile::student_t(can, degrees);
            (largest * stretch.max(1.0), false)
        }
    };
    (centre - half, centre + half, backed)
}
