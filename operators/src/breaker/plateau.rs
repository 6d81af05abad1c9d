//! Has the run stopped learning? The curve of window medians, and the test for flatness.
//!
//! **Why not "slope is zero".** Loss falls roughly with the logarithm of the step, so the slope per step of every healthy run
//! goes to zero, and over any fixed number of steps it drowns in noise. Two things make the question well posed. The horizon is
//! a share of the steps so far; and flat is judged against the run itself: its progress per e-fold of steps, the best it has
//! shown, shrunk by a power law that is steeper than loss curves are. A plateau is a slope whose interval (Theil–Sen, Sen 1968)
//! reaches zero or lies above, whose estimate is below a quarter of the expected progress, and whose interval leaves out six
//! tenths of it and is narrow enough to tell. The last part makes it a test of equivalence: a noisy curve is *unsure*, not flat,
//! and so is one of which less than `nats_min` could be expected. Several evaluations in a row must agree, and several horizons
//! are tried: the short ones are quick where noise is small, the long ones see through noise.
//!
//! **Schedules.** During a warm-up nothing is judged. Near its planned end a cosine run flattens, and there is nothing left to
//! save: past `planned_end_share` of the plan, nothing is judged either. Where no plan is known, the learning rate tells: a
//! gradual decay to a small share of its peak is a schedule coming to its end, until it has lain at its floor for long. A rate
//! that collapsed in a few steps, or one that is still high, excuses nothing. A rate that rises inside the horizon (a warm
//! restart) leaves the question open.
//!
//! The curve has at most `POINTS_MAX` points of equal width; when it is full, neighbours are merged and the width doubles. A
//! point is then still a hundredth of the run, which is as fine as a share of the run needs.

use serde::{Deserialize, Serialize};

use super::rules::PlateauRule;
use crate::theil_sen::{Slope, median, noise, theil_sen};

/// Points of the curve before neighbours are merged. 128: a horizon of 40 % then has 25 to 50 of them.
const POINTS_MAX: usize = 128;

/// One point of the curve: one window, or several neighbours. In order: mean last step, mean level in nats, last learning rate, windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Point(f64, f64, Option<f64>, u32);

impl Point {
    fn step(&self) -> f64 {
        self.0
    }

    fn level(&self) -> f64 {
        self.1
    }

    fn learning_rate(&self) -> Option<f64> {
        self.2
    }

    fn merged(self, next: Self) -> Self {
        let (a, b) = (f64::from(self.3), f64::from(next.3));
        let mean = |x: f64, y: f64| (x * a + y * b) / (a + b);
        Self(
            mean(self.0, next.0),
            mean(self.1, next.1),
            next.2.or(self.2),
            self.3.saturating_add(next.3),
        )
    }
}

/// The curve of one attempt, and the best progress it has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    /// Windows in a point, minus one in the log of two: 0 means 1, 1 means 2, 2 means 4.
    doublings: u32,
    points: Vec<Point>,
    /// Windows that do not make a point yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<Point>,
    /// Best progress so far: (nats per e-fold of steps, at step).
    #[serde(skip_serializing_if = "Option::is_none")]
    best_rate: Option<(f64, f64)>,
}

/// What the curve looks like now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Look {
    /// Too early, too noisy, or not a time to judge.
    Unsure,
    /// Flat over this horizon.
    Flat(Horizon),
    /// Making progress over this horizon.
    Moving(Horizon),
}

/// The stretch of the curve that was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Horizon {
    /// Slope of the log-perplexity in nats per step.
    pub(super) slope: Slope,
    /// The slope that would have been enough progress to stay closed, in nats per step (negative).
    pub(super) threshold: f64,
    /// First step of the stretch.
    pub(super) first_step: f64,
    /// Last step of the stretch.
    pub(super) last_step: f64,
    /// Windows in the stretch.
    pub(super) windows: u32,
}

/// Adds a closed window; true when it completed a point, so that there is something new to judge.
pub(super) fn push(
    curve: &mut Curve,
    rule: &PlateauRule,
    step: f64,
    level: f64,
    learning_rate: Option<f64>,
) -> bool {
    if !(step.is_finite() && level.is_finite())
        || curve.points.last().is_some_and(|last| step <= last.step())
    {
        return false;
    }
    let next = Point(step, level, learning_rate, 1);
    let partial = curve
        .partial
        .take()
        .map_or(next, |partial| partial.merged(next));
    if partial.3 < 1_u32.checked_shl(curve.doublings).unwrap_or(u32::MAX) {
        curve.partial = Some(partial);
        return false;
    }
    curve.points.push(partial);
    note_rate(curve, rule);
    if curve.points.len() >= POINTS_MAX {
        curve.points = curve
            .points
            .chunks(2)
            .filter_map(|pair| pair.iter().copied().reduce(Point::merged))
            .collect();
        curve.doublings = curve.doublings.saturating_add(1);
    }
    true
}

/// Begins the curve anew at another level (new data, a warm restart); what was shown stays the measure.
pub(super) fn rebase(curve: &mut Curve) {
    curve.points.clear();
    curve.partial = None;
}

/// Judges the curve; `done` is the share of the plan that is done, where there is a plan.
pub(super) fn look(
    curve: &Curve,
    rule: &PlateauRule,
    warmup_steps: Option<i64>,
    done: Option<f64>,
) -> Look {
    let Some(last) = curve.points.last() else {
        return Look::Unsure;
    };
    let warmup = warmup_steps.unwrap_or(rule.warmup_steps).max(0) as f64;
    if !rule.enabled || at_the_end_of_its_schedule(curve, rule, done) {
        return Look::Unsure;
    }
    let (mut flat, mut moving) = (None, None);
    for share in &rule.horizons {
        let from = (last.step() * (1.0 - share.clamp(0.01, 0.95))).max(warmup);
        let stretch: Vec<Point> = curve
            .points
            .iter()
            .copied()
            .filter(|point| point.step() >= from)
            .collect();
        match judge(curve, rule, &stretch) {
            Look::Flat(horizon) => flat = Some(horizon),
            Look::Moving(horizon) => moving = moving.or(Some(horizon)),
            Look::Unsure => {}
        }
    }
    // The longest flat stretch says most about the onset; the shortest that moves says that it moves now.
    flat.map(Look::Flat)
        .or(moving.map(Look::Moving))
        .unwrap_or(Look::Unsure)
}

fn judge(curve: &Curve, rule: &PlateauRule, stretch: &[Point]) -> Look {
    let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
        return Look::Unsure;
    };
    if stretch.len() < rule.points_min.max(3) || rising(first, last) {
        return Look::Unsure;
    }
    let points: Vec<(f64, f64)> = stretch
        .iter()
        .map(|point| (point.step(), point.level()))
        .collect();
    let Some(slope) = theil_sen(&points, rule.level) else {
        return Look::Unsure;
    };
    let run = last.step() - first.step();
    let expected = expected_progress(curve, rule, first.step(), last.step());
    if expected < rule.nats_min {
        return Look::Unsure;
    }
    let progress = -slope.slope * run;
    let horizon = Horizon {
        slope,
        threshold: -rule.open_ratio * expected / run,
        first_step: first.step(),
        last_step: last.step(),
        windows: stretch
            .iter()
            .fold(0, |sum, point| sum.saturating_add(point.3)),
    };
    let tells = (slope.slope - slope.low) * run <= rule.width_ratio * expected;
    let excluded = -slope.low * run < rule.exclude_ratio * expected;
    if slope.high >= 0.0 && progress < rule.open_ratio * expected && excluded && tells {
        Look::Flat(horizon)
    } else if slope.high < 0.0 && progress >= rule.close_ratio * expected {
        Look::Moving(horizon)
    } else {
        Look::Unsure
    }
}

/// The level now (median of the last three points) and the noise of a point, in nats.
pub(super) fn level(curve: &Curve) -> Option<(f64, f64)> {
    let levels: Vec<f64> = curve.points.iter().map(Point::level).collect();
    let tail = |n: usize| {
        levels
            .get(levels.len().saturating_sub(n)..)
            .unwrap_or_default()
    };
    Some((median(tail(3))?, noise(tail(32)).unwrap_or(0.0)))
}

/// Progress expected between two steps, in nats: the expected rate, integrated over the logarithm of the step as it shrinks.
fn expected_progress(curve: &Curve, rule: &PlateauRule, from: f64, to: f64) -> f64 {
    let rate = expected_rate(curve, rule, from);
    let folds = if rule.decay > 0.0 {
        (1.0 - libm::pow(from / to, rule.decay)) / rule.decay
    } else {
        libm::log(to / from)
    };
    rate * folds
}

/// Progress expected at `step`, in nats per e-fold of steps.
fn expected_rate(curve: &Curve, rule: &PlateauRule, step: f64) -> f64 {
    curve.best_rate.map_or(0.0, |(rate, at)| {
        rate * libm::pow((at / step).min(1.0), rule.decay)
    })
}

/// Notes the progress that the newest point shows against the lower envelope of the curve at two thirds of its step; medians of
/// three on both sides, so that one odd window makes no promise that the run cannot keep.
fn note_rate(curve: &mut Curve, rule: &PlateauRule) {
    let points = &curve.points;
    let Some(now) = points
        .len()
        .checked_sub(2)
        .and_then(|i| points.get(i))
        .copied()
    else {
        return;
    };
    let around = |i: usize| {
        let levels: Vec<f64> = points
            .get(i.saturating_sub(1)..(i + 2).min(points.len()))
            .unwrap_or_default()
            .iter()
            .map(Point::level)
            .collect();
        median(&levels)
    };
    let then = points
        .iter()
        .rposition(|point| point.step() > 0.0 && point.step() * 1.5 <= now.step());
    let (Some(then), Some(new)) = (then, around(points.len() - 2)) else {
        return;
    };
    let envelope = (0..=then).filter_map(around).reduce(f64::min);
    let (Some(old), Some(then)) = (envelope, points.get(then)) else {
        return;
    };
    let rate = (old - new) / libm::log(now.step() / then.step());
    let middle = libm::sqrt(now.step() * then.step());
    if rate > 0.0 && rate > expected_rate(curve, rule, middle) {
        curve.best_rate = Some((rate, middle));
    }
}

fn rising(first: &Point, last: &Point) -> bool {
    matches!((first.learning_rate(), last.learning_rate()), (Some(a), Some(b)) if b > 0.0 && a < 0.8 * b)
}

fn at_the_end_of_its_schedule(curve: &Curve, rule: &PlateauRule, done: Option<f64>) -> bool {
    if let Some(share) = done {
        return share >= rule.planned_end_share;
    }
    let rates: Vec<(f64, f64)> = curve
        .points
        .iter()
        .filter_map(|point| Some((point.step(), point.learning_rate()?)))
        .collect();
    let Some((now, rate)) = rates.last().copied() else {
        return false;
    };
    let peak = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if peak <= 0.0 || rate > rule.schedule_end_lr * peak {
        return false;
    }
    let step_of = |found: Option<&(f64, f64)>| found.map_or(now, |(step, _)| *step);
    let high = step_of(rates.iter().rfind(|(_, rate)| *rate >= 0.9 * peak));
    let low = step_of(
        rates
            .iter()
            .find(|(step, rate)| *step > high && *rate <= rule.schedule_end_lr * peak),
    );
    let floor = step_of(
        rates
            .iter()
            .find(|(step, r)| *step >= low && (*r - rate).abs() <= 0.01 * peak),
    );
    let gradual = low - high >= rule.schedule_gradual_share * low
        && rates
            .iter()
            .filter(|(step, _)| *step > high && *step < low)
            .count()
            >= 2;
    gradual && now - floor < rule.schedule_floor_share * now
}
