//! What every store promises, as tests that all of them run.

use super::delta::{DeltaRules, DeltaStore};
use super::jsonl::JsonlStore;
use super::postgres::PostgresStore;
use super::postgres::testing::Server;
use super::sql::Query;
use super::{AsOf, Batch, Covered, Fault, Row, Store, Table, columns};
use cairn_avro::codec;
use cairn_avro::contract::Record;
use cairn_avro::record::{
    BreakerState, DataSource, Derived, ExperimentRow, Hardware, ModelConfig, OffsetSpan, RunStatus,
    Score, Verdict,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use url::Url;

/// A place where a store can be opened again and again.
trait Ground {
    fn open(&self) -> Box<dyn Store>;
}

struct Delta(TempDir);
/// Delta in an object store, which has no locks.
struct Bucket(Arc<dyn ObjectStore>);
struct Jsonl(TempDir);
struct Postgres(Server);

fn small_files() -> DeltaRules {
    DeltaRules {
        file_rows_max: 16,
        ..DeltaRules::default()
    }
}

impl Ground for Delta {
    fn open(&self) -> Box<dyn Store> {
        Box::new(DeltaStore::local(self.0.path().to_owned(), small_files()).expect("a directory"))
    }
}

impl Bucket {
    fn new() -> Self {
        Self(Arc::new(InMemory::new()))
    }
}

impl Ground for Bucket {
    fn open(&self) -> Box<dyn Store> {
        let address = Url::parse("s3://bucket/registry/").expect("an address");
        Box::new(DeltaStore::remote(address, self.0.clone(), small_files()).expect("a store"))
    }
}

impl Ground for Jsonl {
    fn open(&self) -> Box<dyn Store> {
        Box::new(JsonlStore::new(self.0.path().to_owned()))
    }
}

impl Ground for Postgres {
    fn open(&self) -> Box<dyn Store> {
        Box::new(PostgresStore::new(self.0.address.clone(), PathBuf::new()))
    }
}

fn grounds() -> Vec<Box<dyn Ground>> {
    let mut found: Vec<Box<dyn Ground>> = vec![
        Box::new(Delta(TempDir::new().expect("a directory"))),
        Box::new(Bucket::new()),
        Box::new(Jsonl(TempDir::new().expect("a directory"))),
    ];
    if let Some(server) = Server::start() {
        found.push(Box::new(Postgres(server)));
    }
    found
}

fn table(name: &str) -> &'static Table {
    Table::named(name).expect("a table")
}

fn framed<T: Record>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_framed(0, record, &mut bytes).expect("a record");
    bytes
}

fn row_at(offset: i64, key: &str, value: Option<&ExperimentRow>) -> Row {
    Row {
        key: key.to_owned(),
        partition: 0,
        offset,
        append_time_ms: 1_700_000_000_000 + offset,
        framed: value.map(framed),
    }
}

fn experiment(run_id: &str, tokens: i64) -> ExperimentRow {
    ExperimentRow {
        tenant: "default".into(),
        run_id: run_id.into(),
        status: RunStatus::Running,
        tokens: Some(tokens),
        ..ExperimentRow::default()
    }
}

fn batch(from: Option<i64>, next: i64, rows: Vec<Row>) -> Batch {
    let covered = |at: Option<i64>| -> Covered { at.map(|at| (0, at)).into_iter().collect() };
    Batch {
        rows,
        from: covered(from),
        next: covered(Some(next)),
    }
}

/// Run ids and tokens, as SQL sees them.
fn seen(store: &mut dyn Store, as_of: &AsOf) -> BTreeMap<String, i64> {
    let query = Query::new(store, as_of, 1 << 28).expect("a session");
    let batches = query.run("SELECT * FROM rows").expect("a query");
    let mut found = BTreeMap::new();
    for batch in &batches {
        for row in columns::typed::<ExperimentRow>(table("rows"), batch).expect("rows") {
            let is_new = found
                .insert(row.run_id.clone(), row.tokens.unwrap_or(-1))
                .is_none();
            assert!(is_new, "{} is there twice", row.run_id);
        }
    }
    found
}

fn expected(rows: &[(&str, i64)]) -> BTreeMap<String, i64> {
    rows.iter()
        .map(|(run, tokens)| ((*run).to_owned(), *tokens))
        .collect()
}

#[test]
fn rows_and_offsets_are_one() {
    for ground in grounds() {
        let mut store = ground.open();
        let kind = store.kind();
        let rows = table("rows");
        assert_eq!(store.covered(rows), Ok(Covered::new()), "{kind}");
        assert_eq!(seen(store.as_mut(), &AsOf::Now), expected(&[]), "{kind}");
        assert_eq!(store.become_writer(), Ok(true), "{kind}");
        let (a, b) = (experiment("a", 1), experiment("b", 2));
        let first = batch(
            None,
            2,
            vec![
                row_at(0, "default/a", Some(&a)),
                row_at(1, "default/b", Some(&b)),
            ],
        );
        store.write(rows, &first).expect("written");
        assert_eq!(store.covered(rows), Ok(first.next.clone()), "{kind}");
        assert_eq!(
            seen(store.as_mut(), &AsOf::Now),
            expected(&[("a", 1), ("b", 2)]),
            "{kind}"
        );

        // a later row takes its place, a tombstone takes it away
        let a = experiment("a", 10);
        let second = batch(
            Some(2),
            5,
            vec![
                row_at(3, "default/a", Some(&a)),
                row_at(4, "default/b", None),
            ],
        );
        store.write(rows, &second).expect("written");
        assert_eq!(
            seen(store.as_mut(), &AsOf::Now),
            expected(&[("a", 10)]),
            "{kind}"
        );
        assert_eq!(store.size(rows).expect("a size").rows, 1, "{kind}");

        // what begins elsewhere is refused, and changes nothing
        for stale in [&first, &second] {
            let again = store.write(rows, stale);
            assert!(
                matches!(again, Err(Fault::Conflict(_))),
                "{kind}: {again:?}"
            );
        }
        assert_eq!(
            seen(store.as_mut(), &AsOf::Now),
            expected(&[("a", 10)]),
            "{kind}"
        );

        // whoever opens it again finds the same
        drop(store);
        let mut store = ground.open();
        assert_eq!(
            seen(store.as_mut(), &AsOf::Now),
            expected(&[("a", 10)]),
            "{kind}"
        );
        assert_eq!(store.become_writer(), Ok(true), "{kind}");
        assert_eq!(store.covered(rows), Ok(second.next.clone()), "{kind}");
        store.tidy(rows).expect("tidied");
        assert_eq!(
            seen(store.as_mut(), &AsOf::Now),
            expected(&[("a", 10)]),
            "{kind}"
        );
    }
}

#[test]
fn one_writes() {
    for ground in grounds() {
        if ground.open().place().starts_with("s3") {
            continue;
        }
        let (mut one, mut two) = (ground.open(), ground.open());
        assert_eq!(one.become_writer(), Ok(true), "{}", one.kind());
        assert_eq!(two.become_writer(), Ok(false), "{}", one.kind());
        let refused = two.write(table("rows"), &batch(None, 1, Vec::new()));
        assert!(matches!(refused, Err(Fault::Conflict(_))), "{refused:?}");
        drop(one);
        let begun = Instant::now();
        // a server notices a moment later that a connection is gone
        while two.become_writer() != Ok(true) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", two.kind());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where nothing can be locked, the second of two writers is told at its first write, has written nothing, and goes on from what is there.
#[test]
fn of_two_writers_in_an_object_store_the_later_is_told() {
    let ground = Bucket::new();
    let (mut one, mut two) = (ground.open(), ground.open());
    let rows = table("rows");
    for store in [&mut one, &mut two] {
        assert_eq!(store.become_writer(), Ok(true));
        assert_eq!(store.covered(rows), Ok(Covered::new()));
    }
    let at = |offset: i64, run: &str, tokens: i64| {
        row_at(
            offset,
            &format!("default/{run}"),
            Some(&experiment(run, tokens)),
        )
    };
    for turn in 0..4 {
        let (first, second) = if turn % 2 == 0 {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        let (from, next) = ((turn > 0).then_some(turn), turn + 1);
        let of = |tokens| batch(from, next, vec![at(turn, "a", tokens), at(turn, "b", turn)]);
        first.write(rows, &of(turn)).expect("nobody was before it");
        // what it knows is from before that write
        let refused = second.write(rows, &of(-9));
        assert!(matches!(refused, Err(Fault::Conflict(_))), "{refused:?}");
        assert_eq!(
            second.covered(rows),
            Ok(Covered::from([(0, next)])),
            "turn {turn}"
        );
        let there = expected(&[("a", turn), ("b", turn)]);
        assert_eq!(seen(second.as_mut(), &AsOf::Now), there, "turn {turn}");
    }
}

/// Every member comes back as it went in: enums, times, lists of records, members of nested records.
#[test]
fn a_row_comes_back_whole() {
    let row = ExperimentRow {
        tenant: "acme".into(),
        run_id: "run with / and 'quotes' \u{1F5FB}".into(),
        status: RunStatus::Finished,
        attempts: 2,
        attempt: 1,
        model: ModelConfig {
            name: Some("m".into()),
            family: Some("moe".into()),
            parameters_total: Some(46.7e9),
            context_length_tokens: Some(32_768),
            gated_mlp: Some(true),
            ..ModelConfig::default()
        },
        data_mix: vec![DataSource {
            dataset: "c4".into(),
            ratio: 0.25,
            version: Some("v2".into()),
            ..DataSource::default()
        }],
        context_length_tokens: Some(4_096),
        curriculum: Some(false),
        augmentation: vec!["a".into(), "b".into()],
        hardware: Hardware {
            accelerator: Some("H100-SXM".into()),
            currency: Some("EUR".into()),
            ..Hardware::default()
        },
        tags: vec!["grid".into()],
        tokens: Some(i64::MAX),
        first_event_time_ms: Some(1_700_000_000_123),
        loss_last: Some(2.000_000_000_000_000_4),
        scores: vec![Score {
            harness: "h".into(),
            task: "t".into(),
            metric: "acc".into(),
            value: Some(0.5),
            n: Some(100),
            ..Score::default()
        }],
        derived: Derived {
            flops: Some(3.14e23),
            currency: Some("USD".into()),
            ..Derived::default()
        },
        breaker_state: BreakerState::HalfOpen,
        inputs: vec![OffsetSpan {
            topic: "runs.events".into(),
            partition: 3,
            first: 7,
            last: 9,
        }],
        updated_append_time_ms: 1_700_000_000_456,
        ..ExperimentRow::default()
    };
    for ground in grounds() {
        let mut store = ground.open();
        assert_eq!(store.become_writer(), Ok(true));
        let written = batch(None, 1, vec![row_at(0, "k", Some(&row))]);
        store.write(table("rows"), &written).expect("written");
        let query = Query::new(store.as_mut(), &AsOf::Now, 1 << 28).expect("a session");
        let batches = query
            .run("SELECT * FROM rows WHERE family = 'moe' AND price_currency = 'EUR' AND array_has(tags, 'grid')")
            .expect("a query");
        let found: Vec<ExperimentRow> = batches
            .iter()
            .flat_map(|batch| columns::typed(table("rows"), batch).expect("rows"))
            .collect();
        assert_eq!(found, std::slice::from_ref(&row), "{}", store.kind());
        let scores = query
            .run("SELECT task, value FROM scores WHERE metric = 'acc'")
            .expect("a query");
        assert_eq!(
            scores.iter().map(|batch| batch.num_rows()).sum::<usize>(),
            1
        );
    }
}

#[test]
fn tables_of_every_record_keep_them_all() {
    for ground in grounds() {
        let mut store = ground.open();
        assert_eq!(store.become_writer(), Ok(true));
        let verdicts = table("verdicts");
        let verdict = |step| Verdict {
            tenant: "default".into(),
            run_id: "a".into(),
            at_step: Some(step),
            ..Verdict::default()
        };
        for (from, at) in [(None, 0), (Some(1), 1), (Some(2), 2)] {
            let row = Row {
                key: format!("0/{at}"),
                partition: 0,
                offset: at,
                append_time_ms: at,
                framed: Some(framed(&verdict(at * 10))),
            };
            store
                .write(verdicts, &batch(from, at + 1, vec![row]))
                .expect("written");
        }
        let query = Query::new(store.as_mut(), &AsOf::Now, 1 << 28).expect("a session");
        let found: Vec<Verdict> = query
            .run("SELECT * FROM verdicts ORDER BY log_offset")
            .expect("a query")
            .iter()
            .flat_map(|batch| columns::typed(verdicts, batch).expect("verdicts"))
            .collect();
        let steps: Vec<_> = found.iter().filter_map(|verdict| verdict.at_step).collect();
        assert_eq!(steps, [0, 10, 20], "{}", store.kind());
    }
}

/// Two hundred commits of random upserts and removals: after each the table is what a map says it is, small files or large.
#[test]
fn any_history_ends_in_what_it_says() {
    const SEED: u64 = 20_261_130;
    println!("seed {SEED}");
    for ground in grounds() {
        let mut random = SEED;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut store = ground.open();
        assert_eq!(store.become_writer(), Ok(true));
        let mut model = BTreeMap::new();
        let (mut from, mut offset) = (None, 0);
        for commit in 0..60 {
            let mut rows: BTreeMap<String, Row> = BTreeMap::new();
            for _ in 0..=next(12) {
                let run = format!("run-{}", next(80));
                let key = format!("default/{run}");
                let is_gone = next(5) == 0;
                let value = experiment(&run, offset);
                rows.insert(
                    key.clone(),
                    row_at(offset, &key, (!is_gone).then_some(&value)),
                );
                if is_gone {
                    model.remove(&run);
                } else {
                    model.insert(run, offset);
                }
                offset += 1;
            }
            let mut rows: Vec<Row> = rows.into_values().collect();
            rows.sort_by_key(|row| row.offset);
            store
                .write(table("rows"), &batch(from, offset, rows))
                .expect("written");
            from = Some(offset);
            if commit % 10 == 9 {
                assert_eq!(
                    seen(store.as_mut(), &AsOf::Now),
                    model,
                    "{} after commit {commit}",
                    store.kind()
                );
            }
            if commit % 25 == 24 {
                // as after a restart: nothing is remembered but what is written
                drop(store);
                store = ground.open();
                let begun = Instant::now();
                while store.become_writer() != Ok(true) {
                    assert!(begun.elapsed() < Duration::from_secs(10));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

#[test]
fn delta_answers_for_earlier_states() {
    let ground = Delta(TempDir::new().expect("a directory"));
    let mut store = ground.open();
    assert_eq!(store.become_writer(), Ok(true));
    let rows = table("rows");
    for (from, tokens) in [(None, 1), (Some(1), 2), (Some(2), 3)] {
        let offset = from.unwrap_or(0);
        let value = experiment("a", tokens);
        let row = row_at(offset, "default/a", Some(&value));
        store
            .write(rows, &batch(from, offset + 1, vec![row]))
            .expect("written");
    }
    let version = store
        .size(rows)
        .expect("a size")
        .version
        .expect("a version");
    let at = |store: &mut dyn Store, version| seen(store, &AsOf::Version(version));
    assert_eq!(at(store.as_mut(), version), expected(&[("a", 3)]));
    assert_eq!(at(store.as_mut(), version - 1), expected(&[("a", 2)]));
    assert_eq!(at(store.as_mut(), version - 2), expected(&[("a", 1)]));
    let error = store
        .provider(rows, &AsOf::Version(version + 9))
        .map(drop)
        .expect_err("not yet");
    assert!(error.to_string().contains("no such state"), "{error}");
}

/// A sweep over large files leaves rows where they lie, but in the one that gives them up; files are correct for whoever reads
/// them by their statistics, and earlier states are still there.
#[test]
fn large_files_are_patched() {
    let ground = Delta(TempDir::new().expect("a directory"));
    let mut store = ground.open();
    assert_eq!(store.become_writer(), Ok(true));
    let rows = table("rows");
    let put = |store: &mut dyn Store, from: i64, runs: &[i64]| {
        let written: Vec<Row> = runs
            .iter()
            .zip(from..)
            .map(|(run, offset)| {
                let value = experiment(&format!("run-{run:02}"), offset);
                row_at(offset, &format!("default/run-{run:02}"), Some(&value))
            })
            .collect();
        let next = from + written.len() as i64;
        let covered = (from > 0).then_some(from);
        store
            .write(rows, &batch(covered, next, written))
            .expect("written");
        next
    };
    let runs: Vec<i64> = (0..64).collect();
    let next = put(store.as_mut(), 0, &runs);
    let before = seen(store.as_mut(), &AsOf::Now);
    let sweep = [3, 20, 40];
    put(store.as_mut(), next, &sweep);
    let version = store.size(rows).expect("a size").version;
    let mut after = before.clone();
    for (run, tokens) in sweep.iter().zip(next..) {
        after.insert(format!("run-{run:02}"), tokens);
    }
    assert_eq!(seen(store.as_mut(), &AsOf::Now), after);
    let query = Query::new(store.as_mut(), &AsOf::Now, 1 << 28).expect("a session");
    let found = query
        .run(&format!(
            "SELECT run_id FROM rows WHERE tokens >= {next} AND log_offset >= {next}"
        ))
        .expect("a query");
    assert_eq!(found.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);

    let log = ground.0.path().join("rows/_delta_log");
    let commit = log.join(format!("{:020}.json", version.expect("a version")));
    let commit = std::fs::read_to_string(commit).expect("a commit");
    let mut counts: Vec<u64> = commit
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter_map(|action| {
            let stats = action["add"]["stats"].as_str()?.to_owned();
            serde_json::from_str::<serde_json::Value>(&stats).ok()?["numRecords"].as_u64()
        })
        .collect();
    counts.sort_unstable();
    // the row that was given up, the file that gave it up, two patched ones; the fourth file is not touched
    assert_eq!(counts, [1, 15, 16, 16]);
    let earlier = AsOf::Version(version.expect("a version") - 1);
    assert_eq!(seen(store.as_mut(), &earlier), before);
}

/// Of a journal that a crash cut anywhere, whole batches are left, and the next batch goes on from there.
#[test]
fn a_journal_that_was_cut_holds_whole_batches() {
    let ground = Jsonl(TempDir::new().expect("a directory"));
    let rows = table("rows");
    let mut store = ground.open();
    assert_eq!(store.become_writer(), Ok(true));
    let mut ends = Vec::new();
    let path = ground.0.path().join("rows.jsonl");
    for (from, at) in [(None, 0), (Some(1), 1), (Some(2), 2)] {
        let value = experiment(&format!("r{at}"), at);
        let row = row_at(at, &format!("default/r{at}"), Some(&value));
        store
            .write(rows, &batch(from, at + 1, vec![row]))
            .expect("written");
        ends.push(size(&path));
    }
    drop(store);
    let whole = std::fs::read(&path).expect("a journal");
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).expect("a journal");
        let batches = ends.iter().filter(|end| **end <= cut as u64).count();
        let mut store = ground.open();
        let covered = store.covered(rows).expect("readable");
        assert_eq!(
            covered.get(&0).copied().unwrap_or(0),
            batches as i64,
            "cut at {cut}"
        );
        if cut % 97 == 0 {
            assert_eq!(
                seen(store.as_mut(), &AsOf::Now).len(),
                batches,
                "cut at {cut}"
            );
        }
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file").len()
}

/// A table that an older build made gets the columns that this one has; its rows stay.
#[test]
fn an_older_table_is_widened() {
    let ground = Delta(TempDir::new().expect("a directory"));
    let rows = table("rows");
    let value = row_at(0, "default/a", Some(&experiment("a", 1)));
    DeltaStore::local(ground.0.path().to_owned(), DeltaRules::default())
        .expect("a directory")
        .make_older(rows, &["tokens", "loss_last"], &[value]);
    let mut store = ground.open();
    assert_eq!(store.become_writer(), Ok(true));
    assert_eq!(store.covered(rows), Ok(Covered::new()));
    let value = experiment("b", 2);
    store
        .write(
            rows,
            &batch(None, 2, vec![row_at(1, "default/b", Some(&value))]),
        )
        .expect("written");
    assert_eq!(
        seen(store.as_mut(), &AsOf::Now),
        expected(&[("a", -1), ("b", 2)])
    );
}
