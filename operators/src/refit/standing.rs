//! Whether a fit is still worth what it was: held against the last one in good order, and against the runs that came since.
//!
//! A fit is *degraded* when its verdict is worse, the interval of its floor much wider, or its back-test much worse than when
//! it was last in good order. A law is *broken* when new runs fall outside what the fits before them had foretold more often
//! than the law could explain: the monitor `cairn_scaling::study::drift`, whose state goes from fit to fit with the asks.
//! It is broken, too, when the groups of a window obeyed one law and do not any more.

use cairn_avro::record::{FitVerdict, ScalingFit};
use serde::{Deserialize, Serialize};

/// What a fit says of groups that obey different laws.
pub const SEVERAL: &str = "several";

/// Names that laws give to the loss that no size overcomes.
const FLOORS: [&str; 3] = ["e", "E", "floor"];

/// Groups that were called several are so until this many times the p that it took: a p at the limit would otherwise be told
/// with every second fit.
const SEVERAL_UNTIL_RATIO: f64 = 5.0;

/// When a fit is degraded, and a law broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StandingRules {
    /// The interval of E is this many times as wide, relative to E, as in the last fit in good order.
    pub width_ratio: f64,
    /// An interval of E narrower than this share of E is never too wide.
    pub width_min: f64,
    /// The greatest relative error of the back-test is this many times what it was, and a run lies outside its interval.
    pub backtest_ratio: f64,
    /// Back-tests with a relative error below this are never bad.
    pub backtest_min: f64,
    /// A law that holds is called broken once in so many new runs at most.
    pub runs_to_false_alarm: f64,
    /// Groups of a window (`group`) obey several laws below this p. The test resolves p to 0.005.
    pub groups_p: f64,
    /// … and where a group's own law is further than this share from the common one: less does not matter.
    pub groups_gap_min: f64,
}

impl Default for StandingRules {
    fn default() -> Self {
        Self {
            width_ratio: 2.0,
            width_min: 0.05,
            backtest_ratio: 2.0,
            backtest_min: 0.01,
            runs_to_false_alarm: 1_000.0,
            groups_p: 0.01,
            groups_gap_min: 0.005,
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
    /// Width of the floor's interval over the floor.
    pub(super) width: Option<f64>,
    /// Greatest relative error of the back-test.
    pub(super) backtest: Option<f64>,
    /// Held-out runs outside their interval.
    pub(super) missed: usize,
    /// The groups obey several laws.
    #[serde(default)]
    pub(super) several: bool,
}

/// What was seen of a law so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TrackRecord {
    pub(super) standing: Standing,
    /// The last fit in good order.
    pub(super) good: Measures,
    /// Whether the groups of the newest fit obey several laws.
    #[serde(default)]
    pub(super) several: bool,
}

/// A way in which a fit is worse.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    Broken {
        outside: i32,
        runs: i32,
        run_id: String,
    },
    Several {
        p: f64,
        gap: f64,
        gap_in: String,
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
            Self::Broken { .. } | Self::Several { .. } => Standing::Broken,
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
            Self::Several { p, gap, gap_in } => format!(
                "its groups do not obey one law any more (p {p:.3}): that of {gap_in} is up to {} from the common one",
                percent(gap)
            ),
            Self::Verdict { before, now } => {
                format!("the verdict was {} and is {}", word(*before), word(*now))
            }
            Self::Width { before, now } => format!(
                "the interval of E is {} of E wide and was {}",
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
            Self::Several { p, gap, .. } => vec![("groups_p", *p), ("groups_gap_ratio", *gap)],
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
            // The range carries how far E moves with the rows that are left out, which changes from window to window.
            let ends = floor.low.zip(floor.high);
            let (low, high) = ends.or(floor.range_low.zip(floor.range_high))?;
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
            several: fit.groups_verdict == SEVERAL,
        }
    }
}

impl TrackRecord {
    /// A record that begins with this fit.
    pub(super) fn begin(fit: &ScalingFit) -> Self {
        let good = Measures::of(fit);
        Self {
            several: good.several,
            good,
            standing: Standing::Fine,
        }
    }

    /// Takes the next fit: what is wrong with it, gravest first. The yardstick moves only with fits in good order.
    pub(super) fn take(&mut self, fit: &ScalingFit, rules: &StandingRules) -> Vec<Trouble> {
        let mut now = Measures::of(fit);
        let gap = fit.groups_gap.unwrap_or_default();
        let p = fit.groups_p.unwrap_or(1.0);
        now.several |=
            self.several && p < SEVERAL_UNTIL_RATIO * rules.groups_p && gap > rules.groups_gap_min;
        self.several = now.several;
        let mut troubles = Vec::new();
        if let Some(run_id) = &fit.drift_broken_at {
            troubles.push(Trouble::Broken {
                outside: fit.drift_outside,
                runs: fit.drift_runs,
                run_id: run_id.clone(),
            });
        }
        let good = &self.good;
        // Groups that never obeyed one law have not left it: the verdict says what they are.
        if now.several && !good.several {
            troubles.push(Trouble::Several {
                p,
                gap,
                gap_in: fit.groups_gap_in.clone().unwrap_or_default(),
            });
        }
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
