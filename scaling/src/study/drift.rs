//! Has the law broken? A monitor for a fit, fed with one residual a finished run.
//!
//! A law that held over thirty runs and misses the next three is a finding, and the sooner it is said the less compute is
//! spent on its advice. Refitting hides it: the new fit averages two regimes. So the old fit's predictions are held
//! against the new runs, and only *whether a run fell outside its interval* is used. This needs no normal residuals: it
//! asks no more of the intervals than that they miss about as often as they say.
//!
//! The evidence is a sum of bets (an *e-detector* of Shin, Ramdas and Rinaldo 2023, arXiv 2203.03532, of the
//! Shiryaev-Roberts kind). A bet `e = 1 + f (x - p) / p`, x = 1 when the run fell outside and 0 when not, has an
//! expectation of at most one as long as a run falls outside with probability p or less, whatever happened before. The
//! statistic `R <- (R + 1) e` then grows by at most one a run on average, and so the mean number of runs to a false alarm
//! at `R >= A` is at least A. Bets on both sides of the 90 % interval and on the 99 % interval, at three stakes each, are
//! averaged; an average of e-detectors is one. The limits p leave room for intervals that are honest but not exact.
//!
//! One run, one residual: checkpoints of a run share its luck and would raise false alarms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Fit, FitError};

/// Runs remembered for the report.
const RECENT_MAX: usize = 32;

/// Share of the largest legal stake that each bet risks.
const STAKES: [f64; 3] = [0.2, 0.5, 0.8];

/// What may be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftOptions {
    /// Mean number of runs to a false alarm, at least. 1000 unless given.
    pub runs_to_false_alarm: f64,
    /// Probability that a run falls above (or, the same, below) its 90 % interval while the law holds, at most. Nominal
    /// is .05; .10 unless given.
    pub miss_side: f64,
    /// Probability that a run falls outside its 99 % interval while the law holds, at most. Nominal is .01; .04 unless
    /// given, because a few dozen residuals say little about one in a hundred.
    pub miss_outer: f64,
    /// Runs further than this beyond the fit's data (factor on compute or a column) are passed over: a miss there would
    /// speak of the reach of the law, not of a change.
    pub reach_max: f64,
}

impl Default for DriftOptions {
    fn default() -> Self {
        Self {
            runs_to_false_alarm: 1000.0,
            miss_side: 0.10,
            miss_outer: 0.04,
            reach_max: 10.0,
        }
    }
}

/// What a fit said of a run before it was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foretold {
    /// Expected response.
    pub mean: f64,
    /// 90 % interval of a new run.
    pub inner: [f64; 2],
    /// 99 % interval of a new run.
    pub outer: [f64; 2],
}

/// A run held against what was foretold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The run.
    pub run_id: String,
    /// Response over expectation, less one.
    pub relative_error: f64,
    /// Error in units of the standard deviation that the 90 % interval implies on the side of the error (its half width
    /// over 1.645).
    pub z: f64,
    /// Outside the 90 % interval.
    pub outside_inner: bool,
    /// Outside the 99 % interval.
    pub outside_outer: bool,
}

/// The monitor. Its state is this struct and nothing else; serialise it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// What was set.
    pub options: DriftOptions,
    /// Runs scored.
    pub runs: u64,
    /// Runs outside their 90 % intervals.
    pub outside_inner: u64,
    /// Runs outside their 99 % intervals.
    pub outside_outer: u64,
    /// Runs passed over: too far beyond the data, or not a number.
    pub passed_over: u64,
    /// The statistic of each bet; never negative.
    detectors: Vec<f64>,
    /// The last runs, oldest first, at most 32.
    pub recent: Vec<Scored>,
    /// The run at which the evidence first reached its limit.
    pub broke_at: Option<String>,
}

impl Drift {
    /// A monitor that has seen nothing. Options outside their meaning are taken as the nearest that has one.
    pub fn new(options: DriftOptions) -> Self {
        let options = DriftOptions {
            runs_to_false_alarm: options.runs_to_false_alarm.max(2.0),
            miss_side: options.miss_side.clamp(1e-6, 0.5),
            miss_outer: options.miss_outer.clamp(1e-6, 0.5),
            reach_max: options.reach_max.max(1.0),
        };
        Self {
            options,
            runs: 0,
            outside_inner: 0,
            outside_outer: 0,
            passed_over: 0,
            detectors: vec![0.0; 3 * STAKES.len()],
            recent: Vec::new(),
            broke_at: None,
        }
    }

    /// Evidence that the law has broken: at `runs_to_false_alarm` it has been called broken.
    pub fn evidence(&self) -> f64 {
        self.detectors.iter().sum::<f64>() / self.detectors.len().max(1) as f64
    }

    /// Whether the law has been called broken. Stays so: a new fit needs a new monitor.
    pub fn broken(&self) -> bool {
        self.broke_at.is_some()
    }

    /// Takes the final `response` of one run at `point`. Call it with the fit that was made *without* the run.
    ///
    /// # Errors
    /// Those of [`Fit::predict`]: a column is missing or not positive.
    pub fn observe(
        &mut self,
        fit: &Fit,
        run_id: &str,
        point: &BTreeMap<String, f64>,
        response: f64,
    ) -> Result<Option<Scored>, FitError> {
        let inner = fit.predict(point, 0.9)?;
        let outer = fit.predict(point, 0.99)?;
        if inner.extrapolation.factor > self.options.reach_max {
            self.passed_over += 1;
            return Ok(None);
        }
        let foretold = Foretold {
            mean: inner.mean,
            inner: [inner.low, inner.high],
            outer: [outer.low, outer.high],
        };
        Ok(self.score(run_id, &foretold, response))
    }

    /// The same from a prediction made elsewhere. `None` where a number is not finite: such a run is passed over.
    pub fn score(&mut self, run_id: &str, foretold: &Foretold, response: f64) -> Option<Scored> {
        let Foretold { mean, inner, outer } = *foretold;
        let all = [mean, inner[0], inner[1], outer[0], outer[1], response];
        if all.iter().any(|value| !value.is_finite()) {
            self.passed_over += 1;
            return None;
        }
        let above = response > inner[1];
        let below = response < inner[0];
        let outside_outer = response > outer[1] || response < outer[0];
        let events = [
            (above, self.options.miss_side),
            (below, self.options.miss_side),
            (outside_outer, self.options.miss_outer),
        ];
        for (event, (happened, limit)) in events.into_iter().enumerate() {
            for (place, stake) in STAKES.into_iter().enumerate() {
                let bet = 1.0 + stake * (f64::from(u8::from(happened)) - limit) / limit;
                let statistic = &mut self.detectors[event * STAKES.len() + place];
                // Finite for ever: past 1e300 there is nothing more to prove.
                *statistic = ((*statistic + 1.0) * bet).min(1e300);
            }
        }
        let half = if response > mean {
            inner[1] - mean
        } else {
            mean - inner[0]
        };
        let scored = Scored {
            run_id: run_id.to_owned(),
            relative_error: response / mean - 1.0,
            z: (response - mean) / (half / 1.644_853_6).max(f64::MIN_POSITIVE),
            outside_inner: above || below,
            outside_outer,
        };
        self.runs += 1;
        self.outside_inner += u64::from(scored.outside_inner);
        self.outside_outer += u64::from(outside_outer);
        if self.recent.len() == RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(scored.clone());
        if self.broke_at.is_none() && self.evidence() >= self.options.runs_to_false_alarm {
            self.broke_at = Some(run_id.to_owned());
        }
        Some(scored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::random::{Purpose, generator};
    use rand_chacha::rand_core::RngCore;

    const FORETOLD: Foretold = Foretold {
        mean: 2.0,
        inner: [1.9, 2.1],
        outer: [1.8, 2.2],
    };

    /// Feeds runs that fall outside with the given probabilities until the alarm, at most `limit` runs.
    fn runs_to_alarm(index: u32, side: f64, outer: f64, limit: u64) -> u64 {
        let mut drift = Drift::new(DriftOptions::default());
        let mut draws = generator(7, Purpose::Break, index);
        while !drift.broken() && drift.runs < limit {
            let draw = draws.next_u64() as f64 / u64::MAX as f64;
            let response = if draw < outer / 2.0 {
                2.3
            } else if draw < outer {
                1.7
            } else if draw < outer / 2.0 + side {
                2.15
            } else if draw < 2.0 * side {
                1.85
            } else {
                2.0
            };
            drift.score("run", &FORETOLD, response);
        }
        drift.runs
    }

    #[test]
    fn a_false_alarm_takes_at_least_the_stated_number_of_runs_on_average() {
        // Intervals as bad as the options allow: the mean is at least 1000 by the theorem. Censoring only lowers it.
        let total: u64 = (0..200)
            .map(|index| runs_to_alarm(index, 0.10, 0.04, 10_000))
            .sum();
        assert!(total / 200 >= 1000, "mean {}", total / 200);
        // Exact intervals: a long silence. By Markov, at most 200 in 1000 would alarm within 200 runs at mean 1000.
        let early = (0..200)
            .filter(|index| runs_to_alarm(*index, 0.05, 0.01, 200) < 200)
            .count();
        assert!(early <= 4, "{early} of 200 alarmed within 200 runs");
    }

    #[test]
    fn a_break_is_called_within_a_few_runs_even_after_a_long_peace() {
        let mut drift = Drift::new(DriftOptions::default());
        for _ in 0..500 {
            drift.score("before", &FORETOLD, 2.01);
        }
        assert!(!drift.broken());
        let mut needed = 0;
        while !drift.broken() {
            drift.score(&format!("after-{needed}"), &FORETOLD, 2.4);
            needed += 1;
        }
        assert!(needed <= 4, "{needed} runs far outside");
        assert_eq!(
            drift.broke_at.as_deref(),
            Some(format!("after-{}", needed - 1).as_str())
        );
    }

    #[test]
    fn the_state_survives_json_and_junk_is_passed_over() {
        let mut drift = Drift::new(DriftOptions::default());
        assert!(drift.score("nan", &FORETOLD, f64::NAN).is_none());
        drift.score("one", &FORETOLD, 2.15);
        let text = serde_json::to_string(&drift).expect("serialises");
        let mut back: Drift = serde_json::from_str(&text).expect("reads");
        assert_eq!(back, drift);
        assert_eq!(
            (drift.runs, drift.passed_over, drift.outside_inner),
            (1, 1, 1)
        );
        back.score("two", &FORETOLD, 2.15);
        drift.score("two", &FORETOLD, 2.15);
        assert_eq!(back, drift);
    }
}
