//! Studies: what stands on fits.
//!
//! A fit answers what a law's parameters are. Researchers ask other things: what to train, which law, whether groups differ,
//! whether the law still holds, how this run will end. Each question has a module with one entrance, a struct of settings
//! whose default is meant to be used, and a report that serialises and lists what was left out and why.
//!
//! | question | module |
//! |---|---|
//! | where is the best size at each budget? | [`isoflop`] (parabolas), [`envelope`] (training curves), [`optimal`] (a law) |
//! | what if it is served afterwards? | [`serving`] |
//! | which law? | [`choice`] |
//! | one law or several? since when? | [`pooling`], [`breaks`] |
//! | what does the answer hang on? | [`sensitivity`] |
//! | how will this run end? | [`curves`] |
//! | does the law still hold? | [`drift`] |
//!
//! Errors of all of them are [`StudyError`].

mod allocation;
pub mod breaks;
mod budgets;
pub mod choice;
mod curve_fit;
pub mod curves;
pub mod drift;
pub mod envelope;
mod error;
mod estimate;
mod influence;
pub mod isoflop;
mod least;
mod line_search;
pub mod optimal;
pub mod pooling;
mod random;
mod redraw;
mod rows;
pub mod sensitivity;
pub mod serving;
mod simplex;

pub use budgets::WhyNot;
pub use error::StudyError;
