//! `cairn fits plot`: pictures of a fit that a reader would put into a paper, and the same in the terminal.

use super::{find, rows};
use crate::cli::fit::Saved;
use crate::cli::{Failure, Global, Outcome, files, has_colours, print, say};
use cairn_scaling::figure::{Figure, Style, build, to_png, to_svg, to_terminal};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Pictures of a fit.
#[derive(Args)]
pub struct Plot {
    /// Its id in the registry, or a file that `cairn fit --out` wrote
    fit: String,
    /// Which pictures; all that the fit has where not given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    kind: Vec<Kind>,
    /// Folder for the pictures; drawn in the terminal where not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// svg, png or both
    #[arg(long, value_enum, value_delimiter = ',', default_value = "svg,png")]
    format: Vec<Format>,
    /// For one column of a paper, the width of a page, or a report with its sentence below
    #[arg(long, value_enum, default_value = "page")]
    size: Size,
    /// Light on dark
    #[arg(long)]
    dark: bool,
}

/// A picture of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The law with its interval, and the data
    Curve,
    /// What the law leaves unexplained, against what it predicts and against a normal distribution
    Residuals,
    /// How far the objective lets each parameter move
    Profiles,
    /// Lines of equal loss over the first two columns
    Contours,
    /// Held-out runs: predicted and observed
    Backtest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Svg,
    Png,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    Column,
    Page,
    Card,
}

/// Fits behind the curve of a profile.
const PROFILE_STEPS: usize = 41;

/// All of them, with the names of their files.
const KINDS: [(Kind, &str); 5] = [
    (Kind::Curve, "curve"),
    (Kind::Residuals, "residuals"),
    (Kind::Profiles, "profiles"),
    (Kind::Contours, "contours"),
    (Kind::Backtest, "backtest"),
];

impl Plot {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (mut saved, record) = find(global, &self.fit)?;
        if let Some(record) = record {
            saved.options = rows::options(&record, &saved.fit);
            match rows::of(global, &record, &saved.fit)? {
                Ok(found) => saved.rows = found,
                Err(why) => eprintln!("cairn: {why}"),
            }
        }
        let Saved { fit, rows, options } = saved;
        let style = Style {
            dark: self.dark,
            ..match self.size {
                Size::Column => Style::column(),
                Size::Page => Style::page(),
                Size::Card => Style::card(),
            }
        };
        let wanted = KINDS
            .iter()
            .filter(|(kind, _)| self.kind.is_empty() || self.kind.contains(kind));
        for (kind, name) in wanted {
            let figures = match kind {
                Kind::Curve => vec![build::fitted_curve(&fit, &rows)],
                // these ask the rows, and those of a fit of the registry may have changed
                Kind::Residuals | Kind::Profiles if rows.is_empty() => Vec::new(),
                Kind::Residuals => {
                    let (against, quantiles) = build::fitted_residuals(&fit, &rows);
                    vec![against, quantiles]
                }
                Kind::Profiles => build::fitted_profiles(&fit, &rows, &options, PROFILE_STEPS)?,
                Kind::Contours => vec![build::fitted_contours(&fit, &rows)],
                Kind::Backtest => vec![build::fitted_backtest(&fit)],
            };
            let many = figures.len() > 1;
            for (number, figure) in figures
                .iter()
                .enumerate()
                .filter(|(_, figure)| !figure.layers.is_empty())
            {
                let name = if many {
                    format!("{name}-{}", number + 1)
                } else {
                    (*name).to_owned()
                };
                match &self.out {
                    Some(folder) => self.write(global, folder, &name, figure, &style)?,
                    None => drawn(global, &name, figure),
                }
            }
        }
        Ok(0)
    }

    fn write(
        &self,
        global: &Global,
        folder: &Path,
        name: &str,
        figure: &Figure,
        style: &Style,
    ) -> Result<(), Failure> {
        files::folder(folder)?;
        for format in &self.format {
            let (end, bytes) = match format {
                Format::Svg => ("svg", to_svg(figure, style).into_bytes()),
                Format::Png => ("png", to_png(figure, style)),
            };
            let path = folder.join(format!("{name}.{end}"));
            files::write(&path, bytes)?;
            if global.is_json() {
                say(&json!({"figure": name, "file": path, "caption": figure.caption}));
            } else {
                print(&format!("{}\n", path.display()));
            }
        }
        Ok(())
    }
}

/// In the terminal; for scripts the figure itself, as data.
fn drawn(global: &Global, name: &str, figure: &Figure) {
    if global.is_json() {
        say(&json!({"figure": name, "specification": figure}));
        return;
    }
    print(&to_terminal(figure, 78, 20, has_colours()));
    print("\n");
}
