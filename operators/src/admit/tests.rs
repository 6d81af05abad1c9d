use super::*;
use crate::operator::{Emit, Output};
use cairn_avro::record::{EvalResult, NumberState, RunLifecycle, TrainingTelemetry};

fn training(run_id: &str, step: i64, loss: f64) -> Payload {
    Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: run_id.to_owned(),
        step,
        loss: Some(loss),
        ..TrainingTelemetry::default()
    })
}

fn ingress(payload: Result<Payload, Rejection>) -> Ingress<'static> {
    Ingress {
        tenant: "default",
        family_topic: "telemetry.training",
        event_id: None,
        traceparent: None,
        source: None,
        key: None,
        schema_id: None,
        size_bytes: 100,
        payload,
    }
}

/// Admits one payload at append time 1,800,000,000,000 and says what came of it: run, or class and text.
fn check(rules: AdmitRules, ingress: Ingress<'_>) -> Result<RunEvent, String> {
    let mut core = Admit::new(rules, Arc::new(Redactor::off()));
    let mut emit = Emit::default();
    let at = At {
        topic: "telemetry.training",
        partition: 2,
        offset: 9,
        append_time_ms: 1_800_000_000_000,
    };
    core.apply(&at, ingress, &mut emit);
    core.flush(&mut emit);
    let mut outputs = emit.take();
    // guards and what is told of them have tests of their own
    outputs.retain(|emitted| !matches!(emitted.output, Output::Guard(..) | Output::Telegram(_)));
    assert_eq!(outputs.len(), 1, "one event in, one output");
    match outputs.remove(0).output {
        Output::Events(mut events) => Ok(events.events.remove(0)),
        Output::Dead(dead) => Err(format!("{}: {}", dead.class, dead.text)),
        other => panic!("{other:?}"),
    }
}

fn refused(payload: Payload) -> String {
    let topic = payload.topic();
    check(
        AdmitRules::default(),
        Ingress {
            family_topic: topic,
            ..ingress(Ok(payload))
        },
    )
    .expect_err("refused")
}

#[test]
fn a_loss_that_is_not_finite_is_evidence() {
    for (loss, state) in [
        (f64::NAN, NumberState::Nan),
        (f64::INFINITY, NumberState::PositiveInfinity),
        (f64::NEG_INFINITY, NumberState::NegativeInfinity),
    ] {
        let event =
            check(AdmitRules::default(), ingress(Ok(training("r", 1, loss)))).expect("admitted");
        let Payload::TrainingTelemetry(telemetry) = event.payload else {
            panic!("another kind")
        };
        assert_eq!((telemetry.loss, telemetry.loss_state), (None, state));
    }
}

#[test]
fn elsewhere_it_is_a_dead_letter() {
    let mut telemetry = TrainingTelemetry {
        run_id: "r".to_owned(),
        ..TrainingTelemetry::default()
    };
    telemetry.learning_rate = Some(f64::NAN);
    let text = refused(Payload::TrainingTelemetry(telemetry));
    assert!(text.starts_with("not_finite: learning_rate"), "{text}");
}

#[test]
fn impossible_values_are_named() {
    for (payload, expected) in [
        (training("", 1, 1.0), "missing_field: run_id"),
        (training("r", -1, 1.0), "out_of_range: step is -1"),
        (
            training(&"x".repeat(300), 1, 1.0),
            "out_of_range: run_id has 300 bytes",
        ),
        (
            Payload::RunLifecycle(RunLifecycle {
                run_id: "r".to_owned(),
                attempt: -1,
                ..RunLifecycle::default()
            }),
            "out_of_range: attempt is -1",
        ),
        (
            Payload::EvalResult(EvalResult {
                run_id: "r".to_owned(),
                harness: "h".to_owned(),
                task: String::new(),
                metric: "m".to_owned(),
                ..EvalResult::default()
            }),
            "missing_field: task",
        ),
    ] {
        let text = refused(payload);
        assert!(text.starts_with(expected), "{text}, expected {expected}");
    }
}

#[test]
fn seconds_taken_for_milliseconds_are_named() {
    let mut telemetry = TrainingTelemetry {
        run_id: "r".to_owned(),
        ..TrainingTelemetry::default()
    };
    telemetry.event_time_ms = Some(1_700_000_000);
    let text = refused(Payload::TrainingTelemetry(telemetry));
    assert!(text.contains("looks like seconds"), "{text}");
}

#[test]
fn the_future_is_refused_beyond_the_cap() {
    let event = |ahead_ms| {
        let mut telemetry = TrainingTelemetry {
            run_id: "r".to_owned(),
            ..TrainingTelemetry::default()
        };
        telemetry.event_time_ms = Some(1_800_000_000_000 + ahead_ms);
        check(
            AdmitRules::default(),
            ingress(Ok(Payload::TrainingTelemetry(telemetry))),
        )
    };
    let cap = AdmitRules::default().future_cap_ms;
    assert!(event(cap).is_ok());
    assert!(
        event(cap + 1)
            .expect_err("too far")
            .starts_with("from_the_future")
    );
}

#[test]
fn a_record_on_the_wrong_topic_is_told_its_own() {
    let text = check(
        AdmitRules::default(),
        Ingress {
            family_topic: "eval.results",
            ..ingress(Ok(training("r", 1, 1.0)))
        },
    )
    .expect_err("refused");
    assert!(
        text.starts_with("wrong_topic") && text.contains("telemetry.training"),
        "{text}"
    );
}

#[test]
fn allow_lists_deny_what_they_do_not_name() {
    let rules = AdmitRules {
        sources_allowed: vec!["trainer-*".to_owned()],
        ..AdmitRules::default()
    };
    let from = |source| {
        check(
            rules.clone(),
            Ingress {
                source,
                ..ingress(Ok(training("r", 1, 1.0)))
            },
        )
    };
    assert!(from(Some("trainer-7")).is_ok());
    assert!(
        from(Some("laptop"))
            .expect_err("denied")
            .starts_with("source_denied")
    );
    assert!(from(None).expect_err("denied").starts_with("source_denied"));
}

#[test]
fn a_list_may_be_about_some_topics() {
    let rules = AdmitRules {
        sources_allowed: vec!["telemetry.*=trainer-*".to_owned(), "ops".to_owned()],
        ..AdmitRules::default()
    };
    let from = |source, payload: Payload| {
        let family_topic = payload.topic();
        let event = Ingress {
            source: Some(source),
            family_topic,
            ..ingress(Ok(payload))
        };
        check(rules.clone(), event)
            .map(drop)
            .map_err(|text| text.split(':').next().map(str::to_owned))
    };
    let tags = || {
        Payload::RunTags(cairn_avro::record::RunTags {
            run_id: "r".to_owned(),
            ..Default::default()
        })
    };
    let denied = Err(Some("source_denied".to_owned()));
    assert_eq!(from("trainer-1", training("r", 1, 1.0)), Ok(()));
    assert_eq!(from("trainer-1", tags()), denied);
    assert_eq!(from("ops", training("r", 1, 1.0)), Ok(()));
    assert_eq!(from("ops", tags()), Ok(()));
    assert_eq!(from("laptop", training("r", 1, 1.0)), denied);
}

/// Who may not send is told of once, and neither pauses the topic nor is counted against it.
#[test]
fn a_denied_source_is_a_warning_and_stops_nothing() {
    let rules = AdmitRules {
        sources_allowed: vec!["trainer".to_owned()],
        ..AdmitRules::default()
    };
    let mut core = Admit::new(rules, Arc::new(Redactor::off()));
    let mut emit = Emit::default();
    for offset in 0..500 {
        let at = At {
            topic: "telemetry.training",
            partition: 0,
            offset,
            append_time_ms: 1_800_000_000_000,
        };
        let event = Ingress {
            source: Some("laptop"),
            ..ingress(Ok(training("r", offset, 1.0)))
        };
        core.apply(&at, event, &mut emit);
        assert_eq!(core.take_hold(), None);
    }
    let outputs = emit.take();
    let count = |is: fn(&Output) -> bool| outputs.iter().filter(|one| is(&one.output)).count();
    assert_eq!(count(|one| matches!(one, Output::Dead(_))), 500);
    assert_eq!(count(|one| matches!(one, Output::Telegram(_))), 1);
    assert_eq!(
        count(|one| matches!(one, Output::Guard(guard, true) if guard.guard == "source_denied")),
        1
    );
}

/// Texts of rejections quote what was sent, and ids hash what was redacted: the same event sent twice stays one.
#[test]
fn what_is_admitted_and_what_is_refused_is_redacted() {
    let redactor = || Arc::new(Redactor::new(crate::redact::Key::from_bytes([3; 32])));
    let at = At {
        topic: "safety.results",
        partition: 0,
        offset: 1,
        append_time_ms: 1_800_000_000_000,
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut core = Admit::new(AdmitRules::default(), redactor());
        let mut emit = Emit::default();
        let finding = cairn_avro::record::SafetyResult {
            run_id: "r".to_owned(),
            suite: "s".to_owned(),
            metric: "m".to_owned(),
            finding: Some("told mia@example.com".to_owned()),
            ..Default::default()
        };
        let good = Ingress {
            family_topic: "safety.results",
            ..ingress(Ok(Payload::SafetyResult(finding)))
        };
        let bad = Ingress {
            key: Some("mia@example.com"),
            ..ingress(Err(Rejection::new("json", "what is mia@example.com?")))
        };
        core.apply(&at, good, &mut emit);
        core.apply(&at, bad, &mut emit);
        core.flush(&mut emit);
        let outputs = emit.take();
        assert!(!format!("{outputs:?}").contains("mia@"), "{outputs:?}");
        assert_eq!(core.take_redacted().total(), 3);
        ids.extend(outputs.into_iter().filter_map(|one| match one.output {
            Output::Events(mut events) => Some(events.events.remove(0).event_id),
            _ => None,
        }));
    }
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
}

#[test]
fn a_record_beyond_the_limit_is_oversized() {
    let text = check(
        AdmitRules::default(),
        Ingress {
            size_bytes: 10 << 20,
            ..ingress(Ok(training("r", 1, 1.0)))
        },
    );
    assert!(text.expect_err("refused").starts_with("oversized"));
}

#[test]
fn ids_come_from_the_header_or_from_the_content() {
    let id = |given, payload| {
        check(
            AdmitRules::default(),
            Ingress {
                event_id: given,
                ..ingress(Ok(payload))
            },
        )
        .expect("admitted")
        .event_id
    };
    assert_eq!(
        id(None, training("r", 1, 2.0)),
        id(None, training("r", 1, 2.0))
    );
    assert_ne!(
        id(None, training("r", 1, 2.0)),
        id(None, training("r", 1, 2.5))
    );
    assert_ne!(
        id(None, training("r", 1, 2.0)),
        id(None, training("s", 1, 2.0))
    );
    assert_eq!(
        id(Some("abc"), training("r", 1, 2.0)),
        id(Some("abc"), training("r", 9, 9.0))
    );
    let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    assert_eq!(
        &id(Some(hex), training("r", 1, 2.0))[..3],
        [0x00, 0x11, 0x22]
    );
}

#[test]
fn only_a_well_formed_trace_is_carried() {
    let trace = |traceparent| {
        check(
            AdmitRules::default(),
            Ingress {
                traceparent,
                ..ingress(Ok(training("r", 1, 2.0)))
            },
        )
        .expect("admitted")
        .traceparent
    };
    // The example of W3C Trace Context, section 3.2.
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(trace(Some(good)).as_deref(), Some(good));
    for bad in [
        "",
        "00-0-0-0",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(trace(Some(bad)), None, "{bad}");
    }
}

#[test]
fn events_are_packed_by_run_and_bounded() {
    let mut core = Admit::new(
        AdmitRules {
            packed_events_max: 3,
            ..AdmitRules::default()
        },
        Arc::new(Redactor::off()),
    );
    let mut emit = Emit::default();
    for offset in 0..7 {
        let at = At {
            topic: "telemetry.training",
            partition: 0,
            offset,
            append_time_ms: 1_800_000_000_000,
        };
        let run = if offset % 7 == 6 { "b" } else { "a" };
        core.apply(&at, ingress(Ok(training(run, offset, 1.0))), &mut emit);
    }
    core.flush(&mut emit);
    let sizes: Vec<(String, usize)> = emit
        .take()
        .into_iter()
        .map(|emitted| match emitted.output {
            Output::Events(events) => (events.run_id, events.events.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        sizes,
        [
            ("a".to_owned(), 3),
            ("a".to_owned(), 3),
            ("b".to_owned(), 1)
        ]
    );
}

/// The limit itself is let in, a byte more is not.
#[test]
fn a_record_of_exactly_the_limit_is_let_in() {
    let of = |size_bytes| {
        check(
            AdmitRules::default(),
            Ingress {
                size_bytes,
                ..ingress(Ok(training("r", 1, 1.0)))
            },
        )
    };
    assert!(of(1 << 20).is_ok());
    assert!(
        of((1 << 20) + 1)
            .expect_err("a byte too many")
            .starts_with("oversized")
    );
}

/// Whatever sizes come, a pack holds at most `packed_bytes_max` of them, or one event alone; none is lost or moved.
#[test]
fn packs_are_bounded_by_bytes() {
    let sizes = [10, 80, 10, 1, 100, 99, 1, 1_000, 3, 97];
    let mut core = Admit::new(
        AdmitRules {
            packed_bytes_max: 100,
            ..AdmitRules::default()
        },
        Arc::new(Redactor::off()),
    );
    let mut emit = Emit::default();
    for (offset, size_bytes) in (0..).zip(sizes) {
        let at = At {
            topic: "telemetry.training",
            partition: 0,
            offset,
            append_time_ms: 1_800_000_000_000,
        };
        let event = Ingress {
            size_bytes,
            ..ingress(Ok(training("r", offset, 1.0)))
        };
        core.apply(&at, event, &mut emit);
    }
    core.flush(&mut emit);
    let packs: Vec<Vec<Option<i64>>> = emit
        .take()
        .into_iter()
        .map(|emitted| match emitted.output {
            Output::Events(events) => events.events.iter().map(|event| event.clock).collect(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: [&[i64]; 5] = [&[0, 1, 2], &[3], &[4], &[5, 6], &[7]];
    let expected: Vec<Vec<Option<i64>>> = expected
        .into_iter()
        .chain([&[8, 9][..]])
        .map(|pack| pack.iter().copied().map(Some).collect())
        .collect();
    assert_eq!(packs, expected);
}

/// A score that is not finite would stand for one that is: NaN, an infinity, or the state alone.
#[test]
fn a_score_that_is_not_finite_is_refused() {
    let score = |value, value_state| {
        Payload::EvalResult(EvalResult {
            run_id: "r".to_owned(),
            harness: "h".to_owned(),
            task: "t".to_owned(),
            metric: "m".to_owned(),
            value,
            value_state,
            ..EvalResult::default()
        })
    };
    for payload in [
        score(Some(f64::NAN), NumberState::Finite),
        score(Some(f64::INFINITY), NumberState::Finite),
        score(None, NumberState::Nan),
    ] {
        let text = refused(payload);
        assert!(text.starts_with("not_finite: value"), "{text}");
    }
    let topic = "eval.results";
    for payload in [
        score(Some(0.5), NumberState::Finite),
        score(None, NumberState::Finite),
    ] {
        let event = Ingress {
            family_topic: topic,
            ..ingress(Ok(payload))
        };
        assert!(check(AdmitRules::default(), event).is_ok());
    }
}
