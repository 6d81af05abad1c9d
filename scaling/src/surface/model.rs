//! The four forms behind one door: fitted to some rows, tuned on runs they were not fitted to.

use serde::{Deserialize, Serialize};

use super::boosting::{Boosting, Plan, Rows, mean_loss};
use super::encode::Encoded;
use super::error::SurfaceError;
use super::forest::Forest;
use super::gaussian::{GaussianProcess, SEARCH_ROWS};
use super::linear::{Linear, LinearRows, penalties};
use super::options::Kind;
use super::split::{apart, folds};
use crate::random::{generator, shuffle};

/// A fitted form. Its prediction is on the model's scale: the target's, or log-odds for a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Model {
    Linear(Linear),
    Boosting(Boosting),
    Forest { forest: Forest, logit: bool },
    GaussianProcess(GaussianProcess),
}

/// Everything a fit works on: canonical rows, encoded, with the target on the model's scale.
pub(crate) struct Task {
    pub(crate) encoded: Encoded,
    pub(crate) target: Vec<f64>,
    pub(crate) weights: Vec<f64>,
    pub(crate) run_of: Vec<usize>,
    pub(crate) runs: usize,
    pub(crate) probability: bool,
    /// -1, 0, 1 for each feature.
    pub(crate) tree_signs: Vec<i8>,
    /// -1, 0, 1 for each scaled column.
    pub(crate) dense_signs: Vec<i8>,
    pub(crate) seed: u64,
}

/// What was chosen by looking at held-out runs.
#[derive(Clone, Debug)]
enum Choice {
    Rounds(usize),
    Penalty(usize),
    Kernel(Vec<f64>),
    Nothing,
}

/// A form fitted without each fold in turn.
pub(crate) struct Crossed {
    /// One model for each fold that was held out.
    pub(crate) models: Vec<Model>,
    /// Held-out prediction of each row; `NaN` where the row was never held out.
    pub(crate) held: Vec<f64>,
    choice: Choice,
}

impl Model {
    /// The sum for one encoded row.
    pub(crate) fn predict(&self, encoded: &Encoded, row: usize) -> f64 {
        match self {
            Self::Linear(model) => model.predict(&encoded.dense[row]),
            Self::Boosting(model) => model.predict(&encoded.binned, row),
            Self::Forest {
                forest,
                logit: false,
            } => forest.predict(&encoded.binned, row),
            Self::Forest {
                forest,
                logit: true,
            } => {
                // A forest's share can be 0 or 1 exactly; its trees are too few to mean that.
                let share = forest.predict(&encoded.binned, row).clamp(1e-3, 1.0 - 1e-3);
                libm::log(share / (1.0 - share))
            }
            Self::GaussianProcess(model) => model.predict(&encoded.dense[row]),
        }
    }

    /// Drops what only explanations need.
    fn lighten(mut self) -> Self {
        let trees = match &mut self {
            Self::Boosting(model) => &mut model.trees,
            Self::Forest { forest, .. } => &mut forest.trees,
            _ => return self,
        };
        trees.iter_mut().for_each(|tree| tree.cover.clear());
        self
    }
}

fn take(values: &[f64], rows: &[usize]) -> Vec<f64> {
    rows.iter().map(|row| values[*row]).collect()
}

impl Task {
    /// Fits without each of `folds` in turn. With one fold only its rows are held out, and the form is tuned on a tenth of the
    /// other runs; with several it is tuned on all held-out rows at once: one number learnt from all of them.
    pub(crate) fn cross(
        &self,
        kind: Kind,
        fold_of: &[usize],
        folds: usize,
    ) -> Result<Crossed, SurfaceError> {
        let mut crossed = Crossed {
            models: Vec::new(),
            held: vec![f64::NAN; self.target.len()],
            choice: Choice::Nothing,
        };
        let parts: Vec<(Vec<usize>, Vec<usize>)> =
            (0..folds).map(|fold| apart(fold_of, fold)).collect();
        match kind {
            Kind::Boosting => self.cross_boosting(&parts, &mut crossed),
            Kind::Linear => self.cross_linear(&parts, &mut crossed),
            Kind::Forest => {
                crossed.models = parts.iter().map(|(rows, _)| self.forest(rows)).collect()
            }
            Kind::GaussianProcess | Kind::Auto => {
                let logs = self.kernel()?;
                for (rows, _) in &parts {
                    crossed.models.push(self.process(rows, &logs)?);
                }
                crossed.choice = Choice::Kernel(logs);
            }
        }
        for ((_, held), model) in parts.iter().zip(&crossed.models) {
            for row in held {
                crossed.held[*row] = model.predict(&self.encoded, *row);
            }
        }
        // One split's model is the surface's; of several the fold models only calibrate.
        if folds > 1 {
            crossed.models = crossed.models.into_iter().map(Model::lighten).collect();
        }
        Ok(crossed)
    }

    /// The form fitted to `rows` as the cross-validation tuned it.
    pub(crate) fn finish(
        &self,
        crossed: &Crossed,
        kind: Kind,
        rows: &[usize],
    ) -> Result<Model, SurfaceError> {
        match &crossed.choice {
            Choice::Rounds(rounds) => {
                let plan = Plan {
                    rounds: *rounds,
                    ..Plan::for_rows(rows.len(), self.probability)
                };
                Ok(self.boost(rows, None, &plan).0)
            }
            Choice::Penalty(place) => Ok(Model::Linear(self.linear_path(rows).swap_remove(*place))),
            Choice::Kernel(logs) => self.process(rows, logs),
            Choice::Nothing => {
                debug_assert_eq!(kind, Kind::Forest);
                Ok(self.forest(rows))
            }
        }
    }

    /// A tenth of the runs among `rows`, and the rest.
    fn inner(&self, rows: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let fold_of = folds(&self.run_of, self.runs, 10, self.seed, 11);
        rows.iter().partition(|row| fold_of[**row] != 0)
    }

    fn boost(&self, rows: &[usize], watch: Option<&[usize]>, plan: &Plan) -> (Model, Vec<f64>) {
        let data = self.encoded.binned.take(rows);
        let (target, weights) = (take(&self.target, rows), take(&self.weights, rows));
        let rows = Rows {
            data: &data,
            target: &target,
            weights: &weights,
        };
        let watched = watch.map(|watch| {
            (
                self.encoded.binned.take(watch),
                take(&self.target, watch),
                take(&self.weights, watch),
            )
        });
        let watch = watched.as_ref().map(|(data, target, weights)| Rows {
            data,
            target,
            weights,
        });
        let (model, curve) =
            Boosting::fit(&rows, watch.as_ref(), &self.tree_signs, plan, self.seed);
        (Model::Boosting(model), curve)
    }

    fn cross_boosting(&self, parts: &[(Vec<usize>, Vec<usize>)], crossed: &mut Crossed) {
        let mut curves = Vec::new();
        for (rows, held) in parts {
            let plan = Plan::for_rows(rows.len(), self.probability);
            let (fit, watch) = if parts.len() == 1 {
                self.inner(rows)
            } else {
                (rows.clone(), held.clone())
            };
            let (model, curve) = self.boost(&fit, Some(&watch), &plan);
            crossed.models.push(model);
            curves.push((
                curve,
                watch.iter().map(|row| self.weights[*row]).sum::<f64>(),
            ));
        }
        // A fold that stopped early keeps its last loss.
        let longest = curves
            .iter()
            .map(|(curve, _)| curve.len())
            .max()
            .unwrap_or(0);
        let loss = |round: usize| -> f64 {
            curves
                .iter()
                .filter_map(|(curve, weight)| Some(curve.get(round).or(curve.last())? * weight))
                .sum()
        };
        let best = (0..longest)
            .min_by(|one, two| loss(*one).total_cmp(&loss(*two)))
            .unwrap_or(0);
        for model in &mut crossed.models {
            if let Model::Boosting(model) = model {
                model.trees.truncate(best + 1);
            }
        }
        crossed.choice = Choice::Rounds(best + 1);
    }

    fn linear_path(&self, rows: &[usize]) -> Vec<Linear> {
        Linear::path(&LinearRows {
            dense: &self.encoded.dense,
            rows,
            target: &self.target,
            weights: &self.weights,
            signs: &self.dense_signs,
            logistic: self.probability,
        })
    }

    fn cross_linear(&self, parts: &[(Vec<usize>, Vec<usize>)], crossed: &mut Crossed) {
        let mut losses = vec![0.0; penalties().len()];
        let mut paths = Vec::new();
        for (rows, held) in parts {
            let (fit, watch) = if parts.len() == 1 {
                self.inner(rows)
            } else {
                (rows.clone(), held.clone())
            };
            let path = self.linear_path(&fit);
            let (target, weights) = (take(&self.target, &watch), take(&self.weights, &watch));
            for (loss, model) in losses.iter_mut().zip(&path) {
                let at: Vec<f64> = watch
                    .iter()
                    .map(|row| model.predict(&self.encoded.dense[*row]))
                    .collect();
                *loss += mean_loss(&at, &target, &weights, self.probability)
                    * weights.iter().sum::<f64>();
            }
            paths.push(path);
        }
        let best = (0..losses.len())
            .min_by(|one, two| losses[*one].total_cmp(&losses[*two]))
            .unwrap_or(0);
        crossed.models = paths
            .into_iter()
            .map(|mut path| Model::Linear(path.swap_remove(best)))
            .collect();
        crossed.choice = Choice::Penalty(best);
    }

    fn forest(&self, rows: &[usize]) -> Model {
        let data = self.encoded.binned.take(rows);
        let (target, weights) = (take(&self.target, rows), take(&self.weights, rows));
        let run_of: Vec<usize> = rows.iter().map(|row| self.run_of[*row]).collect();
        let rows = Rows {
            data: &data,
            target: &target,
            weights: &weights,
        };
        let forest = Forest::fit(&rows, &run_of, &self.tree_signs, self.seed);
        Model::Forest {
            forest,
            logit: self.probability,
        }
    }

    fn points(&self, rows: &[usize]) -> Vec<Vec<f64>> {
        rows.iter()
            .map(|row| self.encoded.dense[*row].clone())
            .collect()
    }

    fn kernel(&self) -> Result<Vec<f64>, SurfaceError> {
        let mut rows: Vec<usize> = (0..self.target.len()).collect();
        if rows.len() > SEARCH_ROWS {
            shuffle(&mut rows, &mut generator(self.seed, 12));
            rows.truncate(SEARCH_ROWS);
        }
        let why = "the likelihood has no value at its starts";
        GaussianProcess::tune(
            &self.points(&rows),
            &take(&self.target, &rows),
            &take(&self.weights, &rows),
        )
        .ok_or(SurfaceError::NotFitted {
            kind: Kind::GaussianProcess.name(),
            why,
        })
    }

    fn process(&self, rows: &[usize], logs: &[f64]) -> Result<Model, SurfaceError> {
        let why = "rows are too alike for their covariance to be solved";
        GaussianProcess::condition(
            self.points(rows),
            &take(&self.target, rows),
            &take(&self.weights, rows),
            logs,
        )
        .map(Model::GaussianProcess)
        .ok_or(SurfaceError::NotFitted {
            kind: Kind::GaussianProcess.name(),
            why,
        })
    }
}
