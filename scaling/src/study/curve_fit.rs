//! The law of learning curves, fitted to medians of bins. See [`crate::study::curves`].

use crate::quantile::sample_quantile;
use crate::study::curves::{BINS, Calibration, Curve, CurvePoint, END_SHARE};
use crate::study::least::non_negative;

/// Exponents that are averaged over: .05 to 2.
const EXPONENTS: usize = 30;

/// Points at which the law is averaged over the last stretch of a run.
const END_POINTS: usize = 8;

/// Points of the schedule's integral.
const SCHEDULE_POINTS: usize = 2000;

/// A fitted curve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fitted {
    /// Loss over the last stretch of the run as the law has it.
    pub(crate) loss: f64,
    /// What errors are measured in, ln loss; see [`fit`].
    pub(crate) scale: f64,
    /// Alpha, averaged in ln.
    pub(crate) exponent: f64,
    /// G of the best alpha, nats.
    pub(crate) gain: f64,
    /// Whether the data say nothing of G.
    pub(crate) gain_from_prior: bool,
    /// Bins with points.
    pub(crate) bins: usize,
}

/// Points that are positive numbers, ascending; of several at one place the last logged counts (a resumed run).
pub(crate) fn clean(curve: &Curve) -> Vec<CurvePoint> {
    let legal = |value: f64| value.is_finite() && value > 0.0;
    let mut points: Vec<CurvePoint> = curve
        .points
        .iter()
        .copied()
        .filter(|point| legal(point.at) && legal(point.loss))
        .collect();
    points.sort_by(|one, two| one.at.total_cmp(&two.at));
    points.reverse();
    points.dedup_by(|next, kept| next.at == kept.at);
    points.reverse();
    points
}

/// Learning rate summed up and now, both relative to the peak.
struct Schedule {
    /// (at, sum of rate over peak up to there, rate over peak), ascending.
    table: Vec<(f64, f64, f64)>,
    /// Where the peak is first reached.
    warm: f64,
}

impl Schedule {
    fn of(curve: &Curve) -> Option<Self> {
        let mut corners = curve.schedule.clone();
        corners.retain(|(at, rate)| at.is_finite() && rate.is_finite() && *rate >= 0.0);
        corners.sort_by(|one, two| one.0.total_cmp(&two.0));
        let peak = corners.iter().map(|corner| corner.1).fold(0.0, f64::max);
        if corners.len() < 2 || peak <= 0.0 {
            return None;
        }
        let warm = corners.iter().find(|corner| corner.1 >= 0.999 * peak)?.0;
        let mut table = Vec::with_capacity(SCHEDULE_POINTS + 1);
        let (mut sum, mut before) = (0.0, None);
        for step in 0..=SCHEDULE_POINTS {
            let at = curve.end * step as f64 / SCHEDULE_POINTS as f64;
            let rate = between(&corners, at) / peak;
            if let Some((last_at, last_rate)) = before {
                sum += 0.5 * (rate + last_rate) * (at - last_at);
            }
            before = Some((at, rate));
            table.push((at, sum, rate));
        }
        Some(Self { table, warm })
    }

    fn at(&self, at: f64) -> (f64, f64) {
        let next = self
            .table
            .partition_point(|entry| entry.0 < at)
            .min(self.table.len() - 1)
            .max(1);
        let (one, two) = (self.table[next - 1], self.table[next]);
        let share = ((at - one.0) / (two.0 - one.0)).clamp(0.0, 1.0);
        (
            one.1 + share * (two.1 - one.1),
            one.2 + share * (two.2 - one.2),
        )
    }
}

fn between(corners: &[(f64, f64)], at: f64) -> f64 {
    let next = corners.partition_point(|corner| corner.0 < at);
    if next == 0 {
        return corners[0].1;
    }
    if next == corners.len() {
        return corners[next - 1].1;
    }
    let (one, two) = (corners[next - 1], corners[next]);
    let share = if two.0 > one.0 {
        (at - one.0) / (two.0 - one.0)
    } else {
        1.0
    };
    one.1 + share * (two.1 - one.1)
}

/// Fits the law. `None` where fewer than five bins have points or the planned length is not a positive number.
pub(crate) fn fit(curve: &Curve, calibration: &Calibration) -> Option<Fitted> {
    if !(curve.end.is_finite() && curve.end > 0.0) {
        return None;
    }
    let points = clean(curve);
    let last = points.last()?.at;
    let schedule = Schedule::of(curve);
    let warm = schedule.as_ref().map_or(0.0, |schedule| schedule.warm);
    // The first stretch is another regime (and the warm-up yet another), but a run that is mostly warm-up has no other.
    let first = (0.02 * curve.end).max(1.2 * warm).min(0.5 * last);
    let bins = medians(&points, first, last);
    if bins.len() < 5 {
        return None;
    }
    let place = |at: f64| match &schedule {
        // In shares of the length, so that A is a loss.
        Some(schedule) => {
            let (sum, rate) = schedule.at(at);
            (sum.max(1e-6 * curve.end) / curve.end, 1.0 - rate)
        }
        None => (at / curve.end, 0.0),
    };
    let level = bins.last()?.1;
    let places: Vec<(f64, f64)> = bins.iter().map(|bin| place(bin.0)).collect();
    let fallen = places.iter().map(|place| place.1).fold(0.0, f64::max);
    let response: Vec<f64> = bins.iter().map(|bin| bin.1).collect();
    let weights: Vec<f64> = bins.iter().map(|bin| bin.2).collect();
    let ends: Vec<(f64, f64)> = (0..END_POINTS)
        .map(|index| {
            let share = (index as f64 + 0.5) / END_POINTS as f64;
            place(curve.end * (1.0 - END_SHARE * (1.0 - share)))
        })
        .collect();
    let mut candidates = Vec::new();
    for index in 0..EXPONENTS {
        let exponent = 0.05 * libm::pow(40.0, index as f64 / (EXPONENTS - 1) as f64);
        let row = |place: &(f64, f64)| {
            let mut row = vec![1.0, libm::pow(place.0, -exponent)];
            if schedule.is_some() {
                row.push(-place.1);
            }
            row
        };
        let mut rows: Vec<Vec<f64>> = places.iter().map(row).collect();
        let (mut response, mut weights) = (response.clone(), weights.clone());
        if let (Some(_), Some((gain, spread))) = (&schedule, calibration.gain) {
            // What finished runs gained, as one more observation with the precision they give it.
            rows.push(vec![0.0, 0.0, 1.0]);
            response.push(gain * level);
            weights.push((noise(&bins) / (spread * level)).powi(2));
        }
        let positive = vec![true; rows[0].len()];
        if let Some(solved) = non_negative(&rows, &response, &weights, &positive) {
            let value = |place: &(f64, f64)| -> f64 {
                row(place)
                    .iter()
                    .zip(&solved.coefficients)
                    .map(|(x, b)| x * b)
                    .sum()
            };
            let end = ends.iter().map(value).sum::<f64>() / END_POINTS as f64;
            let gain = solved.coefficients.get(2).copied().unwrap_or(0.0);
            candidates.push((exponent, solved.sum_of_squares, end, gain));
        }
    }
    let free = bins.len() as f64 - 3.0 - f64::from(u8::from(schedule.is_some()));
    let best = candidates
        .iter()
        .map(|candidate| candidate.1)
        .fold(f64::INFINITY, f64::min);
    let variance = (best / free.max(1.0)).max(1e-12 * level * level);
    let (mut total, mut mean, mut square, mut exponent, mut gain) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (alpha, squares, end, candidate_gain) in
        candidates.iter().filter(|candidate| candidate.2 > 0.0)
    {
        let prior = calibration.exponent.map_or(0.0, |(middle, spread)| {
            ((libm::log(*alpha) - middle) / spread).powi(2)
        });
        let weight = libm::exp(-0.5 * ((squares - best) / variance + prior));
        total += weight;
        mean += weight * libm::log(*end);
        square += weight * libm::log(*end).powi(2);
        exponent += weight * libm::log(*alpha);
        gain += weight * candidate_gain;
    }
    // Weights underflow together where no exponent gives a positive end.
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let mean = mean / total;
    let doubt = (square / total - mean * mean).max(0.0).sqrt();
    // Errors grow with what is still to come and with what the exponent leaves open; the last part is a run's own noise.
    let to_come = (libm::log(level) - mean).abs();
    let scale = (doubt * doubt + (0.2 * to_come).powi(2) + 0.002 * 0.002).sqrt();
    Some(Fitted {
        loss: libm::exp(mean),
        scale,
        exponent: libm::exp(exponent / total),
        gain: gain / total,
        gain_from_prior: fallen < 0.05,
        bins: bins.len(),
    })
}

/// (middle in time, median loss, weight) of the bins with points.
fn medians(points: &[CurvePoint], first: f64, last: f64) -> Vec<(f64, f64, f64)> {
    let ratio = (last / first).max(1.0 + 1e-9);
    let mut bins: Vec<Vec<CurvePoint>> = vec![Vec::new(); BINS];
    for point in points.iter().filter(|point| point.at >= first) {
        let share = libm::log(point.at / first) / libm::log(ratio);
        bins[((share * BINS as f64) as usize).min(BINS - 1)].push(*point);
    }
    bins.iter()
        .filter(|bin| !bin.is_empty())
        .map(|bin| {
            let mut losses: Vec<f64> = bin.iter().map(|point| point.loss).collect();
            losses.sort_by(f64::total_cmp);
            let at = bin.iter().map(|point| point.at).sum::<f64>() / bin.len() as f64;
            let count = bin.len() as f64;
            // Beyond a few points a bin is as good as the law, not as its mean.
            (
                at,
                sample_quantile(&losses, 0.5).unwrap_or(losses[0]),
                count / (count + 3.0),
            )
        })
        .collect()
}

/// Robust noise of the bins: median absolute second difference (Gasser et al. 1986), which a smooth curve does not enter.
fn noise(bins: &[(f64, f64, f64)]) -> f64 {
    let mut differences: Vec<f64> = bins
        .windows(3)
        .map(|three| (three[0].1 - 2.0 * three[1].1 + three[2].1).abs())
        .collect();
    differences.sort_by(f64::total_cmp);
    // Of normal noise s the second difference has standard deviation sqrt(6) s.
    (1.4826 * sample_quantile(&differences, 0.5).unwrap_or(0.0) / 6.0_f64.sqrt())
        .max(1e-4 * bins[0].1)
}
