//! What people are told of a law over its life: it holds, it degrades, it breaks, it is whole again. Rows and answers are made
//! by hand; what the answers say is said by hand, too.

use cairn_avro::record::{
    Answer, BacktestPoint, Cohort, ExperimentRow, FitParameter, FitVerdict, RunStatus, ScalingFit,
};
use cairn_operators::operator::{Ask, At, Emit, Output, Remember, Telegram};
use cairn_operators::refit::{Input, Over, Refit, RefitRules, Standing, WindowRule};

const START_MS: i64 = 1_800_000_000_000;

/// A refit core with its log: an hour passes between records.
struct Bench {
    core: Refit,
    offset: i64,
    asks: Vec<Ask>,
    telegrams: Vec<Telegram>,
    fits: Vec<ScalingFit>,
}

impl Bench {
    fn new(rules: RefitRules) -> Self {
        Self {
            core: Refit::new(rules),
            offset: 0,
            asks: Vec::new(),
            telegrams: Vec::new(),
            fits: Vec::new(),
        }
    }

    fn told(&mut self, input: Input) {
        let at = At {
            topic: "experiments.rows",
            partition: 0,
            offset: self.offset,
            append_time_ms: START_MS + self.offset * 3_600_000,
        };
        self.offset += 1;
        let mut emit = Emit::default();
        self.core.apply(&at, input, &mut emit);
        for emitted in emit.take() {
            match emitted.output {
                Output::Ask(ask) => self.asks.push(ask),
                Output::Telegram(telegram) => self.telegrams.push(telegram),
                Output::Fit(fit) => self.fits.push(fit),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A run finishes, and is asked for.
    fn finished(&mut self, run_id: &str) -> Ask {
        let row = ExperimentRow {
            tenant: "default".to_owned(),
            run_id: run_id.to_owned(),
            status: RunStatus::Finished,
            tokens: Some(1_000),
            loss_last: Some(3.0),
            ..ExperimentRow::default()
        };
        self.told(Input::Row {
            key: format!("default/{run_id}"),
            row: Some(row),
        });
        self.told(Input::Tick);
        self.asks.pop().expect("an ask")
    }

    /// Answers an ask; what was told of it: key, priority and sentence.
    fn answered(&mut self, ask: &Ask, fits: &[ScalingFit]) -> Vec<(String, u8, String)> {
        let known = self.telegrams.len();
        let answer = Answer {
            tenant: "default".to_owned(),
            ask_id: ask.ask_id.clone(),
            ok: true,
            body: serde_json::to_string(fits).expect("plain data"),
            ..Answer::default()
        };
        self.told(Input::Answer(answer));
        let new = self.telegrams[known..].iter();
        new.map(|telegram| {
            let text = &telegram.text;
            (text.key.clone(), telegram.priority, text.fallback.clone())
        })
        .collect()
    }

    /// A run finishes and this is the fit: what was told of it.
    fn fit(&mut self, run_id: &str, mut fit: ScalingFit) -> Vec<(String, u8, String)> {
        let ask = self.finished(run_id);
        fit.fit_id.clone_from(&ask.ask_id);
        self.answered(&ask, &[fit])
    }
}

/// A usable fit of sixteen runs: E = 2 within 1.98 and 2.02, its back-test off by half a per cent.
fn usable() -> ScalingFit {
    ScalingFit {
        tenant: "default".to_owned(),
        cohort: "all".to_owned(),
        law: "hoffmann".to_owned(),
        verdict: FitVerdict::Usable,
        n_runs: 16,
        parameters: vec![e(1.98, 2.02)],
        backtest: vec![held_out(2.01, true)],
        fit_json: "{}".to_owned(),
        ..ScalingFit::default()
    }
}

fn e(low: f64, high: f64) -> FitParameter {
    FitParameter {
        name: "e".to_owned(),
        value: Some(2.0),
        range_low: Some(low),
        range_high: Some(high),
        ..FitParameter::default()
    }
}

fn held_out(predicted: f64, inside: bool) -> BacktestPoint {
    BacktestPoint {
        run_id: "largest".to_owned(),
        observed: 2.0,
        predicted,
        inside,
        ..BacktestPoint::default()
    }
}

#[test]
fn a_law_degrades_breaks_and_recovers_and_each_is_told_once() {
    let mut bench = Bench::new(RefitRules::default());
    let told = bench.fit("a", usable());
    let expected = "Cohort all: the hoffmann law fits 16 runs";
    assert_eq!(told, [("fit.usable".to_owned(), 3, expected.to_owned())]);
    assert_eq!(bench.fit("b", usable()), [], "as it was");

    // The interval of E is 2 % of E: 3.9 % is less than twice as much, 6 % is more and over 5 %.
    let wider = |low, high| ScalingFit {
        parameters: vec![e(low, high)],
        ..usable()
    };
    assert_eq!(bench.fit("c", wider(1.961, 2.039)), []);
    let told = bench.fit("d", wider(1.94, 2.06));
    // The last fit in good order was that of c.
    assert_eq!(told, [], "6 % is not twice 3.9 %");
    let told = bench.fit("e", wider(1.85, 2.15));
    let expected = "Cohort all: the hoffmann fit is worse: the interval of E is 15.0 % of E wide and was 6.0 %";
    assert_eq!(told, [("fit.degraded".to_owned(), 2, expected.to_owned())]);
    assert_eq!(bench.fit("f", wider(1.85, 2.15)), [], "told already");
    assert_eq!(
        bench.fits.last().map(|fit| &*fit.standing),
        Some("degraded")
    );
    let alarm = &bench.telegrams[1];
    assert_eq!(alarm.text.args["width_ratio"], 0.15);
    assert_eq!(alarm.text.args["width_ratio_before"], 0.06);
    assert_eq!(alarm.subject.id, "all/hoffmann");
    let told = bench.fit("g", wider(1.96, 2.04));
    let expected = "Cohort all: the hoffmann fit is as good as it was, with 16 runs";
    assert_eq!(told, [("fit.recovered".to_owned(), 3, expected.to_owned())]);

    // A back-test that is off by more, but within its interval, is none; outside it is.
    let missed = |predicted, inside| ScalingFit {
        backtest: vec![held_out(predicted, inside)],
        ..usable()
    };
    assert_eq!(bench.fit("h", missed(2.06, true)), []);
    let told = bench.fit("i", missed(2.2, false));
    let expected =
        "Cohort all: the hoffmann fit is worse: the back-test is off by 10.0 % and was by 3.0 %";
    assert_eq!(told, [("fit.degraded".to_owned(), 2, expected.to_owned())]);

    // New runs are not those foretold: graver than what was known.
    let broken = ScalingFit {
        drift_runs: 9,
        drift_outside: 4,
        drift_broken_at: Some("i".to_owned()),
        ..missed(2.2, false)
    };
    let told = bench.fit("j", broken.clone());
    let expected = "Cohort all has left the hoffmann law: since run i the runs are not those foretold: 4 of 9 outside the 99 % interval";
    assert_eq!(told, [("fit.broken".to_owned(), 2, expected.to_owned())]);
    assert_eq!(bench.fit("k", broken), []);
    let fit = bench.fits.last().expect("a fit");
    assert_eq!((&*fit.standing, fit.troubles.len()), ("broken", 2));
    let health = bench.core.health(START_MS + bench.offset * 3_600_000);
    assert_eq!(health.fits[0].standing, Standing::Broken);
    let told = bench.fit("l", usable());
    assert_eq!(told[0].0, "fit.recovered");
}

/// Groups that obeyed one law and do not any more are a broken law; a p near the limit is told once, not with every fit.
#[test]
fn a_cohort_that_stops_obeying_one_law_is_told_once() {
    let mut bench = Bench::new(RefitRules::default());
    let grouped = |verdict: &str, p: f64, gap: f64| ScalingFit {
        groups_verdict: verdict.to_owned(),
        groups_p: Some(p),
        groups_gap: Some(gap),
        groups_gap_in: Some("muon".to_owned()),
        ..usable()
    };
    assert_eq!(
        bench.fit("a", grouped("one law", 0.4, 0.002))[0].0,
        "fit.usable"
    );
    assert_eq!(bench.fit("b", grouped("one law", 0.02, 0.002)), []);
    let several = ScalingFit {
        verdict: FitVerdict::Weak,
        ..grouped("several", 0.005, 0.034)
    };
    let told = bench.fit("c", several);
    let expected = "Cohort all has left the hoffmann law: its groups do not obey one law any more (p 0.005): that of muon is up to 3.4 % from the common one";
    assert_eq!(told, [("fit.broken".to_owned(), 2, expected.to_owned())]);
    let alarm = bench.telegrams.last().expect("a telegram");
    assert_eq!(alarm.text.args["groups_p"], 0.005);
    assert_eq!(alarm.text.args["groups_gap_ratio"], 0.034);
    let fit = bench.fits.last().expect("a fit");
    assert_eq!((&*fit.standing, fit.troubles.len()), ("broken", 2));
    // 0.02 is above the limit of 0.01 and below five times that.
    assert_eq!(bench.fit("d", grouped("one law", 0.02, 0.03)), []);
    let told = bench.fit("e", grouped("one law", 0.2, 0.01));
    assert_eq!(told[0].0, "fit.recovered");

    // Several from the beginning: the verdict says so, and nothing has broken.
    let mut bench = Bench::new(RefitRules::default());
    let several = || ScalingFit {
        verdict: FitVerdict::Weak,
        reasons: vec!["the groups obey several laws".to_owned()],
        ..grouped("several", 0.005, 0.034)
    };
    let told = bench.fit("a", several());
    let expected = "Cohort all: the hoffmann law is weak: the groups obey several laws";
    assert_eq!(told, [("fit.weak".to_owned(), 2, expected.to_owned())]);
    assert_eq!(bench.fit("b", several()), []);
}

/// Windows that were not fitted are said, with the setting that lets more through.
#[test]
fn windows_that_were_passed_over_are_told() {
    let mut bench = Bench::new(RefitRules::default());
    bench.fit("a", usable());
    let late = ScalingFit {
        windows_passed_over: 7,
        ..usable()
    };
    let told = bench.fit("b", late);
    let expected = "Cohort all: 7 windows closed at once and were not fitted; refit.rules.windows_per_ask_max is 4";
    let expected = ("fit.windows_passed_over".to_owned(), 3, expected.to_owned());
    assert_eq!(told, [expected]);
}

/// A cohort grows up: each verdict is told as ever, and none of it is a fall.
#[test]
fn a_small_cohort_raises_no_alarm() {
    let mut bench = Bench::new(RefitRules::default());
    let of = |verdict: FitVerdict, n_runs: i32| ScalingFit {
        verdict,
        n_runs,
        ..usable()
    };
    let told = bench.fit("a", of(FitVerdict::Refused, 1));
    assert_eq!(
        (&*told[0].0, told[0].1),
        ("fit.refused", 3),
        "nobody is woken"
    );
    assert_eq!(bench.fit("b", of(FitVerdict::Refused, 2)), []);
    assert_eq!(bench.fit("c", of(FitVerdict::Weak, 12))[0].0, "fit.weak");
    assert_eq!(
        bench.fit("d", of(FitVerdict::Usable, 16))[0].0,
        "fit.usable"
    );
    let told = bench.fit("e", of(FitVerdict::Weak, 17));
    assert_eq!(told[0].0, "fit.degraded");
    assert!(
        told[0].2.ends_with("the verdict was usable and is weak"),
        "{told:?}"
    );
    let told = bench.fit("f", of(FitVerdict::Refused, 18));
    assert_eq!(told[0].0, "fit.degraded", "it fell further");
}

/// The ask carries what the next fit starts from and is held against, and the runs that came since.
#[test]
fn an_ask_carries_the_last_fit_and_what_is_new() {
    let mut bench = Bench::new(RefitRules::default());
    let first = bench.finished("a");
    assert_eq!(
        (first.previous.clone(), &*first.fresh),
        (None, &["a".to_owned()][..])
    );
    let fit = ScalingFit {
        fit_id: "f1".to_owned(),
        drift_json: "{\"runs\":1}".to_owned(),
        data_digest: "d1".to_owned(),
        ..usable()
    };
    bench.answered(&first, &[fit]);
    let second = bench.finished("b");
    let previous = second.previous.clone().expect("the last fit");
    assert_eq!(previous.fit_id, "f1");
    assert_eq!(previous.parameters.get("e"), Some(&2.0));
    assert_eq!(
        (&*previous.fit_json, &*previous.drift_json),
        ("{}", "{\"runs\":1}")
    );
    assert_eq!(second.fresh, ["b"]);
    assert_eq!(second.asked_ms, START_MS + (bench.offset - 1) * 3_600_000);

    // The next owner has what is under way from the changelog, and asks the same.
    let mut heir = Refit::new(RefitRules::default());
    for change in bench.core.changes() {
        heir.restore(change.table, &change.key, change.value.as_deref())
            .expect("our own changelog");
    }
    let mut emit = Emit::default();
    heir.resume(&mut emit);
    let again = emit
        .take()
        .into_iter()
        .find_map(|emitted| match emitted.output {
            Output::Ask(ask) => Some(ask),
            _ => None,
        });
    let again = again.expect("an ask");
    assert_eq!(
        (again.previous, again.fresh),
        (second.previous, second.fresh)
    );
}

/// A window has a life of its own beside the plain one: other SQL, another law's record, only where it is meant to be.
#[test]
fn windows_over_a_cohort_are_fitted_beside_it() {
    let mut bench = Bench::new(RefitRules {
        windows: vec![
            WindowRule::default(),
            WindowRule {
                name: "newest".to_owned(),
                cohorts: vec!["grid".to_owned()],
                over: Over::SlidingCount { rows: 20, step: 5 },
                ..WindowRule::default()
            },
        ],
        ..RefitRules::default()
    });
    let cohort = Cohort {
        tenant: "default".to_owned(),
        name: "grid".to_owned(),
        where_sql: "array_has(tags, 'grid')".to_owned(),
        version: 3,
        ..Cohort::default()
    };
    bench.told(Input::Cohort {
        key: "default/grid".to_owned(),
        cohort: Some(cohort),
    });
    let last = bench.finished("a");
    let asked: Vec<(&str, Option<i32>, &str)> = bench
        .asks
        .iter()
        .chain([&last])
        .map(|ask| (&*ask.cohort, ask.cohort_version, ask.window.over.kind()))
        .collect();
    let expected = [
        ("grid", Some(3), "all"),
        ("grid@newest", Some(3), "sliding_count"),
        ("all", None, "all"),
    ];
    assert_eq!(asked, expected);
    let sql = &bench.asks[1].sql;
    assert!(sql.contains("(array_has(tags, 'grid'))") && sql.contains(" AS place"));
}

/// Two windows closed: two fits of one answer, one after the other, told apart.
#[test]
fn an_answer_may_bring_the_fits_of_several_windows_or_none() {
    let mut bench = Bench::new(RefitRules {
        windows: vec![WindowRule {
            name: "newest".to_owned(),
            over: Over::SlidingCount { rows: 20, step: 5 },
            ..WindowRule::default()
        }],
        ..RefitRules::default()
    });
    let ask = bench.finished("a");
    assert_eq!(ask.cohort, "all@newest");
    let of = |end: i64, verdict: FitVerdict| ScalingFit {
        cohort: "all@newest".to_owned(),
        fit_id: format!("f{end}"),
        window_end: Some(end),
        verdict,
        ..usable()
    };
    let told = bench.answered(
        &ask,
        &[of(20, FitVerdict::Usable), of(25, FitVerdict::Weak)],
    );
    let keys: Vec<&str> = told.iter().map(|(key, ..)| &**key).collect();
    assert_eq!(keys, ["fit.usable", "fit.degraded"]);
    assert_ne!(
        bench.telegrams[0].telegram_id,
        bench.telegrams[1].telegram_id
    );
    assert_eq!(bench.fits[1].previous_fit_id.as_deref(), Some("f20"));
    let next = bench.finished("b");
    let previous = next.previous.as_ref();
    assert_eq!(previous.and_then(|last| last.window_end), Some(25));
    assert_eq!(bench.answered(&next, &[]), [], "nothing closed meanwhile");
    assert!(!bench.core.is_waiting());
    assert_eq!(bench.fits.len(), 2);
}
