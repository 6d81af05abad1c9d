#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::*;

const DAY_MS: i64 = 86_400_000;

fn limits(dir: &Path) -> SnapshotLimits {
    SnapshotLimits {
        app_id: "app".to_owned(),
        dir: Some(dir.to_owned()),
        age_ms_max: DAY_MS,
        slack_bytes_max: 1_000,
    }
}

type State = BTreeMap<String, String>;

fn open(dir: &Path, wall_ms: i64) -> (Snapshot, Found, State) {
    open_of(dir, "app changelog[0]", wall_ms).unwrap()
}

fn open_of(dir: &Path, of: &str, wall_ms: i64) -> Option<(Snapshot, Found, State)> {
    let mut state = State::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let opened = Snapshot::open(&limits(dir), of, "task-0", wall_ms, &mut |key, value| {
        match value {
            Some(value) => state.insert(text(key), text(value)),
            None => state.remove(&text(key)),
        };
        Ok(())
    });
    opened
        .unwrap()
        .map(|(snapshot, found)| (snapshot, found, state))
}

fn commit(snapshot: &mut Snapshot, changes: &[(&str, Option<&str>)]) {
    for (key, value) in changes {
        snapshot.stage(key.as_bytes(), value.map(str::as_bytes));
    }
    snapshot.keep(u64::MAX / 4).unwrap();
}

fn state(entries: &[(&str, &str)]) -> State {
    entries
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn newest(dir: &Path) -> PathBuf {
    let all = segments(&dir.join("task-0")).unwrap();
    let mut whole: Vec<_> = all.into_values().collect();
    whole.retain(|path| fs::metadata(path).unwrap().len() > 200);
    whole.pop().unwrap()
}

#[test]
fn a_restart_finds_the_newest_values_and_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, found, _) = open(dir.path(), 0);
    assert_eq!(found, Found::Nothing);
    first.mark(7, 1_000).unwrap();
    commit(&mut first, &[("a", Some("1")), ("b", Some("2"))]);
    first.mark(12, 2_000).unwrap();
    commit(&mut first, &[("a", None), ("c", Some("3"))]);
    first.stage(b"b", Some(b"aborted"));
    first.drop_staged();
    commit(&mut first, &[("d", Some("4"))]);
    drop(first);
    let (_, found, restored) = open(dir.path(), 3_000);
    // What came after the mark is there already, and is read from the changelog once more.
    assert_eq!(found, Found::UpTo(12));
    assert_eq!(restored, state(&[("b", "2"), ("c", "3"), ("d", "4")]));
}

#[test]
fn a_block_that_was_being_written_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _, _) = open(dir.path(), 0);
    commit(
        &mut first,
        &[("a", Some("1")), ("long", Some(&"x".repeat(300)))],
    );
    first.mark(5, 1_000).unwrap();
    commit(&mut first, &[("a", Some("2"))]);
    drop(first);
    let path = newest(dir.path());
    let whole = fs::read(&path).unwrap();
    for lost in [1, 5, 10] {
        fs::write(&path, &whole[..whole.len() - lost]).unwrap();
        let (second, found, restored) = open(dir.path(), 2_000);
        assert_eq!(
            (found, restored["a"].as_str()),
            (Found::UpTo(5), "1"),
            "{lost} bytes lost"
        );
        drop(second);
    }
}

#[test]
fn damage_age_and_another_origin_throw_it_away() {
    for (flip, of, wall_ms, expected) in [
        (true, "app changelog[0]", 2_000, "checksum"),
        (
            false,
            "app changelog[1]",
            2_000,
            "it is of app changelog[0]",
        ),
        (false, "app changelog[0]", 1_001 + DAY_MS, "86400 s"),
        (false, "app changelog[0]", 999, "old"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _, _) = open(dir.path(), 0);
        commit(&mut first, &[("key", Some(&"x".repeat(300)))]);
        first.mark(5, 1_000).unwrap();
        drop(first);
        if flip {
            let path = newest(dir.path());
            let mut bytes = fs::read(&path).unwrap();
            bytes[150] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let (second, found, _) = open_of(dir.path(), of, wall_ms).unwrap();
        let Found::ThrownAway(why) = found else {
            panic!("{found:?}")
        };
        assert!(why.contains(expected), "{why}");
        // Nothing of it comes back.
        drop(second);
        assert_eq!(open_of(dir.path(), of, wall_ms).unwrap().2, State::new());
    }
}

#[test]
fn only_one_process_at_a_time_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _, _) = open(dir.path(), 0);
    assert!(open_of(dir.path(), "app changelog[0]", 0).is_none());
    drop(first);
    assert!(open_of(dir.path(), "app changelog[0]", 0).is_some());
}

#[test]
fn a_compaction_keeps_the_newest_values_and_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _, _) = open(dir.path(), 0);
    first.mark(1, 1_000).unwrap();
    let mut expected = State::new();
    // 2,000 changes of 20 keys, every third a deletion: the live state is small, the segments are not.
    for number in 0..2_000_u64 {
        let key = format!("key-{}", number * 7 % 20);
        let value = (number % 3 != 0).then(|| format!("{number}-{}", "v".repeat(50)));
        first.stage(key.as_bytes(), value.as_deref().map(str::as_bytes));
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(&key),
        };
        first.keep(1_200).unwrap();
        if number % 100 == 0 {
            first.mark(number as i64, 1_000).unwrap();
        }
    }
    first.mark(2_000, 1_500).unwrap();
    // However slow the thread is, in the end only the live state is left, and the mark.
    let begun = std::time::Instant::now();
    while first.compaction.is_some() || first.bytes > 2 * 1_200 + 1_000 {
        first.keep(1_200).unwrap();
        assert!(begun.elapsed().as_secs() < 60, "{} bytes", first.bytes);
        std::thread::yield_now();
    }
    drop(first);
    let (_, found, restored) = open(dir.path(), 2_000);
    assert_eq!(found, Found::UpTo(2_000));
    assert_eq!(restored, expected);
}

/// A task that is let go while a compaction is under way leaves the folder to nobody until it is done.
#[test]
fn a_compaction_under_way_keeps_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _, _) = open(dir.path(), 0);
    first.mark(1, 1_000).unwrap();
    for number in 0..3_000 {
        first.stage(format!("key-{number}").as_bytes(), Some(&[b'v'; 100]));
    }
    first.keep(0).unwrap();
    assert!(first.compaction.is_some());
    drop(first);
    let begun = std::time::Instant::now();
    let (_, _, restored) = loop {
        if let Some(opened) = open_of(dir.path(), "app changelog[0]", 2_000) {
            break opened;
        }
        assert!(begun.elapsed().as_secs() < 60, "never released");
    };
    assert_eq!(restored.len(), 3_000);
}

#[test]
fn a_restart_from_nothing_forgets_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _, _) = open(dir.path(), 0);
    commit(&mut first, &[("a", Some("1"))]);
    first.mark(9, 1_000).unwrap();
    first.restart().unwrap();
    commit(&mut first, &[("b", Some("2"))]);
    first.mark(3, 1_100).unwrap();
    drop(first);
    let (_, found, restored) = open(dir.path(), 2_000);
    assert_eq!((found, restored), (Found::UpTo(3), state(&[("b", "2")])));
}
