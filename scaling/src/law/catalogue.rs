//! The built-in laws: one file each in `scaling/laws`.

use super::Law;
use super::error::LawError;
use super::parse::nearest;

/// By name.
const FILES: [(&str, &str); 15] = [
    ("clark", include_str!("../../laws/clark.yaml")),
    ("gadre_error", include_str!("../../laws/gadre_error.yaml")),
    ("gadre_loss", include_str!("../../laws/gadre_loss.yaml")),
    ("hoffmann", include_str!("../../laws/hoffmann.yaml")),
    ("kaplan", include_str!("../../laws/kaplan.yaml")),
    ("krajewski", include_str!("../../laws/krajewski.yaml")),
    (
        "learning_curve",
        include_str!("../../laws/learning_curve.yaml"),
    ),
    (
        "learning_curve_annealing",
        include_str!("../../laws/learning_curve_annealing.yaml"),
    ),
    ("log_linear", include_str!("../../laws/log_linear.yaml")),
    ("mixture", include_str!("../../laws/mixture.yaml")),
    ("muennighoff", include_str!("../../laws/muennighoff.yaml")),
    ("power", include_str!("../../laws/power.yaml")),
    (
        "sigmoid_compute",
        include_str!("../../laws/sigmoid_compute.yaml"),
    ),
    ("sigmoid_loss", include_str!("../../laws/sigmoid_loss.yaml")),
    (
        "success_compute",
        include_str!("../../laws/success_compute.yaml"),
    ),
];

/// The law of a name.
pub(crate) fn named(name: &str) -> Result<Law, LawError> {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Law::from_yaml(text),
        None => {
            let names = || FILES.iter().map(|(known, _)| *known);
            Err(LawError::UnknownLaw {
                name: name.to_owned(),
                nearest: nearest(name, names()).unwrap_or("hoffmann").to_owned(),
                all: names().collect::<Vec<_>>().join(", "),
            })
        }
    }
}

/// All of them; a test holds that each is well formed.
pub(crate) fn all() -> Vec<Law> {
    FILES
        .iter()
        .filter_map(|(_, text)| Law::from_yaml(text).ok())
        .collect()
}

/// Ye et al.'s law for any domains (at least two): the last one's share is what the others leave, its coefficient zero.
pub(crate) fn mixture(domains: &[&str]) -> Result<Law, LawError> {
    let Some((last, others)) = domains
        .split_last()
        .filter(|(_, others)| !others.is_empty())
    else {
        return Err(LawError::BadField {
            field: "domains".to_owned(),
            message: format!("{} given", domains.len()),
            remedy: "name at least two".to_owned(),
        });
    };
    let mut columns = String::new();
    let mut parameters = String::new();
    let mut terms = Vec::new();
    for name in others {
        columns += &format!(
            "  - {{name: r_{name}, unit: share, description: share of {name}, positive: false}}\n"
        );
        parameters += &format!(
            "  - {{name: t_{name}, unit: per share, description: effect of {name} against {last}, bounds: [-100.0, 100.0], starts: [-4.0, -1.0, 0.3, 2.0]}}\n"
        );
        terms.push(format!("t_{name} * r_{name}"));
    }
    Law::from_yaml(&format!(
        "name: mixture\ntitle: Loss from the shares of {}\nformula: e + k * exp({})\nreference: Ye et al. 2024, Data Mixing Laws, arXiv 2403.16952, equation 6\ncolumns:\n{columns}response: {{name: loss, unit: nats per token, scale: log}}\nparameters:\n  - {{name: e, unit: nats per token, description: loss that no mixture goes below, bounds: [0.0, 1000.0]}}\n  - {{name: k, unit: nats per token, description: size of what the mixture changes, scale: log, bounds: [1.0e-9, 1.0e+6]}}\n{parameters}",
        domains.join(", "),
        terms.join(" + "),
    ))
}
