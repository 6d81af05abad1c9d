//! What derivations rest on beside the row: the section `runs.derivation` of the configuration.

use super::accelerators::Accelerator;
use super::flops::FlopsConvention;
use super::prices::Price;
use serde::{Deserialize, Serialize};

/// What derivations rest on beside the row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DerivationRules {
    /// How `derived.flops` is counted: 6ND, 6ND_non_embedding, exact or hoffmann_2022.
    pub flops_convention: FlopsConvention,
    /// Accelerators beside the compiled-in ones, and in place of those of the same name: name, aliases, peak_flops_per_second by number format (bf16, fp16, fp8, tf32, fp32), source.
    pub accelerators: Vec<Accelerator>,
    /// What accelerators cost, in place of the compiled-in list prices of the same accelerator: accelerator, region (optional), price_per_hour of one, currency, valid_from (a date, UTC), source.
    pub prices: Vec<Price>,
    /// Whether the compiled-in list prices count where `prices` says nothing of an accelerator; without them such a run has no cost.
    pub list_prices: bool,
}

impl Default for DerivationRules {
    fn default() -> Self {
        Self {
            flops_convention: FlopsConvention::default(),
            accelerators: Vec::new(),
            prices: Vec::new(),
            list_prices: true,
        }
    }
}

impl DerivationRules {
    /// What is wrong with the settings, where something is: setting, problem.
    ///
    /// # Errors
    /// The first rate, price or date that cannot be used.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for accelerator in &self.accelerators {
            accelerator
                .check()
                .map_err(|problem| ("runs.derivation.accelerators", problem))?;
        }
        for price in &self.prices {
            price
                .check()
                .map_err(|problem| ("runs.derivation.prices", problem))?;
        }
        Ok(())
    }
}
