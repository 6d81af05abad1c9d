//! A fitted surface: what it holds, what it says of new points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conformal::Calibration;
use super::encode::{Encoded, Encoder, FeatureSpec};
use super::error::SurfaceError;
use super::features::Columns;
use super::model::Model;
use super::options::{Direction, Kind, Scale};
use super::reach::Reach;
use super::report::{Candidate, Score, SurfacePrediction};

/// The version that this program writes and reads.
pub const SURFACE_VERSION: u32 = 1;

/// A response surface with its intervals, its back-test and all that predicting needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Format of this record.
    pub version: u32,
    /// Name of the target.
    pub target: String,
    /// The form that was taken.
    pub kind: Kind,
    /// The scale that the target was learnt on.
    pub scale: Scale,
    /// Columns along which the surface moves one way only.
    pub monotone: BTreeMap<String, Direction>,
    /// Columns that are shares of one mixture.
    pub simplex: Vec<Vec<String>>,
    /// Level of the intervals in the back-test.
    pub level: f64,
    /// Seed of the fit.
    pub seed: u64,
    /// Folds of the fit.
    pub folds: usize,
    /// Rows and runs of the fit.
    pub n_rows: usize,
    /// Runs of the fit.
    pub n_runs: usize,
    /// Every form that was tried, with its error on held-out runs.
    pub candidates: Vec<Candidate>,
    /// Held-out runs, fold by fold.
    pub backtest: Score,
    /// Runs set apart from everything, where that was asked for.
    pub holdout: Option<Score>,
    /// What the intervals promise.
    pub guarantee: String,
    /// What the reader should know, one sentence each.
    pub warnings: Vec<String>,
    pub(crate) encoder: Encoder,
    pub(crate) model: Model,
    pub(crate) calibration: Calibration,
    pub(crate) reach: Reach,
    /// Tells whether a table is the one of the fit.
    pub(crate) fingerprint: u64,
}

impl Surface {
    /// The features as the fit met them.
    #[must_use]
    pub fn features(&self) -> &[FeatureSpec] {
        &self.encoder.features
    }

    /// Centre, interval and reach of each row. `columns` has the features of the fit by name; others are not read.
    ///
    /// # Errors
    /// A feature that is absent, of the other kind or length, shares that add up to something else than 1, a level that is
    /// none, or a surface of another version.
    pub fn predict(
        &self,
        columns: &Columns,
        level: f64,
    ) -> Result<Vec<SurfacePrediction>, SurfaceError> {
        if self.version != SURFACE_VERSION {
            return Err(SurfaceError::Version {
                found: self.version,
                known: SURFACE_VERSION,
            });
        }
        if !(level > 0.0 && level < 1.0) {
            let allowed = "above 0 and below 1";
            return Err(SurfaceError::BadOption {
                name: "level",
                value: level.to_string(),
                allowed,
            });
        }
        let encoded = self.encoder.encode(columns)?;
        let rows = encoded.raw.first().map_or(0, Vec::len);
        Ok((0..rows)
            .map(|row| self.point(&encoded, columns, row, level))
            .collect())
    }

    /// Centres only: what a search over configurations asks thousands of times.
    ///
    /// # Errors
    /// As `predict`.
    pub fn means(&self, columns: &Columns) -> Result<Vec<f64>, SurfaceError> {
        let encoded = self.encoder.encode(columns)?;
        let rows = encoded.raw.first().map_or(0, Vec::len);
        Ok((0..rows)
            .map(|row| self.scale.backward(self.sum(&self.model, &encoded, row)))
            .collect())
    }

    fn point(
        &self,
        encoded: &Encoded,
        columns: &Columns,
        row: usize,
        level: f64,
    ) -> SurfacePrediction {
        let centre = self.sum(&self.model, encoded, row);
        let (low, high) = self.calibration.interval(centre, encoded, row, level);
        let (distance, mut why) = self.reach.judge(&self.encoder, encoded, columns, row);
        if !why.is_empty() && matches!(self.kind, Kind::Boosting | Kind::Forest) {
            why.push(
                "Trees go on flat beyond the data: the centre there is that of its edge.".into(),
            );
        }
        SurfacePrediction {
            mean: self.scale.backward(centre),
            low: self.scale.backward(low),
            high: self.scale.backward(high),
            level,
            out_of_distribution: !why.is_empty(),
            distance,
            why,
        }
    }

    /// A model's sum, recalibrated where the target is an event.
    pub(crate) fn sum(&self, model: &Model, encoded: &Encoded, row: usize) -> f64 {
        let [offset, slope] = self.calibration.recalibration;
        offset + slope * model.predict(encoded, row)
    }
}
