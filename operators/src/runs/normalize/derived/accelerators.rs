//! Peak rates of accelerators: a table of datasheets, as data.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// Name, as rows and prices have it.
    pub name: String,
    /// Other names; compared without case, vendor, punctuation and memory size.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Dense peak rate by number format (floating point operations per second): `bf16`, `fp16`, `fp8`, `tf32`, `fp32`.
    pub peak_flops_per_second: BTreeMap<String, f64>,
    /// Where the rates are from.
    #[serde(default)]
    pub source: String,
}

#[derive(Deserialize)]
struct CompiledIn {
    version: String,
    accelerators: Vec<Accelerator>,
}

static COMPILED_IN: LazyLock<CompiledIn> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../../../../data/accelerators.yaml"))
        .expect("a test reads the compiled-in table")
});

/// Number formats that rates are known for.
const FORMATS: [&str; 5] = ["bf16", "fp16", "fp8", "tf32", "fp32"];

impl Accelerator {
    pub(super) fn check(&self) -> Result<(), String> {
        if plain(&self.name).is_empty() {
            return Err(format!("{:?} is no name of an accelerator", self.name));
        }
        for (format, rate) in &self.peak_flops_per_second {
            let is_known = FORMATS.contains(&format.as_str());
            if !(is_known && rate.is_finite() && *rate > 0.0) {
                return Err(format!(
                    "{}: {format} at {rate} is no rate of one of {}",
                    self.name,
                    FORMATS.join(", ")
                ));
            }
        }
        Ok(())
    }
}

/// Accelerators by their plain names.
#[derive(Clone, Debug)]
pub(super) struct Accelerators {
    all: Vec<Accelerator>,
    by_name: BTreeMap<String, usize>,
}

impl Accelerators {
    /// The compiled-in table with these laid over it.
    pub(super) fn new(own: &[Accelerator]) -> Self {
        let mut table = Self {
            all: Vec::new(),
            by_name: BTreeMap::new(),
        };
        for accelerator in COMPILED_IN.accelerators.iter().chain(own) {
            let place = table.all.len();
            let names = accelerator.aliases.iter().chain([&accelerator.name]);
            table.by_name.extend(names.map(|name| (plain(name), place)));
            table.all.push(accelerator.clone());
        }
        table
    }

    /// Date of the compiled-in table.
    pub(super) fn version() -> &'static str {
        &COMPILED_IN.version
    }

    /// The accelerator that a run means.
    pub(super) fn find(&self, told: &str) -> Option<&Accelerator> {
        self.all.get(*self.by_name.get(&plain(told))?)
    }
}

impl Accelerator {
    /// Its peak rate in a run's number format; a run that tells none is taken to use bf16, or fp16 where there is no bf16.
    pub(super) fn peak(&self, precision: Option<&str>) -> Option<f64> {
        let formats: &[&str] = match precision {
            Some(precision) => &[format_of(precision)?],
            None => &["bf16", "fp16"],
        };
        formats
            .iter()
            .find_map(|format| self.peak_flops_per_second.get(*format).copied())
    }
}

/// The number format of the matrix products that a name of a precision means.
fn format_of(precision: &str) -> Option<&'static str> {
    let name = precision.to_ascii_lowercase();
    let means = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if means(&["fp8", "float8", "e4m3", "e5m2"]) {
        Some("fp8")
    } else if means(&["bf16", "bfloat16"]) {
        Some("bf16")
    } else if means(&["tf32", "tensorfloat"]) {
        Some("tf32")
    } else if means(&["fp16", "float16", "half", "16-mixed", "f16"]) || name == "16" {
        Some("fp16")
    } else if means(&["fp32", "float32", "f32"]) || name == "32" {
        Some("fp32")
    } else {
        None
    }
}

/// Words of a name that say whose it is and not which.
const VENDORS: [&str; 10] = [
    "amazon", "amd", "aws", "cloud", "google", "instinct", "intel", "nvidia", "tesla", "habana",
];

/// A name without case, vendor, punctuation and memory size: `NVIDIA A100-SXM4-80GB` is `a100sxm4`.
pub(super) fn plain(name: &str) -> String {
    name.to_ascii_lowercase()
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !VENDORS.contains(word) && !is_memory(word))
        .collect()
}

fn is_memory(word: &str) -> bool {
    let size = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &word[size.len()..];
    !size.is_empty()
        && size.bytes().all(|digit| digit.is_ascii_digit())
        && matches!(unit, "g" | "gb" | "gib")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates by the datasheets, which state dense ones or, twice as high, ones with sparsity.
    #[test]
    fn names_that_drivers_give_are_known() {
        let table = Accelerators::new(&[]);
        for (told, precision, expected) in [
            ("NVIDIA A100-SXM4-80GB", None, Some(312e12)),
            ("NVIDIA A100 80GB PCIe", Some("bfloat16"), Some(312e12)),
            ("A100", Some("fp32"), Some(19.5e12)),
            ("Tesla V100-SXM2-16GB", None, Some(125e12)),
            ("V100", Some("bf16"), None),
            ("NVIDIA H100 80GB HBM3", Some("bf16-mixed"), Some(989.4e12)),
            ("h100-sxm", Some("fp8"), Some(1978.9e12)),
            ("NVIDIA H100 PCIe", None, Some(756e12)),
            ("NVIDIA H200", None, Some(989e12)),
            ("NVIDIA A10G", None, Some(70e12)),
            ("NVIDIA A10", None, Some(125e12)),
            ("NVIDIA L4", Some("16-mixed"), Some(121e12)),
            ("NVIDIA L40S", None, Some(362.05e12)),
            ("NVIDIA B200", None, Some(2250e12)),
            ("AMD Instinct MI250X", None, Some(383e12)),
            ("AMD Instinct MI300X", None, Some(1307.4e12)),
            ("TPU v4", None, Some(275e12)),
            ("TPU v5 lite", None, Some(197e12)),
            ("Google Cloud TPU v5p", None, Some(459e12)),
            ("A100", Some("int4"), None),
            ("80GB", None, None),
            ("", None, None),
        ] {
            let peak = table.find(told).and_then(|found| found.peak(precision));
            assert_eq!(peak, expected, "{told} {precision:?}");
        }
    }

    #[test]
    fn the_compiled_in_table_is_sound() {
        let mut names = BTreeMap::new();
        for accelerator in &COMPILED_IN.accelerators {
            assert_eq!(accelerator.check(), Ok(()));
            assert!(!accelerator.source.is_empty(), "{}", accelerator.name);
            for name in accelerator.aliases.iter().chain([&accelerator.name]) {
                if let Some(other) = names.insert(plain(name), &accelerator.name) {
                    assert_eq!(*other, accelerator.name, "{name} means two");
                }
            }
        }
    }

    #[test]
    fn a_configuration_stands_above_the_table() {
        let own = Accelerator {
            name: "A100".to_owned(),
            aliases: vec!["our big card".to_owned()],
            peak_flops_per_second: BTreeMap::from([("bf16".to_owned(), 1e12)]),
            source: String::new(),
        };
        let table = Accelerators::new(std::slice::from_ref(&own));
        for told in ["a100", "Our Big-Card"] {
            assert_eq!(
                table.find(told).and_then(|found| found.peak(None)),
                Some(1e12)
            );
        }
        let wrong = Accelerator {
            peak_flops_per_second: BTreeMap::from([("bf17".to_owned(), 1e12)]),
            ..own
        };
        assert!(wrong.check().is_err());
    }
}
