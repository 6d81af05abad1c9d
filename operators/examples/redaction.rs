//! The corpus of the redaction test: written out for another tool, or timed.
//!
//! ```sh
//! cargo run --release -p cairn-operators --example redaction -- corpus > corpus.jsonl
//! cargo run --release -p cairn-operators --example redaction -- time
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    reason = "a measurement, no core"
)]

#[path = "../tests/redaction_corpus/mod.rs"]
mod redaction_corpus;

use cairn_operators::redact::{Content, Key, Redactor, Tally};
use redaction_corpus::{CLASSES, SEED, negatives, positives};
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

/// Times that the corpus is gone through.
const ROUNDS: u32 = 20;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("corpus") => corpus(),
        Some("time") => time(),
        _ => eprintln!("say corpus or time"),
    }
}

/// One text a line; spans in characters, as Python counts.
fn corpus() {
    for one in positives(SEED) {
        let chars = |bytes: usize| one.text[..bytes].chars().count();
        let known = CLASSES
            .iter()
            .find(|class| class.kind == one.kind)
            .map(|class| format!("{:?}", class.known));
        println!(
            "{}",
            json!({"text": one.text, "kind": one.kind.name(), "known": known, "start": chars(one.span.0), "end": chars(one.span.1)})
        );
    }
    for text in negatives(SEED) {
        println!("{}", json!({ "text": text }));
    }
}

/// CPU time of this thread in seconds: what a busy machine leaves comparable. Linux says it; elsewhere it is the wall's.
fn cpu(since: Instant) -> f64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    said.and_then(|said| said.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(|| since.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn time() {
    let started = Instant::now();
    let redactor = Redactor::new(Key::from_bytes([1; 32]));
    let positives: Vec<String> = positives(SEED).into_iter().map(|one| one.text).collect();
    let sets = [("positives", positives), ("negatives", negatives(SEED))];
    for (name, texts) in &sets {
        let bytes: usize = texts.iter().map(String::len).sum();
        let begun = cpu(started);
        for _ in 0..ROUNDS {
            for text in texts {
                black_box(redactor.redact("t", Content::Free, text, &mut Tally::default()));
            }
        }
        let seconds = (cpu(started) - begun) / f64::from(ROUNDS);
        println!(
            "{name}: {} texts, {bytes} bytes, {seconds:.5} CPU-s a pass, {:.1} MB/CPU-s, {:.0} ns a text",
            texts.len(),
            bytes as f64 / seconds / 1e6,
            seconds * 1e9 / texts.len() as f64
        );
    }
    let ids = [
        "run-07",
        "ladder-124m-lr3e-4-bs512-seed1",
        "loss/train",
        "gpu.0.mem_bytes",
    ];
    let begun = cpu(started);
    const TIMES: u32 = 1_000_000;
    for _ in 0..TIMES {
        for id in ids {
            black_box(redactor.redact(
                "t",
                Content::Identifier,
                black_box(id),
                &mut Tally::default(),
            ));
        }
    }
    println!(
        "identifiers: {:.0} ns each",
        (cpu(started) - begun) * 1e9 / f64::from(TIMES) / ids.len() as f64
    );
}
