//! Every format against every other, against its edge cases, and against real files where they are at hand.

use super::fixtures::{read, setup};
use super::*;
use cairn_avro::record::{EvalResult, NumberState, RunState, TrainingTelemetry};
use std::path::PathBuf;

/// The shared real data beside the checkout; says so where it is not there.
pub(super) fn shared(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    // From cargo at run time: compiled in, it would be the folder of the clone that built this.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let beside = package.ancestors().map(|base| base.join("shared"));
    let found = named
        .into_iter()
        .chain(beside)
        .map(|root| root.join("data").join(name))
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: shared data {name} is not at hand; set CAIRN_SHARED");
    }
    found
}

pub(super) fn training(out: &Out) -> Vec<&TrainingTelemetry> {
    out.events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::TrainingTelemetry(telemetry) => Some(telemetry),
            _ => None,
        })
        .collect()
}

pub(super) fn evaluations(out: &Out) -> Vec<&EvalResult> {
    out.events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::EvalResult(evaluation) => Some(evaluation),
            _ => None,
        })
        .collect()
}

fn finished_at(out: &Out) -> Option<i64> {
    out.events.iter().find_map(|event| match &event.payload {
        Payload::RunLifecycle(end) if end.state == RunState::Finished => end.step,
        _ => None,
    })
}

const CONTRACT: &str = r#"{"run_id":"a","step":1,"loss":2.5,"event_id":"e1"}
{"run_id":"a","step":2,"loss":NaN}
{"topic":"eval.results","run_id":"a","harness":"h","task":"t","metric":"accuracy","value":0.5}
"#;
const MEGATRON: &str = "  seq_length ...................................... 2048\n \
    iteration        1/     100 | consumed samples:          32 | elapsed time per iteration (ms): 100.5 | learning rate: 1.0E-05 | global batch size:    32 | lm loss: 1.1E+01 | loss scale: 1.0 | grad norm: 2.5 | number of skipped iterations:   1 | number of nan iterations:   0 |\n\
    ------------\n validation loss at iteration 1 | lm loss value: 1.05E+01 | lm loss PPL: 3.6E+04 | \n time (ms)\n";
const NANOGPT: &str = "number of parameters: 10.65M\nstep 0: train loss 4.2874, val loss 4.2823\niter 0: loss 4.2654, time 28345.12ms, mfu -100.00%\niter 10: loss 3.1, time 14.5ms, mfu 25.00%\n";
const MODDED: &str = "nvidia-smi:\n+-----+\nstep:0/20 val_loss:10.8258 train_time:274ms step_avg:nanms\nstep:1/20 train_loss:10.8258 train_time:45ms step_avg:nanms\nstep:20/20 train_loss:9.5 train_time:4500ms step_avg:225.5ms\n";
const LLMC: &str = "s:0 tel:11.0092\ns:0 trl:11.0091 lr:0.000001 norm:15.37\ns:250 eval:0.2550\n";
const TRAINER: &str = r#"{ "best_metric": null, "epoch": 1.0, "global_step": 2, "max_steps": 2, "log_history": [
  {"epoch": 0.5, "grad_norm": NaN, "learning_rate": 1e-05, "loss": 1.5, "step": 1},
  {"epoch": 1.0, "eval_loss": 1.25, "eval_accuracy": 0.5, "eval_runtime": 2.0, "eval_samples_per_second": 50.0, "step": 2} ] }
"#;
pub(super) const SAMPLES: [(&str, &str); 6] = [
    ("jsonl", CONTRACT),
    ("megatron", MEGATRON),
    ("nanogpt", NANOGPT),
    ("nanogpt", MODDED),
    ("llmc", LLMC),
    ("trainer_state", TRAINER),
];

#[test]
fn what_is_no_log_is_refused_with_a_reason() {
    let why = |text: &str, mapped| {
        detect(text.as_bytes(), mapped)
            .map(Format::name)
            .expect_err("it is no log")
            .0
    };
    assert!(why("", false).contains("nothing in its first lines"));
    assert!(
        why(
            "Copyright (c) 2024 Keller Jordan\n\nPermission is hereby granted\n",
            false
        )
        .contains("--map")
    );
    assert!(why("{\"a\":1}\n{\"a\":2}\n", false).contains("none has a run_id"));
    assert!(
        why(
            "Format `s:<step> trl:<loss>` and\n* `step:k/K train_loss:x`\n",
            false
        )
        .contains("nothing")
    );
    assert!(why("name,loss\na,1\n", false).contains("--map"));
    // a table of columns means nothing without a mapping
    assert!(why("PAR1\u{15}\u{4}", false).contains("--map"));
}

#[test]
fn mapped_formats_are_told_by_their_first_byte() {
    for (text, name) in [
        ("a,b\n1,2\n", "mapped_csv"),
        (" {\"a\":1}\n", "mapped_jsonl"),
        ("[\n {\"a\":1}]", "mapped_json"),
        ("{\n \"a\": 1\n}\n", "mapped_json"),
        ("{\"a\": {\n \"b\": 1}}", "mapped_json"),
        ("{\"a\":1\n{\"a\":2}\n", "mapped_jsonl"),
        ("PAR1\u{15}\u{4}", "mapped_parquet"),
    ] {
        assert_eq!(detect(text.as_bytes(), true).map(Format::name), Ok(name));
    }
}

#[test]
fn contract_rows_keep_their_ids_and_states() {
    let out = read("jsonl", CONTRACT.as_bytes(), &setup());
    assert_eq!(out.events[0].event_id.as_deref(), Some("e1"));
    assert_eq!(
        (training(&out)[1].loss, training(&out)[1].loss_state),
        (None, NumberState::Nan)
    );
    assert_eq!(evaluations(&out)[0].value, Some(0.5));
    let bad = br#"{"run_id":"a","step":1,"los":2.5}
{"step":1}
{"run_id":"a","step":-1}
nonsense
"#;
    let out = read("jsonl", bad, &setup());
    let classes: Vec<_> = out
        .rejects
        .iter()
        .map(|reject| (reject.class, reject.position.line))
        .collect();
    assert_eq!(
        classes,
        [
            ("unknown_field", 1),
            ("missing_field", 2),
            ("out_of_range", 3),
            ("json", 4)
        ]
    );
    assert!(
        out.rejects[0].text.contains("did you mean `loss`"),
        "{}",
        out.rejects[0].text
    );
    assert_eq!(out.rejects[3].original, b"nonsense");
    let named = Setup {
        run_id: "given".into(),
        run_id_given: true,
        ..Setup::default()
    };
    assert_eq!(
        training(&read("jsonl", b"{\"step\":1,\"loss\":NaN}\n", &named))[0].run_id,
        "given"
    );
}

#[test]
fn megatron_parts_have_their_units() {
    let out = read("megatron", MEGATRON.as_bytes(), &setup());
    assert_eq!((out.rejects.len(), out.ignored), (0, 3));
    let [step, validation] = training(&out)[..] else {
        panic!("two lines")
    };
    assert_eq!(
        (step.step, step.tokens, step.batch_tokens),
        (1, Some(32 * 2048), Some(32 * 2048))
    );
    assert_eq!(
        (step.loss, step.learning_rate, step.grad_norm),
        (Some(11.0), Some(1e-5), Some(2.5))
    );
    assert_eq!(
        (step.step_time_ms, step.skipped_steps, step.nan_steps),
        (Some(100.5), Some(1), Some(0))
    );
    assert_eq!(
        (validation.step, validation.validation_loss),
        (1, Some(10.5))
    );
    assert_eq!(validation.metrics["validation_perplexity"], 3.6e4);
}

#[test]
fn megatron_edges() {
    let one = |line: &str| read("megatron", line.as_bytes(), &setup());
    // launchers, versions, relatives
    let out = one(
        "[default7]: [2024-01-31 12:00:00] iteration 5/ 10 | consumed tokens: 64 | elapsed time per iteration (s): 0.5 | lm loss: 2.0E+00 | TFLOPs: 51.4 |\n",
    );
    assert_eq!(
        (training(&out)[0].tokens, training(&out)[0].step_time_ms),
        (Some(64), Some(500.0))
    );
    assert_eq!(training(&out)[0].metrics["tflops"], 51.4);
    let out = one(" samples/sec: 25.5 | iteration 10/ 10 | lm_loss: 2.0E+00 |\n");
    assert_eq!(
        (training(&out)[0].loss, finished_at(&out)),
        (Some(2.0), Some(10))
    );
    assert_eq!(training(&out)[0].metrics["samples_sec"], 25.5);
    let out = one("steps: 7 loss: 9.1250 iter time (s): 1.5 samples/sec: 13.3\n");
    assert_eq!(
        (
            training(&out)[0].step,
            training(&out)[0].loss,
            training(&out)[0].step_time_ms
        ),
        (7, Some(9.125), Some(1500.0))
    );
    // evidence
    let out = one(" iteration 5/ 10 | lm loss: nan | grad norm: inf |\n");
    assert_eq!(
        (
            training(&out)[0].loss_state,
            training(&out)[0].grad_norm_state
        ),
        (NumberState::Nan, NumberState::PositiveInfinity)
    );
    let out = one(" iteration 5/ 10 | loss scale: 1.0 | number of nan iterations: 3 |\n");
    assert_eq!(
        (training(&out)[0].loss_state, training(&out)[0].nan_steps),
        (NumberState::Nan, Some(3))
    );
    let out = one(" iteration 5/ 10 | loss scale: 1.0 | number of nan iterations: 0 |\n");
    assert_eq!(training(&out)[0].loss_state, NumberState::Missing);
    // cuts and damage
    let out = one(" iteration 5/ 10 | lm loss: 2.0E+00 | loss scale: 10\n");
    assert_eq!(
        (training(&out)[0].loss, training(&out)[0].loss_scale),
        (Some(2.0), None)
    );
    for (line, why) in [
        (
            " iteration 5/ 10 | consumed sam\n",
            "cut before its first measurement",
        ),
        (
            " iteration 5/ 10 | lm loss: 2.0E+0x |\n",
            "which is no number",
        ),
        (
            " iteration 5/ 10 | consumed samples: 1.5 |\n",
            "which is no whole number",
        ),
        (
            " validation loss at iteration 5 | lm loss val\n",
            "cut before its loss",
        ),
    ] {
        let out = one(line);
        assert_eq!((out.events.len(), out.rejects.len()), (0, 1), "{line}");
        assert!(
            out.rejects[0].text.contains(why) && out.rejects[0].class == "bad_line",
            "{}",
            out.rejects[0].text
        );
    }
    // back to a checkpoint
    let out = one(" iteration 9/ 20 | lm loss: 2.0 |\n iteration 5/ 20 | lm loss: 2.5 |\n");
    assert_eq!(
        training(&out)
            .iter()
            .map(|step| step.attempt)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn nanogpt_lines() {
    let out = read("nanogpt", NANOGPT.as_bytes(), &setup());
    let [evaluation, first, tenth] = training(&out)[..] else {
        panic!("three lines")
    };
    assert_eq!(
        (evaluation.loss, evaluation.validation_loss),
        (Some(4.2874), Some(4.2823))
    );
    assert_eq!(
        (first.loss, first.step_time_ms, first.metrics.len()),
        (Some(4.2654), Some(28345.12), 0)
    );
    assert_eq!(
        (tenth.step, tenth.metrics["model_flops_utilization"]),
        (10, 0.25)
    );
    assert_eq!((out.ignored, finished_at(&out)), (1, None));
    let tokens = Setup {
        batch_tokens: Some(1000),
        ..setup()
    };
    let out = read("nanogpt", MODDED.as_bytes(), &tokens);
    assert_eq!(
        (
            training(&out)[0].step_time_ms,
            training(&out)[0].validation_loss
        ),
        (None, Some(10.8258))
    );
    assert_eq!(
        (training(&out)[2].step_time_ms, training(&out)[2].tokens),
        (Some(225.5), Some(20_000))
    );
    assert_eq!(training(&out)[2].metrics["train_time_ms"], 4500.0);
    assert_eq!((out.rejects.len(), finished_at(&out)), (0, Some(20)));
}

#[test]
fn nanogpt_edges() {
    let one = |line: &str| read("nanogpt", line.as_bytes(), &setup());
    let out = one(
        "iter 5: loss nan, time 1.0ms, mfu 1.00%\nstep:6/9 train_loss:inf train_time:1ms step_avg:1ms\n",
    );
    let states: Vec<_> = training(&out).iter().map(|step| step.loss_state).collect();
    assert_eq!(
        (states, out.rejects.len()),
        (vec![NumberState::Nan, NumberState::PositiveInfinity], 0)
    );
    // newer versions time steps without a loss
    assert_eq!(
        training(&one("step:5/9 train_time:100ms step_avg:20.0ms\n"))[0].step_time_ms,
        Some(20.0)
    );
    for line in [
        "step:3/9 train_loss: train_time:12ms\n",
        "step:3/9 train_lo\n",
        "iter 5:\n",
        "iter 5: loss 3.5x, time 1ms\n",
        "step:3/9\n",
        "step:99999999999999999999/9 val_loss:1\n",
    ] {
        let out = one(line);
        assert_eq!((out.events.len(), out.rejects.len()), (0, 1), "{line}");
    }
}

#[test]
fn llmc_lines() {
    let out = read("llmc", LLMC.as_bytes(), &setup());
    let [validation, step] = training(&out)[..] else {
        panic!("two lines")
    };
    assert_eq!(
        (validation.step, validation.validation_loss, validation.loss),
        (0, Some(11.0092), None)
    );
    assert_eq!(
        (step.loss, step.learning_rate, step.grad_norm),
        (Some(11.0091), Some(1e-6), Some(15.37))
    );
    assert_eq!(
        (
            evaluations(&out)[0].task.as_str(),
            evaluations(&out)[0].value
        ),
        ("hellaswag", Some(0.255))
    );
    for line in [
        "s:1 trl:3.2s:2 trl:3.1 lr:0.1 norm:1\n",
        "s:1\n",
        "s:1 loss:2\n",
        "s:1 trl\n",
    ] {
        let out = read("llmc", line.as_bytes(), &setup());
        assert_eq!((out.events.len(), out.rejects.len()), (0, 1), "{line}");
    }
    let out = read("llmc", b"s:1 trl:nan lr:0.1 norm:-nan\n", &setup());
    assert_eq!(
        (
            training(&out)[0].loss_state,
            training(&out)[0].grad_norm_state
        ),
        (NumberState::Nan, NumberState::Nan)
    );
}

#[test]
fn trainer_state_entries() {
    let out = read("trainer_state", TRAINER.as_bytes(), &setup());
    let [step, validation] = training(&out)[..] else {
        panic!("two entries")
    };
    assert_eq!(
        (step.loss, step.grad_norm_state, step.epoch),
        (Some(1.5), NumberState::Nan, Some(0.5))
    );
    assert_eq!(
        (validation.step, validation.validation_loss),
        (2, Some(1.25))
    );
    let scores: Vec<_> = evaluations(&out)
        .iter()
        .map(|e| {
            (
                e.task.as_str(),
                e.metric.as_str(),
                e.value,
                e.n,
                e.higher_is_better,
            )
        })
        .collect();
    assert_eq!(
        scores,
        [
            ("eval", "accuracy", Some(0.5), Some(100), Some(true)),
            ("eval", "loss", Some(1.25), Some(100), Some(false))
        ]
    );
    assert_eq!(finished_at(&out), Some(2));
    assert_eq!(
        (out.events[0].position.line, out.events[1].position.line),
        (2, 3)
    );
}

mod real {
    use super::*;

    fn file(folder: &str, name: &str, format: &str) -> Option<Out> {
        let text = std::fs::read(shared(folder)?.join(name)).expect("it can be read");
        assert_eq!(
            detect(&text[..text.len().min(HEAD_BYTES)], false).map(Format::name),
            Ok(format),
            "{name}"
        );
        Some(read(format, &text, &setup()))
    }

    #[test]
    fn nanogpt_logs() {
        for (name, steps, validations, last) in [
            ("muon_gpt2-124m_eb5659d0.txt", 6200, 51, 3.2785),
            ("soap_gpt2-124m_5bdc3988.txt", 6000, 49, 3.2763),
            ("valueembed_seedA_75a3af7b.txt", 1530, 14, 3.2838),
            ("valueembed_seedB_d884d4cb.txt", 1530, 14, 3.271),
            ("valueembed_seedC_2358dd3a.txt", 1530, 14, 3.2749),
            ("valueembed_seedD_51faed93.txt", 1530, 14, 3.275),
        ] {
            let Some(out) = file("nanogpt-logs", name, "nanogpt") else {
                return;
            };
            assert_eq!(out.rejects, [], "{name}");
            let training = training(&out);
            let losses = training.iter().filter(|step| step.loss.is_some()).count();
            let validated: Vec<f64> = training
                .iter()
                .filter_map(|step| step.validation_loss)
                .collect();
            assert_eq!(
                (losses, validated.len(), validated.last()),
                (steps, validations, Some(&last)),
                "{name}"
            );
            assert_eq!(finished_at(&out), Some(steps as i64));
            assert!(training.iter().all(|step| step.attempt == 0), "{name}");
        }
    }

    #[test]
    fn llmc_log() {
        let Some(out) = file("nanogpt-logs", "llmc_gpt2-124m_main.log", "llmc") else {
            return;
        };
        let losses = training(&out)
            .iter()
            .filter(|step| step.loss.is_some())
            .count();
        let last = training(&out)
            .iter()
            .rev()
            .find_map(|step| step.validation_loss);
        assert_eq!(
            (losses, last, out.rejects.len(), out.ignored),
            (19_560, Some(3.2722), 0, 0)
        );
    }

    #[test]
    fn megatron_logs() {
        let Some(out) = file(
            "bigscience-megatron-sample",
            "tr8-104B-exp1.log",
            "megatron",
        ) else {
            return;
        };
        let points: Vec<_> = training(&out)
            .iter()
            .filter_map(|step| Some((step.step, step.loss?)))
            .collect();
        assert_eq!(
            points,
            [(7000, 6.444662), (7010, 11.42026), (7220, 7.155109)]
        );
        assert_eq!(training(&out)[1].validation_loss, Some(7.1742));
        assert_eq!((out.rejects.len(), out.ignored), (0, 3));
        let Some(out) = file(
            "bigscience-megatron-sample",
            "tr8-104B-exp2.log",
            "megatron",
        ) else {
            return;
        };
        let norms: Vec<_> = training(&out)
            .iter()
            .filter_map(|step| step.grad_norm)
            .collect();
        assert_eq!((norms.len(), norms[3]), (5, 283_384.13));
        assert!(training(&out).iter().all(|step| step.tokens.is_none()));
    }

    #[test]
    fn trainer_states() {
        let Some(out) = file("hf-trainer-state", "trainer_state.json", "trainer_state") else {
            return;
        };
        assert_eq!(training(&out).len(), 30);
        assert_eq!(training(&out)[0].loss, Some(1.1074));
        let evaluations = evaluations(&out);
        assert_eq!(evaluations.len(), 31 * 6 * 2);
        assert!(
            evaluations
                .iter()
                .all(|evaluation| evaluation.n == Some(401))
        );
        assert_eq!((out.rejects.len(), finished_at(&out)), (0, Some(12_030)));
        let Some(out) = file(
            "growth-golden",
            "trainer_state.sample.json",
            "trainer_state",
        ) else {
            return;
        };
        assert_eq!((out.rejects.len(), finished_at(&out)), (0, Some(20)));
    }
}

/// What Megatron-LM, Megatron-DeepSpeed and GPT-NeoX print of their evaluations.
#[test]
fn megatron_evaluations_of_several_sets() {
    let step = |out: &Out| {
        training(out)
            .iter()
            .map(|step| (step.step, step.validation_loss))
            .collect::<Vec<_>>()
    };
    let deepspeed =
        "0: valid loss at iteration 300 | lm loss value: 7.5E+00 | lm loss PPL: 1.8E+03 | \n";
    let out = read("megatron", deepspeed.as_bytes(), &setup());
    assert_eq!(step(&out), [(300, Some(7.5))]);
    assert_eq!(
        detect(deepspeed.as_bytes(), false).map(Format::name),
        Ok("megatron")
    );
    // the test set's loss is not that of validation, and neither is that of a set with a name
    let last = " validation loss at iteration 10 on validation set | lm loss value: 9.5E+00 | lm loss PPL: 1.3E+04 | \n \
        validation loss at iteration 10 on test set | lm loss value: 9.7E+00 | lm loss PPL: 1.6E+04 | \n \
        validation-wiki loss at iteration 10 | lm loss value: 9.1E+00 | lm loss PPL: 9.0E+03 | \n";
    let out = read("megatron", last.as_bytes(), &setup());
    assert_eq!(step(&out), [(10, Some(9.5)), (10, None), (10, None)]);
    assert_eq!(
        [
            training(&out)[1].metrics["test_loss"],
            training(&out)[1].metrics["test_perplexity"],
            training(&out)[2].metrics["validation_wiki_loss"]
        ],
        [9.7, 1.6e4, 9.1]
    );
    let neox = " samples/sec: 51.2 | iteration 50/ 50 | elapsed time per iteration (ms): 19987.6 | approx flops per GPU: 150.3TFLOPS | MFU: 45.25% | HFU: 60.00% | lm_loss: 6.0E+00 |\n \
        validation results at iteration 50 | lm_loss value: 5.75E+00 | lm_loss_ppl value: 3.1E+02 | \n \
        validation results at the end of training for val data | lm_loss value: 5.5E+00 | lm_loss_ppl value: 2.4E+02 | \n \
        test results at the end of training for test data | lm_loss value: 5.25E+00 | lm_loss_ppl value: 1.9E+02 | \n";
    let out = read("megatron", neox.as_bytes(), &setup());
    assert_eq!(out.rejects, []);
    assert_eq!(
        step(&out),
        [(50, None), (50, Some(5.75)), (50, Some(5.5)), (50, None)]
    );
    let rows = training(&out);
    assert_eq!(
        [
            rows[0].metrics["approx_flops_per_second_per_gpu"],
            rows[0].metrics["model_flops_utilization"],
            rows[0].metrics["hardware_flops_utilization"],
            rows[1].metrics["validation_perplexity"],
            rows[3].metrics["test_loss"]
        ],
        [150.3e12, 0.4525, 0.6, 310.0, 5.25]
    );
    // nobody could tell of which step it is; and prose is no line
    let out = read(
        "megatron",
        b" test results at the end of training for test data | lm_loss value: 5.6E+00 | \n the test loss at iteration 5 was low\n",
        &setup(),
    );
    assert_eq!((out.rejects.len(), out.rejects[0].class), (1, "bad_line"));
    assert!(out.rejects[0].text.contains("no iteration stands before"));
    assert_eq!(out.ignored, 1);
}

/// Every run has a file of that name: the folder tells them apart.
#[test]
fn files_of_one_name_are_runs_of_their_folders() {
    let of = |format: &str, path| named(format).expect("it is one").run_of(path);
    let run = |name: &str| Some(name.to_owned());
    for path in [
        "/out/llama-lora/trainer_state.json",
        "/out/llama-lora/checkpoint-500/trainer_state.json.gz",
        "llama-lora/last-checkpoint/trainer_state.json",
    ] {
        assert_eq!(of("trainer_state", path), run("llama-lora"), "{path}");
    }
    assert_eq!(of("trainer_state", "trainer_state.json"), None);
    assert_eq!(of("trainer_state", "/out/run-7.json"), None);
    assert_eq!(of("llmc", "/out/log124M/main.log"), run("log124M"));
    assert_eq!(of("llmc", "main.log"), None);
    assert_eq!(of("llmc", "/out/log124M/run-7.log"), None);
    assert_eq!(
        of("mlperf", "NVIDIA/results/dgxh100_n64/gpt3/result_2.txt"),
        run("dgxh100_n64/gpt3/result_2")
    );
    assert_eq!(
        of(
            "mlperf",
            "results/h100x8/llama2-70b-99/Server/performance/run_1/mlperf_log_detail.txt"
        ),
        run("h100x8/llama2-70b-99/Server")
    );
    assert_eq!(of("mlperf", "out/mlperf_log_detail.txt"), run("out"));
    assert_eq!(of("mlperf", "logs/result_final.txt"), None);
    assert_eq!(of("mlperf", "result_0.txt"), None);
}

/// Windows puts a mark before texts; it is of no line and of no document.
#[test]
fn a_byte_order_mark_is_no_text() {
    let marked = |text: &str| [MARK, text.as_bytes()].concat();
    for (name, text, byte) in [
        ("jsonl", "{\"run_id\":\"a\",\"step\":1,\"loss\":2.5}\n", 0),
        ("nanogpt", "iter 1: loss 2.5, time 1.0ms\n", 0),
        (
            "trainer_state",
            "{\"global_step\":1,\"log_history\":[{\"step\":1,\"loss\":2.5}]}",
            35,
        ),
    ] {
        let text = marked(text);
        assert_eq!(detect(&text, false).map(Format::name), Ok(name));
        let out = read(name, &text, &setup());
        assert_eq!(out.rejects, [], "{name}");
        assert_eq!(training(&out)[0].loss, Some(2.5), "{name}");
        assert_eq!(out.events[0].position.byte, byte, "{name}");
    }
}

#[test]
fn what_stands_for_another_file_is_refused_with_what_to_do() {
    let utf_16: Vec<u8> = "\u{feff}iter 1: loss 2.5"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let why = |bytes: &[u8]| is_itself(bytes).expect_err("it is not itself").0;
    assert!(why(&utf_16).contains("iconv -f UTF-16"));
    assert!(
        why(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull")
    );
    assert_eq!(is_itself(b"iter 1: loss 2.5\n"), Ok(()));
    assert_eq!(is_itself(b"\xff\xfe"), Ok(()));
}
