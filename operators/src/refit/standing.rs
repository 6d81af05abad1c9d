//! Whether a fit is still worth what it was: held against the last one in good order, and against the runs that came since.
//!
//! A fit is *degraded* when its verdict is worse, the interval of its floor much wider, or its back-test much worse than when
//! it was last in good order. A law is *broken* when new runs fall outside what the fits before them had foretold more often
//! than the law could explain: the monitor `cairn_scaling::study::drift`, whose state goes from fit to fit with the asks.

use cairn_avro::record::{FitVerdict, ScalingFit};
use serde::{Deserialize, Serialize};

/// Names that laws give to the loss that no size overcomes.
const FLOORS: [&str; 3] = ["e", "E", "floor"];

/// When a fit is degraded, and a law broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StandingRules {
    /// The range of E is this many times as wide, relative to E, as in the last fit in good order.
    pub width_ratio: f64,
    /// A range of E narrower than this share of E is never too wide.
    pub width_min: f64,
    /// The greatest relative error of the back-test is this many times what it was, and a run lies outside its interval.
    pub backtest_ratio: f64,
    /// Back-tests with a relative error below this are never bad.
    pub backtest_min: f64,
    /// A law that holds is called broken once in so many new runs at most.
    pub runs_to_false_alarm: f64,
}

impl Default for StandingRules {
    fn default() -> Self {
        Self {
            width_ratio: 2.0,
            width_min: 0.05,
            backtest_ratio: 2.0,
            backtest_min: 0.01,
            runs_to_false_alarm: 1_000.0,
        }
    }
}

/// How a fit stands, better first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As good as it was.
    #[default]
    Fine,
    /// Worse than it was.
    Degraded,
    /// New runs do not obey it.
    Broken,
}

impl Standing {
    /// As records and telegrams call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
        }
    }
}

/// What is held against a later fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measures {
    pub(super) verdict: FitVerdict,
    /// Width of the floor's range over the floor.
    pub(super) width: Option<f64>,
    /// Greatest relative error of the back-test.
    pub(super) backtest: Option<f64>,
    /// Held-out runs outside their interval.
    pub(super) missed: usize,
}

/// What was seen of a law so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TrackRecord {
    pub(super) standing: Standing,
    /// The last fit in good order.
    pub(super) good: Measures,
}

/// A way in which a fit is worse.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    Broken {
        outside: i32,
        runs: i32,
        run_id: String,
    },
    Verdict {
        before: FitVerdict,
        now: FitVerdict,
    },
    Width {
        before: f64,
        now: f64,
    },
    Backtest {
        before: f64,
        now: f64,
    },
}

impl Trouble {
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Broken { .. } => Standing::Broken,
            _ => Standing::Degraded,
        }
    }

    /// One sentence, with the numbers.
    pub(super) fn sentence(&self) -> String {
        let percent = |share: &f64| format!("{:.1} %", 100.0 * share);
        match self {
            Self::Broken {
                outside,
                runs,
                run_id,
            } => format!(
                "since run {run_id} the runs are not those foretold: {outside} of {runs} outside the 99 % interval"
            ),
            Self::Verdict { before, now } => {
                format!("the verdict was {} and is {}", word(*before), word(*now))
            }
            Self::Width { before, now } => format!(
                "the range of E is {} of E wide and was {}",
                percent(now),
                percent(before)
            ),
            Self::Backtest { before, now } => format!(
                "the back-test is off by {} and was by {}",
                percent(now),
                percent(before)
            ),
        }
    }

    /// Its numbers, for those who translate the sentence.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Broken { outside, runs, .. } => vec![
                ("outside", f64::from(*outside)),
                ("new_runs", f64::from(*runs)),
            ],
            Self::Verdict { .. } => Vec::new(),
            Self::Width { before, now } => {
                vec![("width_ratio_before", *before), ("width_ratio", *now)]
            }
            Self::Backtest { before, now } => vec![
                ("backtest_error_ratio_before", *before),
                ("backtest_error_ratio", *now),
            ],
        }
    }
}

fn word(verdict: FitVerdict) -> &'static str {
    match verdict {
        FitVerdict::Usable => "usable",
        FitVerdict::Weak => "weak",
        FitVerdict::Refused => "refused",
        FitVerdict::Unknown => "unknown",
    }
}

/// Worse is greater.
pub(super) fn rank(verdict: FitVerdict) -> u8 {
    match verdict {
        FitVerdict::Usable => 0,
        FitVerdict::Weak => 1,
        FitVerdict::Refused | FitVerdict::Unknown => 2,
    }
}

impl Measures {
    pub(super) fn of(fit: &ScalingFit) -> Self {
        let floor = fit
            .parameters
            .iter()
            .find(|parameter| FLOORS.contains(&&*parameter.name));
        let width = floor.and_then(|floor| {
            let value = floor.value.filter(|value| *value > 0.0)?;
            let ends = floor.range_low.zip(floor.range_high);
            let (low, high) = ends.or(floor.low.zip(floor.high))?;
            Some((high - low) / value)
        });
        let errors = fit
            .backtest
            .iter()
            .map(|point| (point.predicted / point.observed - 1.0).abs());
        Self {
            verdict: fit.verdict,
            width: width.filter(|width| width.is_finite()),
            backtest: errors
                .filter(|error| error.is_finite())
                .max_by(f64::total_cmp),
            missed: fit.backtest.iter().filter(|point| !point.inside).count(),
        }
    }
}

impl TrackRecord {
    /// A record that begins with this fit.
    pub(super) fn begin(fit: &ScalingFit) -> Self {
        Self {
            good: Measures::of(fit),
            standing: Standing::Fine,
        }
    }

    /// Takes the next fit: what is wrong with it, gravest first. The yardstick moves only with fits in good order.
    pub(super) fn take(&mut self, fit: &ScalingFit, rules: &StandingRules) -> Vec<Trouble> {
        let now = Measures::of(fit);
        let mut troubles = Vec::new();
        if let Some(run_id) = &fit.drift_broken_at {
            troubles.push(Trouble::Broken {
                outside: fit.drift_outside,
                runs: fit.drift_runs,
                run_id: run_id.clone(),
            });
        }
        let good = &self.good;
        if rank(now.verdict) > rank(good.verdict) {
            troubles.push(Trouble::Verdict {
                before: good.verdict,
                now: now.verdict,
            });
        }
        if let Some((before, now)) = good.width.zip(now.width)
            && now > rules.width_ratio * before
            && now > rules.width_min
        {
            troubles.push(Trouble::Width { before, now });
        }
        if let Some((before, error)) = good.backtest.zip(now.backtest)
            && error > rules.backtest_ratio * before
            && error > rules.backtest_min
            && now.missed > 0
        {
            troubles.push(Trouble::Backtest { before, now: error });
        }
        self.standing = troubles
            .iter()
            .map(Trouble::standing)
            .max()
            .unwrap_or_default();
        if troubles.is_empty() {
            self.good = now;
        }
        troubles
    }
}
