//! What follows from a row: parameters, compute, effective tokens, utilisation, time, cost, energy.
//!
//! A function of the row, of what its fold remembers beside it, and of the rules and tables of the configuration: no clock, so
//! that it can be done again at any time with the same outcome (`cairn backfill`). Each field of [`Derived`] says its
//! formula, unit and reference; the parts are one file each.

mod accelerators;
mod flops;
mod prices;
mod settings;
mod shape;
mod tokens;

pub use accelerators::Accelerator;
pub use flops::FlopsConvention;
pub use prices::Price;
pub use settings::DerivationRules;

use accelerators::Accelerators;
use cairn_avro::hex;
use cairn_avro::record::{Derived, ExperimentRow};
use prices::Prices;
use sha2::{Digest, Sha256};

const HOUR_MS: f64 = 3_600_000.0;

/// What the fold of a row knows beside the row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// Tokens a second of the greatest step.
    pub(super) tokens_per_second: Option<f64>,
    /// Time between the first and last event of training, summed over attempts, milliseconds.
    pub(super) training_ms: Option<i64>,
    /// Mean power of the accelerators, watts.
    pub(super) power_watts: Option<f64>,
}

/// The rules and tables that derivations go by.
#[derive(Clone, Debug)]
pub struct Derivation {
    convention: FlopsConvention,
    accelerators: Accelerators,
    prices: Prices,
    tables_version: String,
}

impl Derivation {
    /// By these rules; what [`DerivationRules::check`] refuses is left out.
    #[must_use]
    pub fn new(rules: &DerivationRules) -> Self {
        let accelerators = Accelerators::new(&rules.accelerators);
        let prices = Prices::new(&rules.prices, rules.list_prices, &accelerators);
        Self {
            convention: rules.flops_convention,
            accelerators,
            prices,
            tables_version: tables_version(rules),
        }
    }

    /// What rows carry as `derived.tables_version`.
    #[must_use]
    pub fn tables_version(&self) -> &str {
        &self.tables_version
    }

    /// What follows from the row.
    pub(super) fn derive(&self, row: &ExperimentRow, measured: Measured) -> Derived {
        let mut derived = Derived {
            tables_version: self.tables_version.clone(),
            ..Derived::default()
        };
        let flops_per_token = self.compute(row, &mut derived);
        self.time(row, measured, &mut derived);
        self.utilization(row, measured, flops_per_token, &mut derived);
        derived
    }

    /// Parameters, tokens and FLOPs; gives back the FLOPs a token that utilisation goes by, and their convention.
    fn compute(
        &self,
        row: &ExperimentRow,
        derived: &mut Derived,
    ) -> Option<(f64, FlopsConvention)> {
        let shape = shape::shape(&row.model);
        let parameters = shape::parameters(&row.model, shape.as_ref());
        let context = row
            .context_length_tokens
            .or(row.model.context_length_tokens)
            .filter(|context| *context > 0);
        let forward = shape
            .zip(context)
            .map(|(shape, context)| flops::forward(&shape, context as f64));
        let tokens = row.tokens.map(|tokens| tokens as f64);
        let six_n = flops::six_n(&parameters);
        let exact = forward.and_then(|forward| forward.exact());
        let of_all = |per_token: Option<f64>| per_token.zip(tokens).map(|(each, all)| each * all);
        derived.flops_6nd = of_all(six_n);
        derived.flops_exact = of_all(exact);
        derived.flops = match self.convention {
            FlopsConvention::SixNd => derived.flops_6nd,
            FlopsConvention::Exact => derived.flops_exact,
            FlopsConvention::SixNdNonEmbedding => of_all(flops::six_n_non_embedding(&parameters)),
            FlopsConvention::Hoffmann2022 => {
                of_all(forward.and_then(|forward| forward.hoffmann_2022()))
            }
        };
        if derived.flops.is_some() {
            derived.flops_convention = self.convention.name().to_owned();
        }
        derived.tokens_per_parameter = tokens
            .zip(parameters.active.filter(|active| *active > 0.0))
            .map(|(tokens, active)| tokens / active);
        (derived.effective_tokens, derived.epochs) = tokens::of_row(row);
        derived.parameters_total = parameters.total;
        derived.parameters_active = parameters.active;
        derived.parameters_non_embedding = parameters.non_embedding;
        derived.parameters_embedding = parameters.embedding;
        derived.parameters_counted = parameters.counted;
        exact
            .map(|exact| (exact, FlopsConvention::Exact))
            .or(six_n.map(|six_n| (six_n, FlopsConvention::SixNd)))
    }

    /// Hours, money and energy.
    fn time(&self, row: &ExperimentRow, measured: Measured, derived: &mut Derived) {
        let hardware = &row.hardware;
        let hours = measured.training_ms.map(|time_ms| time_ms as f64 / HOUR_MS);
        derived.training_hours = hours;
        derived.accelerator_hours = hours
            .zip(hardware.accelerator_count)
            .map(|(hours, count)| hours * count as f64);
        derived.energy_kilowatt_hours = hours
            .zip(measured.power_watts)
            .map(|(hours, watts)| hours * watts / 1000.0);
        derived.currency.clone_from(&hardware.currency);
        if let Some(price) = hardware.price_per_hour {
            derived.price_per_hour = Some(price);
            derived.price_source = "told".to_owned();
        } else if let (Some(accelerator), Some(begins_ms)) =
            (hardware.accelerator.as_deref(), row.first_event_time_ms)
            && let Some(price) = self.prices.find(
                accelerator,
                hardware.region.as_deref(),
                begins_ms,
                &self.accelerators,
            )
        {
            derived.price_per_hour = Some(price.price_per_hour);
            derived.currency = Some(price.currency.clone());
            derived.price_source = "table".to_owned();
        }
        derived.cost = derived
            .accelerator_hours
            .zip(derived.price_per_hour)
            .map(|(hours, price)| hours * price);
    }

    /// The share of the hardware's peak rate that training reaches.
    fn utilization(
        &self,
        row: &ExperimentRow,
        measured: Measured,
        flops_per_token: Option<(f64, FlopsConvention)>,
        derived: &mut Derived,
    ) {
        let hardware = &row.hardware;
        let known = hardware
            .accelerator
            .as_deref()
            .and_then(|told| self.accelerators.find(told));
        derived.accelerator = known.map(|known| known.name.clone());
        derived.peak_flops_per_second = hardware
            .peak_flops_per_second
            .or(known.and_then(|known| known.peak(row.training.precision.as_deref())));
        let peak = derived
            .peak_flops_per_second
            .zip(hardware.accelerator_count)
            .map(|(peak, count)| peak * count as f64)
            .filter(|peak| *peak > 0.0);
        if let Some((((each, convention), rate), peak)) =
            flops_per_token.zip(measured.tokens_per_second).zip(peak)
        {
            derived.model_flops_utilization = Some(each * rate / peak);
            derived.utilization_convention = convention.name().to_owned();
        }
    }
}

/// Date of the compiled-in tables, the later of both, and a digest of what the configuration makes different.
fn tables_version(rules: &DerivationRules) -> String {
    let date = Accelerators::version().max(Prices::version());
    if *rules == DerivationRules::default() {
        return date.to_owned();
    }
    // plain data always encodes; were that ever untrue, its debug form still tells settings apart
    let said = serde_json::to_vec(rules).unwrap_or_else(|_| format!("{rules:?}").into_bytes());
    format!("{date}+{}", hex::text(&Sha256::digest(said)[..4]))
}

#[cfg(test)]
mod tests;
