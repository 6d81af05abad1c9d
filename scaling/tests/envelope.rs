//! Approach 1 on curves whose envelope is known in closed form.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

mod common;

use cairn_scaling::Table;
use cairn_scaling::study::envelope::{EnvelopeOptions, envelope};
use common::Draws;

/// Hoffmann's law with alpha = beta = .35 along every curve: n_opt goes with C^.5 exactly.
fn curves(noise: f64) -> Table {
    let mut draws = Draws::new(3);
    let mut table = Table::default();
    for index in 0..16 {
        let n = 1e7 * 1.6_f64.powi(index);
        for step in 1..=200 {
            let d = 1e8 * 1.04_f64.powi(step);
            let loss = 1.7 + 400.0 / n.powf(0.35) + 500.0 / d.powf(0.35);
            table.push(
                &format!("run-{index:02}"),
                &[("n", n), ("d", d)],
                loss + noise * draws.normal(),
            );
        }
    }
    table
}

#[test]
fn the_envelope_of_hoffmanns_law_has_its_exponent() {
    for (noise, tolerance) in [(0.0, 0.02), (0.003, 0.06)] {
        let found = envelope(&curves(noise), &EnvelopeOptions::default()).expect("an envelope");
        let (a, b) = (&found.n_opt.exponent, &found.d_opt.exponent);
        assert!(
            (a.value - 0.5).abs() < tolerance && (b.value - 0.5).abs() < tolerance,
            "{a:?} {b:?}"
        );
        assert!(a.ci.low < 0.5 && 0.5 < a.ci.high, "{a:?}");
        assert!(
            (a.value + b.value - 1.0).abs() < 1e-6,
            "n d is C / 6 along the envelope"
        );
        // Closed form: n_opt = (A / B)^(1/.7) (C / 6)^.5. A staircase of ratio 1.6 is within half a step of it.
        for place in &found.places {
            let exact = (400.0_f64 / 500.0).powf(1.0 / 0.7) * (place.flops / 6.0).sqrt();
            assert!(
                noise > 0.0 || (place.n / exact).ln().abs() < 0.5 * 1.6_f64.ln() + 0.05,
                "{place:?} against {exact}"
            );
        }
        assert!(
            found.sizes >= 5 && !found.left_out.is_empty(),
            "{} sizes",
            found.sizes
        );
    }
}

#[test]
fn edges_are_listed_and_one_size_is_no_envelope() {
    let found = envelope(&curves(0.0), &EnvelopeOptions::default()).expect("an envelope");
    let reasons: Vec<&str> = found
        .left_out
        .iter()
        .map(|one| one.reason.as_str())
        .collect();
    assert!(reasons.contains(&"too few sizes compete"), "{reasons:?}");
    let one = curves(0.0);
    let one = one.filtered(|row| one.run_ids[row] == "run-03");
    assert_eq!(
        envelope(&one, &EnvelopeOptions::default())
            .expect_err("one run")
            .code(),
        "too_few"
    );
}
