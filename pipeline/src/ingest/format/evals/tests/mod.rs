//! Tests of the evaluation formats, a file for each.

mod harmbench;
mod helm;
mod jailbreakbench;
mod lm_eval;
mod openai_evals;
mod tau_bench;

use super::super::fixtures::{read, setup};
use super::super::tests::{evaluations, shared};
use super::super::{FORMATS, Format, HEAD_BYTES, Out, Payload, Reject, Setup, detect, named};
use cairn_avro::record::{SafetyResult, ToolUse};

/// A whole file of each shape of each format.
pub(in super::super) const SAMPLES: [(&str, &str); 13] = [
    ("lm_eval", lm_eval::V03),
    ("lm_eval", lm_eval::V04),
    ("helm", helm::STATS),
    ("helm", helm::RUN_SPEC),
    ("openai_evals", openai_evals::LOG),
    ("openai_evals", openai_evals::EVENTS),
    ("tau_bench", tau_bench::LIST),
    ("tau_bench", tau_bench::LINES),
    ("tau_bench", tau_bench::SECOND),
    ("harmbench", harmbench::RESULTS),
    ("harmbench", harmbench::MULTIMODAL),
    ("jailbreakbench", jailbreakbench::ARTIFACT),
    ("jailbreakbench", jailbreakbench::EARLY),
];

fn safety(out: &Out) -> Vec<&SafetyResult> {
    out.events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::SafetyResult(result) => Some(result),
            _ => None,
        })
        .collect()
}

fn tools(out: &Out) -> Vec<&ToolUse> {
    out.events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::ToolUse(call) => Some(call),
            _ => None,
        })
        .collect()
}

fn tags(out: &Out) -> Vec<&str> {
    out.events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::RunTags(tags) => Some(tags.add.iter().map(String::as_str)),
            _ => None,
        })
        .flatten()
        .collect()
}

/// Classes and lines of the rejects.
fn rejects(out: &Out) -> Vec<(&str, u64)> {
    out.rejects
        .iter()
        .map(|reject| (reject.class, reject.position.line))
        .collect()
}

/// The reject that a document as a whole becomes.
fn refused(name: &str, document: &str) -> Reject {
    let mut parser = named(name)
        .and_then(|format| format.parser(&setup()))
        .expect("the setup fits");
    parser
        .split(Vec::from(document))
        .expect_err("it is no document of the format")
}

/// A file of the shared data, read as the format that it is told to be; its name is the run's.
fn file(folder: &str, name: &str, format: &str) -> Option<Out> {
    let path = shared(folder)?.join(name);
    let text = std::fs::read(&path).expect("it can be read");
    assert_eq!(
        detect(&text[..text.len().min(HEAD_BYTES)], false).map(Format::name),
        Ok(format),
        "{name}"
    );
    let setup = Setup {
        run_id: crate::ingest::source::stem(&path.to_string_lossy()),
        ..Setup::default()
    };
    Some(read(format, &text, &setup))
}

/// The names of the files in a folder of the shared data.
fn files(folder: &str) -> Vec<String> {
    let Some(path) = shared(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = std::fs::read_dir(path)
        .expect("it can be listed")
        .map(|entry| entry.expect("it can be listed").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".json") || name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

/// Nothing that people or models wrote gets into an event.
#[test]
fn free_text_stays_out_of_events() {
    for (name, text) in SAMPLES {
        let out = read(name, text.as_bytes(), &setup());
        assert!(!out.events.is_empty(), "{name}");
        let events = format!("{:?}", out.events);
        assert!(!events.contains("SECRET"), "{name}: {events}");
    }
}

/// Whatever is cut off or changed, a parser answers with rejects.
#[test]
fn damage_is_no_panic() {
    for (name, text) in SAMPLES {
        let format = FORMATS
            .into_iter()
            .find(|format| format.name() == name)
            .expect("it is registered");
        for end in 0..text.len() {
            let cut = &text.as_bytes()[..end];
            let mut parser = format.parser(&setup()).expect("the setup fits");
            if let Ok((text, pieces)) = parser.split(Vec::from(cut)) {
                let mut out = Out::default();
                for piece in pieces {
                    let unit = &text[piece.start..piece.end];
                    parser
                        .unit(unit, piece.position, &mut out)
                        .expect("it is taken");
                }
                parser.end(Default::default(), &mut out).expect("it ends");
            }
        }
        for values in ["null", "[]", "{}", "\"x\"", "-1", "1e999", "true"] {
            // each number becomes something else
            let mut changed = String::new();
            let mut digits = false;
            for character in text.chars() {
                let digit = character.is_ascii_digit() || (digits && character == '.');
                match (digit, digits) {
                    (true, false) if changed.ends_with([':', ' ', ',', '[']) => {
                        changed.push_str(values);
                        digits = true;
                    }
                    (true, true) => {}
                    _ => {
                        changed.push(character);
                        digits = false;
                    }
                }
            }
            let mut parser = format.parser(&setup()).expect("the setup fits");
            let mut out = Out::default();
            let units = match parser.split(changed.clone().into_bytes()) {
                Ok((text, pieces)) => pieces
                    .iter()
                    .map(|piece| text[piece.start..piece.end].to_vec())
                    .collect(),
                Err(_) => Vec::new(),
            };
            let lines = changed.lines().map(|line| line.as_bytes().to_vec());
            for unit in units.into_iter().chain(lines) {
                parser
                    .unit(&unit, Default::default(), &mut out)
                    .expect("it is taken");
            }
            parser.end(Default::default(), &mut out).expect("it ends");
        }
    }
}
