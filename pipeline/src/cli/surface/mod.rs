//! `cairn surface`: a target over the configuration of runs, learnt, predicted and explained. No log needed.

mod show;
mod taken;

use super::fit::flags::word;
use super::fit::notes;
use super::fit::source::Source;
use super::table::{Table, number};
use super::{Failure, Global, Outcome, files, has_colours, print, say};
use cairn_scaling::figure::{Style, to_svg, to_terminal};
use cairn_scaling::surface::{
    ExplainOptions, Kind, Purpose, Scale, SurfaceHoldout, SurfaceOptions, explain, explain_point,
    fit_surface, parse_monotone,
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use taken::{Saved, Taken, columns, named, point};

/// Learn a target over the configuration of runs.
#[derive(Args)]
pub struct SurfaceCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Learn a target from a table
    Fit(FitSurface),
    /// What a surface says of runs that nobody has started
    Predict(PredictSurface),
    /// Why: importances, effects, and the parts of single predictions
    Explain(Explain),
}

/// Learn a target from a table.
#[derive(Args)]
struct FitSurface {
    #[command(flatten)]
    source: Source,
    /// The column or SQL expression that is learnt
    #[arg(long, value_name = "T")]
    target: String,
    /// Columns to learn from, separated by commas; * in a name stands for any characters; NAME=SQL makes one
    #[arg(long, value_name = "A,B,…")]
    features: String,
    /// The run of each row: rows of one run stay together; each row its own where not given
    #[arg(long, value_name = "COL")]
    run: Option<String>,
    /// Weights of the rows
    #[arg(long, value_name = "COL")]
    weight: Option<String>,
    /// auto, linear, boosting, forest or gaussian_process
    #[arg(long, value_name = "KIND", default_value = "auto")]
    kind: String,
    /// What the target is: quality, tool_success, safety, latency, cost or stability; chooses the scale
    #[arg(long, value_name = "PURPOSE", default_value = "quality")]
    purpose: String,
    /// The scale that it is learnt on, instead: identity, log, logit or probability
    #[arg(long, value_name = "SCALE")]
    scale: Option<String>,
    /// Columns along which predictions may move one way only: x:+,y:-
    #[arg(long, value_name = "X:+,Y:-", default_value = "")]
    monotone: String,
    /// Columns that are shares of one mixture; * stands for any characters; may be repeated
    #[arg(long, value_name = "A,B,…")]
    simplex: Vec<String>,
    /// Level of the intervals
    #[arg(long, default_value_t = 0.9)]
    level: f64,
    /// Runs set apart: runs:FRACTION drawn by the seed, or COLUMN:FRACTION with its largest values
    #[arg(long, value_name = "COLUMN:FRACTION")]
    holdout: Option<String>,
    /// Seed of folds, resamples and permutations
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File that the surface is written to
    #[arg(long, value_name = "SURFACE.json")]
    out: Option<PathBuf>,
}

/// What a surface says of runs that nobody has started.
#[derive(Args)]
struct PredictSurface {
    /// What `cairn surface fit --out` wrote
    #[arg(long, value_name = "SURFACE.json")]
    surface: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Level of the intervals
    #[arg(long, default_value_t = 0.9)]
    level: f64,
}

/// Why a surface says what it says.
#[derive(Args)]
struct Explain {
    /// What `cairn surface fit --out` wrote
    #[arg(long, value_name = "SURFACE.json")]
    surface: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Columns to draw effects of; those that matter most where not given
    #[arg(long, value_name = "A,B,…", default_value = "")]
    features: String,
    /// How many, where none are named
    #[arg(long, default_value_t = 4)]
    top: usize,
    /// Units of the columns and of the target: latency=ms
    #[arg(long, value_name = "NAME=UNIT,…", default_value = "")]
    units: String,
    /// Also the parts of the prediction of this row, counted from 1
    #[arg(long, value_name = "N")]
    row: Option<usize>,
    /// Folder for the cards as JSON and their figures as SVG
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl SurfaceCommand {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Fit(command) => command.run(global),
            Command::Predict(command) => command.run(global),
            Command::Explain(command) => command.run(global),
        }
    }
}

/// The file that `surface fit --out` wrote.
fn load(path: &Path) -> Result<Saved, Failure> {
    let remedy = "name the file that `cairn surface fit --out` wrote";
    files::read_json(path, "not_a_surface", remedy)
}

/// Says how many rows could not be learnt from.
fn left_out(rows: usize) {
    if rows > 0 {
        eprintln!("cairn: {rows} rows without the target are left out");
    }
}

impl FitSurface {
    fn run(self, global: &Global) -> Outcome {
        let kind: Kind = word(
            "--kind",
            &self.kind,
            "auto, linear, boosting, forest or gaussian_process",
        )?;
        let purpose: Purpose = word(
            "--purpose",
            &self.purpose,
            "quality, tool_success, safety, latency, cost or stability",
        )?;
        let scale = match &self.scale {
            None => purpose.scale(),
            Some(scale) => word::<Scale>("--scale", scale, "identity, log, logit or probability")?,
        };
        let (input, _) = self.source.read(global)?;
        let names = input.names();
        let taken = Taken {
            target: self.target,
            features: named(&self.features, &names)?,
            run: self.run,
            weight: self.weight,
        };
        let simplex = self
            .simplex
            .iter()
            .map(|group| {
                Ok(named(group, &names)?
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect())
            })
            .collect::<Result<Vec<Vec<String>>, Failure>>()?;
        let (features, missing) = taken.features(&input)?;
        let options = SurfaceOptions {
            kind,
            scale,
            monotone: parse_monotone(&self.monotone)?,
            simplex,
            level: self.level,
            seed: self.seed,
            holdout: holdout(self.holdout.as_deref())?,
            ..SurfaceOptions::default()
        };
        let surface = fit_surface(&features, &options)?;
        left_out(missing);
        if global.is_json() {
            let mut answer = show::summary(&surface);
            answer["rows_without_target"] = json!(missing);
            say(&answer);
        } else {
            print(&show::text(&surface));
        }
        if let Some(out) = &self.out {
            files::write_json(out, &Saved { surface, taken })?;
        }
        notes(&input);
        Ok(if input.bad.is_empty() { 0 } else { 3 })
    }
}

impl PredictSurface {
    fn run(self, global: &Global) -> Outcome {
        let Saved { surface, taken } = load(&self.surface)?;
        let (input, _) = self.source.read(global)?;
        let columns = columns(&input, &taken.features)?;
        let predictions = surface.predict(&columns, self.level)?;
        let mut table = Table::new(&["row", &surface.target, "low", "high", ""]);
        for (row, prediction) in predictions.iter().enumerate() {
            if global.is_json() {
                let mut value = serde_json::to_value(prediction).unwrap_or_default();
                value["row"] = json!(row + 1);
                value["point"] = point(&columns, row);
                say(&value);
            } else {
                table.row(vec![
                    (row + 1).to_string(),
                    number(Some(prediction.mean)),
                    number(Some(prediction.low)),
                    number(Some(prediction.high)),
                    prediction.why.join("; "),
                ]);
            }
        }
        if !global.is_json() {
            print(&table.text());
        }
        notes(&input);
        Ok(if input.bad.is_empty() { 0 } else { 3 })
    }
}

fn holdout(text: Option<&str>) -> Result<SurfaceHoldout, Failure> {
    let Some(text) = text else {
        return Ok(SurfaceHoldout::None);
    };
    let wrong = || {
        Failure::usage(
            format!("--holdout {text}"),
            "take runs:FRACTION or COLUMN:FRACTION",
        )
    };
    let (column, fraction) = text.rsplit_once(':').ok_or_else(wrong)?;
    let fraction = fraction.parse().map_err(|_| wrong())?;
    Ok(match column {
        "runs" => SurfaceHoldout::Runs(fraction),
        column => SurfaceHoldout::Largest {
            column: column.to_owned(),
            fraction,
        },
    })
}

impl Explain {
    fn run(self, global: &Global) -> Outcome {
        let Saved { surface, taken } = load(&self.surface)?;
        let (input, _) = self.source.read(global)?;
        let (features, _) = taken.features(&input)?;
        let options = ExplainOptions {
            features: crate::input_table::parts(&self.features)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            top: self.top,
            units: crate::input_table::assignments(&self.units)?
                .into_iter()
                .collect(),
            ..ExplainOptions::default()
        };
        let mut cards = explain(&surface, &features, &options)?;
        if let Some(row) = self.row {
            let row = row
                .checked_sub(1)
                .ok_or_else(|| Failure::usage("--row 0", "rows count from 1"))?;
            cards.push(explain_point(&surface, &features.columns, row)?);
        }
        if let Some(folder) = &self.out {
            files::folder(folder)?;
        }
        for (number, card) in cards.iter().enumerate() {
            let value = json!(card);
            if global.is_json() {
                say(&value);
            } else {
                print(&format!(
                    "{}\n{}\n",
                    to_terminal(&card.figure, 78, 16, has_colours()),
                    card.sentence
                ));
            }
            if let Some(folder) = &self.out {
                let kind = value["kind"].as_str().unwrap_or("card");
                let name = format!("{:02}-{kind}", number + 1);
                files::write_json(&folder.join(format!("{name}.json")), card)?;
                files::write(
                    &folder.join(format!("{name}.svg")),
                    to_svg(&card.figure, &Style::card()),
                )?;
            }
        }
        Ok(0)
    }
}
