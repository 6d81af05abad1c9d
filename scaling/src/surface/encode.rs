//! From named columns to what models see: bins for trees, scaled numbers for the linear model and the Gaussian process.
//!
//! A mixture's shares add up to 1, so that they carry one number less than there are columns, and what matters of a small
//! share is its factor, not its difference. Each share is therefore also given as its centred log-ratio (Aitchison 1982),
//! zeros replaced by half the least positive share: the linear model and the Gaussian process see both, trees, which no
//! monotone transformation changes, the shares alone. Numbers that are positive, span a decade and are the less
//! skewed for it are given to the two smooth models as logarithms. Nothing here looks at the target.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bins::{BINS, Binned, Cut};
use super::error::SurfaceError;
use super::features::{Column, Columns};

/// A column as the fit met it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSpec {
    /// The column's name.
    pub name: String,
    /// Least and greatest number; `None` for names.
    pub span: Option<[f64; 2]>,
    /// Names in order; empty for numbers.
    pub levels: Vec<String>,
    /// Rows without a value.
    pub missing: usize,
    /// Whether its logarithm is the more even scale: smooth models and figures take that.
    pub log: bool,
    /// Index of the mixture that it is a share of.
    pub mixture: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Term {
    /// The number or its logarithm, missing ones at the centre.
    Number { log: bool },
    /// 1 where the value is missing.
    Missing,
    /// 1 where the code is this one.
    Level(usize),
    /// Centred log-ratio of a share.
    LogRatio,
}

/// One scaled column of the smooth models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DenseColumn {
    /// The feature it is made of.
    pub(crate) source: usize,
    term: Term,
    centre: f64,
    spread: f64,
}

impl DenseColumn {
    /// The sign that a coefficient of this column must have, given those of the features.
    pub(crate) fn sign(&self, signs: &[i8]) -> i8 {
        if matches!(self.term, Term::Number { .. }) {
            signs[self.source]
        } else {
            0
        }
    }
}

/// All that is needed to encode new rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Encoder {
    pub(crate) features: Vec<FeatureSpec>,
    /// Members of each mixture and what stands for a zero share.
    pub(crate) mixtures: Vec<(Vec<usize>, f64)>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) dense: Vec<DenseColumn>,
}

/// Encoded rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoded {
    /// `raw[feature][row]`; names as codes, unknown names missing.
    pub(crate) raw: Vec<Vec<f64>>,
    pub(crate) binned: Binned,
    /// `dense[row][column]`.
    pub(crate) dense: Vec<Vec<f64>>,
}

impl Encoder {
    /// Learns spans, bins and scales from checked columns.
    pub(crate) fn new(columns: &Columns, simplex: &[Vec<String>]) -> Self {
        let mut features: Vec<FeatureSpec> = columns.iter().map(spec).collect();
        let place = |name: &String| features.iter().position(|feature| feature.name == *name);
        let members: Vec<Vec<usize>> = simplex
            .iter()
            .map(|group| group.iter().filter_map(place).collect())
            .collect();
        for (group, members) in members.iter().enumerate() {
            for member in members {
                features[*member].mixture = Some(group);
            }
        }
        let mut encoder = Self {
            features,
            mixtures: Vec::new(),
            cuts: Vec::new(),
            dense: Vec::new(),
        };
        let raw = encoder.raw(columns);
        encoder.mixtures = members
            .into_iter()
            .map(|members| {
                let shares = members.iter().flat_map(|member| &raw[*member]);
                let least = shares
                    .copied()
                    .filter(|share| *share > 0.0)
                    .fold(1.0, f64::min);
                (members, 0.5 * least)
            })
            .collect();
        encoder.cuts = encoder
            .features
            .iter()
            .zip(&raw)
            .map(|(feature, values)| match feature.span {
                Some(_) => Cut::number(values, BINS),
                None => Cut::Category(feature.levels.len().min(BINS)),
            })
            .collect();
        encoder.dense = encoder.scaled_columns(&raw);
        encoder
    }

    fn scaled_columns(&self, raw: &[Vec<f64>]) -> Vec<DenseColumn> {
        let mut terms = Vec::new();
        for (source, feature) in self.features.iter().enumerate() {
            match feature.span {
                Some(_) => {
                    let log = feature.log && feature.mixture.is_none();
                    terms.push((source, Term::Number { log }));
                    if feature.mixture.is_some() {
                        terms.push((source, Term::LogRatio));
                    }
                }
                None => {
                    terms.extend((0..feature.levels.len()).map(|code| (source, Term::Level(code))))
                }
            }
            if feature.missing > 0 {
                terms.push((source, Term::Missing));
            }
        }
        let mut columns = Vec::new();
        for (source, term) in terms {
            let mut column = DenseColumn {
                source,
                term,
                centre: 0.0,
                spread: 1.0,
            };
            let values: Vec<f64> = (0..raw[source].len())
                .map(|row| self.term(&column, raw, row))
                .filter(|value| !value.is_nan())
                .collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values
                .iter()
                .map(|value| (value - mean) * (value - mean))
                .sum::<f64>()
                / count;
            // A column that never changes says nothing and would be scaled to noise.
            if variance.sqrt() > 1e-12 * mean.abs().max(1e-300) {
                (column.centre, column.spread) = (mean, variance.sqrt());
                columns.push(column);
            }
        }
        columns
    }

    fn term(&self, column: &DenseColumn, raw: &[Vec<f64>], row: usize) -> f64 {
        let value = raw[column.source][row];
        match column.term {
            Term::Number { log: false } => value,
            // Below the data the logarithm must stay a number.
            Term::Number { log: true } => libm::log(value.max(1e-300)),
            Term::Missing => f64::from(value.is_nan()),
            Term::Level(code) => f64::from(value == code as f64),
            Term::LogRatio => {
                let group = self.features[column.source].mixture.unwrap_or(0);
                let (members, zero) = &self.mixtures[group];
                let log = |member: usize| libm::log(raw[member][row].max(*zero));
                let mean =
                    members.iter().map(|member| log(*member)).sum::<f64>() / members.len() as f64;
                log(column.source) - mean
            }
        }
    }

    fn raw(&self, columns: &Columns) -> Vec<Vec<f64>> {
        let codes = |feature: &FeatureSpec, names: &[Option<String>]| {
            let known: BTreeMap<&str, usize> = feature
                .levels
                .iter()
                .enumerate()
                .map(|(code, name)| (name.as_str(), code))
                .collect();
            let code = |name: &Option<String>| name.as_deref().and_then(|name| known.get(name));
            names
                .iter()
                .map(|name| code(name).map_or(f64::NAN, |code| *code as f64))
                .collect()
        };
        self.features
            .iter()
            .map(|feature| match columns.get(&feature.name) {
                Some(Column::Number(values)) => values.clone(),
                Some(Column::Category(names)) => codes(feature, names),
                None => Vec::new(),
            })
            .collect()
    }

    /// Encodes rows.
    ///
    /// # Errors
    /// A feature that is absent, of the other kind, of another length, or a mixture that is none.
    pub(crate) fn encode(&self, columns: &Columns) -> Result<Encoded, SurfaceError> {
        let mut rows = None;
        for feature in &self.features {
            let Some(column) = columns.get(&feature.name) else {
                let known = columns.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(SurfaceError::UnknownColumn {
                    name: feature.name.clone(),
                    known,
                });
            };
            if matches!(column, Column::Number(_)) != feature.span.is_some() {
                return Err(SurfaceError::ColumnKind {
                    column: feature.name.clone(),
                });
            }
            let expected = *rows.get_or_insert(column.len());
            if column.len() != expected {
                let what = feature.name.clone();
                return Err(SurfaceError::Lengths {
                    what,
                    found: column.len(),
                    expected,
                });
            }
        }
        let raw = self.raw(columns);
        for (members, _) in &self.mixtures {
            let names: Vec<&str> = members
                .iter()
                .map(|member| self.features[*member].name.as_str())
                .collect();
            check_mixture(
                &names,
                &members
                    .iter()
                    .map(|member| raw[*member].as_slice())
                    .collect::<Vec<_>>(),
            )?;
        }
        Ok(self.encode_raw(raw))
    }

    /// Encodes numbers that are known to fit.
    pub(crate) fn encode_raw(&self, raw: Vec<Vec<f64>>) -> Encoded {
        let rows = raw.first().map_or(0, Vec::len);
        let dense = (0..rows)
            .map(|row| {
                let scaled = |column: &DenseColumn| {
                    let value = self.term(column, &raw, row);
                    if value.is_nan() {
                        0.0
                    } else {
                        (value - column.centre) / column.spread
                    }
                };
                self.dense.iter().map(scaled).collect()
            })
            .collect();
        Encoded {
            binned: Binned::new(&self.cuts, &raw),
            raw,
            dense,
        }
    }
}

fn spec((name, column): (&String, &Column)) -> FeatureSpec {
    let mut feature = FeatureSpec {
        name: name.clone(),
        span: None,
        levels: Vec::new(),
        missing: 0,
        log: false,
        mixture: None,
    };
    match column {
        Column::Number(values) => {
            let known = values.iter().copied().filter(|value| !value.is_nan());
            let low = known.clone().fold(f64::INFINITY, f64::min);
            feature.span = Some([low, known.fold(f64::NEG_INFINITY, f64::max)]);
            feature.log = is_logarithmic(values);
            feature.missing = values.iter().filter(|value| value.is_nan()).count();
        }
        Column::Category(names) => {
            // Most frequent first: where there are more names than bins, the rare ones share the missing bin.
            let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
            for name in names.iter().flatten() {
                *counts.entry(name).or_default() += 1;
            }
            let mut order: Vec<(&String, usize)> = counts.into_iter().collect();
            order.sort_by(|one, two| two.1.cmp(&one.1).then(one.0.cmp(two.0)));
            feature.levels = order
                .into_iter()
                .take(BINS)
                .map(|(name, _)| name.clone())
                .collect();
            feature.levels.sort();
            feature.missing = names.iter().filter(|name| name.is_none()).count();
        }
    }
    feature
}

/// Positive, over a decade, and with logarithms that are less skewed than the values: sizes, rates, tokens.
fn is_logarithmic(values: &[f64]) -> bool {
    let known: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    let low = known.iter().copied().fold(f64::INFINITY, f64::min);
    let high = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low.is_nan() || low <= 0.0 || high < 10.0 * low {
        return false;
    }
    let logs: Vec<f64> = known.iter().map(|value| libm::log(*value)).collect();
    skewness(&logs).abs() < skewness(&known).abs()
}

fn skewness(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let offs = || values.iter().map(|value| value - mean);
    let variance = offs().map(|off| off * off).sum::<f64>() / count;
    let third = offs().map(|off| off * off * off).sum::<f64>() / count;
    third / (variance * variance.sqrt()).max(1e-300)
}

/// Shares between 0 and 1 whose rows add up to 1 within a hundredth (published mixtures are rounded to three digits).
pub(crate) fn check_mixture(names: &[&str], shares: &[&[f64]]) -> Result<(), SurfaceError> {
    let rows = shares.first().map_or(0, |column| column.len());
    for row in 0..rows {
        let mut sum = 0.0;
        for (name, column) in names.iter().zip(shares) {
            let value = column[row];
            if !(0.0..=1.0).contains(&value) {
                return Err(SurfaceError::MixtureShare {
                    column: (*name).to_owned(),
                    row,
                    value,
                });
            }
            sum += value;
        }
        if (sum - 1.0).abs() > 0.01 {
            return Err(SurfaceError::MixtureSum {
                group: names.join(" + "),
                row,
                sum,
            });
        }
    }
    Ok(())
}
