//! Does the range of a floor hold the floor when the law is wrong? Ladders of `family.rs`, counted.
//!
//! `cargo run -p cairn-scaling --release --example form -- [LADDERS] [FIRST_SEED] [SECONDS]` prints the table of
//! `benchmark/coverage/README.md` as markdown. The factor of `fit/estimates.rs` was chosen on seeds 0 to 39; seeds from 1000
//! on were not looked at before. With SECONDS it stops then and says how many ladders it came to.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "an example is no core: it prints, and its draws need not replay on another platform"
)]

mod family;

use std::collections::BTreeMap;
use std::time::Instant;

use cairn_scaling::{FitOptions, FitVerdict, Interval, Law, Table, fit};
use family::{MEMBERS, Member, ladder};

/// What is counted of one member.
#[derive(Default)]
struct Tally {
    ladders: usize,
    bootstrap: usize,
    range: usize,
    below: usize,
    usable: usize,
    widths: Vec<f64>,
    errors: Vec<f64>,
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let ladders = numbers.first().copied().unwrap_or(40);
    let first = numbers.get(1).copied().unwrap_or(1000);
    let seconds = numbers.get(2).copied().unwrap_or(u64::MAX);
    let begun = Instant::now();
    let law = Law::named("hoffmann").expect("built in");
    let options = FitOptions {
        bootstrap: 100,
        level: 0.9,
        ..FitOptions::default()
    };
    let mut tallies: BTreeMap<usize, Tally> = BTreeMap::new();
    'all: for seed in first..first + ladders {
        for (place, member) in MEMBERS.into_iter().enumerate() {
            if begun.elapsed().as_secs() >= seconds {
                break 'all;
            }
            let made = ladder(member, seed);
            let mut table = Table::default();
            for (index, (n, d, loss)) in made.rows.iter().enumerate() {
                table.push(&format!("run-{index:03}"), &[("n", *n), ("d", *d)], *loss);
            }
            let Ok(found) = fit(&law, &table, &options) else {
                continue;
            };
            let floor = &found.parameters["e"];
            let holds =
                |one: Interval| usize::from(one.low <= made.floor && made.floor <= one.high);
            let tally = tallies.entry(place).or_default();
            tally.ladders += 1;
            tally.bootstrap += holds(floor.ci);
            tally.range += holds(floor.range);
            tally.below += usize::from(made.floor < floor.range.low);
            tally.usable += usize::from(found.verdict == FitVerdict::Usable);
            tally
                .widths
                .push((floor.range.high - floor.range.low) / made.floor);
            tally.errors.push(floor.value / made.floor - 1.0);
        }
    }
    println!(
        "| the truth | ladders | error of E, median | `ci` holds E | `range` holds E | E below it | above it | median width of `range` | usable |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut all = Tally::default();
    for (place, mut tally) in tallies {
        row(&words(MEMBERS[place]), &mut tally);
        all.ladders += tally.ladders;
        all.bootstrap += tally.bootstrap;
        all.range += tally.range;
        all.below += tally.below;
        all.usable += tally.usable;
        all.widths.extend(tally.widths);
        all.errors.extend(tally.errors);
    }
    row("all", &mut all);
}

fn row(name: &str, tally: &mut Tally) {
    let percent = |part: usize| 100.0 * part as f64 / tally.ladders.max(1) as f64;
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        100.0 * values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let above = tally.ladders - tally.range - tally.below;
    let (bootstrap, range, below, usable) = (
        percent(tally.bootstrap),
        percent(tally.range),
        percent(tally.below),
        percent(tally.usable),
    );
    println!(
        "| {name} | {} | {:+.1} % | {bootstrap:.0} % | {range:.0} % | {below:.0} % | {:.0} % | {:.1} % | {usable:.0} % |",
        tally.ladders,
        middle(&mut tally.errors),
        100.0 * above as f64 / tally.ladders.max(1) as f64,
        middle(&mut tally.widths),
    );
}

fn words(member: Member) -> String {
    match member {
        Member::Exact => "the fitted form",
        Member::TwoPowersOfSize => "two powers of the size",
        Member::TwoPowersOfData => "two powers of the data",
        Member::TwoPowersOfBoth => "two powers of both",
        Member::LogarithmOfSize => "power times logarithm of the size",
        Member::PowerOfSum => "a power of the sum",
        Member::Product => "a product of powers besides",
        Member::FiniteSize => "small sizes count for more",
        Member::DataSaturates => "the optimiser stops learning from data",
        Member::SizeSaturates => "the size stops to matter",
        Member::Untuned => "large models untuned",
        Member::FallingExponent => "falling exponent of the size",
        Member::FallingExponentOfData => "falling exponent of the data",
    }
    .to_owned()
}
