//! Scaling laws with uncertainty and a certificate.
//!
//! A scaling law turns small runs into a statement about a large one, and most published mistakes are mistakes of
//! fitting: optimisers that stop early and say so to nobody, parameters reported that the data do not determine, and
//! praise measured on the runs the law was fitted to. A fit here carries the evidence: whether the gradient vanished,
//! which other optima there are, how far each parameter can move, what the law would have said of the largest runs
//! without them, and a verdict with reasons.
//!
//! This crate decides and does nothing else: no bus, no files, no clock. Equal rows (in any order), options and seed give
//! equal bytes; logarithms and exponentials come from `libm`, so they do so on every platform.
//!
//! # Layout
//! * `observation`, `options`, `report`: what goes in and what comes out.
//! * `laws`: one file a law, with its formula, coordinates, derivatives and limits.
//! * `newton`, `linear`: minimisation with bounds over a handful of parameters.
//! * `search`, `bootstrap`, `profile`, `holdout`, `structure`: basins, replicates, intervals, hold-outs, residuals.
//! * `fit`, `verdict`, `predict`: put together, judged, used.
//!
//! # Example
//! ```
//! use cairn_scaling::{FitOptions, FitVerdict, Observation, fit_hoffmann};
//!
//! // Sixteen runs that obey a law to the last digit.
//! let mut rows = Vec::new();
//! for parameters in [1e6_f64, 4e6, 16e6, 64e6] {
//!     for tokens in [2e7_f64, 1e8, 5e8, 25e8] {
//!         let loss = 1.7 + 400.0 / parameters.powf(0.34) + 2000.0 / tokens.powf(0.37);
//!         let run_id = format!("{parameters}-{tokens}");
//!         rows.push(Observation { run_id, parameters, tokens, loss, weight: 1.0 });
//!     }
//! }
//! let fit = fit_hoffmann(&rows, &FitOptions { bootstrap: 20, ..FitOptions::default() })?;
//! assert!(fit.certificate.converged);
//! assert!((fit.parameters["e"].value - 1.7).abs() < 1e-6);
//! assert_eq!(fit.verdict, FitVerdict::Usable);
//! # Ok::<(), cairn_scaling::FitError>(())
//! ```

mod bootstrap;
mod fit;
mod holdout;
mod laws;
mod linear;
mod newton;
mod observation;
mod options;
mod predict;
mod profile;
mod quantile;
mod report;
mod search;
mod structure;
mod verdict;

pub use fit::fit_hoffmann;
pub use laws::hoffmann::Coefficients;
pub use observation::{Observation, Rejected};
pub use options::{FitError, FitOptions, StartGrid};
pub use report::{
    Backtest, BacktestPoint, Basin, BootstrapSummary, Certificate, Estimate, FitVerdict,
    HoffmannFit, Identified, Interval, Objective, ParameterEstimate, Prediction, ResidualSummary,
};
