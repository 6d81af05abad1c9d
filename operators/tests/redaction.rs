//! Redaction on a corpus that its recognisers have not seen: what it finds, and what it takes for something.

mod redaction_corpus;

use cairn_operators::redact::{Content, Found, Key, Kind, Redactor};
use redaction_corpus::{CLASSES, Known, NEGATIVES, SEED, negatives, positives};
use std::collections::BTreeMap;

/// Whether every byte of a span is inside what was found.
fn is_covered((start, end): (usize, usize), found: &[Found]) -> bool {
    let mut at = start;
    for one in found {
        if one.start <= at {
            at = at.max(one.end);
        }
    }
    at >= end
}

/// `CAIRN_SEED` draws another corpus than that of the published figures.
fn seed() -> u64 {
    std::env::var("CAIRN_SEED").map_or(SEED, |seed| seed.parse().expect("CAIRN_SEED is a number"))
}

#[test]
fn recall_is_what_is_promised_and_telemetry_stays() {
    let seed = seed();
    let redactor = Redactor::new(Key::none());
    let mut counts: BTreeMap<Kind, (u32, u32, u32)> = BTreeMap::new();
    let mut missed = Vec::new();
    for one in positives(seed) {
        let found = redactor.find(Content::Free, &one.text);
        let (all, covered, typed) = counts.entry(one.kind).or_default();
        *all += 1;
        if is_covered(one.span, &found) {
            *covered += 1;
            *typed += u32::from(found.iter().any(|found| found.kind == one.kind));
        } else {
            missed.push(format!("{}: {}", one.kind, one.text));
        }
    }
    let taken: Vec<String> = negatives(seed)
        .into_iter()
        .filter_map(|text| {
            let found = redactor.find(Content::Free, &text);
            found.first().map(|one| format!("{}: {text}", one.kind))
        })
        .collect();
    println!("seed {seed}; recall by kind, false positives on {NEGATIVES} lines of telemetry");
    let mut short = Vec::new();
    for class in CLASSES {
        let (all, covered, typed) = counts[&class.kind];
        let recall = f64::from(covered) / f64::from(all);
        println!(
            "{:<16} {:<9} {covered:>4} of {all:>4} {recall:.3}, named rightly {typed:>4}",
            class.kind.name(),
            format!("{:?}", class.known)
        );
        let least = match class.known {
            Known::Checksum | Known::Shape => 0.98,
            Known::Context => 0.90,
        };
        if recall < least {
            short.push(class.kind);
        }
    }
    println!("false positives {} of {NEGATIVES}", taken.len());
    assert!(
        short.is_empty() && taken.len() * 1_000 <= NEGATIVES,
        "too little of {short:?}; missed {missed:#?}; taken for something {taken:#?}"
    );
}
