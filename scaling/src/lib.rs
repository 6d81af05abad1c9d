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
//! * `table`, `options`, `report`, `error`: what goes in and what comes out.
//! * `law`: laws as YAML, the formula language, and its tape with exact derivatives. The built-in ones are `laws/NAME.yaml`.
//! * `fit`: objective, search, certificate, bootstrap, profiles, hold-outs, verdict.
//! * `predict`: the response of a run that has not been trained.
//! * `lanes`, `quantile`: arithmetic.
//!
//! # Example
//! ```
//! use cairn_scaling::{FitOptions, FitVerdict, Law, Table, fit};
//!
//! // Sixteen runs that obey a law to the last digit.
//! let mut table = Table::default();
//! for n in [1e6_f64, 4e6, 16e6, 64e6] {
//!     for d in [2e7_f64, 1e8, 5e8, 25e8] {
//!         let loss = 1.7 + 400.0 / n.powf(0.34) + 2000.0 / d.powf(0.37);
//!         table.push(&format!("{n}-{d}"), &[("n", n), ("d", d)], loss);
//!     }
//! }
//! let law = Law::named("hoffmann")?;
//! let fit = fit(&law, &table, &FitOptions { bootstrap: 20, ..FitOptions::default() })?;
//! assert!(fit.certificate.converged);
//! assert!((fit.parameters["e"].value - 1.7).abs() < 1e-6);
//! assert_eq!(fit.verdict, FitVerdict::Usable);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
pub mod figure;
mod fit;
mod lanes;
mod law;
mod options;
mod predict;
mod quantile;
mod random;
mod report;
pub mod study;
pub mod surface;
mod table;
mod words;

pub use error::FitError;
pub use fit::fit;
pub use law::{Column, Definition, Law, LawError, Parameter, Response, Scale};
pub use options::{FitOptions, Holdout, ObjectiveKind, Starts};
pub use report::{
    Backtest, BacktestPoint, Basin, BootstrapSummary, Certificate, Estimate, Extrapolation,
    ExtrapolationFlag, Fit, FitVerdict, Identified, Interval, Objective, Outlier,
    ParameterEstimate, Prediction, ResidualSummary, Spread,
};
pub use table::{Rejected, Table};
