//! Approach 1 of Hoffmann et al. 2022 (section 3.1): the lower envelope of many training curves over compute, and which
//! size is on it.
//!
//! At each place of a grid over ln compute every run that passes there is read off its own curve, and the run with the
//! lowest loss gives n_opt (and the tokens it has seen d_opt). Reading off is a local line through the points near the
//! place, so that one lucky step does not win. Places are left out, and listed, where fewer sizes compete than the
//! options need, or where the smallest or largest size that competes wins: nothing shows that the next would not be better.
//!
//! The intervals resample whole runs. Two warnings belong to the method and not to the code: a run read in the middle of
//! its schedule has not reached the loss that a run planned to end there would have, and the envelope is a staircase of the
//! sizes that were trained, so its slope is only as good as their spacing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::index_below;
use crate::study::error::StudyError;
use crate::study::estimate::estimate;
use crate::study::isoflop::PowerLaw;
use crate::study::least::least_squares;
use crate::study::random::{Purpose, generator};
use crate::{Estimate, Table};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvelopeOptions {
    /// Places of the grid over ln compute; the paper has 1500, neighbours of which say the same.
    pub places: usize,
    /// Half width of the stretch of ln compute that a run is read off from; .1 unless given.
    pub stretch: f64,
    /// Sizes that have to compete at a place; 3 unless given.
    pub sizes_min: usize,
    /// Replicates of the bootstrap over runs.
    pub bootstrap: u32,
    /// Level of the intervals.
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl Default for EnvelopeOptions {
    fn default() -> Self {
        Self {
            places: 100,
            stretch: 0.1,
            sizes_min: 3,
            bootstrap: 400,
            level: 0.95,
            seed: 0,
        }
    }
}

/// A place of the envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnEnvelope {
    /// Training FLOPs.
    pub flops: f64,
    /// The run with the lowest loss there.
    pub run_id: String,
    /// Its parameters.
    pub n: f64,
    /// Tokens it had seen.
    pub d: f64,
    /// Its loss there, read off its curve.
    pub loss: f64,
}

/// A stretch of compute that has no place on the envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoEnvelope {
    /// From this many FLOPs …
    pub from_flops: f64,
    /// … to this many.
    pub to_flops: f64,
    /// Why.
    pub reason: String,
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The envelope, ascending in compute.
    pub places: Vec<OnEnvelope>,
    /// What was left out, ascending in compute.
    pub left_out: Vec<NoEnvelope>,
    /// Optimal parameters against compute. Its `dispersion` is 1: a staircase has no errors to compare with.
    pub n_opt: PowerLaw,
    /// Optimal tokens against compute.
    pub d_opt: PowerLaw,
    /// Different sizes on the envelope.
    pub sizes: usize,
    /// Replicates with an envelope over at least two sizes, and replicates asked for.
    pub replicates: [usize; 2],
    /// What a reader should know, a sentence each.
    pub warnings: Vec<String>,
}

/// A run: ln n and its curve, (ln compute, ln d, loss) ascending.
struct Run {
    name: String,
    ln_n: f64,
    curve: Vec<[f64; 3]>,
}

/// Runs the study on a table of training curves: columns `n` and `c`, or `n` and `d`.
pub fn envelope(table: &Table, options: &EnvelopeOptions) -> Result<Envelope, StudyError> {
    let runs = runs(table)?;
    let computes = || runs.iter().flat_map(|run| run.curve.iter().map(|at| at[0]));
    let low = computes().fold(f64::INFINITY, f64::min);
    let high = computes().fold(f64::NEG_INFINITY, f64::max);
    let places = options.places.clamp(2, 10_000);
    let step = (high - low) / (places - 1) as f64;
    // Every run read at every place once; a replicate only chooses among them.
    let read: Vec<Vec<Option<[f64; 2]>>> = (0..places)
        .map(|place| {
            let at = low + step * place as f64;
            runs.iter()
                .map(|run| read_off(run, at, options.stretch))
                .collect()
        })
        .collect();
    let all: Vec<usize> = (0..runs.len()).collect();
    let winners: Vec<Result<usize, &'static str>> = read
        .iter()
        .map(|row| winner(&runs, row, &all, options.sizes_min))
        .collect();
    let line = power(&runs, &read, &winners, low, step);
    let sizes = sizes(&runs, &winners);
    let left_out = left_out(&winners, low, step);
    let Some(line) = line.filter(|_| sizes >= 2) else {
        return Err(StudyError::TooFew {
            study: "envelope",
            what: "sizes on the envelope",
            found: sizes,
            needed: 2,
            left_out: left_out
                .iter()
                .map(|one| {
                    format!(
                        "{:.2e} to {:.2e} FLOPs: {}",
                        one.from_flops, one.to_flops, one.reason
                    )
                })
                .collect(),
        });
    };
    let mut lines = Vec::new();
    for replicate in 0..options.bootstrap {
        let mut draws = generator(options.seed, Purpose::Envelope, replicate);
        let mut chosen: Vec<usize> = all
            .iter()
            .map(|_| index_below(&mut draws, runs.len()))
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        let again: Vec<_> = read
            .iter()
            .map(|row| winner(&runs, row, &chosen, options.sizes_min))
            .collect();
        if let Some(line) =
            power(&runs, &read, &again, low, step).filter(|_| self::sizes(&runs, &again) >= 2)
        {
            lines.push(line);
        }
    }
    let on = winners.iter().enumerate().filter_map(|(place, run)| {
        let run = *run.as_ref().ok()?;
        let [ln_d, loss] = read[place][run]?;
        Some(OnEnvelope {
            flops: libm::exp(low + step * place as f64),
            run_id: runs[run].name.clone(),
            n: libm::exp(runs[run].ln_n),
            d: libm::exp(ln_d),
            loss,
        })
    });
    let mut warnings = Vec::new();
    if sizes < 4 {
        warnings.push(format!(
            "{sizes} sizes are on the envelope: its slope is that of a staircase with as many steps"
        ));
    }
    if lines.len() < options.bootstrap as usize / 2 {
        warnings.push(
            "most resamples of the runs leave no envelope: the intervals rest on the others"
                .to_owned(),
        );
    }
    let law = |which: usize| {
        let of = |pick: fn(&[f64; 2]) -> f64| {
            let values: Vec<f64> = lines.iter().map(|one| pick(&one.1[which])).collect();
            estimate(pick(&line.1[which]), &values, options.level)
        };
        PowerLaw {
            exponent: of(|both| both[1]),
            coefficient: exponential(of(|both| both[0])),
            reference_flops: libm::exp(line.0),
            dispersion: 1.0,
        }
    };
    Ok(Envelope {
        places: on.collect(),
        left_out,
        n_opt: law(0),
        d_opt: law(1),
        sizes,
        replicates: [lines.len(), options.bootstrap as usize],
        warnings,
    })
}

/// The estimate of exp(x) from one of x.
fn exponential(of: Estimate) -> Estimate {
    let value = libm::exp(of.value);
    Estimate {
        value,
        se: of.se.map(|se| se * value),
        ci: [libm::exp(of.ci.low), libm::exp(of.ci.high)].into(),
        level: of.level,
    }
}

fn runs(table: &Table) -> Result<Vec<Run>, StudyError> {
    let missing = |column: &str, why| StudyError::MissingColumn {
        study: "envelope",
        column: column.to_owned(),
        why,
    };
    let n = table.columns.get("n").ok_or_else(|| missing("n", ""))?;
    let (c, d) = (table.columns.get("c"), table.columns.get("d"));
    if c.is_none() && d.is_none() {
        return Err(missing(
            "c",
            " (training FLOPs so far), or `d` to count them as 6 n d",
        ));
    }
    let mut runs: BTreeMap<&str, Run> = BTreeMap::new();
    for row in 0..table.len() {
        let tokens = d.map_or_else(
            || c.map_or(f64::NAN, |c| c[row] / (6.0 * n[row])),
            |d| d[row],
        );
        let compute = c.map_or(6.0 * n[row] * tokens, |c| c[row]);
        let loss = table.response[row];
        if [n[row], tokens, compute, loss]
            .iter()
            .all(|value| value.is_finite() && *value > 0.0)
        {
            let name = table.run_ids[row].as_str();
            let new = || Run {
                name: name.to_owned(),
                ln_n: libm::log(n[row]),
                curve: Vec::new(),
            };
            let run = runs.entry(name).or_insert_with(new);
            run.curve
                .push([libm::log(compute), libm::log(tokens), loss]);
        }
    }
    let mut runs: Vec<Run> = runs.into_values().collect();
    for run in &mut runs {
        run.curve
            .sort_by(|one, two| one[0].total_cmp(&two[0]).then(one[2].total_cmp(&two[2])));
    }
    runs.retain(|run| run.curve.len() >= 2);
    if runs.len() < 3 {
        return Err(StudyError::TooFew {
            study: "envelope",
            what: "runs with at least two points",
            found: runs.len(),
            needed: 3,
            left_out: Vec::new(),
        });
    }
    Ok(runs)
}

/// (ln d, loss) of a run at a place, `None` where it does not pass there.
fn read_off(run: &Run, at: f64, stretch: f64) -> Option<[f64; 2]> {
    let (first, last) = (run.curve.first()?, run.curve.last()?);
    if at < first[0] || at > last[0] {
        return None;
    }
    let near: Vec<&[f64; 3]> = run
        .curve
        .iter()
        .filter(|point| (point[0] - at).abs() <= stretch)
        .collect();
    let next = run
        .curve
        .partition_point(|point| point[0] < at)
        .clamp(1, run.curve.len() - 1);
    let pair = [&run.curve[next - 1], &run.curve[next]];
    let share = if pair[1][0] > pair[0][0] {
        (at - pair[0][0]) / (pair[1][0] - pair[0][0])
    } else {
        1.0
    };
    let between = |which: usize| pair[0][which] + share * (pair[1][which] - pair[0][which]);
    // A line through five points or more averages their noise; through fewer it would only tilt.
    let line = (near.len() >= 5).then(|| {
        let design: Vec<Vec<f64>> = near.iter().map(|point| vec![1.0, point[0] - at]).collect();
        let losses: Vec<f64> = near.iter().map(|point| point[2]).collect();
        least_squares(&design, &losses, &vec![1.0; losses.len()])
    });
    let loss = line
        .flatten()
        .map_or_else(|| between(2), |line| line.coefficients[0]);
    Some([between(1), loss])
}

/// The run with the lowest loss among the chosen, or why there is none.
fn winner(
    runs: &[Run],
    read: &[Option<[f64; 2]>],
    chosen: &[usize],
    sizes_min: usize,
) -> Result<usize, &'static str> {
    let present: Vec<(usize, f64)> = chosen
        .iter()
        .filter_map(|run| Some((*run, read[*run]?[1])))
        .collect();
    let mut sizes: Vec<f64> = present.iter().map(|(run, _)| runs[*run].ln_n).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    if sizes.len() < sizes_min.max(3) {
        return Err("too few sizes compete");
    }
    let best = present
        .iter()
        .min_by(|one, two| one.1.total_cmp(&two.1))
        .ok_or("too few sizes compete")?
        .0;
    if runs[best].ln_n == sizes[0] {
        return Err("the smallest size that competes is the best");
    }
    if runs[best].ln_n == sizes[sizes.len() - 1] {
        return Err("the largest size that competes is the best");
    }
    Ok(best)
}

/// Different sizes among the winners.
fn sizes(runs: &[Run], winners: &[Result<usize, &'static str>]) -> usize {
    let mut sizes: Vec<u64> = winners
        .iter()
        .flatten()
        .map(|run| runs[*run].ln_n.to_bits())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.len()
}

/// Middle of ln compute, and (value there, slope) of ln n and of ln d.
fn power(
    runs: &[Run],
    read: &[Vec<Option<[f64; 2]>>],
    winners: &[Result<usize, &'static str>],
    low: f64,
    step: f64,
) -> Option<(f64, [[f64; 2]; 2])> {
    // The middle of the whole grid, so that replicates speak of the same place.
    let middle = low + 0.5 * step * (winners.len() - 1) as f64;
    let mut design = Vec::new();
    let mut both: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for (place, run) in winners.iter().enumerate() {
        if let Ok(run) = run {
            design.push(vec![1.0, low + step * place as f64 - middle]);
            both[0].push(runs[*run].ln_n);
            both[1].push(read[place][*run]?[0]);
        }
    }
    let line = |response: &[f64]| -> Option<[f64; 2]> {
        let solved = least_squares(&design, response, &vec![1.0; response.len()])?;
        Some([solved.coefficients[0], solved.coefficients[1]])
    };
    Some((middle, [line(&both[0])?, line(&both[1])?]))
}

/// Neighbouring places left out for one reason, as one stretch.
fn left_out(winners: &[Result<usize, &'static str>], low: f64, step: f64) -> Vec<NoEnvelope> {
    let mut stretches: Vec<NoEnvelope> = Vec::new();
    let mut before = None;
    for (place, winner) in winners.iter().enumerate() {
        let reason = winner.err();
        if let Some(reason) = reason {
            let flops = libm::exp(low + step * place as f64);
            match stretches.last_mut() {
                Some(stretch) if before == Some(reason) => stretch.to_flops = flops,
                _ => stretches.push(NoEnvelope {
                    from_flops: flops,
                    to_flops: flops,
                    reason: reason.to_owned(),
                }),
            }
        }
        before = reason;
    }
    stretches
}
