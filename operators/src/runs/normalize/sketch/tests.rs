//! Sketches against the measurements themselves.

use super::*;

/// Latencies between 5 and 5,000 ms, most of them short; the same at every run.
fn measurements(n: usize) -> Vec<f64> {
    let mut state = 7_u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            5.0 * libm::pow(1000.0, unit * unit)
        })
        .collect()
}

/// As records of 7 measurements each have them.
fn sketch(values: &[f64]) -> Quantiles {
    let mut sketches = Vec::new();
    for record in values.chunks(7) {
        let mut unpacked = Unpacked::default();
        for value in record {
            unpacked.note(&sketches, "latency_ms", 0, *value);
        }
        unpacked.pack(&mut sketches);
        assert!(unpacked.is_empty());
    }
    sketches.remove(0)
}

fn note(sketches: &mut Vec<Quantiles>, metric: &'static str, attempt: i32, value: f64) {
    let mut unpacked = Unpacked::default();
    unpacked.note(sketches, metric, attempt, value);
    unpacked.pack(sketches);
}

/// The measurement of the rank that a quantile means: the least that as many are not above.
fn exact(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

#[test]
fn percentiles_are_within_the_error_that_is_stated() {
    for n in [1, 2, 19, 1000, 50_000] {
        let values = measurements(n);
        let found = sketch(&values);
        assert_eq!((found.n, found.relative_error), (n as i64, 1.0 / 256.0));
        for (quantile, told) in [
            (0.05, found.p05),
            (0.5, found.p50),
            (0.95, found.p95),
            (0.99, found.p99),
        ] {
            let (told, exact) = (told.expect("measured"), exact(&values, quantile));
            assert!(
                (told - exact).abs() <= exact / 256.0 + 0.0005,
                "{n} measurements, {quantile}: {told} instead of {exact}"
            );
        }
        assert!(found.sketch.len() < 4096, "{} bytes", found.sketch.len());
    }
}

#[test]
fn a_sketch_hangs_on_no_order_and_adds() {
    let values = measurements(3000);
    let mut backwards = values.clone();
    backwards.reverse();
    let whole = sketch(&values);
    assert_eq!(whole, sketch(&backwards));
    let (one, other) = (sketch(&values[..1234]), sketch(&values[1234..]));
    assert_eq!(merged(&one, &other).as_ref(), Some(&whole));
    assert_eq!(merged(&other, &one), Some(whole));
    let damaged = Quantiles {
        sketch: vec![1, 2, 3],
        ..one.clone()
    };
    assert_eq!(merged(&one, &damaged), None);
}

/// The encoding's cookie, then digits, bounds and ratio as the format's description has them.
#[test]
fn the_bytes_are_the_known_encoding() {
    let found = sketch(&[1.0]);
    let header = [
        &0x1c84_9313_u32.to_be_bytes()[..],
        &(found.sketch.len() as u32 - 40).to_be_bytes(),
        &0_u32.to_be_bytes(),
        &2_u32.to_be_bytes(),
        &1_u64.to_be_bytes(),
        &86_400_000_000_u64.to_be_bytes(),
        &1.0_f64.to_be_bytes(),
    ]
    .concat();
    assert_eq!(found.sketch[..40], header);
    // 1000 is in the bucket of 1000 to 1003: 2 · 128 + (1000 / 4) = 506 empty ones before it, then one count; zig-zag, LEB128
    assert_eq!(found.sketch[40..], [0xf3, 0x07, 0x02]);
    assert_eq!(found.p50, Some(1.002), "the middle of the bucket");
}

#[test]
fn the_newest_attempt_counts() {
    let mut sketches = Vec::new();
    note(&mut sketches, "latency_ms", 1, 10.0);
    note(&mut sketches, "latency_ms", 0, 99.0);
    assert_eq!((sketches[0].n, sketches[0].attempt), (1, 1));
    note(&mut sketches, "latency_ms", 2, 20.0);
    note(&mut sketches, "a_metric_ms", 0, 1.0);
    assert_eq!((sketches[1].n, sketches[1].attempt), (1, 2));
    assert_eq!(of(&sketches, "a_metric_ms").map(|found| found.n), Some(1));
    assert_eq!(of(&sketches, "none"), None);
}

#[test]
fn what_is_out_of_bounds_is_bounded() {
    let found = sketch(&[0.0, -1.0, f64::NAN, f64::INFINITY, 1e300]);
    assert_eq!((found.n, found.p05, found.p50), (5, Some(0.0), Some(0.0)));
    let greatest = found.p99.expect("measured");
    assert!(
        (greatest / 86_400_000.0 - 1.0).abs() < 1.0 / 256.0,
        "{greatest}"
    );
}

/// State is MessagePack with named fields (decision 0002).
#[test]
fn a_sketch_survives_the_changelog() {
    let found = sketch(&measurements(100));
    let bytes = rmp_serde::to_vec_named(&found).expect("plain data");
    assert_eq!(
        rmp_serde::from_slice::<Quantiles>(&bytes).expect("its own"),
        found
    );
    let wider = bytes.len() - found.sketch.len();
    assert!(wider < 160, "bytes as bytes: {wider} beside the sketch");
}
