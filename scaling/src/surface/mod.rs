//! Response surfaces: a target over the configuration of runs, for runs nobody has started.
//!
//! A law knows its form and needs few runs; a surface does not, and learns it. It answers for any target that a run has (a
//! score, a latency, whether it diverged) over any columns that are known before the run. What it says carries an interval
//! from runs that it had not seen, and a flag where a point is outside the data: a surface never extrapolates.
//!
//! # Layout
//! * `features`, `options`, `error`, `report`: what goes in and what comes out. `check`: what is refused.
//! * `encode`, `bins`: names and numbers to what models see.
//! * `tree`, `boosting`, `forest`, `linear`, `gaussian`: the forms; `model` is the door to them.
//! * `split`, `conformal`, `event`, `score`, `metrics`, `reach`: held-out runs, intervals, figures, the edge of the data.
//! * `fit`, `holdout`, `surface`: put together, used.
//! * `explain`, `importance`, `attribution` (`shap`), `effect`, `card`: why.

mod attribution;
mod bins;
mod boosting;
mod card;
mod check;
mod conformal;
mod effect;
mod encode;
mod error;
mod event;
mod explain;
mod features;
mod fit;
mod forest;
mod gaussian;
mod holdout;
mod importance;
mod linear;
mod metrics;
mod model;
mod options;
mod reach;
mod report;
mod score;
mod shap;
mod split;
#[allow(clippy::module_inception, reason = "the noun of the module")]
mod surface;
mod tree;

pub use attribution::{Shapley, explain_point, shapley};
pub use card::{Card, CardKind};
pub use conformal::Method;
pub use encode::FeatureSpec;
pub use error::SurfaceError;
pub use explain::{ExplainOptions, explain};
pub use features::{Column, Columns, Features};
pub use fit::fit_surface;
pub use metrics::spearman;
pub use options::{
    Direction, Kind, Purpose, Scale, SurfaceHoldout, SurfaceOptions, parse_monotone,
};
pub use report::{Candidate, ReliabilityBin, Score, SurfacePrediction};
pub use surface::{SURFACE_VERSION, Surface};
