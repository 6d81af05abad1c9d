use super::*;
use cairn_avro::record::{Payload, SafetyResult, TrainingTelemetry};

/// One recogniser finds exactly this in the text, and says before that it may.
#[track_caller]
pub(super) fn finds(recogniser: &dyn Recogniser, text: &str, expected: &str) {
    let read = Text::new(text);
    assert!(recogniser.may_find(&read), "it does not look at {text:?}");
    let mut found = Vec::new();
    recogniser.find(&read, &mut found);
    found.dedup();
    let found: Vec<&str> = found.iter().map(|one| &text[one.start..one.end]).collect();
    assert_eq!(found, [expected], "in {text:?}");
}

/// One recogniser finds nothing in the text.
#[track_caller]
pub(super) fn finds_nothing(recogniser: &dyn Recogniser, text: &str) {
    let mut found = Vec::new();
    recogniser.find(&Text::new(text), &mut found);
    let found: Vec<&str> = found.iter().map(|one| &text[one.start..one.end]).collect();
    assert!(found.is_empty(), "{found:?} in {text:?}");
}

fn redactor() -> Redactor {
    Redactor::new(Key::from_bytes([7; 32]))
}

/// The text with every pseudonym's digits left out.
fn shape(text: &str) -> String {
    let redacted = redactor()
        .redact("t", Content::Free, text, &mut Tally::default())
        .into_owned();
    let mut out = String::new();
    let mut rest = redacted.as_str();
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        match pseudonym::length(&rest.as_bytes()[at..]) {
            Some(length) => {
                out.push_str(&rest[at..at + length - 18]);
                out.push('>');
                rest = &rest[at + length..];
            }
            None => {
                out.push('<');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

#[test]
fn what_is_found_is_replaced_and_the_rest_stays() {
    for (text, expected) in [
        (
            "ask mia@example.com, card 4111 1111 1111 1111.",
            "ask <email>, card <card>.",
        ),
        (
            "s3://key:secret@bucket/x",
            "s3://<url_credentials>@bucket/x",
        ),
        ("Grüße an jörg@müller.example – ü", "Grüße an <email> – ü"),
        (
            "iteration 7000/ 159576 | loss 2.5",
            "iteration 7000/ 159576 | loss 2.5",
        ),
        ("", ""),
    ] {
        assert_eq!(shape(text), expected);
    }
}

/// Where two recognisers see the same bytes, the surer one names them, and nothing of either is left.
#[test]
fn overlapping_finds_become_one() {
    assert_eq!(shape("password: mia@example.com"), "password: <secret>");
    assert_eq!(
        shape("token=ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        "token=<api_key>"
    );
}

#[test]
fn redacting_twice_is_redacting_once() {
    let redactor = redactor();
    for text in [
        "password=hunter2 mia@example.com 4111111111111111",
        "ssn 078-05-1120, call (212) 555-0123, MRN 00123456, Dr. Li",
        "postgres://u:p@h/x ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    ] {
        let mut tally = Tally::default();
        let once = redactor.message("t", text, &mut tally).into_owned();
        let total = tally.total();
        assert!(total > 0 && once != text);
        assert_eq!(redactor.message("t", &once, &mut tally), once);
        assert_eq!(tally.total(), total);
    }
}

#[test]
fn nothing_found_is_nothing_allocated() {
    let text = "loss 2.5 at step 100";
    assert!(matches!(
        redactor().message("t", text, &mut Tally::default()),
        Cow::Borrowed(_)
    ));
}

#[test]
fn names_are_not_taken_for_addresses_and_birthdays() {
    let redactor = redactor();
    let id = "node 10.0.0.1 (212) 555-0123";
    assert_eq!(redactor.identifier("t", id, &mut Tally::default()), id);
    assert_ne!(redactor.message("t", id, &mut Tally::default()), id);
}

#[test]
fn bytes_between_texts_stay() {
    let redacted = redactor()
        .redact_bytes("t", b"\xff\x00mia@example.com\xfe", &mut Tally::default())
        .into_owned();
    assert!(redacted.starts_with(b"\xff\x00<email:") && redacted.ends_with(b">\xfe"));
}

#[test]
fn a_record_is_redacted_field_by_field() {
    let mut payload = Payload::from(SafetyResult {
        run_id: "run-of-mia@example.com".into(),
        suite: "10.0.0.1".into(),
        metric: "m".into(),
        finding: Some("answered with 10.0.0.1 as host".into()),
        ..SafetyResult::default()
    });
    let mut tally = Tally::default();
    redactor().payload("t", &mut payload, &mut tally);
    let Payload::SafetyResult(event) = payload else {
        unreachable!("it was one")
    };
    assert!(event.run_id.starts_with("<email:"), "{}", event.run_id);
    assert_eq!(event.suite, "10.0.0.1");
    assert!(event.finding.expect("one").contains("<ip:"));
    assert_eq!(
        tally.each().collect::<Vec<_>>(),
        [(Kind::Email, 1), (Kind::Ip, 1)]
    );
}

#[test]
fn names_of_metrics_are_redacted_and_keep_their_values() {
    let mut payload = Payload::from(TrainingTelemetry {
        metrics: [("loss/mia@example.com".into(), 2.5), ("mfu".into(), 0.4)].into(),
        ..TrainingTelemetry::default()
    });
    redactor().payload("t", &mut payload, &mut Tally::default());
    let Payload::TrainingTelemetry(event) = payload else {
        unreachable!("it was one")
    };
    let names: Vec<&String> = event.metrics.keys().collect();
    assert!(names[0].starts_with("loss/<email:"), "{names:?}");
    assert_eq!(
        event.metrics.values().copied().collect::<Vec<_>>(),
        [2.5, 0.4]
    );
}

/// What is remembered of names saves time and lets nothing through: a name with something in it is redacted each time.
#[test]
fn remembered_names_are_redacted_as_the_first_time() {
    let (redactor, mut harmless, mut tally) = (redactor(), Harmless::default(), Tally::default());
    for _ in 0..3 {
        for (name, is_kept) in [("run-17", true), ("run-of-mia@example.com", false)] {
            let mut payload = Payload::from(TrainingTelemetry {
                run_id: name.into(),
                metrics: [(name.into(), 1.0)].into(),
                ..TrainingTelemetry::default()
            });
            redactor.payload_after("t", &mut payload, &mut tally, &mut harmless);
            let Payload::TrainingTelemetry(event) = payload else {
                unreachable!("it was one")
            };
            assert_eq!(event.run_id == name, is_kept, "{}", event.run_id);
            assert_eq!(event.metrics.contains_key(name), is_kept);
        }
    }
    assert_eq!(tally.total(), 6);
}

/// The strict setting: free text of a field that nobody has named does not come in at all.
#[test]
fn free_text_that_no_list_names_is_withheld() {
    let redactor =
        redactor().with_text_allowed(vec!["safety.results.finding".into(), "*.reason".into()]);
    let mut payload = Payload::from(SafetyResult {
        run_id: "r".into(),
        suite: "s".into(),
        metric: "m".into(),
        finding: Some("plain words".into()),
        policy: Some("plain words".into()),
        ..SafetyResult::default()
    });
    for _ in 0..2 {
        redactor.payload("t", &mut payload, &mut Tally::default());
    }
    let Payload::SafetyResult(event) = payload else {
        unreachable!("it was one")
    };
    assert_eq!(
        (event.suite.as_str(), event.finding.as_deref()),
        ("s", Some("plain words"))
    );
    let policy = event.policy.expect("one");
    assert!(
        policy.starts_with("<withheld:") && policy.len() == 27,
        "{policy}"
    );
}

/// A text made to be slow: every mark that a recogniser begins at, many times, with nothing behind it. A hundred times the
/// length may take at most a few hundred times the work, which a quadratic recogniser cannot keep.
#[test]
fn work_grows_with_the_text_and_not_with_its_square() {
    let redactor = redactor();
    for unit in [
        "@",
        "a@b.",
        "1-",
        "4111 ",
        "://",
        "a:",
        "password ",
        " is ",
        "-----BEGIN ",
        "<email:",
        "::",
        "DE12",
        "eyJ.",
        "sk-",
        "name: ",
        "(1",
        "+1 ",
    ] {
        let small = steps(&redactor, &unit.repeat(2_000));
        let large = steps(&redactor, &unit.repeat(40_000));
        // twenty times as long: linear is 20, quadratic 400
        assert!(
            large < small * 120 + 200_000,
            "{unit:?}: {small} then {large} microseconds"
        );
    }
}

#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test measures"
)]
fn steps(redactor: &Redactor, text: &str) -> u128 {
    let since = std::time::Instant::now();
    drop(
        redactor
            .message("t", text, &mut Tally::default())
            .into_owned(),
    );
    since.elapsed().as_micros()
}
