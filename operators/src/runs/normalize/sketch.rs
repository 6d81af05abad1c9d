//! Distributions of single measurements, as sketches that can be merged: HdrHistograms with two significant digits.
//!
//! A value is kept in thousandths of its unit, in a bucket that is at most a 128th of it wide, and read back as the middle of
//! the bucket: a percentile differs from the measurement of that rank by [`RELATIVE_ERROR`] of it at most, beside half a
//! thousandth for the rounding. Buckets are found by shifts of whole numbers, so that the outcome hangs neither on the machine
//! nor on the order of the measurements. The record carries encoding V2 (without compression), which the HdrHistogram
//! libraries of other languages read; histograms of several runs add.

use cairn_avro::record::Quantiles;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use std::collections::BTreeMap;

/// Most by which a percentile differs from the measurement of that rank: half a bucket of a 128th.
pub const RELATIVE_ERROR: f64 = 1.0 / 256.0;
/// Two significant digits: 256 buckets for each doubling but the first, half of them its own.
const SIGNIFICANT_DIGITS: u8 = 2;
/// Parts of a unit that are told apart.
const PARTS: f64 = 1000.0;
/// A day in microseconds; what is greater counts as this.
const GREATEST: u64 = 86_400_000_000;

/// Sketches that are written to: unpacked by the first measurement of a record, packed again at its end, because a histogram
/// in memory is 32 KB and a record may hold hundreds of measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unpacked(BTreeMap<&'static str, (i32, Histogram<u64>)>);

impl Unpacked {
    /// Notes a measurement of an attempt. The newest attempt counts: an older one says nothing, a newer one begins anew.
    pub(super) fn note(
        &mut self,
        packed: &[Quantiles],
        metric: &'static str,
        attempt: i32,
        value: f64,
    ) {
        let (newest, histogram) = self.0.entry(metric).or_insert_with(|| {
            let known = of(packed, metric);
            let newest = known.map_or(attempt, |known| known.attempt);
            let histogram = known.and_then(|known| histogram(&known.sketch));
            (newest, histogram.unwrap_or_else(nothing))
        });
        if attempt < *newest {
            return;
        }
        if attempt > *newest {
            (*newest, *histogram) = (attempt, nothing());
        }
        // a float turns into the nearest whole number that the type has: nothing below zero, no overflow
        histogram.saturating_record((value * PARTS).round() as u64);
    }

    /// True where nothing is to be packed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Packs what was noted.
    pub(super) fn pack(&mut self, packed: &mut Vec<Quantiles>) {
        for (metric, (attempt, histogram)) in std::mem::take(&mut self.0) {
            let mut sketch = empty(metric, attempt);
            write(&mut sketch, &histogram);
            match packed.binary_search_by(|known| known.metric.as_str().cmp(metric)) {
                Ok(place) => packed[place] = sketch,
                Err(place) => packed.insert(place, sketch),
            }
        }
    }
}

/// What two sketches of the same metric say together, as of the newer attempt; none where one of them cannot be read.
#[must_use]
pub fn merged(one: &Quantiles, other: &Quantiles) -> Option<Quantiles> {
    let mut histogram = histogram(&one.sketch)?;
    histogram.add(self::histogram(&other.sketch)?).ok()?;
    let mut both = empty(&one.metric, one.attempt.max(other.attempt));
    write(&mut both, &histogram);
    Some(both)
}

/// The sketch of a metric.
pub(super) fn of<'s>(sketches: &'s [Quantiles], metric: &str) -> Option<&'s Quantiles> {
    sketches
        .binary_search_by(|known| known.metric.as_str().cmp(metric))
        .ok()
        .map(|place| &sketches[place])
}

fn empty(metric: &str, attempt: i32) -> Quantiles {
    Quantiles {
        metric: metric.to_owned(),
        attempt,
        relative_error: RELATIVE_ERROR,
        ..Quantiles::default()
    }
}

fn nothing() -> Histogram<u64> {
    Histogram::new_with_bounds(1, GREATEST, SIGNIFICANT_DIGITS).expect("bounds that are in order")
}

/// A histogram of ours; none where the bytes are not.
fn histogram(bytes: &[u8]) -> Option<Histogram<u64>> {
    Deserializer::new()
        .deserialize(&mut std::io::Cursor::new(bytes))
        .ok()
}

fn write(sketch: &mut Quantiles, histogram: &Histogram<u64>) {
    let mut bytes = Vec::new();
    // Writing to memory fails for a count that is no i64 alone, which nobody lives to see.
    if V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .is_err()
    {
        return;
    }
    sketch.sketch = bytes;
    sketch.n = histogram.len().cast_signed();
    let mut values = histogram
        .value_at_quantiles([0.05, 0.5, 0.95, 0.99])
        .map(|value| histogram.median_equivalent(value) as f64 / PARTS);
    sketch.p05 = values.next();
    sketch.p50 = values.next();
    sketch.p95 = values.next();
    sketch.p99 = values.next();
}

#[cfg(test)]
mod tests;
