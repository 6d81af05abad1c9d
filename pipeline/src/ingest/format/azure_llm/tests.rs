//! Azure traces: every header that was published, damage, and the published figures of the shared data.

use super::super::fixtures::{check, runtime};
use super::super::tests::shared;
use super::*;

#[test]
fn rows_of_every_year() {
    let out = check(
        "azure_llm",
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:46.6809999,374,44\r\n",
    );
    let rows = runtime(&out);
    assert_eq!(
        (
            rows[0].event_time_ms,
            rows[0].input_tokens,
            rows[0].context_tokens,
            rows[0].output_tokens
        ),
        (Some(1_700_158_546_680), Some(374), Some(374), Some(44))
    );
    // alike to the millisecond, and still two
    assert_eq!(rows[0], rows[1]);
    assert_ne!(out.events[0].event_id, out.events[1].event_id);
    let out = check(
        "azure_llm",
        b"\xef\xbb\xbfTIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15 00:00:00.5+00:00,2,100,5\n2024-10-15 02:00:00+02:00,0,100,5",
    );
    let rows = runtime(&out);
    assert_eq!(
        (rows[0].metrics["images"], rows[0].event_time_ms),
        (2.0, Some(1_728_950_400_500))
    );
    assert_eq!(rows[1].event_time_ms, Some(1_728_950_400_000));
    assert_eq!(out.rejects, []);
}

#[test]
fn damage() {
    let out = check(
        "azure_llm",
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374\n2023-13-16 18:15:46,1,2\n2023-11-16 18:15:46,1.5,2\n2023-11-16 18:15:46,-1,2\n\n\xff\xfe,1,2\n2023-11-16 18:1",
    );
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(
        classes,
        [
            "bad_row",
            "bad_value",
            "bad_value",
            "out_of_range",
            "bad_value",
            "partial_line"
        ]
    );
    assert_eq!(out.events, []);
    let mut parser = AzureLlm
        .parser(&Setup::default())
        .expect("it needs nothing");
    let refusal = parser
        .unit(b"a,b", Position::default(), &mut Out::default())
        .expect_err("it is another table");
    assert!(refusal.0.contains("--map"), "{refusal}");
}

#[test]
fn published_figures_are_met() {
    let Some(folder) = shared("azure-llm-inference-2023") else {
        return;
    };
    let text = std::fs::read(folder.join("AzureLLMInferenceTrace_conv.csv")).expect("it is there");
    let out = check("azure_llm", &text);
    assert_eq!(out.rejects, []);
    let rows = runtime(&out);
    let mut context: Vec<i64> = rows.iter().filter_map(|row| row.input_tokens).collect();
    let mut generated: Vec<i64> = rows.iter().filter_map(|row| row.output_tokens).collect();
    context.sort_unstable();
    generated.sort_unstable();
    assert_eq!(
        (rows.len(), context.len(), generated.len()),
        (19_366, 19_366, 19_366)
    );
    assert_eq!(
        (context.iter().sum::<i64>(), generated.iter().sum::<i64>()),
        (22_361_870, 4_088_665)
    );
    assert_eq!((context[19_366 / 2], generated[19_366 / 2]), (1020, 129));
    let ids: std::collections::BTreeSet<_> =
        out.events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 19_366);
}
