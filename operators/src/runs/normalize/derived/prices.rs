//! What an accelerator costs: a table of prices, as data.

use super::accelerators::{Accelerators, plain};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// One price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Accelerator, by any name that the table of accelerators has for it.
    pub accelerator: String,
    /// Region or site; left out it is the price everywhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Price of one accelerator for one hour (in `currency`).
    pub price_per_hour: f64,
    /// Currency, ISO 4217 code.
    pub currency: String,
    /// First day on which it holds (a date, UTC), until a later row of the same accelerator and region.
    pub valid_from: String,
    /// Where the price is from.
    #[serde(default)]
    pub source: String,
}

#[derive(Deserialize)]
struct CompiledIn {
    version: String,
    prices: Vec<Price>,
}

static COMPILED_IN: LazyLock<CompiledIn> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../../../../data/prices.yaml"))
        .expect("a test reads the compiled-in table")
});

impl Price {
    pub(super) fn check(&self) -> Result<(), String> {
        if plain(&self.accelerator).is_empty() {
            return Err(format!(
                "{:?} is no name of an accelerator",
                self.accelerator
            ));
        }
        if !(self.price_per_hour.is_finite() && self.price_per_hour >= 0.0) {
            return Err(format!(
                "{}: {} is no price",
                self.accelerator, self.price_per_hour
            ));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(format!(
                "{}: {:?} is no currency; ISO 4217 has codes such as USD",
                self.accelerator, self.currency
            ));
        }
        if self.valid_from_ms().is_none() {
            return Err(format!(
                "{}: valid_from {:?} is no date such as 2026-11-30",
                self.accelerator, self.valid_from
            ));
        }
        Ok(())
    }

    fn valid_from_ms(&self) -> Option<i64> {
        cairn_avro::time::parse(&format!("{}T00:00:00Z", self.valid_from))
    }
}

/// A price as it is looked up.
#[derive(Clone, Debug)]
struct Entry {
    accelerator: String,
    region: Option<String>,
    valid_from_ms: i64,
    price: Price,
}

/// Prices, those of the configuration in place of the compiled-in ones of the same accelerator.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    entries: Vec<Entry>,
}

impl Prices {
    /// The table; a row that [`Price::check`] refuses is left out, the configuration was checked before.
    pub(super) fn new(own: &[Price], list_prices: bool, accelerators: &Accelerators) -> Self {
        let entry = |price: &Price| {
            Some(Entry {
                accelerator: key(&price.accelerator, accelerators),
                region: price.region.as_deref().map(str::to_lowercase),
                valid_from_ms: price.valid_from_ms()?,
                price: price.clone(),
            })
        };
        let mut entries: Vec<Entry> = own.iter().filter_map(entry).collect();
        if list_prices {
            let listed = COMPILED_IN.prices.iter().filter_map(entry);
            let listed: Vec<Entry> = listed
                .filter(|listed| {
                    entries
                        .iter()
                        .all(|own| own.accelerator != listed.accelerator)
                })
                .collect();
            entries.extend(listed);
        }
        Self { entries }
    }

    /// Date of the compiled-in table.
    pub(super) fn version() -> &'static str {
        &COMPILED_IN.version
    }

    /// The price of an accelerator for a run that begins at this time: of its region before the general one, then the newest
    /// that holds by then.
    pub(super) fn find(
        &self,
        accelerator: &str,
        region: Option<&str>,
        begins_ms: i64,
        accelerators: &Accelerators,
    ) -> Option<&Price> {
        let key = key(accelerator, accelerators);
        let region = region.map(str::to_lowercase);
        self.entries
            .iter()
            .filter(|entry| entry.accelerator == key && entry.valid_from_ms <= begins_ms)
            .filter(|entry| entry.region.is_none() || entry.region == region)
            .max_by_key(|entry| (entry.region.is_some(), entry.valid_from_ms))
            .map(|entry| &entry.price)
    }
}

/// What prices of an accelerator go by: its name in the table of accelerators, else its own.
fn key(told: &str, accelerators: &Accelerators) -> String {
    let known = accelerators.find(told).map(|found| found.name.as_str());
    plain(known.unwrap_or(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(accelerator: &str, region: Option<&str>, price_per_hour: f64, from: &str) -> Price {
        Price {
            accelerator: accelerator.to_owned(),
            region: region.map(str::to_owned),
            price_per_hour,
            currency: "EUR".to_owned(),
            valid_from: from.to_owned(),
            source: String::new(),
        }
    }

    fn day(date: &str) -> i64 {
        cairn_avro::time::parse(&format!("{date}T00:00:00Z")).expect("a date")
    }

    #[test]
    fn the_newest_price_of_the_nearest_region_holds() {
        let accelerators = Accelerators::new(&[]);
        let own = [
            price("NVIDIA A100-SXM4-40GB", None, 2.0, "2026-01-01"),
            price("A100", None, 1.5, "2026-06-01"),
            price("A100", Some("eu-north"), 1.0, "2026-03-01"),
            price("house card", None, 0.5, "2026-01-01"),
        ];
        let prices = Prices::new(&own, true, &accelerators);
        for (accelerator, region, date, expected) in [
            ("A100-80GB", None, "2025-12-31", None),
            ("A100-80GB", None, "2026-01-01", Some(2.0)),
            ("A100-80GB", None, "2026-05-31", Some(2.0)),
            ("A100-80GB", Some("us-east"), "2026-07-01", Some(1.5)),
            ("A100-80GB", Some("EU-North"), "2026-07-01", Some(1.0)),
            ("A100-80GB", Some("eu-north"), "2026-02-01", Some(2.0)),
            ("House-Card", None, "2026-02-01", Some(0.5)),
            ("H100", None, "2023-12-31", Some(12.29)),
            ("H100", None, "2025-06-01", Some(6.88)),
            ("abacus", None, "2026-02-01", None),
        ] {
            let found = prices.find(accelerator, region, day(date), &accelerators);
            assert_eq!(
                found.map(|found| found.price_per_hour),
                expected,
                "{accelerator} {region:?} {date}"
            );
        }
        let prices = Prices::new(&own, false, &accelerators);
        assert!(
            prices
                .find("H100", None, day("2025-06-01"), &accelerators)
                .is_none()
        );
    }

    #[test]
    fn the_compiled_in_table_is_sound() {
        let accelerators = Accelerators::new(&[]);
        for price in &COMPILED_IN.prices {
            assert_eq!(price.check(), Ok(()));
            assert!(!price.source.is_empty());
            assert!(accelerators.find(&price.accelerator).is_some(), "{price:?}");
        }
    }

    #[test]
    fn a_price_that_cannot_be_meant_is_refused() {
        for wrong in [
            price("", None, 1.0, "2026-01-01"),
            price("A100", None, f64::NAN, "2026-01-01"),
            price("A100", None, -1.0, "2026-01-01"),
            price("A100", None, 1.0, "yesterday"),
            Price {
                currency: "dollars".to_owned(),
                ..price("A100", None, 1.0, "2026-01-01")
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
