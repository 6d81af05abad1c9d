//! Compute budgets of an iso-FLOP study: rows sorted into them, and the parabola of each.

use serde::{Deserialize, Serialize};

use crate::Table;
use crate::study::error::StudyError;
use crate::study::isoflop::IsoflopOptions;
use crate::study::least::{LeastSquares, least_squares};

/// A row of the study.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// ln n, ln d, ln compute.
    pub(crate) ln_n: f64,
    pub(crate) ln_d: f64,
    pub(crate) ln_c: f64,
    /// What the parabola is laid through.
    pub(crate) response: f64,
    /// Index of its run (or cluster).
    pub(crate) run: usize,
}

/// Rows of one budget.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) rows: Vec<Row>,
    /// Mean ln compute.
    pub(crate) ln_c: f64,
    /// Largest over least compute.
    pub(crate) spread: f64,
}

/// A fitted parabola, in ln n about its middle.
#[derive(Clone, Debug)]
pub(crate) struct Parabola {
    pub(crate) middle: f64,
    pub(crate) solved: LeastSquares,
}

/// Why a budget has no optimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// Fewer different n than a parabola or the options need.
    TooFewPoints,
    /// The parabola opens downwards, or is a line: there is no minimum.
    NoMinimum,
    /// The parabola's minimum lies outside the sizes that were tried.
    BeyondTheGrid,
    /// The smallest or the largest size tried has the lowest response: nothing shows that it rises again beyond.
    LowestAtTheEdge,
}

impl WhyNot {
    /// The reason in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::TooFewPoints => "fewer different sizes than are needed",
            Self::NoMinimum => "the parabola has no minimum: it opens downwards or is a line",
            Self::BeyondTheGrid => "the minimum lies outside the sizes that were tried",
            Self::LowestAtTheEdge => {
                "the lowest response is at the smallest or largest size that was tried"
            }
        }
    }
}

/// Rows of a table by budget, ascending; ties and order do not depend on the order of the table.
pub(crate) fn slices(
    table: &Table,
    options: &IsoflopOptions,
) -> Result<(Vec<Slice>, Vec<String>, usize), StudyError> {
    let missing = |column: &str, why| StudyError::MissingColumn {
        study: "isoflop",
        column: column.to_owned(),
        why,
    };
    let n = table.columns.get("n").ok_or_else(|| missing("n", ""))?;
    let (c, d) = (table.columns.get("c"), table.columns.get("d"));
    if c.is_none() && d.is_none() {
        return Err(missing(
            "c",
            " (training FLOPs), or `d` to count them as 6 n d",
        ));
    }
    let names: &[String] = if table.clusters.is_empty() {
        &table.run_ids
    } else {
        &table.clusters
    };
    let mut clusters: Vec<String> = names.to_vec();
    clusters.sort();
    clusters.dedup();
    let legal = |value: f64| value.is_finite() && value > 0.0;
    let mut rows = Vec::new();
    for index in 0..table.len() {
        let size = n[index];
        let tokens = d.map(|d| d[index]);
        let compute = c
            .map(|c| c[index])
            .or_else(|| tokens.map(|tokens| 6.0 * size * tokens))
            .unwrap_or(f64::NAN);
        let tokens = tokens.unwrap_or(compute / (6.0 * size));
        let response = table.response[index];
        if legal(size)
            && legal(compute)
            && legal(tokens)
            && response.is_finite()
            && (!options.log_response || response > 0.0)
        {
            rows.push(Row {
                ln_n: libm::log(size),
                ln_d: libm::log(tokens),
                ln_c: libm::log(compute),
                response: if options.log_response {
                    libm::log(response)
                } else {
                    response
                },
                run: clusters.partition_point(|name| *name < names[index]),
            });
        }
    }
    let rejected = table.len() - rows.len();
    rows.sort_by(|one, two| {
        let by = |pick: fn(&Row) -> f64| pick(one).total_cmp(&pick(two));
        by(|row| row.ln_c)
            .then(by(|row| row.ln_n))
            .then(by(|row| row.response))
            .then(one.run.cmp(&two.run))
    });
    // Complete linkage: of neighbours, the two that make the narrowest budget are joined first, as long as it stays within
    // the tolerance. No chain of neighbours can join two budgets, and natural gaps stay gaps.
    let reach = libm::log1p(options.budget_tolerance);
    let mut slices: Vec<Vec<Row>> = rows.into_iter().map(|row| vec![row]).collect();
    let span = |one: &[Row], two: &[Row]| two[two.len() - 1].ln_c - one[0].ln_c;
    while let Some(first) = (1..slices.len()).map(|next| next - 1).min_by(|one, two| {
        span(&slices[*one], &slices[*one + 1]).total_cmp(&span(&slices[*two], &slices[*two + 1]))
    }) {
        if span(&slices[first], &slices[first + 1]) > reach {
            break;
        }
        let joined = slices.remove(first + 1);
        slices[first].extend(joined);
    }
    let slices = slices
        .into_iter()
        .map(|rows| Slice {
            ln_c: rows.iter().map(|row| row.ln_c).sum::<f64>() / rows.len() as f64,
            spread: libm::exp(rows[rows.len() - 1].ln_c - rows[0].ln_c),
            rows,
        })
        .collect();
    Ok((slices, clusters, rejected))
}

impl Slice {
    /// Least and greatest ln n.
    pub(crate) fn range(&self) -> (f64, f64) {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        self.rows.iter().fold(ends, |(low, high), row| {
            (low.min(row.ln_n), high.max(row.ln_n))
        })
    }

    /// The parabola through the rows, or why there is none.
    pub(crate) fn parabola(&self) -> Result<Parabola, WhyNot> {
        let (low, high) = self.range();
        let middle = 0.5 * (low + high);
        let design: Vec<Vec<f64>> = self
            .rows
            .iter()
            .map(|row| {
                let at = row.ln_n - middle;
                vec![1.0, at, at * at]
            })
            .collect();
        let response: Vec<f64> = self.rows.iter().map(|row| row.response).collect();
        let solved = least_squares(&design, &response, &vec![1.0; response.len()])
            .ok_or(WhyNot::TooFewPoints)?;
        let parabola = Parabola { middle, solved };
        if parabola.curvature() <= 0.0 {
            return Err(WhyNot::NoMinimum);
        }
        if !(low..=high).contains(&parabola.vertex()) {
            return Err(WhyNot::BeyondTheGrid);
        }
        Ok(parabola)
    }

    /// Number of different sizes.
    pub(crate) fn sizes(&self) -> usize {
        let mut sizes: Vec<u64> = self.rows.iter().map(|row| row.ln_n.to_bits()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes.len()
    }

    /// Whether an end of the grid has the lowest response (mean, where a size has several rows).
    pub(crate) fn lowest_at_the_edge(&self) -> bool {
        let (low, high) = self.range();
        let mut means: Vec<(f64, f64, f64)> = Vec::new();
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|one, two| one.ln_n.total_cmp(&two.ln_n));
        for row in rows {
            match means.last_mut() {
                Some((ln_n, sum, count)) if *ln_n == row.ln_n => {
                    *sum += row.response;
                    *count += 1.0;
                }
                _ => means.push((row.ln_n, row.response, 1.0)),
            }
        }
        let lowest = means
            .iter()
            .min_by(|one, two| (one.1 / one.2).total_cmp(&(two.1 / two.2)));
        lowest.is_none_or(|lowest| lowest.0 == low || lowest.0 == high)
    }

    /// ln d at a size: the line of ln d on ln n within the budget (exactly ln C / 6 n where that is how C was counted).
    pub(crate) fn ln_d_at(&self, ln_n: f64) -> f64 {
        let middle = self.rows.iter().map(|row| row.ln_n).sum::<f64>() / self.rows.len() as f64;
        let design: Vec<Vec<f64>> = self
            .rows
            .iter()
            .map(|row| vec![1.0, row.ln_n - middle])
            .collect();
        let response: Vec<f64> = self.rows.iter().map(|row| row.ln_d).collect();
        least_squares(&design, &response, &vec![1.0; response.len()]).map_or(f64::NAN, |line| {
            line.coefficients[0] + line.coefficients[1] * (ln_n - middle)
        })
    }
}

impl Parabola {
    pub(crate) fn curvature(&self) -> f64 {
        self.solved.coefficients[2]
    }

    /// ln n of the minimum.
    pub(crate) fn vertex(&self) -> f64 {
        self.middle - self.solved.coefficients[1] / (2.0 * self.curvature())
    }

    /// Response at the minimum.
    pub(crate) fn floor(&self) -> f64 {
        let b = &self.solved.coefficients;
        b[0] - b[1] * b[1] / (4.0 * b[2])
    }

    /// Variance of the vertex over that of an error (delta method).
    pub(crate) fn vertex_variance(&self) -> f64 {
        let b = &self.solved.coefficients;
        let slope = [0.0, -1.0 / (2.0 * b[2]), b[1] / (2.0 * b[2] * b[2])];
        let mut sum = 0.0;
        for (one, row) in slope.iter().zip(&self.solved.covariance) {
            for (two, value) in slope.iter().zip(row) {
                sum += one * two * value;
            }
        }
        sum
    }

    /// Fitted response of each row.
    pub(crate) fn fitted(&self, slice: &Slice) -> Vec<f64> {
        slice
            .rows
            .iter()
            .zip(&self.solved.residuals)
            .map(|(row, residual)| row.response - residual)
            .collect()
    }
}
