//! What a table says, whatever of it is open, packed, changed or given up.

use super::*;
use serde::Deserialize;

fn table(entries: &[(&str, i64)]) -> Table<i64> {
    let mut table = Table::new("t");
    for (key, value) in entries {
        table.put(key, *value);
    }
    table.merge();
    table
}

#[test]
fn an_abort_leaves_what_was_committed() {
    let mut table = table(&[("a", 1), ("b", 2)]);
    *table.entry("a", || 0) += 10;
    table.remove("b");
    table.put("c", 3);
    assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &11), ("c", &3)]);
    table.discard();
    assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &1), ("b", &2)]);
}

#[test]
fn the_changelog_rebuilds_the_table() {
    let mut source = table(&[("a", 1), ("b", 2)]);
    let mut twin = table(&[("a", 1), ("b", 2)]);
    source.remove("a");
    source.put("z", 26);
    let mut changes = Vec::new();
    source.changes(&mut changes);
    source.merge();
    for change in &changes {
        twin.restore(&change.key, change.value.as_deref())
            .expect("its own bytes");
    }
    assert_eq!(
        twin.iter().collect::<Vec<_>>(),
        source.iter().collect::<Vec<_>>()
    );
    assert_eq!(twin.bytes(), source.bytes());
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Run {
    name: String,
    steps: i64,
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Steps {
    steps: i64,
}

impl Part<Run> for Steps {
    fn of(whole: &Run) -> Self {
        Self { steps: whole.steps }
    }
}

fn run(steps: i64) -> Run {
    Run {
        name: format!("run {steps}"),
        steps,
        tags: vec!["a".to_owned()],
    }
}

fn restored(entries: &[(&str, &[u8])]) -> Table<Run> {
    let mut table = Table::packed("t", OPEN_ALL);
    for (key, value) in entries {
        table.restore(key, Some(value)).expect("kept as it is");
    }
    table
}

/// Bytes as `rmp_serde` writes them, by hand: a map of three members.
fn packed(steps: u8) -> Vec<u8> {
    let mut bytes = vec![0x83, 0xa4];
    bytes.extend(b"name\xa5run ");
    bytes.push(b'0' + steps);
    bytes.extend(b"\xa5steps");
    bytes.push(steps);
    bytes.extend(b"\xa4tags\x91\xa1a");
    bytes
}

#[test]
fn what_is_packed_reads_like_what_is_open() {
    let mut table = restored(&[("a", &packed(1)), ("b", &packed(2)), ("c", &packed(3))]);
    assert_eq!(table.bytes(), 3 * (1 + packed(1).len() as u64));
    table.put("d", run(4));
    assert_eq!((table.len(), table.is_empty()), (4, false));
    let steps: Vec<_> = table.parts_from::<Steps>("b").collect();
    let expected = [("b", 2), ("c", 3), ("d", 4)].map(|(key, steps)| (key, Steps { steps }));
    assert_eq!(steps, expected);
    assert_eq!(table.part("a"), Some(Steps { steps: 1 }));
    assert_eq!(table.copy("a"), Some(run(1)));
    assert!(table.base["a"].is_packed(), "nobody has asked for it");
    assert_eq!(table.get("a"), Some(&run(1)));
    assert!(!table.base["a"].is_packed());
    // a change of what is packed, aborted and made again
    table.entry("b", Run::default).steps = 20;
    assert_eq!(table.get("b").map(|run| run.steps), Some(20));
    table.discard();
    assert_eq!(table.get("b"), Some(&run(2)));
    table.entry("c", Run::default).steps = 30;
    table.merge();
    let steps: Vec<_> = table.iter().map(|(key, run)| (key, run.steps)).collect();
    assert_eq!(steps, [("a", 1), ("b", 2), ("c", 30)]);
    assert_eq!(table.unreadable(), None);
}

/// Which are open is nobody's business: a table of two open values says what one says that packs nothing.
#[test]
fn few_are_open_and_none_is_lost() {
    let open = |table: &Table<Run>| {
        let open = table.base.values().filter(|stored| !stored.is_packed());
        open.count()
    };
    let (mut few, mut all) = (Table::packed("t", 2), Table::new("t"));
    let mut random = 5_u64; // Knuth's MMIX generator, from this seed
    for batch in 0..400 {
        for _ in 0..3 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let key = format!("{}", (random >> 33) % 12);
            for table in [&mut few, &mut all] {
                match (random >> 45) % 8 {
                    0 => table.remove(&key),
                    1 => table.put(&key, run(7)),
                    2 => assert!(table.get(&key).is_none_or(|run| run.steps < 1_000)),
                    _ => table.entry(&key, Run::default).steps += 1,
                }
            }
        }
        let mut changes = (Vec::new(), Vec::new());
        few.changes(&mut changes.0);
        all.changes(&mut changes.1);
        assert_eq!(changes.0, changes.1, "batch {batch}");
        for table in [&mut few, &mut all] {
            if random.is_multiple_of(5) {
                table.discard();
            } else {
                table.merge();
            }
        }
        assert!(open(&few) <= 2 + 3, "{} are open", open(&few));
        assert_eq!(few.bytes(), all.bytes());
    }
    // an open one that is asked for in each batch stays so
    few.put("x", run(1));
    few.merge();
    for key in 0..12 {
        few.put(&format!("{key}"), run(2));
        assert_eq!(few.get("x"), Some(&run(1)));
        few.merge();
        assert!(open(&few) <= 2);
        assert!(!few.base["x"].is_packed(), "after {key}");
    }
    assert_eq!(few.unreadable(), None);
}

#[test]
fn the_first_member_is_read_alone() {
    let whole = packed(3);
    let name = |packed: &[u8], name| first_member::<String>(name, packed);
    assert_eq!(name(&whole, "name").as_deref(), Some("run 3"));
    assert_eq!(
        name(&whole[..12], "name").as_deref(),
        Some("run 3"),
        "cut behind it"
    );
    assert_eq!(name(&whole[..11], "name"), None, "cut within it");
    assert_eq!(name(&whole, "nam"), None);
    assert_eq!(name(&whole, "steps"), None, "the second");
    assert_eq!(name(b"", "name"), None);
}

#[test]
fn what_is_no_value_is_nothing_and_said() {
    let cut = packed(2);
    let cut = &cut[..cut.len() - 3];
    let mut table = restored(&[("a", &packed(1)), ("b", cut), ("c", b"")]);
    assert_eq!(table.part("a"), Some(Steps { steps: 1 }));
    assert_eq!(table.unreadable(), None);
    assert_eq!(table.get("b"), None);
    assert_eq!(*table.entry("c", Run::default), Run::default());
    let said = table.unreadable().expect("said");
    assert!(said.starts_with("table t, key b: "), "{said}");
    assert_eq!(table.get("a"), Some(&run(1)), "the others are there");
}

#[test]
fn what_came_and_went_in_one_batch_is_no_change() {
    let mut table = table(&[]);
    table.put("a", 1);
    table.remove("a");
    let mut changes = Vec::new();
    table.changes(&mut changes);
    assert!(changes.is_empty());
}

#[test]
fn ranges_see_both_layers_in_order() {
    let mut table = table(&[("a", 1), ("c", 3), ("e", 5)]);
    table.put("b", 2);
    table.put("c", 33);
    table.remove("e");
    assert_eq!(
        table.range_from("b").collect::<Vec<_>>(),
        [("b", &2), ("c", &33)]
    );
}
