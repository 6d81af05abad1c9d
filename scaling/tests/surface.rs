//! Response surfaces: what they must say of data whose truth is known, and what they must refuse.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use std::collections::BTreeMap;

use cairn_scaling::figure::{Layer, Line};
use cairn_scaling::surface::{
    CardKind, Column, Columns, ExplainOptions, Features, Kind, Scale, Surface, SurfaceHoldout,
    SurfaceOptions, explain, fit_surface, parse_monotone, shapley,
};

/// Uniform numbers from a counter (SplitMix64): the same on every run.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// Runs of one row each: `y` rises in `x`, depends on a name, and not at all on `idle`; a tenth of `x` is missing.
fn table(rows: usize, seed: u64) -> Features {
    let mut random = Uniform(seed);
    let (mut x, mut z, mut idle, mut names, mut target) = (vec![], vec![], vec![], vec![], vec![]);
    for row in 0..rows {
        let (one, two) = (random.next(), random.next());
        let name = ["cosine", "linear", "wsd"][row % 3];
        let shift = [0.0, 0.5, -0.5][row % 3];
        target.push(3.0 * one * one + one * two + shift + 0.1 * random.normal());
        x.push(if random.next() < 0.1 { f64::NAN } else { one });
        z.push(two);
        idle.push(random.next());
        names.push(Some(name.to_owned()));
    }
    Features {
        columns: [
            ("x".to_owned(), Column::Number(x)),
            ("z".to_owned(), Column::Number(z)),
            ("idle".to_owned(), Column::Number(idle)),
            ("schedule".to_owned(), Column::Category(names)),
        ]
        .into(),
        target_name: "score".into(),
        target,
        run_ids: (0..rows).map(|row| format!("run-{row:04}")).collect(),
        weights: Vec::new(),
    }
}

fn options(kind: Kind) -> SurfaceOptions {
    SurfaceOptions {
        kind,
        ..SurfaceOptions::default()
    }
}

const KINDS: [Kind; 4] = [
    Kind::Linear,
    Kind::Boosting,
    Kind::Forest,
    Kind::GaussianProcess,
];

#[test]
fn intervals_of_every_kind_hold_on_new_runs() {
    let fresh = table(1_000, 99);
    for kind in KINDS {
        let surface = fit_surface(&table(300, 1), &options(kind)).unwrap();
        let points = surface.predict(&fresh.columns, 0.9).unwrap();
        let within = points
            .iter()
            .zip(&fresh.target)
            .filter(|(point, y)| (point.low..=point.high).contains(y))
            .count();
        assert!((850..=960).contains(&within), "{kind:?}: {within} of 1000");
        assert!(
            surface.backtest.r_squared > 0.7,
            "{kind:?}: {}",
            surface.backtest.r_squared
        );
        let outside = points
            .iter()
            .filter(|point| point.out_of_distribution)
            .count();
        assert!(
            outside < 50,
            "{kind:?}: {outside} of 1000 said to be outside"
        );
    }
}

#[test]
fn rows_of_a_run_are_held_out_together() {
    // Eight rows a run share a large offset of their own. Folds over rows would call it learnt.
    let mut features = table(320, 2);
    let mut random = Uniform(7);
    let offsets: Vec<f64> = (0..40).map(|_| 5.0 * random.normal()).collect();
    let mark: Vec<f64> = offsets
        .iter()
        .enumerate()
        .map(|(run, _)| run as f64)
        .collect();
    for row in 0..320 {
        features.run_ids[row] = format!("run-{:02}", row / 8);
        features.target[row] += offsets[row / 8];
    }
    features.columns.insert(
        "batch".into(),
        Column::Number((0..320).map(|row| mark[row / 8]).collect()),
    );
    let surface = fit_surface(&features, &options(Kind::Boosting)).unwrap();
    assert_eq!((surface.n_rows, surface.n_runs), (320, 40));
    assert!(
        surface.backtest.r_squared < 0.3,
        "{}",
        surface.backtest.r_squared
    );
    // The interval must therefore be as wide as runs are apart: 90 % of a normal of s.d. 5 is 16 wide.
    assert!((12.0..30.0).contains(&surface.backtest.width.unwrap()));
}

#[test]
fn the_same_rows_in_any_order_give_the_same_bytes_and_survive_json() {
    let features = table(120, 3);
    let reversed = features.take(&(0..120).rev().collect::<Vec<_>>());
    for kind in [Kind::Auto, Kind::Forest, Kind::GaussianProcess] {
        let one = fit_surface(&features, &options(kind)).unwrap();
        let two = fit_surface(&reversed, &options(kind)).unwrap();
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(text, serde_json::to_string(&two).unwrap());
        let back: Surface = serde_json::from_str(&text).unwrap();
        assert_eq!(
            back.predict(&features.columns, 0.8).unwrap(),
            one.predict(&features.columns, 0.8).unwrap()
        );
        assert_eq!(one.candidates.len(), if kind == Kind::Auto { 4 } else { 1 });
    }
}

#[test]
fn a_monotone_column_moves_predictions_one_way_only() {
    let mut features = table(200, 4);
    // A few outliers that would bend a free surface.
    for row in 0..200 {
        features.target[row] += if row % 17 == 0 { 3.0 } else { 0.0 };
    }
    let line = |name: &str| {
        let mut columns = features.take(&[0; 101]).columns;
        columns.insert("x".into(), Column::Number(vec![0.5; 101]));
        columns.insert(
            name.into(),
            Column::Number((0..101).map(|step| f64::from(step) / 100.0).collect()),
        );
        columns
    };
    for kind in [Kind::Linear, Kind::Boosting, Kind::Forest] {
        let free = fit_surface(&features, &options(kind)).unwrap();
        let monotone = parse_monotone("x:+, z:-").unwrap();
        let bound = fit_surface(
            &features,
            &SurfaceOptions {
                monotone,
                ..options(kind)
            },
        )
        .unwrap();
        let falls = |surface: &Surface, name: &str, sign: f64| {
            let means = surface.means(&line(name)).unwrap();
            means
                .windows(2)
                .filter(|pair| sign * (pair[1] - pair[0]) < -1e-9)
                .count()
        };
        assert_eq!(
            falls(&bound, "x", 1.0) + falls(&bound, "z", -1.0),
            0,
            "{kind:?}"
        );
        assert!(
            falls(&free, "z", -1.0) > 0,
            "{kind:?}: the constraint would have nothing to do"
        );
    }
}

#[test]
fn says_what_is_outside_the_data() {
    let features = table(150, 5);
    let surface = fit_surface(&features, &options(Kind::Boosting)).unwrap();
    let point = |x: f64, name: Option<&str>| -> Columns {
        [
            ("x".to_owned(), Column::Number(vec![x])),
            ("z".to_owned(), Column::Number(vec![0.5])),
            ("idle".to_owned(), Column::Number(vec![0.5])),
            (
                "schedule".to_owned(),
                Column::Category(vec![name.map(str::to_owned)]),
            ),
        ]
        .into()
    };
    let outside = |columns: &Columns| surface.predict(columns, 0.9).unwrap()[0].why.join(" ");
    assert_eq!(outside(&point(0.5, Some("wsd"))), "");
    assert!(outside(&point(3.0, Some("wsd"))).contains("`x` is 3; the fit knows"));
    assert!(outside(&point(0.5, Some("polynomial"))).contains("no run of the fit had"));
    assert!(outside(&point(0.5, None)).contains("`schedule` is missing"));
}

#[test]
fn largest_runs_set_apart_are_judged_as_extrapolation() {
    // A curve that keeps falling: trees go on flat beyond the data, and the hold-out must say so.
    let compute: Vec<f64> = (0..80)
        .map(|row| 10_f64.powf(18.0 + f64::from(row) / 16.0))
        .collect();
    let features = Features {
        target: compute
            .iter()
            .map(|compute| 1.7 + 1e3 * compute.powf(-0.15))
            .collect(),
        columns: [("compute".to_owned(), Column::Number(compute))].into(),
        target_name: "loss".into(),
        run_ids: (0..80).map(|row| format!("{row:02}")).collect(),
        weights: Vec::new(),
    };
    let holdout = SurfaceHoldout::Largest {
        column: "compute".into(),
        fraction: 0.25,
    };
    let surface = fit_surface(
        &features,
        &SurfaceOptions {
            holdout,
            ..options(Kind::Forest)
        },
    )
    .unwrap();
    let score = surface.holdout.unwrap();
    assert_eq!(score.rows, 20);
    assert!(score.coverage.unwrap() < 0.8);
    assert!(
        surface
            .warnings
            .iter()
            .any(|warning| warning.contains("largest `compute`")),
        "{:?}",
        surface.warnings
    );
}

/// Whether a run diverges, with a probability that is known.
fn divergence(rows: usize, seed: u64) -> (Features, Vec<f64>) {
    let mut random = Uniform(seed);
    let rate: Vec<f64> = (0..rows)
        .map(|_| 10_f64.powf(-4.5 + 3.0 * random.next()))
        .collect();
    let warmup: Vec<f64> = (0..rows).map(|_| random.next()).collect();
    let truth: Vec<f64> = (0..rows)
        .map(|row| 1.0 / (1.0 + (-3.0 * (rate[row].log10() + 3.0) + 2.0 * warmup[row]).exp()))
        .collect();
    let features = Features {
        target: truth
            .iter()
            .map(|truth| f64::from(random.next() < *truth))
            .collect(),
        columns: [
            ("lr".to_owned(), Column::Number(rate)),
            ("warmup".to_owned(), Column::Number(warmup)),
        ]
        .into(),
        target_name: "diverged".into(),
        run_ids: (0..rows).map(|row| format!("{row:05}")).collect(),
        weights: Vec::new(),
    };
    (features, truth)
}

#[test]
fn probabilities_of_divergence_are_calibrated_and_their_intervals_hold_the_truth() {
    let mut held = 0;
    for seed in 0..4 {
        let (features, _) = divergence(500, seed);
        let options = SurfaceOptions {
            scale: Scale::Probability,
            ..options(Kind::Boosting)
        };
        let surface = fit_surface(&features, &options).unwrap();
        assert!(surface.backtest.calibration_error.unwrap() < 0.06);
        let (fresh, truth) = divergence(1_000, 100 + seed);
        let points = surface.predict(&fresh.columns, 0.9).unwrap();
        let error = points
            .iter()
            .zip(&truth)
            .map(|(point, truth)| (point.mean - truth).abs())
            .sum::<f64>()
            / 1_000.0;
        assert!(error < 0.08, "{error}");
        held += points
            .iter()
            .zip(&truth)
            .filter(|(point, truth)| (point.low..=point.high).contains(truth))
            .count();
    }
    assert!((3_400..=3_960).contains(&held), "{held} of 4000");
}

#[test]
fn explanations_find_what_matters_and_add_up() {
    let features = table(250, 6);
    for kind in KINDS {
        let surface = fit_surface(&features, &options(kind)).unwrap();
        let cards = explain(&surface, &features, &ExplainOptions::default()).unwrap();
        let importance = cards
            .iter()
            .find(|card| card.kind == CardKind::PermutationImportance)
            .unwrap();
        assert_eq!(importance.figure.y.categories.len(), 4);
        assert_eq!(importance.figure.y.categories[0], "x", "{kind:?}");
        assert_eq!(importance.figure.y.categories[3], "idle", "{kind:?}");
        // x runs from 0 to 1 and its effect from 0 to 3 + 1/2, a tenth of it lost to missing values.
        let effect = cards
            .iter()
            .find(|card| {
                card.kind == CardKind::AccumulatedLocalEffect
                    && card.feature.as_deref() == Some("x")
            })
            .unwrap();
        let Layer::Line(Line { y, .. }) = &effect.figure.layers[0] else {
            panic!("a line")
        };
        let rise = y[y.len() - 1] - y[0];
        assert!((2.4..4.2).contains(&rise), "{kind:?}: {rise}");
        if kind == Kind::GaussianProcess {
            assert_eq!(
                shapley(&surface, &features.columns).unwrap_err().code(),
                "kind_cannot"
            );
            continue;
        }
        let means = surface.means(&features.columns).unwrap();
        for (point, mean) in shapley(&surface, &features.columns)
            .unwrap()
            .iter()
            .zip(&means)
        {
            assert!(
                (point.sum - mean).abs() < 1e-6,
                "{kind:?}: {} against {mean}",
                point.sum
            );
        }
    }
}

#[test]
fn a_mixture_is_kept_a_mixture() {
    let mut random = Uniform(8);
    let shares: Vec<[f64; 3]> = (0..200)
        .map(|_| {
            let raw = [0; 3].map(|_| -random.next().ln());
            raw.map(|part| part / raw.iter().sum::<f64>())
        })
        .collect();
    let column = |place: usize| Column::Number(shares.iter().map(|row| row[place]).collect());
    let features = Features {
        target: shares
            .iter()
            .map(|row| 3.0 - 0.5 * (row[0] + 0.02).ln() + 0.01 * random.normal())
            .collect(),
        columns: [
            ("a".to_owned(), column(0)),
            ("b".to_owned(), column(1)),
            ("c".to_owned(), column(2)),
        ]
        .into(),
        target_name: "loss".into(),
        run_ids: (0..200).map(|row| format!("{row:03}")).collect(),
        weights: Vec::new(),
    };
    let simplex = vec![vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]];
    let with = SurfaceOptions {
        simplex: simplex.clone(),
        ..options(Kind::Linear)
    };
    let one = fit_surface(&features, &options(Kind::Linear)).unwrap();
    let two = fit_surface(&features, &with).unwrap();
    // The logarithm of a share is what acts; log-ratios let a linear model see it.
    assert!(
        two.backtest.rmse < 0.8 * one.backtest.rmse,
        "{} against {}",
        two.backtest.rmse,
        one.backtest.rmse
    );
    let mut columns = features.columns.clone();
    columns.insert("a".into(), Column::Number(vec![0.9; 200]));
    assert_eq!(
        two.predict(&columns, 0.9).unwrap_err().code(),
        "mixture_sum"
    );
    assert!(explain(&two, &features, &ExplainOptions::default()).is_ok());
}

#[test]
fn bad_input_is_refused_with_a_code_a_sentence_and_a_remedy() {
    let good = table(60, 9);
    let number = |values: Vec<f64>| Column::Number(values);
    let with = |name: &str, column: Column| {
        let mut features = good.clone();
        features.columns.insert(name.into(), column);
        features
    };
    let target = |value: f64| Features {
        target: [value]
            .into_iter()
            .chain(good.target[1..].iter().copied())
            .collect(),
        ..good.clone()
    };
    let plain = options(Kind::Auto);
    let scale = |scale| SurfaceOptions {
        scale,
        ..SurfaceOptions::default()
    };
    let simplex = |names: &[&str]| SurfaceOptions {
        simplex: vec![names.iter().map(|name| (*name).to_owned()).collect()],
        ..SurfaceOptions::default()
    };
    let monotone = |text: &str| SurfaceOptions {
        monotone: parse_monotone(text).unwrap(),
        ..SurfaceOptions::default()
    };
    let half = with("half", number(vec![0.5; 60]));
    let cases: BTreeMap<&str, (Features, SurfaceOptions)> = [
        ("too_few_rows", (good.take(&[0, 1, 2]), plain.clone())),
        (
            "too_few_runs",
            (
                Features {
                    run_ids: vec!["one".into(); 60],
                    ..good.clone()
                },
                plain.clone(),
            ),
        ),
        (
            "no_features",
            (
                Features {
                    columns: Columns::new(),
                    ..good.clone()
                },
                plain.clone(),
            ),
        ),
        (
            "lengths_differ",
            (with("short", number(vec![1.0])), plain.clone()),
        ),
        (
            "constant_target",
            (
                Features {
                    target: vec![2.0; 60],
                    ..good.clone()
                },
                plain.clone(),
            ),
        ),
        ("target_not_finite", (target(f64::NAN), plain.clone())),
        ("target_outside", (target(1.5), scale(Scale::Probability))),
        ("unknown_column", (good.clone(), monotone("absent:+"))),
        ("not_a_number", (good.clone(), monotone("schedule:+"))),
        (
            "all_missing",
            (with("gone", number(vec![f64::NAN; 60])), plain.clone()),
        ),
        (
            "not_finite",
            (with("far", number(vec![f64::INFINITY; 60])), plain.clone()),
        ),
        (
            "target_leak",
            (
                with(
                    "copy",
                    number(good.target.iter().map(|y| 2.0 - 3.0 * y).collect()),
                ),
                plain.clone(),
            ),
        ),
        ("mixture_sum", (half, simplex(&["half", "idle"]))),
        (
            "mixture_share",
            (with("w", number(vec![-0.5; 60])), simplex(&["w", "z"])),
        ),
        (
            "kind_cannot",
            (
                good.clone(),
                SurfaceOptions {
                    kind: Kind::GaussianProcess,
                    ..monotone("x:+")
                },
            ),
        ),
        (
            "bad_weight",
            (
                Features {
                    weights: vec![0.0; 60],
                    ..good.clone()
                },
                plain.clone(),
            ),
        ),
        (
            "bad_option",
            (
                good.clone(),
                SurfaceOptions {
                    level: 90.0,
                    ..plain.clone()
                },
            ),
        ),
    ]
    .into();
    for (code, (features, options)) in cases {
        let error = fit_surface(&features, &options).expect_err(code);
        assert_eq!(error.code(), code, "{error}");
        assert!(
            error.to_string().len() > 15 && error.remedy().ends_with('.'),
            "{error}: {}",
            error.remedy()
        );
    }
    let surface = fit_surface(&good, &plain).unwrap();
    assert_eq!(
        explain(
            &surface,
            &good.take(&(0..50).collect::<Vec<_>>()),
            &ExplainOptions::default()
        )
        .unwrap_err()
        .code(),
        "other_table"
    );
    assert_eq!(parse_monotone("x").unwrap_err().code(), "bad_option");
}
